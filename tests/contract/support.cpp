// Setting up, running and reading results.
#include "support.hpp"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "testing/elements.hpp"

namespace bolide::testing {

Context tested() {
  const char* kernels = std::getenv("BOLIDE_TEST_KERNELS");
  const bool definition = kernels && kernels == std::string_view("definition");
  return Context(Device::cpu(), {.kernels = definition ? Kernels::definition : Kernels::fastest});
}

CaseRun::CaseRun(const std::string& line, Fill fill)
    : case_(Case::parse(line)), setup_(case_, fill, memory_) {
  const Context cpu = tested();
  const BackwardProblem& p = setup_.placed();
  const Plan forward = cpu.plan(p.forward);
  std::vector<float> workspace((forward.workspace_bytes() + 256) / 4 + 64, NAN);
  const auto aligned = [](std::vector<float>& v) {
    return reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(v.data()) + 255) / 256 * 256);
  };
  setup_.upload();
  cpu.forward(forward, p.forward, {aligned(workspace), forward.workspace_bytes()});
  EXPECT_EQ(setup_.download(), "") << line;
  keep(out_tensor, setup_.host().forward.out);
  if (case_.lse) keep(lse_tensor, setup_.host().forward.lse);
  if (!case_.backward()) return;
  setup_.keep_forward();
  const Plan backward = cpu.plan(p);
  workspace.assign((backward.workspace_bytes() + 256) / 4 + 64, NAN);
  setup_.upload();
  cpu.backward(backward, p, {aligned(workspace), backward.workspace_bytes()});
  EXPECT_EQ(setup_.download(), "") << line;
  keep(dq_tensor, setup_.host().dq), keep(dk_tensor, setup_.host().dk), keep(dv_tensor, setup_.host().dv);
  for (const CapturedGradient& g : setup_.host().dcaptured) keep(captured_tensors.emplace_back(), g.gradient);
}

// Row-major, apart from the setup's images, which the next run overwrites.
void CaseRun::keep(Tensor& result, const Tensor& of) {
  const Tensor now = setup_.result(of);
  const auto size = static_cast<std::size_t>(size_of(now.dtype));
  std::vector<std::byte> bytes;
  bytes.reserve(static_cast<std::size_t>(now.count()) * size + 1);
  for_each_offset(now, [&](std::int64_t at) {
    const auto* from = static_cast<const std::byte*>(now.data) + at * static_cast<std::int64_t>(size);
    bytes.insert(bytes.end(), from, from + size);
  });
  kept_.push_back(std::move(bytes));
  result = Tensor(static_cast<const void*>(kept_.back().data()), now.dtype, now.shape);
}

double CaseRun::out(std::int64_t b, std::int64_t row, std::int64_t h, std::int64_t c) const {
  return load(out_tensor, row_at(out_tensor, b, row, h) + c);
}
double CaseRun::lse(std::int64_t b, std::int64_t row, std::int64_t h) const {
  return load(lse_tensor, number_at(lse_tensor, b, row, h));
}
double CaseRun::dq(std::int64_t b, std::int64_t row, std::int64_t h, std::int64_t c) const {
  return load(dq_tensor, row_at(dq_tensor, b, row, h) + c);
}
double CaseRun::dk(std::int64_t b, std::int64_t row, std::int64_t h, std::int64_t c) const {
  return load(dk_tensor, row_at(dk_tensor, b, row, h) + c);
}
double CaseRun::dv(std::int64_t b, std::int64_t row, std::int64_t h, std::int64_t c) const {
  return load(dv_tensor, row_at(dv_tensor, b, row, h) + c);
}
double CaseRun::count(std::int64_t b, std::int64_t row, std::int64_t h) const {
  return std::exp(lse(b, row, h));
}

Reference CaseRun::want() const {
  return reference(setup_.host(), case_.backward(), setup_.sequences(), setup_.visible());
}

void expect_passes(const std::string& line) {
  const Outcome o = check(Case::parse(line), tested());
  EXPECT_EQ(o.kind, Outcome::passed) << o.line << "\n  " << o.report;
}

std::string refusal(const std::string& line) {
  const Outcome o = check(Case::parse(line), tested());
  EXPECT_EQ(o.kind, Outcome::refused) << o.line << "\n  " << o.report;
  return o.report;
}

::testing::AssertionResult same_bits(const Tensor& a, const Tensor& b) {
  const std::string difference = compare_bits("element ", a, b, "they must have the same bits");
  return difference.empty() ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << difference;
}

}  // namespace bolide::testing
