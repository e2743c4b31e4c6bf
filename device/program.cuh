// What the text of an emitted program stands on: points, tiles, classes, captured tensors.
#pragma once
#include "operators.cuh"

namespace bolide {

/// Logical coordinates (contract C3). Positions and lengths stay within +-2^29: emitted text computes in 32
/// bits where that proves enough.
struct Point {
  int b, h, q, kv, len_q, len_kv;
};
/// A rectangle of positions, half open.
struct Tile {
  int b, h, q_begin, q_end, kv_begin, kv_end, len_q, len_kv;
};
/// How many of a tile's pairs are visible.
enum class TileClass : int { none, some, all };

/// A captured tensor; strides in elements. Data is null for a tensor without elements, which reads as 0.
struct TensorArg {
  const void* data;
  i64 strides[8];
  int sizes[8];
};

struct F16 {
  u16 bits;
};
struct Bf16 {
  u16 bits;
};
struct Bool8 {
  u8 byte;
};

template <class Result, class Stored>
BOLIDE_DEVICE Result loaded(Stored x) {
  return static_cast<Result>(x);
}
template <class Result>
BOLIDE_DEVICE Result loaded(Bool8 x) {
  return x.byte != 0;
}
template <class Result>
BOLIDE_DEVICE Result loaded(Bf16 x) {
  const u32 bits = static_cast<u32>(x.bits) << 16;
#if defined(__CUDACC__)
  return __uint_as_float(bits);
#else
  return __builtin_bit_cast(float, bits);
#endif
}
template <class Result>
BOLIDE_DEVICE Result loaded(F16 x) {
#if defined(__CUDACC__)
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x.bits));
  return f;
#else
  const u32 sign = (x.bits & 0x8000u) << 16, exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  const float tiny = static_cast<float>(fraction) * 0x1p-24f;
  if (exponent == 0) return sign ? -tiny : tiny;
  const u32 scaled = exponent == 31 ? 0x7f800000u : (exponent + 112) << 23;
  return __builtin_bit_cast(float, sign | scaled | fraction << 13);
#endif
}

template <class Index>
BOLIDE_DEVICE i64 offset_along(const TensorArg& t, int axis, Index index) {
  const int last = t.sizes[axis] - 1;
  return (index < 0 ? 0 : index > last ? last : static_cast<int>(index)) * t.strides[axis];
}
/// The element at the given indices, each clamped into its axis: no index faults (contract C19).
template <class Stored, class Result, class... Index>
BOLIDE_DEVICE Result gather(const TensorArg& t, Index... index) {
  if (t.data == nullptr) return Result(0);
  [[maybe_unused]] int axis = 0;
  i64 at = 0;
  ((at += offset_along(t, axis++, index)), ...);
  return loaded<Result>(static_cast<const Stored*>(t.data)[at]);
}

// What emitted interval code is written with.
template <class T>
BOLIDE_DEVICE Range<T> only(T x) {
  if constexpr (op::kIsFloat<T>) {
    if (x != x) return op::anything<T>();  // NaN bounds nothing
  }
  return {x, x};
}
template <class T, class S>
BOLIDE_DEVICE Range<T> as(Range<S> r) {
  return {static_cast<T>(r.lo), static_cast<T>(r.hi), r.nan};
}
BOLIDE_DEVICE TileClass class_of(Range<bool> visible) {
  return visible.lo ? TileClass::all : visible.hi ? TileClass::some : TileClass::none;
}

}  // namespace bolide
