// Tiles in shared memory and fragments in registers: where an element lives, said once.
#pragma once
#include "wgmma.cuh"
#include "work.hpp"

namespace bolide::device {

template <bool first, class A, class B>
struct SelectType {
  using type = A;
};
template <class A, class B>
struct SelectType<false, A, B> {
  using type = B;
};
template <bool first, class A, class B>
using Select = typename SelectType<first, A, B>::type;

// The 16-bit element types as the instructions name them.
template <Element e>
struct Type16;
template <>
struct Type16<Element::f16> {
  using Operand = ptx::F16;
  static BOLIDE_DEVICE u32 pack(float lo, float hi) { return ptx::cvt_f16x2(lo, hi); }
  static BOLIDE_DEVICE float to_float(u16 x) { return ptx::cvt_f32_f16(x); }
  static constexpr u32 kExponent = 0x7c00, kOne = 0x3c00;  // all exponent bits set: Inf or NaN
};
template <>
struct Type16<Element::bf16> {
  using Operand = ptx::Bf16;
  static BOLIDE_DEVICE u32 pack(float lo, float hi) { return ptx::cvt_bf16x2(lo, hi); }
  static BOLIDE_DEVICE float to_float(u16 x) { return __uint_as_float(static_cast<u32>(x) << 16); }
  static constexpr u32 kExponent = 0x7f80, kOne = 0x3f80;
};

// Where wgmma finds a tile. Every lane holds the same value and the compiler knows it: descriptors are then
// built in uniform registers, two instructions a multiply instead of fourteen.
template <int kPanelBytes, int kBlockBytes>
struct TileRef {
  u32 start;  // shared-memory address / 16

  // The operand read along its rows (Q and K in S = Q K^T), starting at column col.
  BOLIDE_DEVICE u64 along_rows(int col) const {
    return descriptor((col / 64) * kPanelBytes + (col % 64) * 2, 16);
  }
  // The operand read along its columns (V in O = P V), starting at row row.
  BOLIDE_DEVICE u64 along_cols(int row) const { return descriptor(row / 8 * kBlockBytes, kPanelBytes); }

 private:
  BOLIDE_DEVICE u64 descriptor(int offset_bytes, int leading_bytes) const {
    constexpr u64 kSwizzle128 = 1ull << 62, kEightRows = u64(kBlockBytes >> 4) << 32;
    return kSwizzle128 | kEightRows | u64(start + ((leading_bytes >> 4 << 16) + (offset_bytes >> 4)));
  }
};

// A 16-bit [kRows x kCols] tile as TMA's 128-byte swizzle writes it: panels of 64 columns, one after another.
// Columns beyond kCols in the last panel are there but never read. kBlocks: blocks of eight rows one after
// another instead, each with its panels, so that what rows a page brings lie together.
template <int kRows_, int kCols_, bool kBlocks = false>
struct alignas(1024) SmemTile {
  static constexpr int kRows = kRows_, kCols = kCols_;
  static constexpr int kPanels = (kCols + 63) / 64;
  static constexpr int kPanelBytes = kBlocks ? 1024 : kRows * 128,  // from a panel to the next,
      kBlockBytes = kBlocks ? kPanels * 1024 : 1024;                // from eight rows to the next
  using Ref = TileRef<kPanelBytes, kBlockBytes>;
  static constexpr int kChunks = kCols / 8;  // of 16 bytes, in a row
  u16 data[kRows * 64 * kPanels];

  BOLIDE_DEVICE Ref ref(int first_row = 0) const {
    const u32 start = ptx::smem_addr(data) & 0xffffff;  // above is a cluster's CTA: descriptors have no room
    return {__shfl_sync(~0u, (start >> 4) + first_row / 8 * (kBlockBytes >> 4), 0)};
  }
  // The shared-memory address of a row's chunk.
  BOLIDE_DEVICE u32 chunk(int row, int index) const {
    return ptx::smem_addr(data) + (index / 8) * kPanelBytes + row / 8 * kBlockBytes + row % 8 * 128 +
           ((index % 8) ^ (row % 8)) * 16;
  }
};

// A [64 x kCols] float tile held by one warpgroup, in the layout wgmma writes.
// A thread owns two rows: element i is in row_of(i) of {r, r + 8} and in column col_of(i).
template <int kCols>
struct Frag {
  float x[kCols / 2];
  static constexpr int kSize = kCols / 2;
  static constexpr BOLIDE_DEVICE int row_of(int i) { return (i / 2) % 2; }
  static constexpr BOLIDE_DEVICE int col_of(int i, int lane) { return 8 * (i / 4) + 2 * (lane % 4) + i % 2; }
};
BOLIDE_DEVICE int frag_row(int thread) { return (thread / 32) * 16 + (thread % 32) / 4; }

template <int kCols>
BOLIDE_DEVICE void scale_rows(Frag<kCols>& f, const float (&factor)[2]) {
#pragma unroll
  for (int i = 0; i < f.kSize; ++i) f.x[i] *= factor[f.row_of(i)];
}

// wgmma's A operand in registers is the same layout, packed to 16 bits, sixteen columns at a time.
template <class T, int kCols>
BOLIDE_DEVICE void pack(u32 (&p)[kCols / 16][4], const Frag<kCols>& s) {
#pragma unroll
  for (int k = 0; k < kCols / 16; ++k)
#pragma unroll
    for (int j = 0; j < 4; ++j) p[k][j] = T::pack(s.x[8 * k + 2 * j], s.x[8 * k + 2 * j + 1]);
}

// wgmma writes f behind the compiler's back: no use of f may move across this point.
template <int kCols>
BOLIDE_DEVICE void pin(Frag<kCols>& f) {
  ptx::after<ptx::Nothing>(f.x);
}

// Waits until at most kPending younger multiplies are in flight. From here on f may be read.
template <int kPending, int kCols>
BOLIDE_DEVICE void await(Frag<kCols>& f) {
  ptx::after<ptx::Wait<kPending>>(f.x);
}

constexpr BOLIDE_DEVICE int steps_from(int step, int steps) {
  return steps - step < ptx::kMostSteps ? steps - step : ptx::kMostSteps;
}
template <class Operand, int kDim, int kStep, class Q, class K, int kKv>
BOLIDE_DEVICE void multiply_qk(Frag<kKv>& s, Q q, K k) {
  constexpr int kSteps = steps_from(kStep, kDim / 16);
  u64 a[ptx::kMostSteps], b[ptx::kMostSteps];
#pragma unroll
  for (int i = 0; i < ptx::kMostSteps; ++i) {
    const int column = 16 * (kStep + (i < kSteps ? i : 0));
    a[i] = q.along_rows(column), b[i] = k.along_rows(column);
  }
  if constexpr (kStep == 0) ptx::wgmma_first<Operand, ptx::Major::kK, kSteps>(s.x, a, b);
  else ptx::wgmma<Operand, ptx::Major::kK, kSteps>(s.x, a, b);
  if constexpr (kStep + kSteps < kDim / 16) multiply_qk<Operand, kDim, kStep + kSteps>(s, q, k);
}
// s = q[first 64 rows] @ k^T over kDim columns. Asynchronous: committed, not waited for.
template <class T, int kDim, class Q, class K, int kKv>
BOLIDE_DEVICE void start_qk(Frag<kKv>& s, Q q, K k) {
  ptx::wgmma_fence();
  multiply_qk<typename T::Operand, kDim, 0>(s, q, k);
  ptx::wgmma_commit();
}

template <class Operand, int kStep, int kKv, int kDim, class V>
BOLIDE_DEVICE void multiply_pv(Frag<kDim>& o, const u32 (&p)[kKv / 16][4], V v) {
  constexpr int kSteps = steps_from(kStep, kKv / 16);
  u32 a[ptx::kMostSteps][4];
  u64 b[ptx::kMostSteps];
#pragma unroll
  for (int i = 0; i < ptx::kMostSteps; ++i) {
    const int step = kStep + (i < kSteps ? i : 0);
    b[i] = v.along_cols(16 * step);
#pragma unroll
    for (int j = 0; j < 4; ++j) a[i][j] = p[step][j];
  }
  ptx::wgmma<Operand, ptx::Major::kMN, kSteps>(o.x, a, b);
  if constexpr (kStep + kSteps < kKv / 16) multiply_pv<Operand, kStep + kSteps, kKv>(o, p, v);
}
// o += p @ v. Asynchronous: committed, not waited for.
template <class T, class V, int kSteps, int kDim>
BOLIDE_DEVICE void start_pv(Frag<kDim>& o, const u32 (&p)[kSteps][4], V v) {
  pin(o);
  ptx::wgmma_fence();
  multiply_pv<typename T::Operand, 0, 16 * kSteps>(o, p, v);
  ptx::wgmma_commit();
}

// What another lane holds. By a whole warp.
template <class T>
BOLIDE_DEVICE T of_lane(const T& x, int lane) {
  if constexpr (__is_empty(T)) {
    return x;
  } else {
    u32 words[(sizeof(T) + 3) / 4] = {};
    memcpy(words, &x, sizeof(T));
    for (u32& word : words) word = __shfl_sync(~0u, word, lane);
    T y;
    memcpy(&y, words, sizeof(T));
    return y;
  }
}

// Lane l of a quad gives word j and gets word l of lane j.
BOLIDE_DEVICE void transpose_quad(u32 (&a)[4], int lane) {
  const bool odd = lane & 1, high = lane & 2;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const u32 got = __shfl_xor_sync(~0u, odd ? a[j] : a[j + 1], 1);
    (odd ? a[j] : a[j + 1]) = got;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const u32 got = __shfl_xor_sync(~0u, high ? a[j] : a[j + 2], 2);
    (high ? a[j] : a[j + 2]) = got;
  }
}

}  // namespace bolide::device
