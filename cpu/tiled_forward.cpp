// Forward: each block of queries sweeps over its tiles of keys once.
//
//   for each tile that the mask shows:  S = scale K Q^T, score program, mask      (keys down, queries across)
//                                       max, P = exp(S - max), sum                older sums times keep
//                                       O = keep O + P^T V
//   out = O / sum,  lse = max + log(sum)
#include <omp.h>

#include <cmath>

#include "cpu/elements.hpp"
#include "cpu/tile_worker.hpp"

namespace bolide::cpu {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

template <class T>
void store_results(const TileWorker<T, float>& w, const Block& block) {
  const ForwardProblem& p = w.t.problem;
  const auto& m = w.m;
  for (int r = 0; r < block.size(); ++r) {
    const Slot slot = w.t.rows.query(block.b, block.row_of(r));
    const std::int64_t head = block.head_of(r);
    w.store(p.out, slot, head, m.out + r * m.pitch_v, w.weight(r));
    if (!p.lse) continue;
    const double lse = m.sum[r] == 0 ? -kInf : static_cast<double>(m.max[r]) + std::log(m.sum[r]);
    number_at(p.lse, number_offset(p.lse, slot, head)) =
        static_cast<float>(lse + static_cast<double>(m.poison[r]));
  }
}

template <class T>
void forward_block(TileWorker<T, float>& w, const Block& block) {
  auto& m = w.m;
  const ForwardProblem& p = w.t.problem;
  w.load_queries(block);
  w.reset();
  std::fill_n(m.out, block.size() * m.pitch_v, 0.f);
  w.each_tile(block, [&](std::int64_t first, int keys, TileClass c) {
    w.load_keys(p.k, block, first, keys, m.pitch_k, m.k);
    w.score(block, first, keys, c, false);
    w.take_scores(block, keys);
    // A value that is not finite may not meet the 0 of a key that is not visible (contract C12).
    const bool finite = w.load_keys(p.v, block, first, keys, m.pitch_v, m.v);
    multiply(Product<float, float>{.a = m.p,
                                   .a_row = 1,
                                   .a_column = m.pitch,
                                   .b = m.v,
                                   .b_row = m.pitch_v,
                                   .c = m.out,
                                   .c_row = m.pitch_v,
                                   .m = block.size(),
                                   .n = static_cast<int>(m.pitch_v),
                                   .k = keys,
                                   .keep = m.keep,
                                   .where = finite ? nullptr : w.shown(keys)});
  });
  store_results(w, block);
}

template <class T>
void run(const TiledPlan& plan, const ForwardProblem& p, Workspace workspace, TileCounts* counts) {
  const TileProblem t(p, plan);
  const Blocks blocks(plan);
  fill(p.out, 0.0);  // rows that no sequence uses (contract C11)
  if (p.lse) fill(p.lse, -kInf);
  Caught caught;
#pragma omp parallel num_threads(plan.threads)
  {
    TileWorker<T, float> w(t, static_cast<std::byte*>(workspace.data) +
                                  static_cast<std::size_t>(omp_get_thread_num()) * plan.thread_bytes);
#pragma omp for schedule(dynamic, 1) nowait
    for (std::int64_t item = 0; item < blocks.items(); ++item)
      caught.run([&] { blocks.each(item, t.rows, [&](const Block& block) { forward_block(w, block); }); });
#pragma omp critical(bolide_tile_counts)
    if (counts) w.add_counts(*counts);
  }
  caught.rethrow();
}

}  // namespace

void tiled_forward(const TiledPlan& plan, const ForwardProblem& p, Workspace workspace, TileCounts* counts) {
  if (plan.precise) run<double>(plan, p, workspace, counts);
  else run<float>(plan, p, workspace, counts);
}

}  // namespace bolide::cpu
