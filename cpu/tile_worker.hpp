// One thread's work on blocks of queries and tiles of keys: what the forward and the backward sweep share.
#pragma once
#include <exception>
#include <mutex>

#include "cpu/rows.hpp"
#include "cpu/tile_memory.hpp"
#include "program/evaluator.hpp"

namespace bolide::cpu {

/// A problem ready to be computed in tiles: programs compiled, lengths checked. Shared by threads.
struct TileProblem {
  TileProblem(const ForwardProblem&, const TiledPlan&);
  const ForwardProblem& problem;
  const TiledPlan& plan;
  Sizes sizes;
  Rows rows;
  std::optional<program::Evaluator> mask, score;
  TileMask classes;

 private:
  TileProblem(const ForwardProblem&, const TiledPlan&, const std::pair<Mask, Score>& programs);
};

/// Rows [row, row + rows) of `heads` query heads of one key head.
struct Block {
  std::int64_t b, head, row;
  int heads, rows;
  Sequence seq;

  int size() const { return heads * rows; }
  std::int64_t head_of(int r) const { return head + r / rows; }
  std::int64_t row_of(int r) const { return row + r % rows; }
};

/// Deals out the blocks of a problem: the last rows of queries first, since causal masks make them the
/// longest.
class Blocks {
 public:
  explicit Blocks(const TiledPlan&);
  /// Independent pieces of work.
  std::int64_t items() const { return q_tiles_ * lanes_ / chunk_; }
  /// Calls take(block) for the blocks of a piece.
  template <class F>
  void each(std::int64_t item, const Rows& rows, F&& take) const {
    const std::int64_t chunks = lanes_ / chunk_, tile = q_tiles_ - 1 - item / chunks;
    for (std::int64_t lane = item % chunks * chunk_; lane < (item % chunks + 1) * chunk_; ++lane) {
      const std::int64_t b = lane / (sizes_.heads_kv * per_key_head_);
      if (const auto block = at(rows.sequence(b), b, lane % (sizes_.heads_kv * per_key_head_), tile))
        take(*block);
    }
  }
  std::int64_t per_key_head() const { return per_key_head_; }
  /// Block number `of_heads` (per_key_head() for each key head) of sequence b; none past its rows.
  std::optional<Block> at(const Sequence& seq, std::int64_t b, std::int64_t of_heads,
                          std::int64_t tile) const;

 private:
  Sizes sizes_;
  int heads_;
  std::int64_t q_tiles_, per_key_head_, lanes_, chunk_;
};

/// The first exception of a parallel loop, thrown again after it.
class Caught {
 public:
  template <class F>
  void run(F&& f) {
    try {
      f();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
};

/// T is the type of scores, P that of probabilities: float, or double where a budget asks for it.
template <class T, class P>
class TileWorker {
 public:
  TileWorker(const TileProblem& problem, void* memory);

  const TileProblem& t;
  TileMemory<T, P> m;
  TileRuns runs;
  TileCounts counts;

  /// Takes a block's queries into m.q and m.q_columns; false if one is not finite.
  bool load_queries(const Block&);
  /// Rows of a tensor laid out as q, in m's layout; false if one is not finite.
  bool load_rows(const Tensor&, const Block&, std::int64_t pitch, int columns, float* to) const;
  /// Rows [first, first + keys) of a key head of k or v; false if one is not finite.
  bool load_keys(const Tensor&, const Block&, std::int64_t first, int keys, std::int64_t pitch,
                 float* to) const;
  /// Writes a row of a tensor, times factor.
  void store(const Tensor&, Slot, std::int64_t head, const P* row, double factor) const;
  /// rows [m.pitch][pitch] as to [columns][m.pitch].
  void transpose(const float* rows, std::int64_t pitch, std::int64_t columns, float* to) const;

  /// What the mask shows of a tile, into m.visible unless all of it.
  TileClass look(const Block&, std::int64_t first, int keys, bool all);
  /// m.s (and m.slope, if asked for and there is a score program) of a tile, from m.k and m.q_columns. `raw`,
  /// if given, gets the scores before program and mask.
  void score(const Block&, std::int64_t first, int keys, TileClass, bool slopes, T* raw = nullptr);
  /// Where row r of a block stands.
  program::Row position(const Block&, int r) const;
  /// Calls f(first key, keys, class) for each tile of keys that the block sees, in order.
  template <class F>
  void each_tile(const Block&, F&& f);
  /// Adds what this thread did.
  void add_counts(TileCounts& all) const;
  /// Counts a tile of the block; false if nothing of it is visible.
  bool count(const Block&, TileClass);

  /// Starts the statistics of the block's rows.
  void reset();
  /// Takes m.s into m.max, m.poison and m.sum, and with `d_p` m.d_p into m.delta. Leaves exp(s - max) in m.p
  /// and in m.keep the factor for what older ones have weighed.
  void take_scores(const Block&, int keys, bool d_p = false);
  /// 1 / sum, 0 of a row that saw nothing, NaN of one whose scores were not below infinity (contract C13).
  double weight(int r) const { return (m.sum[r] == 0 ? 0 : 1 / m.sum[r]) + static_cast<double>(m.poison[r]); }
  /// Fills m.where from m.s.
  const std::uint8_t* shown(int keys);

 private:
  void apply_score(const Block&, std::int64_t first, int keys, bool slopes);
  void hide(const Block&, int keys);
};

template <class T, class P>
template <class F>
void TileWorker<T, P>::each_tile(const Block& block, F&& f) {
  const Sequence& seq = block.seq;
  const std::int64_t q = seq.query_start + block.row;
  const auto visit = runs.find({block.b, block.head, q, q + block.rows, seq.key_start,
                                seq.key_start + seq.len_kv, seq.len_q, seq.len_kv});
  std::int64_t done = 0;
  for (const TileRun& run : visit)
    for (std::int64_t tile = run.begin; tile < run.end; ++tile) {
      const std::int64_t first = tile * kTileKv;
      const int keys = static_cast<int>(std::min<std::int64_t>(kTileKv, seq.len_kv - first));
      const TileClass c = look(block, first, keys, run.all);
      ++done;
      if (count(block, c)) f(first, keys, c);
    }
  counts.skipped += block.heads * (tiles_of(seq.len_kv, kTileKv) - done);
}

}  // namespace bolide::cpu
