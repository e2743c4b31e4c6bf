// Backward, in two sweeps that each write what is theirs alone, so that no sum depends on the threads:
//
//   rows:     each block of queries visits its tiles of keys for max, sum and delta = sum_j P_j dP_j - dlse,
//             where dP = dO V^T; then again for P = exp(S - max) / sum,  dS = P (dP - delta) score' scale,
//             dQ = dS K. max, sum and delta are kept
//   columns:  each tile of keys visits its blocks of queries: P and dS again, dK = dS^T Q,  dV = P^T dO
//
//   captured: if their gradients are wanted, each key head's blocks once more: P (dP - delta) times the slope
//   of
//             what each pair reads. A key head's sums are one thread's, and are added in the heads' order
//
// Pages may be shared: their sums live in the workspace, a key head's are one thread's, in one order.
#include <omp.h>

#include "cpu/captured_sums.hpp"
#include "cpu/elements.hpp"
#include "cpu/tile_worker.hpp"
#include "cpu/tiled_shared.hpp"

namespace bolide::cpu {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

template <class T>
class Gradients {
 public:
  Gradients(const BackwardProblem& p, const TileProblem& t, const Shared<T>& shared, void* memory)
      : p_(p), t_(t), shared_(shared), w(t, memory), m(w.m) {}

  TileWorker<T, T>& worker() { return w; }

  // dq of a block, and the statistics of its rows.
  void rows(const Block& block) {
    load_block(block);
    find_statistics(block);
    std::fill_n(m.dq, block.size() * m.pitch_k, T(0));
    w.each_tile(block, [&](std::int64_t first, int keys, TileClass c) {
      const bool finite = load_tile(block, first, keys);
      differentiate_tile(block, first, keys, c);
      multiply(Product<T, T>{.a = m.d_s,
                             .a_row = 1,
                             .a_column = m.pitch,
                             .b = m.k,
                             .b_row = m.pitch_k,
                             .c = m.dq,
                             .c_row = m.pitch_k,
                             .m = block.size(),
                             .n = static_cast<int>(m.pitch_k),
                             .k = keys,
                             .where = finite ? nullptr : w.shown(keys)});
    });
    for (int r = 0; r < block.size(); ++r)
      w.store(p_.dq, t_.rows.query(block.b, block.row_of(r)), block.head_of(r), m.dq + r * m.pitch_k, 1);
  }

  // dk and dv of a tile of keys.
  void column(const Blocks& blocks, std::int64_t b, std::int64_t key_head, std::int64_t tile) {
    const Sequence seq = t_.rows.sequence(b);
    const std::int64_t first = tile * kTileKv;
    const int keys = static_cast<int>(std::min<std::int64_t>(kTileKv, seq.len_kv - first));
    if (keys <= 0) return;
    std::fill_n(m.dk, keys * m.pitch_k, T(0));
    std::fill_n(m.dv, keys * m.pitch_v, T(0));
    bool loaded = false;
    for (std::int64_t i = 0; i < blocks.per_key_head(); ++i) {
      const std::int64_t of_heads = key_head * blocks.per_key_head() + i;
      const auto sample = blocks.at(seq, b, of_heads, 0);
      if (!sample) break;  // no queries
      const std::int64_t kv = seq.key_start + first;
      for (const TileRun& run : w.runs.find({b, sample->head, seq.query_start, seq.query_start + seq.len_q,
                                             kv, kv + keys, seq.len_q, seq.len_kv}))
        for (std::int64_t row = run.begin; row < run.end; ++row) {
          const Block block = *blocks.at(seq, b, of_heads, row);
          const TileClass c = w.look(block, first, keys, run.all);
          if (!w.count(block, c)) continue;
          if (!loaded) load_tile(block, first, keys), loaded = true;
          add_block(block, first, keys, c);
        }
    }
    if (loaded) store_tile(b, key_head, first, keys);
  }

  // What the pairs of a key head give to the gradients of captured tensors.
  void captured(const Blocks& blocks, std::int64_t key_head, CapturedSums::Part& part) {
    for (std::int64_t b = 0; b < t_.sizes.batch; ++b)
      for (std::int64_t i = 0; i < blocks.per_key_head(); ++i)
        for (std::int64_t row = 0; row < tiles_of(t_.sizes.rows_q, kTileQ); ++row) {
          const auto block = blocks.at(t_.rows.sequence(b), b, key_head * blocks.per_key_head() + i, row);
          if (!block) break;
          load_block(*block);
          recall_statistics(*block);
          w.each_tile(*block, [&](std::int64_t first, int keys, TileClass c) {
            load_tile(*block, first, keys);
            add_captured(*block, first, keys, c, part);
          });
        }
  }

 private:
  // True if all queries and all of dout are finite.
  bool load_block(const Block& block) {
    const bool finite = w.load_queries(block);
    const int columns = static_cast<int>(t_.sizes.head_dim_v);
    const bool also = w.load_rows(p_.dout, block, m.pitch_v, columns, m.dout);
    w.transpose(m.dout, m.pitch_v, columns, m.dout_columns);
    return finite && also;
  }
  bool load_tile(const Block& block, std::int64_t first, int keys) {
    const bool finite = w.load_keys(p_.forward.k, block, first, keys, m.pitch_k, m.k);
    w.load_keys(p_.forward.v, block, first, keys, m.pitch_v, m.v);
    return finite;
  }

  // m.base, m.weight and m.shift of the block's rows, also into the shared statistics. Of forward.out and
  // forward.lse nothing is read: their rounding would be all there is of a gradient that vanishes.
  void find_statistics(const Block& block) {
    w.reset();
    w.each_tile(block, [&](std::int64_t first, int keys, TileClass c) {
      load_tile(block, first, keys);
      w.score(block, first, keys, c, false);
      multiply_values(keys);
      w.take_scores(block, keys, true);
    });
    clear_statistics();
    for (int r = 0; r < block.size(); ++r) {
      const Slot slot = t_.rows.query(block.b, block.row_of(r));
      const std::int64_t head = block.head_of(r);
      const double d_lse = p_.dlse ? number_at(p_.dlse, number_offset(p_.dlse, slot, head)) : 0;
      m.base[r] = m.max[r] == -kInf ? 0 : m.max[r];
      m.weight[r] = static_cast<T>(w.weight(r));
      m.shift[r] = static_cast<T>(m.delta[r] * w.weight(r) - d_lse);
      shared_.keep(slot, head, m.base[r], m.weight[r], m.shift[r]);
    }
  }
  void recall_statistics(const Block& block) {
    clear_statistics();
    for (int r = 0; r < block.size(); ++r)
      shared_.recall(t_.rows.query(block.b, block.row_of(r)), block.head_of(r), m.base[r], m.weight[r],
                     m.shift[r]);
  }
  void clear_statistics() {  // the padding's
    for (T* x : {m.base, m.weight, m.shift}) std::fill_n(x, m.pitch, T(0));
  }

  // m.d_p of the tile in m.v.
  void multiply_values(int keys) {
    multiply(Product<float, T>{.a = m.v,
                               .a_row = m.pitch_v,
                               .a_column = 1,
                               .b = m.dout_columns,
                               .b_row = m.pitch,
                               .c = m.d_p,
                               .c_row = m.pitch,
                               .m = keys,
                               .n = static_cast<int>(m.pitch),
                               .k = static_cast<int>(t_.sizes.head_dim_v),
                               .add = false});
  }

  // m.p and m.d_s of the tile in m.k and m.v.
  void differentiate_tile(const Block& block, std::int64_t first, int keys, TileClass c) {
    w.score(block, first, keys, c, true);
    multiply_values(keys);
    differentiate(Slopes<T>{.scores = {m.s, keys, static_cast<int>(m.pitch)},
                            .base = m.base,
                            .weight = m.weight,
                            .d_p = m.d_p,
                            .shift = m.shift,
                            .slope = t_.score ? m.slope : nullptr,
                            .scale = static_cast<T>(t_.sizes.scale)},
                  m.p, m.d_s);
  }

  // Row by row, since that is how programs run. m.slope has the scores before the program.
  void add_captured(const Block& block, std::int64_t first, int keys, TileClass c, CapturedSums::Part& part) {
    w.score(block, first, keys, c, false, m.slope);
    multiply_values(keys);
    differentiate(Slopes<T>{.scores = {m.s, keys, static_cast<int>(m.pitch)},
                            .base = m.base,
                            .weight = m.weight,
                            .d_p = m.d_p,
                            .shift = m.shift,
                            .slope = nullptr,
                            .scale = T(1)},
                  m.p, m.d_s);
    std::uint8_t visible[kTileKv];
    for (int r = 0; r < block.size(); ++r) {
      for (int j = 0; j < keys; ++j) {
        const std::int64_t at = j * m.pitch + r;
        visible[j] = !(m.s[at] == static_cast<T>(-kInf));
        m.line[j] = m.slope[at], m.line_slope[j] = m.d_s[at];
      }
      part.add(w.position(block, r), block.seq.key_start + first, keys, visible, m.line, m.line_slope);
    }
  }

  // Adds what a block of queries gives to m.dk and m.dv.
  void add_block(const Block& block, std::int64_t first, int keys, TileClass c) {
    const bool finite = load_block(block);
    recall_statistics(block);
    differentiate_tile(block, first, keys, c);
    const std::uint8_t* where = finite ? nullptr : w.shown(keys);
    add_products(m.d_s, m.q, m.pitch_k, m.dk, keys, block.size(), where);
    add_products(m.p, m.dout, m.pitch_v, m.dv, keys, block.size(), where);
  }
  void add_products(const T* tile, const float* rows, std::int64_t pitch, T* sums, int keys, int count,
                    const std::uint8_t* where) const {
    multiply(Product<T, T>{.a = tile,
                           .a_row = m.pitch,
                           .a_column = 1,
                           .b = rows,
                           .b_row = pitch,
                           .c = sums,
                           .c_row = pitch,
                           .m = keys,
                           .n = static_cast<int>(pitch),
                           .k = count,
                           .where = where});
  }

  void store_tile(std::int64_t b, std::int64_t key_head, std::int64_t first, int keys) {
    for (int j = 0; j < keys; ++j) {
      const Slot slot = t_.rows.key(b, first + j);
      if (shared_.sums_keys()) {
        shared_.add(slot, key_head, m.dk + j * m.pitch_k, m.dv + j * m.pitch_v);
      } else {
        w.store(p_.dk, slot, key_head, m.dk + j * m.pitch_k, 1);
        w.store(p_.dv, slot, key_head, m.dv + j * m.pitch_v, 1);
      }
    }
  }

  const BackwardProblem& p_;
  const TileProblem& t_;
  const Shared<T>& shared_;
  TileWorker<T, T> w;
  TileMemory<T, T>& m;
};

// Both sweeps, by one of the threads of a team.
template <class T>
void sweep(Gradients<T>& g, const BackwardProblem& p, const TileProblem& t, const Blocks& blocks,
           const Shared<T>& shared, Caught& caught) {
  const Sizes& z = t.sizes;
#pragma omp for schedule(dynamic, 1)
  for (std::int64_t item = 0; item < blocks.items(); ++item)
    caught.run([&] { blocks.each(item, t.rows, [&](const Block& block) { g.rows(block); }); });
  const std::int64_t tiles = tiles_of(z.rows_kv, kTileKv);
  if (!shared.sums_keys()) {
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t item = 0; item < tiles * z.batch * z.heads_kv; ++item)
      caught.run([&] {
        const std::int64_t lane = item % (z.batch * z.heads_kv);
        g.column(blocks, lane / z.heads_kv, lane % z.heads_kv, item / (z.batch * z.heads_kv));
      });
    return;
  }
#pragma omp for schedule(dynamic, 1)
  for (std::int64_t key_head = 0; key_head < z.heads_kv; ++key_head)
    caught.run([&] {
      shared.clear(key_head);
      for (std::int64_t b = 0; b < z.batch; ++b)
        for (std::int64_t tile = 0; tile < tiles; ++tile) g.column(blocks, b, key_head, tile);
      shared.each_row(key_head, [&](Slot slot, const T* dk, const T* dv) {
        g.worker().store(p.dk, slot, key_head, dk, 1);
        g.worker().store(p.dv, slot, key_head, dv, 1);
      });
    });
}

// The third sweep.
template <class T>
void sum_captured(Gradients<T>& g, const Blocks& blocks, std::int64_t key_heads, const CapturedSums& sums,
                  double* totals, std::byte* memory, Caught& caught) {
#pragma omp for schedule(dynamic, 1) ordered
  for (std::int64_t key_head = 0; key_head < key_heads; ++key_head) {
    CapturedSums::Part part(sums, totals, memory);
    caught.run([&] { g.captured(blocks, key_head, part); });
#pragma omp ordered
    part.add_to(totals);
  }
}

template <class T>
void run(const TiledPlan& plan, const BackwardProblem& p, Workspace workspace, TileCounts* counts) {
  const TileProblem t(p.forward, plan);
  const Blocks blocks(plan);
  Arena arena(workspace.data);
  const Shared<T> shared(arena, p.forward, plan.sizes);
  const CapturedSums captured(p, plan.sizes, kTileKv);
  auto* const totals = arena.take<double>(captured.totals());
  captured.clear(totals);
  fill(p.dq, 0.0);
  fill(p.dk, 0.0);
  fill(p.dv, 0.0);
  Caught caught;
#pragma omp parallel num_threads(plan.threads)
  {
    std::byte* const memory = static_cast<std::byte*>(workspace.data) + plan.shared_bytes +
                              static_cast<std::size_t>(omp_get_thread_num()) * plan.thread_bytes;
    Gradients<T> g(p, t, shared, memory);
    sweep(g, p, t, blocks, shared, caught);
    if (captured.wanted())
      sum_captured(g, blocks, plan.sizes.heads_kv, captured, totals, memory + plan.tile_bytes, caught);
#pragma omp critical(bolide_tile_counts)
    if (counts) g.worker().add_counts(*counts);
  }
  caught.rethrow();
  captured.store(totals);
}

}  // namespace

void tiled_backward(const TiledPlan& plan, const BackwardProblem& p, Workspace workspace,
                    TileCounts* counts) {
  if (plan.precise) run<double>(plan, p, workspace, counts);
  else run<float>(plan, p, workspace, counts);
}

}  // namespace bolide::cpu
