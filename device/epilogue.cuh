// The end of a work item: normalises O and writes it and the lse, straight from registers, since Q's buffer
// is already being refilled. Every row the sequence has room for is written; rows out of use get 0 and -inf
// (contract C8, C11).
#pragma once
#include "schedule.cuh"
#include "softmax.cuh"

namespace bolide::device {

// The logarithm of the sum of a row out of use in partial results: no sink joins it.
constexpr float kOutOfUse = kInf;

// Where a row of the output starts. head: query head. Partial results of different splits lie
// out_split_stride apart.
template <class Out>
BOLIDE_DEVICE Out* out_row(const FwdParams& p, const WorkItem& w, int row) {
  return static_cast<Out*>(p.out.data) + w.split * p.out_split_stride + w.q_batch * p.out.batch_stride +
         static_cast<i64>(w.q_row + row) * p.out.row_stride + w.head * p.out.head_stride;
}

BOLIDE_DEVICE float* lse_at(const FwdParams& p, const WorkItem& w, int row) {
  return p.lse + w.split * p.lse_split_stride + w.q_batch * p.lse_batch_stride + w.head * p.lse_head_stride +
         static_cast<i64>(w.q_row + row) * p.lse_row_stride;
}

// A row's lse, or its two parts where a combine kernel follows.
BOLIDE_DEVICE void store_lse(const FwdParams& p, float* out, bool live, float lse, float top, float log_sum) {
  if (p.log_sum_offset) {
    out[0] = live ? top : kNegInf;
    out[p.log_sum_offset] = live ? log_sum : kOutOfUse;
  } else {
    *out = live ? lse : kNegInf;
  }
}

// Row r of a thread's two in 16 bits: a thread collects eight neighbouring columns and writes them at once,
// where all the warp's rows allow it.
template <class T, int kCols>
BOLIDE_DEVICE void store_row16(u16* out, const Frag<kCols>& o, int r, float norm, bool write, int columns,
                               int lane) {
  if (!BOLIDE_RARELY(!__all_sync(~0u, (reinterpret_cast<u64>(out) & 15) == 0 && columns % 8 == 0))) {
#pragma unroll
    for (int i = 2 * r; i < o.kSize; i += 16) {  // 32 columns: a word of each of four column groups
      u32 words[4] = {};
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (i + 4 * j < o.kSize) words[j] = T::pack(o.x[i + 4 * j] * norm, o.x[i + 4 * j + 1] * norm);
      transpose_quad(words, lane);
      const int col = 2 * (i - 2 * r) + 8 * (lane % 4);
      if (write && col < columns)
        *reinterpret_cast<uint4*>(out + col) = {words[0], words[1], words[2], words[3]};
    }
  } else if (write) {
#pragma unroll
    for (int i = 2 * r; i < o.kSize; i += 4) {
      const int col = o.col_of(i, lane);
      const u32 word = T::pack(o.x[i] * norm, o.x[i + 1] * norm);
      if (col < columns) out[col] = static_cast<u16>(word);
      if (col + 1 < columns) out[col + 1] = static_cast<u16>(word >> 16);
    }
  }
}

// Any NaN in row r of a thread's two: a compare takes two of them.
template <int kCols>
BOLIDE_DEVICE bool any_nan(const Frag<kCols>& o, int r) {
  bool any[2] = {};  // two chains
#pragma unroll
  for (int i = 2 * r; i < o.kSize; i += 4) any[i / 4 % 2] |= ptx::either_nan(o.x[i], o.x[i + 1]);
  return any[0] | any[1];
}

template <int kCols>
BOLIDE_DEVICE void store_row32(float* out, const Frag<kCols>& o, int r, float norm, bool write, int columns,
                               int lane) {
  const bool aligned = (reinterpret_cast<u64>(out) & 7) == 0;
  if (!write) return;
#pragma unroll
  for (int i = 2 * r; i < o.kSize; i += 4) {
    const int col = o.col_of(i, lane);
    const float x = o.x[i] * norm, y = o.x[i + 1] * norm;
    if (aligned && col + 2 <= columns) *reinterpret_cast<float2*>(out + col) = {x, y};
    else {
      if (col < columns) out[col] = x;
      if (col + 1 < columns) out[col + 1] = y;
    }
  }
}

// O counts the visible Infs and NaNs of V: adds infinities to what the pass before has written.
template <FwdConfig c>
BOLIDE_DEVICE void add_infinities(const FwdParams& p, const WorkItem& w, const Frag<c.head_dim_v>& o,
                                  int q_row, int lane) {
  using Out = Select<c.out_type == Element::f32, float, u16>;
  const float infinity = w.pass == Pass::positive ? kInf : kNegInf;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = q_row + 8 * r;
    if (row >= w.len_q) continue;
    Out* out = out_row<Out>(p, w, row);
#pragma unroll
    for (int i = 2 * r; i < o.kSize; i += i % 2 ? 3 : 1) {
      const int col = o.col_of(i, lane);
      if (!(o.x[i] > 0.f) || col >= p.head_dim_v) continue;
      if constexpr (c.out_type == Element::f32) {
        out[col] += infinity;
      } else {
        using T = Type16<c.out_type>;
        out[col] = static_cast<u16>(T::pack(T::to_float(out[col]) + infinity, 0.f));
      }
    }
  }
}

// Writes this thread's rows q_row and q_row + 8. True: do the item again. A row whose sum is sound holds a
// NaN, which only V can have brought; or scores were too large.
template <FwdConfig c, bool kWide>
BOLIDE_DEVICE bool store(const FwdParams& p, const WorkItem& w, const Frag<c.head_dim_v>& o,
                         const OnlineSoftmax& softmax, const SoftmaxEnd& rows, int q_row, int lane) {
  using Out = Select<c.out_type == Element::f32, float, u16>;
  Out* out = out_row<Out>(p, w, q_row);
  float* lse_out = lse_at(p, w, q_row);
  bool suspicious = false;
#pragma unroll
  for (int r = 0; r < 2; ++r, out += 8 * p.out.row_stride, lse_out += 8 * p.lse_row_stride) {
    const int row = q_row + 8 * r;
    const bool write = row < w.rows_q, live = row < w.len_q;
    float norm = rows.norm[r], lse = rows.top[r] + rows.log_sum[r];
    suspicious |= live && ((any_nan(o, r) && norm == norm) || (!kWide && softmax.is_beyond(r)));
    if (BOLIDE_RARELY(p.sinks && p.num_splits == 1)) norm *= join_sink(lse, p.sinks[w.head]);
    if constexpr (c.out_type == Element::f32) store_row32(out, o, r, norm, live, p.head_dim_v, lane);
    else store_row16<Type16<c.out_type>>(out, o, r, norm, live, p.head_dim_v, lane);
    if (BOLIDE_RARELY(write && !live))
#pragma unroll 1
      for (int col = lane % 4; col < p.head_dim_v; col += 4) out[col] = 0;
    if (p.lse && lane % 4 == 0 && write) store_lse(p, lse_out, live, lse, rows.top[r], rows.log_sum[r]);
  }
  return suspicious;
}

}  // namespace bolide::device
