// A thread's buffers of the tiled path, cut from the caller's workspace.
#pragma once
#include <algorithm>

#include "cpu/tile_math.hpp"
#include "cpu/tile_runs.hpp"

namespace bolide::cpu {

/// Cuts pieces aligned to 64 bytes from a block of memory, or counts how large it must be.
class Arena {
 public:
  explicit Arena(void* base) : base_(reinterpret_cast<std::uintptr_t>(base)) {}
  template <class T>
  T* take(std::int64_t n) {
    const std::uintptr_t at = base_ + used_;
    used_ += (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  std::size_t used() const { return used_; }

 private:
  std::uintptr_t base_;
  std::size_t used_ = 0;
};

inline std::int64_t tiles_of(std::int64_t rows, int tile) { return (rows + tile - 1) / tile; }

/// T is the type of scores, P that of probabilities and of what they weigh. Query rows of a block stand side
/// by side, r = head within the block * rows + row; `pitch` of them with the padding.
template <class T, class P>
struct TileMemory {
  std::int64_t pitch, pitch_k, pitch_v;
  float *q, *dout;                  ///< [pitch][pitch_k], [pitch][pitch_v]
  float *q_columns, *dout_columns;  ///< transposed: [head_dim][pitch], [head_dim_v][pitch]
  float *k, *v;                     ///< [kTileKv][pitch_k], [kTileKv][pitch_v]
  T *s, *d_p, *slope;               ///< [kTileKv][pitch]: scores, dout . v, slope of the score program
  P *p, *d_s;                       ///< [kTileKv][pitch]
  T *max, *poison, *base, *weight, *shift;  ///< [pitch]
  double *sum, *delta;                      ///< [pitch]: of exp(s - max), of exp(s - max) dout . v
  P *keep, *tile_sum;                       ///< [pitch]
  P *out, *dq;                              ///< [pitch][pitch_v], [pitch][pitch_k]
  P *dk, *dv;                               ///< [kTileKv][pitch_k], [kTileKv][pitch_v]
  float* row;                               ///< [pitch_k or pitch_v]: one on its way out
  std::uint8_t* visible;                    ///< [kTileQ][kTileKv]: one head's, the others' are the same
  std::uint8_t* where;                      ///< [kTileKv][pitch]: what of s is not -inf
  double *line, *line_slope;                ///< [kTileKv]
  TileRun* runs;
  void* scratch;

  TileMemory(Arena& arena, const TiledPlan& plan) {
    const Sizes& z = plan.sizes;
    const std::int64_t forward = !plan.backward, backward = plan.backward;
    pitch = padded(plan.heads * std::min<std::int64_t>(kTileQ, z.rows_q));
    pitch_k = padded(z.head_dim), pitch_v = padded(z.head_dim_v);
    const std::int64_t tile = kTileKv * pitch;
    q = arena.take<float>(pitch * pitch_k), q_columns = arena.take<float>(z.head_dim * pitch);
    k = arena.take<float>(kTileKv * pitch_k), v = arena.take<float>(kTileKv * pitch_v);
    s = arena.take<T>(tile), p = arena.take<P>(tile);
    max = arena.take<T>(pitch), poison = arena.take<T>(pitch), base = arena.take<T>(pitch);
    sum = arena.take<double>(pitch), keep = arena.take<P>(pitch), tile_sum = arena.take<P>(pitch);
    row = arena.take<float>(std::max(pitch_k, pitch_v));
    visible = arena.take<std::uint8_t>(kTileQ * kTileKv), where = arena.take<std::uint8_t>(tile);
    line = arena.take<double>(kTileKv), line_slope = arena.take<double>(kTileKv);
    runs = arena.take<TileRun>(std::max(tiles_of(z.rows_q, kTileQ), tiles_of(z.rows_kv, kTileKv)) + 1);
    scratch = arena.take<std::byte>(static_cast<std::int64_t>(plan.scratch_bytes));
    out = arena.take<P>(forward * pitch * pitch_v);
    dout = arena.take<float>(backward * pitch * pitch_v);
    dout_columns = arena.take<float>(backward * z.head_dim_v * pitch);
    d_p = arena.take<T>(backward * tile), slope = arena.take<T>(backward * tile);
    d_s = arena.take<P>(backward * tile);
    delta = arena.take<double>(backward * pitch);
    weight = arena.take<T>(backward * pitch), shift = arena.take<T>(backward * pitch);
    dq = arena.take<P>(backward * pitch * pitch_k);
    dk = arena.take<P>(backward * kTileKv * pitch_k);
    dv = arena.take<P>(backward * kTileKv * pitch_v);
  }
};

}  // namespace bolide::cpu
