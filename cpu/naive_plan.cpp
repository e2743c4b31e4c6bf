// How much memory and how many threads the definition takes.
#include <omp.h>

#include "cpu/captured_sums.hpp"
#include "cpu/naive.hpp"
#include "cpu/naive_memory.hpp"

namespace bolide::cpu {
namespace {

// One more thread for every quarter of a million products: waking one costs as much as it would save below
// that.
int choose_threads(const Sizes& s) {
  const double products = static_cast<double>(s.batch * s.heads_q) *
                          static_cast<double>(s.rows_q * s.rows_kv) *
                          static_cast<double>(s.head_dim + s.head_dim_v);
  return static_cast<int>(std::clamp(products / (1 << 18), 1.0, static_cast<double>(omp_get_max_threads())));
}

std::shared_ptr<NaivePlan> plan_rows(const ForwardProblem& p, const Sizes& s) {
  auto plan = std::make_shared<NaivePlan>();
  plan->path = "cpu/naive";
  plan->sizes = s;
  plan->threads = choose_threads(s);
  std::size_t scratch = 0;
  if (p.mask) scratch = std::max(scratch, program::Evaluator(p.mask.expr()).scratch_bytes());
  if (p.score) scratch = std::max(scratch, program::Evaluator(p.score.expr()).scratch_bytes());
  plan->thread_bytes = (RowBuffers::bytes(s) + scratch + 63) / 64 * 64;
  plan->workspace_bytes = plan->threads * plan->thread_bytes;
  return plan;
}

}  // namespace

std::shared_ptr<const NaivePlan> plan_naive(const ForwardProblem& p, const Sizes& s) {
  return plan_rows(p, s);
}

std::shared_ptr<const NaivePlan> plan_naive(const BackwardProblem& p, const Sizes& s) {
  auto plan = plan_rows(p.forward, s);
  plan->threads = static_cast<int>(std::clamp<std::int64_t>(s.heads_kv, 1, plan->threads));
  const CapturedSums captured(p, s, s.rows_kv);
  plan->details = captured.details();
  plan->shared_bytes = (captured.totals() * sizeof(double) + 63) / 64 * 64;
  plan->thread_bytes += gradient_bytes(p.forward, s) + captured.thread_bytes();
  plan->workspace_bytes = plan->shared_bytes + plan->threads * plan->thread_bytes;
  return plan;
}

}  // namespace bolide::cpu
