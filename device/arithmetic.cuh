// The arithmetic behind the operators, defined for every input: integers wrap, division floors, anything by
// zero is zero, shifts never depend on the machine; floats round once per operation, with no contraction.
#pragma once
#include "base.cuh"

namespace bolide {

namespace math {
constexpr double kLn2 = 0.693147180559945309417232;
constexpr double kTwoOverSqrtPi = 1.12837916709551257389616;

BOLIDE_DEVICE float fused(float a, float b, float c) {
#if defined(__CUDACC__)
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}
// tanh(x) = x P(x^2) / Q(x^2) for abs(x) <= kTanhLimit, minimax, and beyond what it is there: 1 as rounded.
// Within 2^-21.6 of itself everywhere, never above 1, x where x is tiny. No branch, and one division.
constexpr float kTanhLimit = 7.98654318f;
struct TanhQuotient {
  float above, below;
};
BOLIDE_DEVICE TanhQuotient tanh_quotient(float x) {
  const float u = x * x;
  float p = fused(1.3319100503270808e-08f, u, 2.0583503526885744e-05f);
  float q = fused(7.762031623168118e-07f, u, 0.0003283095117571514f);
  p = fused(p, u, 0.0034940359830103037f), q = fused(q, u, 0.025871078688053262f);
  p = fused(p, u, 0.13379719162959716f), q = fused(q, u, 0.4671303440525004f);
  p = fused(p, u, 1.0f), q = fused(q, u, 1.0f);
  return {p * x, q};
}
// inverse: of q.below, within an ulp.
BOLIDE_DEVICE float divided(TanhQuotient q, float inverse) {
  const float y = q.above * inverse;
  return fused(fused(-q.below, y, q.above), inverse, y);
}
// tanh(x) = x P(x^2), minimax, for abs(x) <= kLimit: P's error is 2^-23.7, for tanh_fast 2^-11.
template <bool kFast>
struct SmallTanh {
  static constexpr int kTerms = kFast ? 2 : 5;
  static constexpr float kLimit = kFast ? 0.42f : 0.6f;
  BOLIDE_DEVICE static constexpr double term(int i) {
    constexpr double kExact[] = {0.9999999268718948, -0.3333230998894356, 0.1331017376725054,
                                 -0.0521014822760887, 0.01547542784219811};
    constexpr double kRough[] = {0.9995191966267263, -0.3112309155168249, 0, 0, 0};
    return kFast ? kRough[i] : kExact[i];
  }
};

#if defined(__CUDACC__)
BOLIDE_DEVICE float sqrt(float x) { return __fsqrt_rn(x); }
BOLIDE_DEVICE float exp(float x) { return expf(x); }
BOLIDE_DEVICE float exp2(float x) { return exp2f(x); }
BOLIDE_DEVICE float log(float x) { return logf(x); }
BOLIDE_DEVICE float log2(float x) { return log2f(x); }
BOLIDE_DEVICE float log1p(float x) { return log1pf(x); }
#if defined(BOLIDE_PRECISE_FUNCTIONS)
BOLIDE_DEVICE float tanh(float x) { return tanhf(x); }
#else
BOLIDE_DEVICE float tanh(float x) {
  float t, inverse;
  asm("min.NaN.xorsign.abs.f32 %0, %1, %2;" : "=f"(t) : "f"(x), "f"(kTanhLimit));
  const TanhQuotient q = tanh_quotient(t);
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(q.below));
  return divided(q, inverse);
}
#endif
BOLIDE_DEVICE float tanh_fast(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
BOLIDE_DEVICE float erf(float x) { return erff(x); }
BOLIDE_DEVICE float sin(float x) { return sinf(x); }
BOLIDE_DEVICE float cos(float x) { return cosf(x); }
BOLIDE_DEVICE float pow(float x, float y) { return powf(x, y); }
BOLIDE_DEVICE float floor(float x) { return floorf(x); }
BOLIDE_DEVICE bool sign_bit(float x) { return __float_as_int(x) < 0; }
#else
using std::cos, std::erf, std::exp, std::exp2, std::floor, std::log, std::log1p, std::log2, std::pow;
using std::sin, std::sqrt, std::tanh;
template <class F>
BOLIDE_DEVICE F tanh_fast(F x) {
  return std::tanh(x);
}
template <class F>
BOLIDE_DEVICE bool sign_bit(F x) {
  return std::signbit(x);
}
#endif
}  // namespace math

namespace op {

template <class T>
inline constexpr bool kIsFloat = false;
template <>
inline constexpr bool kIsFloat<float> = true;
template <>
inline constexpr bool kIsFloat<double> = true;

template <class T>
struct UnsignedOf;
template <>
struct UnsignedOf<int> {
  using type = unsigned;
};
template <>
struct UnsignedOf<long> {
  using type = unsigned long;
};
template <>
struct UnsignedOf<long long> {
  using type = unsigned long long;
};
template <class T>
using Unsigned = typename UnsignedOf<T>::type;

// On a device the compiler would fuse a * b + c; a mask is a decision that every back end must take alike.
template <class T>
BOLIDE_DEVICE T add(T a, T b) {
#if defined(__CUDACC__)
  if constexpr (kIsFloat<T>) return __fadd_rn(a, b);
#endif
  if constexpr (kIsFloat<T>) return a + b;
  else return static_cast<T>(static_cast<Unsigned<T>>(a) + static_cast<Unsigned<T>>(b));
}
template <class T>
BOLIDE_DEVICE T sub(T a, T b) {
#if defined(__CUDACC__)
  if constexpr (kIsFloat<T>) return __fsub_rn(a, b);
#endif
  if constexpr (kIsFloat<T>) return a - b;
  else return static_cast<T>(static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b));
}
template <class T>
BOLIDE_DEVICE T mul(T a, T b) {
#if defined(__CUDACC__)
  if constexpr (kIsFloat<T>) return __fmul_rn(a, b);
#endif
  if constexpr (kIsFloat<T>) return a * b;
  else return static_cast<T>(static_cast<Unsigned<T>>(a) * static_cast<Unsigned<T>>(b));
}
template <class T>
BOLIDE_DEVICE T divide(T a, T b) {
#if defined(__CUDACC__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}
// A multiple of the score, by what all scores share. On the GPU one rounding more than a quotient's, of what
// rounding the score has cost already.
BOLIDE_DEVICE float divide_score(float a, float b, float inverse) {
#if defined(__CUDACC__)
  return __fmul_rn(a, inverse);
#else
  return static_cast<void>(inverse), a / b;
#endif
}
template <class T>
BOLIDE_DEVICE T neg(T a) {
  if constexpr (kIsFloat<T>) return -a;
  else return static_cast<T>(Unsigned<T>(0) - static_cast<Unsigned<T>>(a));
}
template <class T>
BOLIDE_DEVICE T magnitude(T a) {
#if defined(__CUDACC__)
  if constexpr (kIsFloat<T>) return fabsf(a);
#endif
  if constexpr (kIsFloat<T>) return math::sign_bit(a) ? -a : a;
  else return a < 0 ? neg(a) : a;
}
// IEEE minNum: a NaN loses against a number, and -0 is below +0.
template <class T>
BOLIDE_DEVICE T minimum(T a, T b) {
#if defined(__CUDACC__)
  if constexpr (kIsFloat<T>) return fminf(a, b);
#endif
  if constexpr (kIsFloat<T>) return b < a || a != a || (a == b && math::sign_bit(b)) ? b : a;
  else return b < a ? b : a;
}
template <class T>
BOLIDE_DEVICE T maximum(T a, T b) {
#if defined(__CUDACC__)
  if constexpr (kIsFloat<T>) return fmaxf(a, b);
#endif
  if constexpr (kIsFloat<T>) return a < b || a != a || (a == b && math::sign_bit(a)) ? b : a;
  else return a < b ? b : a;
}
template <class T>
BOLIDE_DEVICE T floor_div(T a, T b) {
  if (b == 0) return 0;
  if (b == -1) return neg(a);  // the most negative number stays itself
  const T quotient = a / b;
  return quotient - static_cast<T>((a % b != 0) & ((a < 0) != (b < 0)));
}
template <class T>
BOLIDE_DEVICE T floor_mod(T a, T b) {
  if (b == 0 || b == -1) return 0;
  const T rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
template <class T>
BOLIDE_DEVICE T shift_left(T a, T n) {
  constexpr T kBits = 8 * sizeof(T);
  return n < 0 || n >= kBits ? T(0) : static_cast<T>(static_cast<Unsigned<T>>(a) << n);
}
template <class T>
BOLIDE_DEVICE T shift_right(T a, T n) {
  constexpr T kBits = 8 * sizeof(T);
  return a >> (n < 0 || n >= kBits ? kBits - 1 : n);
}
template <class I, class T>
BOLIDE_DEVICE I to_integer(T a) {
  if constexpr (!kIsFloat<T>) {
    return static_cast<I>(a);
  } else {
    constexpr I kMost = static_cast<I>((Unsigned<I>(1) << (8 * sizeof(I) - 1)) - 1);
    constexpr T kLimit = static_cast<T>(Unsigned<I>(1) << (8 * sizeof(I) - 1));
    if (a >= kLimit) return kMost;
    if (a < -kLimit) return -kMost - 1;
    return a == a ? static_cast<I>(a) : I(0);
  }
}

}  // namespace op
}  // namespace bolide
