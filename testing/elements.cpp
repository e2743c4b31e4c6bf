// Conversions between stored elements and doubles.
#include "testing/elements.hpp"

#include <cmath>

namespace bolide::testing {
namespace {

template <class Visit>
auto with_type(DType t, Visit visit) {
  switch (t) {
    case DType::f64: return visit(double{});
    case DType::f32: return visit(float{});
    case DType::f16: return visit(f16{});
    case DType::bf16: return visit(bf16{});
    case DType::i64: return visit(std::int64_t{});
    case DType::i32: return visit(std::int32_t{});
    case DType::i16: return visit(std::int16_t{});
    case DType::i8: return visit(std::int8_t{});
    case DType::u32: return visit(std::uint32_t{});
    case DType::u8: return visit(std::uint8_t{});
    default: return visit(bool{});
  }
}

template <class T>
double as_double(T x) {
  if constexpr (std::is_same_v<T, f16> || std::is_same_v<T, bf16>) return static_cast<float>(x);
  else return static_cast<double>(x);
}

}  // namespace

double load(const Tensor& t, std::int64_t at) {
  return with_type(t.dtype,
                   [&](auto type) { return as_double(static_cast<const decltype(type)*>(t.data)[at]); });
}

void store(const Tensor& t, std::int64_t at, double value) {
  with_type(t.dtype, [&](auto type) {
    using T = decltype(type);
    static_cast<T*>(t.data)[at] = static_cast<T>(value);
  });
}

std::int64_t load_integer(const Tensor& t, std::int64_t at) {
  if (t.dtype == DType::i64) return static_cast<const std::int64_t*>(t.data)[at];
  return static_cast<std::int64_t>(load(t, at));
}

double rounded(DType t, double x) {
  return with_type(t, [&](auto type) { return as_double(static_cast<decltype(type)>(x)); });
}

double ulp(DType t, double x) {
  const int digits = t == DType::f64 ? 53 : t == DType::f32 ? 24 : t == DType::f16 ? 11 : 8;
  const int lowest = t == DType::f64 ? -1022 : t == DType::f16 ? -14 : -126;
  int exponent = lowest + 1;
  if (x != 0 && std::isfinite(x)) std::frexp(x, &exponent);
  return std::ldexp(1, std::max(exponent - 1, lowest) - digits + 1);
}

}  // namespace bolide::testing
