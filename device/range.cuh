// Interval arithmetic: what an operator can give when its operands lie in ranges. Sound for the arithmetic of
// arithmetic.cuh, wrap-around and NaN included; as tight as end points allow.
#pragma once
#include "arithmetic.cuh"

namespace bolide {

/// All values from lo to hi, both included; for floats also NaN where `nan` is set. Of Bool: {false, true} is
/// undecided.
template <class T>
struct Range {
  T lo, hi;
  bool nan = false;
};

namespace op {

template <class T>
struct Limits;
template <>
struct Limits<bool> {
  static constexpr bool kLeast = false, kMost = true;
};
template <>
struct Limits<int> {
  static constexpr int kMost = 0x7fffffff, kLeast = -kMost - 1;
};
template <>
struct Limits<long> {
  static constexpr long kMost = static_cast<long>(~0ul >> 1), kLeast = -kMost - 1;
};
template <>
struct Limits<long long> {
  static constexpr long long kMost = 0x7fffffffffffffffll, kLeast = -kMost - 1;
};
template <>
struct Limits<float> {
  static constexpr float kMost = __builtin_bit_cast(float, 0x7f800000u);  // NVRTC knows no other infinity
  static constexpr float kLeast = -kMost;
};

template <class T>
BOLIDE_DEVICE T lesser(T a, T b) {
  return b < a ? b : a;
}
template <class T>
BOLIDE_DEVICE T greater(T a, T b) {
  return a < b ? b : a;
}
template <class T>
BOLIDE_DEVICE Range<T> anything() {
  return {Limits<T>::kLeast, Limits<T>::kMost, kIsFloat<T>};
}
template <class T>
BOLIDE_DEVICE Range<T> join(Range<T> a, Range<T> b) {
  return {lesser(a.lo, b.lo), greater(a.hi, b.hi), a.nan || b.nan};
}
template <class T>
BOLIDE_DEVICE bool has(Range<T> a, T x) {
  return a.lo <= x && x <= a.hi;
}
template <class T>
BOLIDE_DEVICE bool one(Range<T> a) {
  return a.lo == a.hi && !a.nan;
}
BOLIDE_DEVICE bool decided(Range<bool> c) { return c.lo == c.hi; }
// A condition that cannot hold where `never`, and one that holds where `always`.
BOLIDE_DEVICE Range<bool> unless(Range<bool> c, bool never) { return {c.lo && !never, c.hi && !never}; }
BOLIDE_DEVICE Range<bool> or_if(Range<bool> c, bool always) { return {c.lo || always, c.hi || always}; }

// 32-bit ranges are used only where the host has proved that nothing overflows; 64-bit ones check.
template <class T>
constexpr bool kChecks = sizeof(T) == 8;
template <class T>
BOLIDE_DEVICE bool add_overflows(T a, T b) {
  const T s = add(a, b);
  return kChecks<T> && ((a ^ s) & (b ^ s)) < 0;
}
template <class T>
BOLIDE_DEVICE bool sub_overflows(T a, T b) {
  const T d = sub(a, b);
  return kChecks<T> && ((a ^ b) & (a ^ d)) < 0;
}
template <class T>
BOLIDE_DEVICE bool mul_overflows(T a, T b) {
  if constexpr (!kChecks<T>) {
    return false;
  } else {
#if defined(__CUDACC__)
    return __mul64hi(a, b) != (mul(a, b) >> 63);
#else
    T product;
    return __builtin_mul_overflow(a, b, &product);
#endif
  }
}

// A float range may have become NaN at an end (inf - inf): then nothing is known.
BOLIDE_DEVICE Range<float> tidy(Range<float> r) {
  return r.lo == r.lo && r.hi == r.hi ? r : anything<float>();
}
BOLIDE_DEVICE bool infinite(Range<float> a) {
  return a.lo == Limits<float>::kLeast || a.hi == Limits<float>::kMost;
}

template <class T>
BOLIDE_DEVICE Range<T> range_add(Range<T> a, Range<T> b) {
  if constexpr (kIsFloat<T>) {
    const bool nan = a.nan || b.nan || (infinite(a) && infinite(b));
    return tidy({add(a.lo, b.lo), add(a.hi, b.hi), nan});
  } else {
    if (add_overflows(a.lo, b.lo) || add_overflows(a.hi, b.hi)) return anything<T>();
    return {add(a.lo, b.lo), add(a.hi, b.hi)};
  }
}
template <class T>
BOLIDE_DEVICE Range<T> range_sub(Range<T> a, Range<T> b) {
  if constexpr (kIsFloat<T>) {
    const bool nan = a.nan || b.nan || (infinite(a) && infinite(b));
    return tidy({sub(a.lo, b.hi), sub(a.hi, b.lo), nan});
  } else {
    if (sub_overflows(a.lo, b.hi) || sub_overflows(a.hi, b.lo)) return anything<T>();
    return {sub(a.lo, b.hi), sub(a.hi, b.lo)};
  }
}
template <class T>
BOLIDE_DEVICE Range<T> range_mul(Range<T> a, Range<T> b) {
  if constexpr (kIsFloat<T>) {
    if (infinite(a) || infinite(b)) return anything<T>();
  } else if (mul_overflows(a.lo, b.lo) || mul_overflows(a.lo, b.hi) || mul_overflows(a.hi, b.lo) ||
             mul_overflows(a.hi, b.hi)) {
    return anything<T>();
  }
  const T w = mul(a.lo, b.lo), x = mul(a.lo, b.hi), y = mul(a.hi, b.lo), z = mul(a.hi, b.hi);
  return {lesser(lesser(w, x), lesser(y, z)), greater(greater(w, x), greater(y, z)), a.nan || b.nan};
}
template <class T>
BOLIDE_DEVICE Range<T> range_neg(Range<T> a) {
  if constexpr (!kIsFloat<T>) {
    if (a.lo == Limits<T>::kLeast) return anything<T>();
  }
  return {neg(a.hi), neg(a.lo), a.nan};
}
BOLIDE_DEVICE Range<float> range_divide(Range<float> a, Range<float> b) {
  if (has(b, 0.0f) || infinite(a) || infinite(b)) return anything<float>();
  const float w = divide(a.lo, b.lo), x = divide(a.lo, b.hi), y = divide(a.hi, b.lo), z = divide(a.hi, b.hi);
  return tidy({lesser(lesser(w, x), lesser(y, z)), greater(greater(w, x), greater(y, z)), a.nan || b.nan});
}
template <class T>
BOLIDE_DEVICE Range<T> range_min(Range<T> a, Range<T> b) {
  Range<T> r{lesser(a.lo, b.lo), lesser(a.hi, b.hi), a.nan && b.nan};
  if (a.nan) r.hi = greater(r.hi, b.hi);
  if (b.nan) r.hi = greater(r.hi, a.hi);
  return r;
}
template <class T>
BOLIDE_DEVICE Range<T> range_max(Range<T> a, Range<T> b) {
  Range<T> r{greater(a.lo, b.lo), greater(a.hi, b.hi), a.nan && b.nan};
  if (a.nan) r.lo = lesser(r.lo, b.lo);
  if (b.nan) r.lo = lesser(r.lo, a.lo);
  return r;
}
template <class T>
BOLIDE_DEVICE Range<T> range_abs(Range<T> a) {
  if constexpr (!kIsFloat<T>) {
    if (a.lo == Limits<T>::kLeast) return anything<T>();
  }
  const T x = magnitude(a.lo), y = magnitude(a.hi);
  return {a.lo <= 0 && a.hi >= 0 ? T(0) : lesser(x, y), greater(x, y), a.nan};
}
template <class T>
BOLIDE_DEVICE Range<T> range_sqr(Range<T> a) {
  const Range<T> m = range_abs(a);
  return range_mul(m, m);
}
template <class T>
BOLIDE_DEVICE Range<T> range_floor_div(Range<T> a, Range<T> b) {
  if (a.lo == Limits<T>::kLeast && has(b, T(-1))) return anything<T>();
  Range<T> r{Limits<T>::kMost, Limits<T>::kLeast};
  const auto divisor = [&](T d) {
    const T x = floor_div(a.lo, d), y = floor_div(a.hi, d);
    r = {lesser(r.lo, lesser(x, y)), greater(r.hi, greater(x, y))};
  };
  divisor(b.lo);  // by 0: 0
  if (b.lo == b.hi) return r;
  divisor(b.hi);
  if (has(b, T(0))) divisor(0);
  if (has(b, T(1))) divisor(1);
  if (has(b, T(-1))) divisor(-1);
  return r;
}
template <class T>
BOLIDE_DEVICE Range<T> range_mod(Range<T> a, Range<T> b) {
  if (one(b) && b.lo != 0 && b.lo != -1 && floor_div(a.lo, b.lo) == floor_div(a.hi, b.lo)) {
    return {floor_mod(a.lo, b.lo), floor_mod(a.hi, b.lo)};
  }
  if (a.lo >= 0 && a.hi < b.lo) return a;
  return {b.lo < 0 ? b.lo + 1 : T(0), b.hi > 0 ? b.hi - 1 : T(0)};
}
template <class T>
BOLIDE_DEVICE Range<T> range_shift_left(Range<T> a, Range<T> n) {
  constexpr T kBits = 8 * sizeof(T);
  if (n.hi < 0 || n.lo >= kBits) return {0, 0};
  const T least = greater(n.lo, T(0)), most = lesser(n.hi, T(kBits - 2));
  if (n.hi == kBits - 1 || mul_overflows(a.lo, T(T(1) << most)) || mul_overflows(a.hi, T(T(1) << most))) {
    return anything<T>();
  }
  Range<T> r{lesser(shift_left(a.lo, least), shift_left(a.lo, most)),
             greater(shift_left(a.hi, least), shift_left(a.hi, most))};
  if (n.lo < 0 || n.hi >= kBits) return kChecks<T> && n.hi >= kBits ? anything<T>() : join(r, Range<T>{0, 0});
  return r;
}
template <class T>
BOLIDE_DEVICE Range<T> range_shift_right(Range<T> a, Range<T> n) {
  constexpr T kBits = 8 * sizeof(T);
  const T least = greater(lesser(n.lo, T(kBits - 1)), T(0));
  const T most = n.lo < 0 ? T(kBits - 1) : greater(lesser(n.hi, T(kBits - 1)), T(0));
  return {lesser(shift_right(a.lo, least), shift_right(a.lo, most)),
          greater(shift_right(a.hi, least), shift_right(a.hi, most))};
}

// Bitwise: the common leading bits of each operand are known, the others free. Two's complement has no common
// leading bit across zero, so an operand that crosses it is bounded by magnitude alone.
template <class T>
BOLIDE_DEVICE Unsigned<T> free_bits(Range<T> a) {
  Unsigned<T> d = static_cast<Unsigned<T>>(a.lo) ^ static_cast<Unsigned<T>>(a.hi);
  for (int shift = 1; shift < static_cast<int>(8 * sizeof(T)); shift *= 2) d |= d >> shift;
  return d;
}
template <class T>
BOLIDE_DEVICE bool crosses(Range<T> a) {
  return a.lo < 0 && a.hi >= 0;
}
template <class T, class F>
BOLIDE_DEVICE Range<T> range_bits(Range<T> a, Range<T> b, F&& combine) {
  using U = Unsigned<T>;
  if (crosses(a) || crosses(b)) {
    U m = static_cast<U>(a.lo < 0 ? ~a.lo : a.lo) | static_cast<U>(a.hi < 0 ? ~a.hi : a.hi) |
          static_cast<U>(b.lo < 0 ? ~b.lo : b.lo) | static_cast<U>(b.hi < 0 ? ~b.hi : b.hi);
    for (int shift = 1; shift < static_cast<int>(8 * sizeof(T)); shift *= 2) m |= m >> shift;
    return {static_cast<T>(~m), static_cast<T>(m)};
  }
  const U fa = free_bits(a), fb = free_bits(b);
  const U ones_a = static_cast<U>(a.lo) & ~fa, ones_b = static_cast<U>(b.lo) & ~fb;
  // combine(known ones of each, possible ones of each) -> the least and the greatest result
  return combine(ones_a, ones_a | fa, ones_b, ones_b | fb);
}
template <class T>
BOLIDE_DEVICE Range<T> range_and(Range<T> a, Range<T> b) {
  using U = Unsigned<T>;
  Range<T> r = range_bits(a, b, [](U la, U ua, U lb, U ub) {
    return Range<T>{static_cast<T>(la & lb), static_cast<T>(ua & ub)};
  });
  // x & y is no larger than a y that is not negative.
  if (a.lo >= 0) r = {greater(r.lo, T(0)), lesser(r.hi, a.hi)};
  if (b.lo >= 0) r = {greater(r.lo, T(0)), lesser(r.hi, b.hi)};
  return r;
}
template <class T>
BOLIDE_DEVICE Range<T> range_or(Range<T> a, Range<T> b) {
  using U = Unsigned<T>;
  return range_bits(a, b, [](U la, U ua, U lb, U ub) {
    return Range<T>{static_cast<T>(la | lb), static_cast<T>(ua | ub)};
  });
}
template <class T>
BOLIDE_DEVICE Range<T> range_xor(Range<T> a, Range<T> b) {
  using U = Unsigned<T>;
  return range_bits(a, b, [](U la, U ua, U lb, U ub) {
    const U known = ~((la ^ ua) | (lb ^ ub));
    return Range<T>{static_cast<T>((la ^ lb) & known), static_cast<T>((la ^ lb) | ~known)};
  });
}

template <class T>
BOLIDE_DEVICE Range<bool> range_less(Range<T> a, Range<T> b) {
  return {a.hi < b.lo && !a.nan && !b.nan, a.lo < b.hi};
}
template <class T>
BOLIDE_DEVICE Range<bool> range_less_equal(Range<T> a, Range<T> b) {
  return {a.hi <= b.lo && !a.nan && !b.nan, a.lo <= b.hi};
}
template <class T>
BOLIDE_DEVICE Range<bool> range_equal(Range<T> a, Range<T> b) {
  return {one(a) && one(b) && a.lo == b.lo, a.lo <= b.hi && b.lo <= a.hi};
}

// Functions that libraries round differently, or not quite monotonically: 2^-19 relative slack covers both.
BOLIDE_DEVICE Range<float> loosened(Range<float> a) {
  constexpr float kSlack = 1.0f / (1 << 19), kTiny = 1e-37f;
  return tidy({a.lo - magnitude(a.lo) * kSlack - kTiny, a.hi + magnitude(a.hi) * kSlack + kTiny, a.nan});
}
BOLIDE_DEVICE Range<float> clipped(Range<float> a, float least, float most) {
  return {greater(a.lo, least), lesser(a.hi, most), a.nan};
}
template <class F>
BOLIDE_DEVICE Range<float> range_rising(Range<float> a, F&& f) {
  return loosened({f(a.lo), f(a.hi), a.nan});
}
// Defined above `least`: below it NaN.
template <class F>
BOLIDE_DEVICE Range<float> range_rising_above(float least, Range<float> a, F&& f) {
  if (a.hi < least) return anything<float>();
  return loosened({f(greater(a.lo, least)), f(a.hi), a.nan || a.lo < least});
}
BOLIDE_DEVICE Range<float> range_wave(Range<float> a) { return {-1.0f, 1.0f, a.nan || infinite(a)}; }

template <class I, class T>
BOLIDE_DEVICE Range<I> range_to_integer(Range<T> a) {
  const Range<I> r{to_integer<I>(a.lo), to_integer<I>(a.hi)};
  return a.nan ? join(r, Range<I>{0, 0}) : r;
}

}  // namespace op
}  // namespace bolide
