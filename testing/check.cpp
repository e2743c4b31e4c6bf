// Runs a case and judges it.
#include "testing/check.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "testing/device_memory.hpp"
#include "testing/elements.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

// A workspace of exactly the bytes the plan asked for, between guards.
class GuardedWorkspace {
 public:
  GuardedWorkspace(Memory& memory, std::size_t bytes)
      : memory_(memory), bytes_(bytes), image_((bytes + 2 * kGuard + 3) / 4 * 4) {
    fill_pattern(image_, DType::f32, Fill::nonfinite);
    place_ = memory.allocate(image_.size());
    if (!place_)
      throw Error(Code::device,
                  fmt::format("no room for a workspace of {} bytes; take a smaller case", bytes));
    memory.upload(place_, image_);
  }
  ~GuardedWorkspace() { memory_.release(place_); }
  GuardedWorkspace(const GuardedWorkspace&) = delete;
  GuardedWorkspace& operator=(const GuardedWorkspace&) = delete;
  Workspace workspace() const { return {static_cast<std::byte*>(place_) + kGuard, bytes_}; }
  std::string find_damage() const {
    std::vector<std::byte> after(image_.size());
    memory_.download(after, place_);
    for (std::size_t i = 0; i < after.size(); ++i)
      if ((i < kGuard || i >= kGuard + bytes_) && after[i] != image_[i])
        return fmt::format("the workspace of {} bytes was written outside, at byte {}", bytes_,
                           static_cast<std::int64_t>(i) - static_cast<std::int64_t>(kGuard));
    return {};
  }

 private:
  static constexpr std::size_t kGuard = 512;
  Memory& memory_;
  std::size_t bytes_;
  std::vector<std::byte> image_;
  void* place_;
};

// A copy of a result's elements that outlives the next run.
struct Kept {
  std::vector<std::byte> bytes;
  Tensor view;
  explicit Kept(const Tensor& t) {
    if (!t) return;
    const auto size = static_cast<std::size_t>(size_of(t.dtype));
    bytes.reserve(static_cast<std::size_t>(t.count()) * size + 1);
    const auto* from = static_cast<const std::byte*>(t.data);
    for_each_offset(t, [&](std::int64_t at) {
      const std::byte* element = from + at * static_cast<std::int64_t>(size);
      bytes.insert(bytes.end(), element, element + size);
    });
    view = Tensor(static_cast<const void*>(bytes.data()), t.dtype, t.shape);
  }
  Kept(Kept&&) = default;
};

constexpr const char* kRepeat = "equal runs must give equal bits (D1)";
constexpr const char* kPoison =
    "only bytes that no result may depend on differ (C12), or an element was not written (C11)";

// What kept results and another run's disagree about: same strides or not.
std::string compare_kept(const char* name, const Kept& kept, const Tensor& now, const char* why) {
  return kept.view ? compare_bits(name, kept.view, Kept(now).view, why) : std::string();
}

class Checker {
 public:
  Checker(const Case& c, const Context& context, Memory& memory, Outcome& outcome)
      : case_(c), context_(context), memory_(memory), outcome_(outcome) {}

  // The first sentence that says what is wrong; empty if nothing is.
  std::string run() {
    Setup a(case_, Fill::nonfinite, memory_);
    const Plan plan = context_.plan(a.placed().forward);
    outcome_.path = plan.path();
    std::optional<Plan> backward;
    if (case_.backward()) backward = context_.plan(a.placed());
    const bool gpu = context_.device().kind == Device::Kind::cuda;
    const Reference want = reference(a.host(), case_.backward(), a.sequences(), a.visible(),
                                     gpu ? Programs::float32 : Programs::float64);
    Setup b(case_, Fill::finite, memory_, &a);
    std::string bad = forward(a, b, plan, want);
    if (bad.empty() && backward) bad = gradients(a, b, *backward, want);
    if (bad.empty()) bad = count(a);
    return bad;
  }

 private:
  std::string run_forward(Setup& setup, const Plan& plan) {
    const GuardedWorkspace workspace(memory_, plan.workspace_bytes());
    setup.upload();
    context_.forward(plan, setup.placed().forward, workspace.workspace(), memory_.stream());
    const std::string damage = setup.download();
    return damage.empty() ? workspace.find_damage() : damage;
  }
  std::string run_backward(Setup& setup, const Plan& plan) {
    const GuardedWorkspace workspace(memory_, plan.workspace_bytes());
    setup.upload();
    context_.backward(plan, setup.placed(), workspace.workspace(), memory_.stream());
    const std::string damage = setup.download();
    return damage.empty() ? workspace.find_damage() : damage;
  }

  Sums sums() const {
    const bool tensor_cores = context_.device().kind == Device::Kind::cuda && case_.dtype != DType::f32;
    return tensor_cores ? Sums::truncated : Sums::rounded;
  }

  std::string keep(const char* name, Comparison c) {
    outcome_.distances[name] += c.distance;
    return c.failure;
  }

  std::string forward(Setup& a, Setup& b, const Plan& plan, const Reference& want) {
    const ForwardProblem &pa = a.host().forward, &pb = b.host().forward;
    std::string bad = run_forward(a, plan);
    if (bad.empty()) bad = keep("out", compare_out(a.result(pa.out), want, pa.q.dtype));
    if (bad.empty() && pa.lse) bad = keep("lse", compare_lse(a.result(pa.lse), want, sums(), case_.head_dim));
    if (!bad.empty()) return bad;
    const Kept out(a.result(pa.out)), lse(pa.lse ? a.result(pa.lse) : Tensor());
    for (auto [setup, problem, why] : {std::tuple{&a, &pa, kRepeat}, {&b, &pb, kPoison}}) {
      bad = run_forward(*setup, plan);
      if (bad.empty()) bad = compare_kept("out", out, setup->result(problem->out), why);
      if (bad.empty() && pa.lse) bad = compare_kept("lse", lse, setup->result(problem->lse), why);
      if (!bad.empty()) return bad;
    }
    return {};
  }

  std::string gradients(Setup& a, Setup& b, const Plan& plan, const Reference& want) {
    a.keep_forward(), b.keep_forward();
    std::string bad = run_backward(a, plan);
    const BackwardProblem &pa = a.host(), &pb = b.host();
    if (bad.empty()) bad = keep("dq", compare_gradient("dq", a.result(pa.dq), want.dq, want.dq_slack));
    if (bad.empty()) bad = keep("dk", compare_gradient("dk", a.result(pa.dk), want.dk, want.dk_slack));
    if (bad.empty()) bad = keep("dv", compare_gradient("dv", a.result(pa.dv), want.dv, want.dv_slack));
    for (std::size_t i = 0; i < pa.dcaptured.size() && bad.empty(); ++i)
      bad = compare_gradient(captured_name(i).c_str(), a.result(pa.dcaptured[i].gradient), want.dcaptured[i],
                             want.dcaptured_slack[i])
                .failure;
    if (!bad.empty()) return bad;
    const Kept dq(a.result(pa.dq)), dk(a.result(pa.dk)), dv(a.result(pa.dv));
    std::vector<Kept> captured;
    for (const CapturedGradient& g : pa.dcaptured) captured.emplace_back(a.result(g.gradient));
    for (auto [setup, problem, why] : {std::tuple{&a, &pa, kRepeat}, {&b, &pb, kPoison}}) {
      bad = run_backward(*setup, plan);
      if (bad.empty()) bad = compare_kept("dq", dq, setup->result(problem->dq), why);
      if (bad.empty()) bad = compare_kept("dk", dk, setup->result(problem->dk), why);
      if (bad.empty()) bad = compare_kept("dv", dv, setup->result(problem->dv), why);
      for (std::size_t i = 0; i < captured.size() && bad.empty(); ++i)
        bad = compare_kept(captured_name(i).c_str(), captured[i],
                           setup->result(problem->dcaptured[i].gradient), why);
      if (!bad.empty()) return bad;
    }
    return {};
  }

  // Of entry i of the problem's dcaptured, which are in the order of the lets.
  std::string captured_name(std::size_t i) const {
    for (const Let& let : case_.lets)
      if (std::count(case_.dcaptured.begin(), case_.dcaptured.end(), let.name) && i-- == 0)
        return "d" + let.name;
    return {};
  }

  // Contract C17 under the case's layout, lengths and mask. out is f32 so that counts come out exactly.
  std::string count(const Setup& a) {
    const Case c = count_case(case_);
    Setup setup(c, Fill::nonfinite, memory_, &a);
    const std::string bad = run_forward(setup, context_.plan(setup.placed().forward));
    if (!bad.empty()) return "count test: " + bad;
    const ForwardProblem& p = setup.host().forward;
    const Reference want = reference(setup.host(), false, setup.sequences(), setup.visible());
    return compare_counts(setup.result(p.out), setup.result(p.lse), want, setup.sequences(), setup.visible());
  }

  const Case& case_;
  const Context& context_;
  Memory& memory_;
  Outcome& outcome_;
};

}  // namespace

Case count_case(const Case& of) {
  Case c = of;
  c.data = Data::count, c.out_f32 = true, c.lse = true, c.score.clear();
  if (c.backward()) c.operation = c.operation == Operation::bwd ? Operation::fwd : Operation::varlen_fwd;
  c.dlse = c.dout_f32 = c.grad_f32 = false, c.dcaptured.clear();
  return c;
}

Outcome check(const Case& c, const Context& context, Memory& memory) {
  const auto begin = std::chrono::steady_clock::now();
  Outcome o;
  o.line = c.text();
  try {
    o.report = Checker(c, context, memory, o).run();
    if (!o.report.empty()) o.kind = Outcome::failed;
  } catch (const Error& e) {
    if (e.code() != Code::refused && e.code() != Code::invalid_problem) throw;
    o.kind = Outcome::refused, o.report = e.what();
  }
  o.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return o;
}

Outcome check(const Case& c, const Context& context) {
  const std::unique_ptr<Memory> memory = memory_for(context.device());
  return check(c, context, *memory);
}

void Pool::add(const Case& c, const Outcome& o) {
  // Rows with stride 0 are one row many times, and with scale 0 all rows have their weights from the program
  // alone: rounding one may cost nothing or twice the usual, so many are no sample of errors.
  if (o.kind != Outcome::passed || c.data != Data::normal || c.strides == Strides::expand || c.scale == "0")
    return;
  for (const auto& [name, distance] : o.distances) {
    const bool gradient = name[0] == 'd';
    if (name == "lse" || c.dtype == DType::f32 || (gradient ? c.grad_f32 : c.out_f32)) continue;
    std::int64_t keys = 1;
    while (keys < c.rows_kv.largest()) keys *= 2;
    pools_[fmt::format("{} {} d={} keys<={}", name, name_of(c.dtype),
                       name == "out" || name == "dv" ? c.head_dim_v : c.head_dim, keys)] += distance;
  }
}

std::string Pool::failures() const {
  std::string out;
  for (const auto& [name, distance] : pools_) {
    const double budget = name[0] == 'd' ? 2 : kPooledRatio;
    if (distance.count >= kPooledElements && distance.ratio() > budget)
      out += fmt::format("{}: RMSE is {:.3g} times the rounding floor over {} elements (budget {})\n", name,
                         distance.ratio(), distance.count, budget);
  }
  return out;
}

double Pool::worst() const {
  double worst = 0;
  for (const auto& [name, distance] : pools_)
    if (distance.count >= kPooledElements)
      worst = std::max(worst, distance.ratio() / (name[0] == 'd' ? 2 : kPooledRatio));
  return worst;
}

}  // namespace bolide::testing
