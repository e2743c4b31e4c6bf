// Element types, and the two 16-bit floats as C++ values.
#pragma once
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace bolide {

/// The type of a tensor's elements. Q, K, V and out are f32, f16 or bf16; lse is f32; lengths and page tables
/// are i32 (cu_seqlens may be i64); captured tensors may be any of these.
enum class DType : std::uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u32, u8, boolean };

/// Bytes of one element.
constexpr int size_of(DType t) {
  constexpr int kBytes[] = {8, 4, 2, 2, 8, 4, 2, 1, 4, 1, 1};
  return kBytes[static_cast<int>(t)];
}
/// "f32", "bf16", "i64", "bool", ...: the names the command and case texts use.
constexpr const char* name_of(DType t) {
  constexpr const char* kNames[] = {"f64", "f32", "f16", "bf16", "i64", "i32",
                                    "i16", "i8",  "u32", "u8",   "bool"};
  return kNames[static_cast<int>(t)];
}
constexpr bool is_floating(DType t) { return t <= DType::bf16; }
constexpr bool is_integer(DType t) { return t >= DType::i64 && t <= DType::u8; }

namespace detail {
// Rounds x to a binary float of `bits` significant bits and smallest normal exponent `min_exponent`, ties to
// even, in one rounding. The result is exact in float; the caller turns what exceeds its largest finite value
// into infinity.
inline double round_to(double x, int bits, int min_exponent) {
  if (x == 0 || !std::isfinite(x)) return x;
  int exponent;
  std::frexp(x, &exponent);  // |x| in [2^(exponent - 1), 2^exponent)
  const int quantum = (exponent - 1 > min_exponent ? exponent - 1 : min_exponent) - (bits - 1);
  return std::ldexp(std::nearbyint(std::ldexp(x, -quantum)), quantum);
}
inline std::uint32_t bits_of(float x) {
  std::uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}
inline float float_of(std::uint32_t u) {
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}
}  // namespace detail

/// bfloat16. From a double in a single rounding to nearest, ties to even; NaN stays NaN.
struct bf16 {
  std::uint16_t bits = 0;
  bf16() = default;
  explicit bf16(double x) {
    const float r = static_cast<float>(detail::round_to(x, 8, -126));  // beyond the largest float: infinity
    bits = std::isnan(x) ? 0x7fc0 : static_cast<std::uint16_t>(detail::bits_of(r) >> 16);
  }
  explicit operator float() const { return detail::float_of(static_cast<std::uint32_t>(bits) << 16); }
};

/// IEEE binary16. From a double in a single rounding to nearest, ties to even; NaN stays NaN.
struct f16 {
  std::uint16_t bits = 0;
  f16() = default;
  explicit f16(double x) {
    const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isnan(x)) {
      bits = 0x7e00;
      return;
    }
    const double r = std::fabs(detail::round_to(x, 11, -14));
    if (r > 65504) bits = 0x7c00;
    else if (r < 0x1p-14) bits = static_cast<std::uint16_t>(r * 0x1p24);  // subnormal: a multiple of 2^-24
    else bits = static_cast<std::uint16_t>((detail::bits_of(static_cast<float>(r)) - (112u << 23)) >> 13);
    bits |= sign;
  }
  explicit operator float() const {
    const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent == 31) return detail::float_of(sign | 0x7f800000u | (fraction << 13));
    if (exponent == 0) return std::copysign(static_cast<float>(fraction) * 0x1p-24f, sign ? -1.f : 1.f);
    return detail::float_of(sign | ((exponent + 112) << 23) | (fraction << 13));
  }
};

/// The C++ types a tensor's elements can have.
template <class T>
concept TensorElement = std::same_as<T, double> || std::same_as<T, float> || std::same_as<T, f16> ||
    std::same_as<T, bf16> || std::same_as<T, std::int64_t> || std::same_as<T, std::int32_t> ||
    std::same_as<T, std::int16_t> || std::same_as<T, std::int8_t> || std::same_as<T, std::uint32_t> ||
    std::same_as<T, std::uint8_t> || std::same_as<T, bool>;

/// The DType of a C++ element type: dtype_of<float> is DType::f32.
template <TensorElement T>
inline constexpr DType dtype_of = [] {
  if constexpr (std::same_as<T, f16>) return DType::f16;
  else if constexpr (std::same_as<T, bf16>) return DType::bf16;
  else if constexpr (std::same_as<T, bool>) return DType::boolean;
  else if constexpr (std::is_floating_point_v<T>) return sizeof(T) == 8 ? DType::f64 : DType::f32;
  else if constexpr (std::is_unsigned_v<T>) return sizeof(T) == 4 ? DType::u32 : DType::u8;
  else
    return sizeof(T) == 8   ? DType::i64
           : sizeof(T) == 4 ? DType::i32
           : sizeof(T) == 2 ? DType::i16
                            : DType::i8;
}();

}  // namespace bolide
