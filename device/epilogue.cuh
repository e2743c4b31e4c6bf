// The end of a work item: normalises O and writes it and the lse. Q's buffer is already being refilled, so
// where shared memory has no room beside the tiles, O goes straight from registers. Every row the sequence
// has room for is written; rows out of use get 0 and -inf (contract C8, C11).
#pragma once
#include "schedule.cuh"
#include "softmax.cuh"

namespace bolide::device {

// The logarithm of the sum of a row out of use in partial results: no sink joins it.
constexpr float kOutOfUse = kInf;

// Where a row of the output starts.
template <class Out>
BOLIDE_DEVICE Out* out_row(const FwdParams& p, const WorkItem& w, int row) {
  return static_cast<Out*>(w.out) + row * p.out.row_stride;
}

BOLIDE_DEVICE float* lse_at(const FwdParams& p, const WorkItem& w, int row) {
  return w.lse + row * p.lse_row_stride;
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

// Row r of a thread's two in 16 bits, number by number.
template <class T, int kCols>
BOLIDE_DEVICE void store_numbers(u16* out, const Frag<kCols>& o, int r, float norm, int columns, int lane) {
#pragma unroll
  for (int i = 2 * r; i < o.kSize; i += 4) {
    const int col = o.col_of(i, lane);
    const u32 word = T::pack(o.x[i] * norm, o.x[i + 1] * norm);
    if (col < columns) out[col] = static_cast<u16>(word);
    if (col + 1 < columns) out[col + 1] = static_cast<u16>(word >> 16);
  }
}

// The same eight neighbouring columns at a time, which a thread collects from its quad.
template <class T, int kCols>
BOLIDE_DEVICE void store_chunks(u16* out, const Frag<kCols>& o, int r, float norm, bool write, int columns,
                                int lane) {
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
}

// A warp's 16 rows by way of its kStagedBytes of shared memory, 64 columns at a time: memory gets whole lines
// (+2 % at 512 keys), or, where rows are not made of aligned chunks, number after number. rows: how many are
// in use; out: the first.
template <class T, int kCols>
BOLIDE_DEVICE void store_lines(const char* staged, u16* out, i64 row_stride, bool whole_chunks, int rows,
                               int columns, const Frag<kCols>& o, const float (&norm)[2], int lane) {
  static_assert(16 * 128 == kStagedBytes, "16 rows of 64 columns");
  // Chunks change places within a row, by its number modulo 8.
  const u32 into = ptx::smem_addr(staged) + lane % 16 * 128 + (lane / 16 ^ lane % 8) * 16,
            from = ptx::smem_addr(staged) + lane / 8 * 128 + (lane % 8 ^ lane / 8) * 16;
#pragma unroll
  for (int first = 0; first < kCols; first += 64) {
#pragma unroll
    for (int col = first; col < first + 64 && col < kCols; col += 16) {
      u32 words[4];  // of rows a and b in eight columns, and in the next eight
#pragma unroll
      for (int j = 0; j < 4; ++j)
        words[j] = T::pack(o.x[col / 2 + 2 * j] * norm[j % 2], o.x[col / 2 + 2 * j + 1] * norm[j % 2]);
      ptx::stmatrix_x4(into ^ (col - first) * 2, words);
    }
    __syncwarp();
    if (!BOLIDE_RARELY(!whole_chunks)) {
      u16* line = out + lane / 8 * row_stride + lane % 8 * 8 + first;
#pragma unroll
      for (int row = 0; row < 16; row += 4) {
        const uint4 x = ptx::ld_shared((from + row * 128) ^ row % 8 * 16);
        if (row < rows - lane / 8 && first < columns - lane % 8 * 8) *reinterpret_cast<uint4*>(line) = x;
        line += 4 * row_stride;
      }
    } else {
#pragma unroll 1
      for (int i = lane; i < 16 * 64; i += 32) {
        const int row = i / 64, col = i % 64;
        if (row < rows && first + col < columns)
          out[row * row_stride + first + col] =
              *reinterpret_cast<const u16*>(staged + row * 128 + (col / 8 ^ row % 8) * 16 + col % 8 * 2);
      }
    }
    if (first + 64 < kCols) __syncwarp();
  }
}

// Any NaN in row r of a thread's two: a compare takes two of them.
template <int kCols>
BOLIDE_DEVICE bool any_nan(const Frag<kCols>& o, int r) {
  bool any[3] = {};  // chains: a compare takes long to reach the next
#pragma unroll
  for (int i = 2 * r; i < o.kSize; i += 4) any[i / 4 % 3] |= ptx::either_nan(o.x[i], o.x[i + 1]);
  return any[0] | any[1] | any[2];
}

// kPairs: out is aligned to 8 bytes and has an even number of columns.
template <bool kPairs, int kCols>
BOLIDE_DEVICE void store_row32(float* out, const Frag<kCols>& o, int r, float norm, bool write, int columns,
                               int lane) {
  const bool aligned = kPairs || (reinterpret_cast<u64>(out) & 7) == 0;
  if (!write) return;
#pragma unroll
  for (int i = 2 * r; i < o.kSize; i += 4) {
    const int col = o.col_of(i, lane);
    const float x = o.x[i] * norm, y = o.x[i + 1] * norm;
    if (kPairs ? col < columns : aligned && col + 2 <= columns) {
      *reinterpret_cast<float2*>(out + col) = {x, y};
    } else if (!kPairs) {
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
  for (int first = 0; first < c.head_dim_v; first += 128) {
    u64 found = 0;  // this thread's 32 columns of row a, then of row b
#pragma unroll
    for (int n = 0; n < 64; ++n) {
      const int i = first / 2 + 4 * (n % 32 / 2) + 2 * (n / 32) + n % 2;
      if (i < o.kSize && o.x[i] > 0.f) found |= 1ull << n;
    }
#pragma unroll 1
    for (; found; found &= found - 1) {
      const int n = __ffsll(static_cast<long long>(found)) - 1, row = q_row + 8 * (n / 32),
                col = first + 8 * (n % 32 / 2) + 2 * (lane % 4) + n % 2;
      if (row >= w.len_q || col >= p.head_dim_v) continue;
      Out& out = out_row<Out>(p, w, row)[col];
      if constexpr (c.out_type == Element::f32) {
        out += infinity;
      } else {
        using T = Type16<c.out_type>;
        out = static_cast<u16>(T::pack(T::to_float(out) + infinity, 0.f));
      }
    }
  }
}

// Writes this thread's rows q_row and q_row + 8. Returns why the item is suspicious, if it is: a row whose
// sum is sound holds a NaN, which only V can have brought; or its scores were beyond the fast steps.
template <FwdConfig c, class Smem, class Form>
BOLIDE_DEVICE u32 store(Smem& smem, const FwdParams& p, const WorkItem& w, const Frag<c.head_dim_v>& o,
                        const OnlineSoftmax<Form>& softmax, const SoftmaxEnd& rows, int q_row, int lane) {
  using Out = Select<c.out_type == Element::f32, float, u16>;
  float norm[2] = {rows.norm[0], rows.norm[1]}, lse = rows.top + rows.log_sum;
  bool shows_nan = false, is_beyond = false;
#pragma unroll
  for (int r = 0; r < 2; ++r)
    if (q_row + 8 * r < w.len_q)
      shows_nan |= any_nan(o, r) && norm[r] == norm[r], is_beyond |= softmax.is_beyond(r);
  if (BOLIDE_RARELY(p.sinks && p.num_splits == 1)) {
    const float own = join_sink(lse, p.sinks[w.head]);
    norm[0] *= __shfl_sync(~0u, own, lane & ~1), norm[1] *= __shfl_sync(~0u, own, lane | 1);
  }
  const int own_row = q_row + 8 * (lane % 2);
  if (p.lse && lane % 4 < 2 && own_row < w.rows_q)
    store_lse(p, lse_at(p, w, own_row), own_row < w.len_q, lse, rows.top, rows.log_sum);
  if constexpr (c.staged_out()) {
    const int first = q_row - lane / 4;
    store_lines<Type16<c.out_type>>(smem.staged[threadIdx.x / 32 - 4], out_row<Out>(p, w, first),
                                    p.out.row_stride, w.whole_chunks, w.len_q - first, p.head_dim_v, o, norm,
                                    lane);
  } else {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = q_row + 8 * r;
      const bool live = row < w.len_q;
      Out* out = out_row<Out>(p, w, row);
      if constexpr (c.out_type == Element::f32) {
        store_row32<c.partial>(out, o, r, norm[r], live, p.head_dim_v, lane);
      } else {
        if (!BOLIDE_RARELY(!w.whole_chunks))
          store_chunks<Type16<c.out_type>>(out, o, r, norm[r], live, p.head_dim_v, lane);
        else if (live) store_numbers<Type16<c.out_type>>(out, o, r, norm[r], p.head_dim_v, lane);
      }
    }
  }
  if (BOLIDE_RARELY(w.len_q < w.rows_q))
#pragma unroll 1
    for (int row = q_row; row < min(q_row + 16, w.rows_q); row += 8)
      for (int col = row < w.len_q ? p.head_dim_v : lane % 4; col < p.head_dim_v; col += 4)
        out_row<Out>(p, w, row)[col] = 0;
  return shows_nan * WorkItem::kShowsNaN + is_beyond * WorkItem::kIsBeyond;
}

}  // namespace bolide::device
