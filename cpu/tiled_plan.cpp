// How the tiled path cuts a problem up: heads of a block, threads, memory.
#include <omp.h>

#include <fmt/core.h>

#include "cpu/captured_sums.hpp"
#include "cpu/tile_worker.hpp"
#include "cpu/tiled_shared.hpp"
#include "program/facts.hpp"

namespace bolide::cpu {
namespace {

// One more thread for every four million products: waking one costs as much as it would save below that.
int choose_threads(const Sizes& s) {
  const double products = static_cast<double>(s.batch * s.heads_q) *
                          static_cast<double>(s.rows_q * s.rows_kv) *
                          static_cast<double>(s.head_dim + s.head_dim_v);
  return static_cast<int>(std::clamp(products / (1 << 22), 1.0, static_cast<double>(omp_get_max_threads())));
}

// Heads that share keys and mask join a block while it has at most 128 rows, so that decoding loads keys
// once.
int choose_heads(const ForwardProblem& p, const Sizes& s) {
  if (p.mask && program::facts(p.mask.expr()).uses_h) return 1;
  const std::int64_t rows = std::clamp<std::int64_t>(s.rows_q, 1, kTileQ);
  return static_cast<int>(std::clamp<std::int64_t>(128 / rows, 1, std::max<std::int64_t>(s.group(), 1)));
}

bool is_wide(const Tensor& t) { return t && t.dtype == DType::f32; }

std::shared_ptr<TiledPlan> plan_blocks(const ForwardProblem& p, const Sizes& s) {
  auto plan = std::make_shared<TiledPlan>();
  plan->path = "cpu/tiled";
  plan->sizes = s;
  plan->heads = choose_heads(p, s);
  plan->threads = choose_threads(s);
  for (const std::optional<Expr>& e : {p.mask ? std::optional(p.mask.expr()) : std::nullopt,
                                       p.score ? std::optional(p.score.expr()) : std::nullopt})
    if (e) plan->scratch_bytes = std::max(plan->scratch_bytes, program::Evaluator(*e).scratch_bytes());
  return plan;
}

// Sizes of the buffers, and what explain says.
std::shared_ptr<const TiledPlan> finished(std::shared_ptr<TiledPlan> plan, std::size_t captured_bytes = 0) {
  Arena arena(nullptr);
  if (!plan->precise) TileMemory<float, float>(arena, *plan);
  else if (plan->backward) TileMemory<double, double>(arena, *plan);
  else TileMemory<double, float>(arena, *plan);
  plan->tile_bytes = arena.used();
  plan->thread_bytes = plan->tile_bytes + captured_bytes;
  plan->workspace_bytes = plan->shared_bytes + static_cast<std::size_t>(plan->threads) * plan->thread_bytes;
  plan->details = {
      {"tiles", fmt::format("{} queries of {} head{} x {} keys", kTileQ, plan->heads,
                            plan->heads == 1 ? "" : "s", kTileKv)},
      {"masks", "tiles that show nothing are skipped, tiles that show everything are not masked"},
      {"arithmetic", !plan->precise   ? "float32"
                     : plan->backward ? "float64"
                                      : "scores in float64, values in float32"},
      {"instructions", instruction_set()},
      {"threads", fmt::format("{}", plan->threads)},
      {"determinism", "D1, D2, D3: a row's bits depend on its own sequence alone, not on the threads"}};
  return plan;
}

}  // namespace

std::shared_ptr<const TiledPlan> plan_tiled(const ForwardProblem& p, const Sizes& s) {
  auto plan = plan_blocks(p, s);
  // lse may be off by 2^-22 of its terms: a float32 sum of many products rounds more often than that allows.
  plan->precise = is_wide(p.q) || p.score || p.lse;
  return finished(plan);
}

std::shared_ptr<const TiledPlan> plan_tiled(const BackwardProblem& p, const Sizes& s) {
  auto plan = plan_blocks(p.forward, s);
  plan->backward = true;
  // The gradient of a score is a difference that may vanish: its terms need more than what is written.
  plan->precise = is_wide(p.forward.q) || is_wide(p.forward.out) || is_wide(p.dq) || p.forward.score;
  Arena arena(nullptr);
  if (plan->precise) Shared<double>(arena, p.forward, s);
  else Shared<float>(arena, p.forward, s);
  const CapturedSums captured(p, s, kTileKv);
  arena.take<double>(captured.totals());
  plan->shared_bytes = arena.used();
  const auto described = finished(plan, captured.thread_bytes());
  const auto details = captured.details();
  plan->details.insert(plan->details.end(), details.begin(), details.end());
  return described;
}

}  // namespace bolide::cpu
