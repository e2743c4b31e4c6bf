// Counts visible pairs with a problem whose queries are zero.
#include "cli/visible_pairs.hpp"

#include <array>
#include <cmath>
#include <cstdlib>
#include <new>

namespace bolide::cli {
namespace {

// The shape with a last dimension of 1.
Dims narrowed(Dims shape) {
  shape[shape.rank() - 1] = 1;
  return shape;
}

// All elements are one zero in memory: every stride is 0.
Tensor zeros_like(const Tensor& t, const void* zero) {
  Dims strides = t.shape;
  for (int i = 0; i < strides.rank(); ++i) strides[i] = 0;
  return Tensor(zero, t.dtype, narrowed(t.shape), strides);
}

}  // namespace

WorkspaceMemory::WorkspaceMemory(std::size_t bytes) : bytes_(bytes) {
  constexpr std::size_t kAlignment = 256;
  if (bytes == 0) return;
  data_ = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (!data_) throw std::bad_alloc();
}
WorkspaceMemory::~WorkspaceMemory() { std::free(data_); }

VisiblePairs count_visible_pairs(const Context& context, const ForwardProblem& problem) {
  const std::array<double, 1> zero{};
  VisiblePairs counted;
  counted.row_logs.resize(problem.lse.count());
  ForwardProblem p = problem;
  p.q = zeros_like(problem.q, zero.data());
  p.k = zeros_like(problem.k, zero.data());
  p.v = zeros_like(problem.v, zero.data());
  std::vector<float> out(problem.lse.count());  // as many rows as lse, of one column
  p.out = Tensor(out.data(), narrowed(problem.out.shape));
  p.lse = Tensor(counted.row_logs.data(), problem.lse.shape);
  p.score = Score();
  p.scale = 1.0f;
  const Plan plan = context.plan(p);
  const WorkspaceMemory workspace(plan.workspace_bytes());
  context.forward(plan, p, workspace.get());
  for (const float log : counted.row_logs) counted.pairs += std::llround(std::exp(static_cast<double>(log)));
  return counted;
}

double forward_flops(const ForwardProblem& problem, std::int64_t pairs) {
  const double d = problem.q.size(problem.q.rank() - 1), dv = problem.v.size(problem.v.rank() - 1);
  return 2.0 * static_cast<double>(pairs) * (d + dv);
}

double backward_flops(const ForwardProblem& problem, std::int64_t pairs) {
  const double d = problem.q.size(problem.q.rank() - 1), dv = problem.v.size(problem.v.rank() - 1);
  return 2.0 * static_cast<double>(pairs) * (3 * d + 2 * dv);
}

}  // namespace bolide::cli
