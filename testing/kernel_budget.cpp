// Which kernels a case needs, and cases that need no others.
#include "testing/kernel_budget.hpp"

#include <bolide/error.hpp>

#include <chrono>
#include <climits>
#include <iterator>
#include <optional>
#include <unordered_set>

#include "cuda/backend.hpp"
#include "cuda/forward_kernels.hpp"
#include "jit/kernel_store.hpp"
#include "plan/forward_gpu.hpp"
#include "testing/check.hpp"
#include "testing/random.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

// The kernels of a case, the attention kernel first; nothing if none serves it.
std::vector<jit::KernelSpec> specs_of(const Case& c, int multiprocessors) {
  try {
    if (c.backward()) return {};
    NoMemory memory(Device::cpu());
    const Setup setup(c, Fill::untouched, memory);
    const ForwardProblem& p = setup.placed().forward;
    const Sizes sizes = validate(p);
    const KernelPrograms programs = kernel_programs(p, sizes);
    const ForwardChoice choice = choose_forward(p, sizes, {.multiprocessors = multiprocessors});
    return cuda::specs_of(choice, program::emit(programs.mask, programs.score), p.out.dtype);
  } catch (const Error&) {
    return {};
  }
}

class Sharer {
 public:
  Sharer(int multiprocessors, int most) : multiprocessors_(multiprocessors), most_(most) {}
  const std::vector<jit::KernelSpec>& specs() const { return specs_; }
  const std::vector<jit::KernelSpec>& small() const { return small_; }

  enum class Answer : std::uint8_t { admitted, no_room, refused };
  // Admits a case whose kernels are known, or for which there is room and `may_add`.
  Answer admit(const Case& c, bool may_add) {
    std::vector<jit::KernelSpec> fresh, beside;
    for (const Case& part : {c, count_case(c)}) {
      std::vector<jit::KernelSpec> specs = specs_of(part, multiprocessors_);
      if (specs.empty()) return Answer::refused;
      if (!keys_.count(specs[0].key())) fresh.push_back(std::move(specs[0]));
      std::move(specs.begin() + 1, specs.end(), std::back_inserter(beside));
    }
    if (!fresh.empty() && (!may_add || specs_.size() + fresh.size() > static_cast<std::size_t>(most_)))
      return Answer::no_room;
    for (jit::KernelSpec& spec : fresh)
      if (keys_.insert(spec.key()).second) specs_.push_back(std::move(spec));
    for (jit::KernelSpec& spec : beside)
      if (keys_.insert(spec.key()).second) small_.push_back(std::move(spec));
    return Answer::admitted;
  }

 private:
  const int multiprocessors_, most_;
  std::unordered_set<std::string> keys_;
  std::vector<jit::KernelSpec> specs_, small_;
};

// The layouts, lengths and data of one case with what decides the kernel of another.
Case with_kernel_of(Case c, const Case& other) {
  c.mask = other.mask, c.score = other.score, c.lets = other.lets;
  c.dtype = other.dtype, c.out_f32 = other.out_f32, c.head_dim = other.head_dim,
  c.head_dim_v = other.head_dim_v;
  c.scale = other.scale, c.strides = other.strides, c.offset = other.offset, c.layout = other.layout;
  c.query_start = other.query_start;  // programs that gather by q need a stated one
  return c;
}

// Makes some draws large, as draws are small for the reference's sake: wide ones have more tiles of queries
// than a GPU runs thread blocks, long ones few queries of many keys, which are split.
Case grown(const Case& draw, Random& random) {
  constexpr double kWide = 0.05, kLong = 0.08;
  const double u = random.uniform();
  Case c = draw;
  if (u >= kWide + kLong || c.batch == 0 || c.heads_q == 0 || c.rows_q.largest() == 0) return c;
  const bool wide = u < kWide;
  const std::int64_t rows_q = wide ? random.between(150, 420) : random.between(1, 40),
                     rows_kv = wide ? random.between(1, 500) : random.between(520, 2600);
  const auto spread = [&](const Spread& s, std::int64_t most) {
    return s.range ? Spread(most / 2, most) : Spread(most);
  };
  c.rows_q = spread(c.rows_q, rows_q), c.rows_kv = spread(c.rows_kv, rows_kv);
  if (c.seqused_q) c.seqused_q = Spread(rows_q / 2, rows_q);
  if (c.seqused_kv) c.seqused_kv = Spread(wide ? 0 : rows_kv / 2, rows_kv);
  if (c.leftpad) c.leftpad = Spread(0, rows_kv / 3);
  const std::int64_t group = c.heads_q / c.heads_kv;
  if (wide) {
    c.batch = random.between(2, 5), c.heads_kv = std::max<std::int64_t>(1, random.between(24, 40) / group);
  } else {
    c.batch = 1 + random.chance(0.3), c.heads_kv = 1;
  }
  c.heads_q = c.heads_kv * group;
  return c;
}

// Makes half of the draws problems for the copy engine, of more than a tile of keys: few draws are aligned by
// chance, and most users' problems are.
Case aligned(const Case& draw, Random& random) {
  constexpr std::int64_t kNative[] = {64, 64, 128, 128, 256, 192, 96, 80};
  if (!random.chance(0.5)) return draw;
  Case c = draw;
  c.strides = random.chance(0.5) ? Strides::none : Strides::gaps, c.offset = 8 * random.between(0, 2);
  if (c.dtype == DType::f32) c.dtype = random.chance(0.5) ? DType::bf16 : DType::f16;
  c.head_dim = random.chance(0.7) ? kNative[random.between(0, 7)] : 8 * random.between(1, 32);
  c.head_dim_v = random.chance(0.8) ? c.head_dim : 8 * random.between(1, 32);
  c.page_rows = (c.page_rows + 7) / 8 * 8;
  if (c.rows_kv.largest() < 200 && c.rows_q.largest() * c.batch * c.heads_q < 2000) {
    const std::int64_t rows = random.between(130, 700);
    c.rows_kv = c.rows_kv.range ? Spread(rows / 2, rows) : Spread(rows);
    if (c.seqused_kv) c.seqused_kv = Spread(0, rows);
    if (c.leftpad) c.leftpad = Spread(0, rows / 4);
  }
  try {
    c.validate();
  } catch (const Error&) {
    return draw;
  }
  return c;
}

std::optional<Case> shared(const Case& c, const std::vector<Case>& before, Sharer& sharer, Random& random) {
  constexpr int kTries = 12;
  for (int i = 0; i < kTries && !before.empty(); ++i) {
    const Case& other =
        before[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(before.size()) - 1))];
    const Case mixed = with_kernel_of(c, other);
    try {
      mixed.validate();
    } catch (const Error&) {
      continue;
    }
    if (sharer.admit(mixed, false) == Sharer::Answer::admitted) return mixed;
  }
  return std::nullopt;
}

}  // namespace

SharedDraws share_kernels(int multiprocessors, std::uint64_t seed, std::uint64_t count, const Filter& filter,
                          int kernels) {
  Sharer sharer(multiprocessors, kernels);
  SharedDraws draws;
  std::vector<Case> originals;
  Random random(scramble(seed, 50));
  const std::uint64_t most_draws = 20 * count + 1000;
  for (std::uint64_t i = 0; draws.cases.size() < count && i < most_draws; ++i) {
    Case c = draw(seed, i, filter);
    for (const auto& change : {grown, aligned})
      if (Case changed = change(c, random); filter.matches(changed)) c = std::move(changed);
    switch (sharer.admit(c, true)) {
      case Sharer::Answer::admitted: draws.cases.push_back(c), originals.push_back(c); break;
      case Sharer::Answer::refused: ++draws.refused; break;
      case Sharer::Answer::no_room:
        if (const std::optional<Case> mixed = shared(c, originals, sharer, random))
          draws.cases.push_back(*mixed);
    }
  }
  if (draws.cases.empty() && count > 0)
    throw Error(Code::refused, "no draw of this filter is served by a GPU; check it with --device cpu");
  draws.kernels = sharer.specs(), draws.small = sharer.small();
  return draws;
}

std::vector<jit::KernelSpec> kernels_of(std::span<const Case> cases, int multiprocessors) {
  Sharer sharer(multiprocessors, INT_MAX);
  for (const Case& c : cases) (void)sharer.admit(c, true);
  std::vector<jit::KernelSpec> all = sharer.specs();
  all.insert(all.end(), sharer.small().begin(), sharer.small().end());
  return all;
}

std::vector<std::string> kernel_keys(const Case& c, int multiprocessors) {
  std::vector<std::string> keys;
  for (const Case& part : {c, count_case(c)})
    if (const std::vector<jit::KernelSpec> specs = specs_of(part, multiprocessors); !specs.empty())
      keys.push_back(specs[0].key());
  return keys;
}

int prepare_kernels(const std::vector<jit::KernelSpec>& kernels,
                    const std::function<void(double share)>& done) {
  int failed = 0;
  std::size_t ready = 0;
  cuda::kernel_store(*cuda::Driver::open())
      ->prepare(kernels, 0, [&](std::size_t, const jit::KernelStore::Outcome& outcome) {
        failed += !outcome.kernel, ++ready;
        if (done) done(static_cast<double>(ready) / static_cast<double>(kernels.size()));
      });
  return failed;
}

Case shrink_on_gpu(const Case& failing, const std::function<bool(const Case&)>& fails, int multiprocessors,
                   double seconds, int new_kernels) {
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<std::string> first = kernel_keys(failing, multiprocessors);
  std::unordered_set<std::string> known(first.begin(), first.end());
  int left = 0;
  const auto affordable = [&](const Case& c) {
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() > seconds)
      return false;
    int fresh = 0;
    const std::vector<std::string> keys = kernel_keys(c, multiprocessors);
    for (const std::string& key : keys) fresh += !known.count(key);
    if (keys.empty() || fresh > left) return false;
    left -= fresh, known.insert(keys.begin(), keys.end());
    return true;
  };
  Case best = failing;
  for (const int more : {0, new_kernels}) {
    left = more;
    best = shrink(
        best, [&](const Case& c) { return affordable(c) && fails(c); }, 400);
  }
  return best;
}

}  // namespace bolide::testing
