// Forward attention in float32, without tensor cores: every layout, mask and score, written to be read and to
// be right, not to be fast. Its masked keys are stepped over, so that nothing they hold is ever multiplied
// (contract C12).
//
// A block of 8 warps takes 16 query rows of a head, two a warp, and walks the keys 32 at a time: a lane a key
// for S = Q K^T and the softmax, a lane every 32nd column for O += P V.
#pragma once
#define BOLIDE_PRECISE_FUNCTIONS  // outputs of float32 have budgets that short approximations exceed
#include "epilogue.cuh"

namespace bolide::device {

constexpr int kRowsF32 = 16, kKeysF32 = 32, kThreadsF32 = 256;

// Dynamic shared memory of fwd_f32, in bytes: queries, keys (a column wider, against bank conflicts) and
// values.
BOLIDE_SHARED constexpr int smem_bytes_f32(int head_dim, int head_dim_v) {
  return 4 * (kRowsF32 * head_dim + kKeysF32 * (head_dim + 1) + kKeysF32 * head_dim_v);
}

// Rows [first, first + count) of the item's sequence, zeros from row `live` on; row_at(i) is where row first
// + i starts.
template <class RowAt>
BOLIDE_DEVICE void copy_rows(float* to, int pitch, int count, int live, int columns, RowAt row_at) {
#pragma unroll 1
  for (int i = threadIdx.x; i < count * columns; i += kThreadsF32) {
    const int row = i / columns, col = i % columns;
    to[row * pitch + col] = row < live ? row_at(row)[col] : 0.f;
  }
}

BOLIDE_DEVICE const float* key_row(const FwdParams& p, const View& view, const WorkItem& w, int key) {
  int row = w.kv_row + key, batch = w.kv_batch;
  if (p.pages.indices) batch = page_at(p, w, row / p.pages.size), row %= p.pages.size;
  return static_cast<const float*>(view.data) + batch * view.batch_stride + row * view.row_stride +
         w.kv_head * view.head_stride;
}

// One query row's running softmax: a warp's, except for the lane's columns of O.
template <int kPieces>
struct RowF32 {
  float max = kNegInf, sum = 0.f, o[kPieces] = {};

  // Takes 32 keys' scores, a lane's own in s with what rounding took from it, and their values.
  BOLIDE_DEVICE void step(float s, float lost, bool visible, const float* values, int columns, int lane) {
    visible &= s != kNegInf;
    u32 left = __ballot_sync(~0u, visible);
    if (left == 0) return;
    float top = visible ? fmaxf(max, s) : max;
#pragma unroll
    for (int step = 16; step; step /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, step));
    const float factor = max == top ? 1.f : expf(max - top), prob = visible ? expf(s - top + lost) : 0.f;
    max = top;
    float total = prob;
#pragma unroll
    for (int step = 16; step; step /= 2) total += __shfl_xor_sync(~0u, total, step);
    sum = sum * factor + total;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) o[i] *= factor;
    for (; left; left &= left - 1) {
      const int key = __ffs(left) - 1;
      const float weight = __shfl_sync(~0u, prob, key);
#pragma unroll
      for (int i = 0; i < kPieces; ++i)
        if (lane + 32 * i < columns) o[i] += weight * values[key * columns + lane + 32 * i];
    }
  }
};

// A sum of products, and what rounding took from it: together nearly as good as rounded once (Ogita, Rump,
// Oishi: Accurate sum and dot product, 2005). Free here: the loop waits for shared memory. A score of 100 has
// lost up to 4e-6, and so would its probability have.
struct ExactDot {
  float sum = 0.f, lost = 0.f;
};
BOLIDE_DEVICE ExactDot exact_dot(const float* a, const float* b, int count) {
  ExactDot dot;
#pragma unroll 4
  for (int i = 0; i < count; ++i) {
    const float product = __fmul_rn(a[i], b[i]), next = __fadd_rn(dot.sum, product),
                back = __fsub_rn(next, dot.sum);
    dot.lost =
        __fadd_rn(dot.lost, __fadd_rn(__fsub_rn(dot.sum, __fsub_rn(next, back)), __fsub_rn(product, back)));
    dot.lost = __fadd_rn(dot.lost, __fmaf_rn(a[i], b[i], -product));
    dot.sum = next;
  }
  return dot;
}

// kPieces: head_dim_v / 32, rounded up. One item after another, grid.x apart; launch with smem_bytes_f32().
template <int kPieces, class Program>
__global__ void __launch_bounds__(kThreadsF32, 1)
    fwd_f32(const __grid_constant__ FwdParams p, const __grid_constant__ typename Program::Params program) {
  extern __shared__ float smem_f32[];
  __shared__ WorkItem w;
  float* queries = smem_f32;
  float* keys = queries + kRowsF32 * p.head_dim;
  float* values = keys + kKeysF32 * (p.head_dim + 1);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  ptx::griddepcontrol_wait();
  for (int index = blockIdx.x;; index += gridDim.x) {
    __syncthreads();
    __shared__ int found;
    if (warp == 0) {
      w.pass = Pass::fast;
      found = describe<Sequences::any>(p, index, kRowsF32, kKeysF32, 4, w);
    }
    __syncthreads();
    if (!found) return;
    copy_rows(queries, p.head_dim, kRowsF32, w.len_q - w.q_begin, p.head_dim, [&](int row) {
      return static_cast<const float*>(p.q.data) + w.q_batch * p.q.batch_stride +
             static_cast<i64>(w.q_row + w.q_begin + row) * p.q.row_stride + w.head * p.q.head_stride;
    });
    RowF32<kPieces> rows[2];
    for (int tile = w.tiles_begin; tile < w.tiles_end; ++tile) {
      const int first = tile * kKeysF32, live = w.len_kv - first;
      const TileClass seen =
          classify<Program>(program, w, first, first + kKeysF32, w.q_begin, w.q_begin + kRowsF32);
      if (Program::kCounts && threadIdx.x == 0)
        count_tiles(p, w, seen == TileClass::none, seen == TileClass::some, seen == TileClass::all);
      if (seen == TileClass::none) continue;
      __syncthreads();
      copy_rows(keys, p.head_dim + 1, kKeysF32, live, p.head_dim,
                [&](int key) { return key_row(p, p.k, w, first + key); });
      copy_rows(values, p.head_dim_v, kKeysF32, live, p.head_dim_v,
                [&](int key) { return key_row(p, p.v, w, first + key); });
      __syncthreads();
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = 2 * warp + r;
        const ExactDot dot =
            exact_dot(queries + row * p.head_dim, keys + lane * (p.head_dim + 1), p.head_dim);
        const Point at{w.batch, w.head,  w.q_position + w.q_begin + row, w.kv_position + first + lane,
                       w.len_q, w.len_kv};
        const float rest = __fmaf_rn(p.scale, dot.lost, p.scale_lost * dot.sum);
        float s = isfinite(rest) ? __fmaf_rn(p.scale, dot.sum, rest) : p.scale * dot.sum, lost = 0.f;
        if constexpr (Program::kHasScore) s = Program::score(program, s, at);
        else if (isfinite(rest) && fabsf(s) < 0x1p29f)  // lost is 16 at most, whose exponential is no trouble
          lost = __fmaf_rn(p.scale, dot.sum, -s) + rest;
        bool visible = lane < live;
        if constexpr (Program::kHasMask) visible &= Program::mask(program, at);
        rows[r].step(s, lost, visible, values, p.head_dim_v, lane);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = w.q_begin + 2 * warp + r;
      if (row >= w.rows_q) continue;
      const bool live = row < w.len_q;
      const float top = rows[r].sum == 0.f ? kNegInf : rows[r].max, log_sum = logf(rows[r].sum);
      float lse = top + log_sum;
      float norm = rows[r].sum == 0.f ? 0.f : 1.f / rows[r].sum;
      if (p.sinks && p.num_splits == 1) norm *= join_sink(lse, p.sinks[w.head]);
      float* out = out_row<float>(p, w, row);
#pragma unroll
      for (int i = 0; i < kPieces; ++i)
        if (lane + 32 * i < p.head_dim_v) out[lane + 32 * i] = live ? rows[r].o[i] * norm : 0.f;
      if (lane == 0 && p.lse) store_lse(p, lse_at(p, w, row), live, lse, top, log_sum);
    }
  }
}

}  // namespace bolide::device
