// Captured tensors on the device: how programs read them.
#pragma once
#include "operators.cuh"

namespace bolide {

/// A captured tensor; strides in elements. Data is null for a tensor without elements, which reads as 0.
struct TensorArg {
  const void* data;
  i64 strides[8];
  int sizes[8];
};

/// The type of a captured tensor's elements.
enum class Stored : int { f64, f32, f16, bf16, i64, i32, i16, i8, u32, u8, boolean };

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

/// An index, clamped into its axis: none faults (contract C19).
template <class Index>
BOLIDE_DEVICE int clamped_index(const TensorArg& t, int axis, Index index) {
  const int last = t.sizes[axis] - 1;
  return index < 0 ? 0 : index > last ? last : static_cast<int>(index);
}
/// The element at the given indices, each clamped into its axis.
template <class Stored, class Result, class... Index>
BOLIDE_DEVICE Result gather(const TensorArg& t, Index... index) {
  if (t.data == nullptr) return Result(0);
  [[maybe_unused]] int axis = 0;
  i64 at = 0;
  ((at += clamped_index(t, axis, index) * t.strides[axis], ++axis), ...);
  return loaded<Result>(static_cast<const Stored*>(t.data)[at]);
}

}  // namespace bolide
