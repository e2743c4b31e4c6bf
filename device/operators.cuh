// The operators of the expression language, one struct each: spelling, types, value, bounds, derivative. The
// host evaluators and the CUDA text both call these functions, so an operator means the same everywhere. To
// add one, write its struct here and name it in program/operators.hpp.
#pragma once
#include "functions.cuh"

namespace bolide::op {

// ---- arithmetic on Int and Float

struct Add {
  static constexpr Spec spec{"Add", "+", 9, "ii>i ff>f", true};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return add(a, b);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_add(a, b);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X&) {
    return d;
  }
};
struct Sub {
  static constexpr Spec spec{"Sub", "-", 9, "ii>i ff>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return sub(a, b);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_sub(a, b);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int i, const E& d, const E&, const X&) {
    return i == 0 ? d : -d;
  }
};
struct Mul {
  static constexpr Spec spec{"Mul", "*", 10, "ii>i ff>f", true};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return mul(a, b);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_mul(a, b);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int i, const E& d, const E&, const X& x) {
    return chain(x.f(1 - i), d);
  }
};
struct Neg {
  static constexpr Spec spec{"Neg", "-", 11, "i>i f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return neg(a);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a) {
    return range_neg(a);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X&) {
    return -d;
  }
};
struct Div {
  static constexpr Spec spec{"Div", "/", 10, "ff>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return divide(a, b);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a, Range<float> b) { return range_divide(a, b); }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int i, const E& d, const E& out, const X& x) {
    return i == 0 ? chain(E(1) / x.f(1), d) : -chain(out / x.f(1), d);
  }
};
struct Min {
  static constexpr Spec spec{"Min", "min", 0, "ii>i ff>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return minimum(a, b);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_min(a, b);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int i, const E& d, const E&, const X& x) {  // a tie: the first
    const auto second = x.f(1) < x.f(0);
    return i == 0 ? where(second, E(0), d) : where(second, d, E(0));
  }
};
struct Max {
  static constexpr Spec spec{"Max", "max", 0, "ii>i ff>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return maximum(a, b);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_max(a, b);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int i, const E& d, const E&, const X& x) {
    const auto second = x.f(0) < x.f(1);
    return i == 0 ? where(second, E(0), d) : where(second, d, E(0));
  }
};
struct Abs {
  static constexpr Spec spec{"Abs", "abs", 0, "i>i f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return magnitude(a);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a) {
    return range_abs(a);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X& x) {  // 0 at 0
    return where(x.f(0) > E(0), d, where(x.f(0) < E(0), -d, E(0)));
  }
};
struct Sqr {
  static constexpr Spec spec{"Sqr", "sqr", 0, "i>i f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return mul(a, a);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a) {
    return range_sqr(a);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X& x) {
    return chain(E(2) * x.f(0), d);
  }
};
// p * d, but 0 when d is 0: the product of the chain rule.
struct Chain {
  static constexpr Spec spec{"Chain", "chain", 0, "ff>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T p, T d) {
    return d == T(0) ? T(0) : mul(p, d);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> p, Range<float> d) {
    return has(d, 0.0f) ? join(range_mul(p, d), {0, 0}) : range_mul(p, d);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int i, const E& d, const E&, const X& x) {
    return chain(x.f(1 - i), d);
  }
};

// ---- integers: 64-bit two's complement that wraps; floor division; anything by 0 is 0

struct FloorDiv {
  static constexpr Spec spec{"FloorDiv", "//", 10, "ii>i"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return floor_div(a, b);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_floor_div(a, b);
  }
};
struct Mod {
  static constexpr Spec spec{"Mod", "%", 10, "ii>i"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return floor_mod(a, b);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_mod(a, b);
  }
};
struct BitAnd {
  static constexpr Spec spec{"BitAnd", "&", 7, "ii>i", true};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return a & b;
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_and(a, b);
  }
};
struct BitXor {
  static constexpr Spec spec{"BitXor", "^", 6, "ii>i", true};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return a ^ b;
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_xor(a, b);
  }
};
struct BitOr {
  static constexpr Spec spec{"BitOr", "|", 5, "ii>i", true};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return a | b;
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_or(a, b);
  }
};
struct BitNot {
  static constexpr Spec spec{"BitNot", "~", 11, "i>i"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return ~a;
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a) {
    return {~a.hi, ~a.lo};
  }
};
// A count outside 0..63 shifts everything out: 0, or the sign for >>.
struct ShiftLeft {
  static constexpr Spec spec{"ShiftLeft", "<<", 8, "ii>i"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T n) {
    return shift_left(a, n);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_shift_left(a, b);
  }
};
struct ShiftRight {
  static constexpr Spec spec{"ShiftRight", ">>", 8, "ii>i"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T n) {
    return shift_right(a, n);
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<T> a, Range<T> b) {
    return range_shift_right(a, b);
  }
};

// ---- comparisons and logic; a comparison with NaN is false, but != is true

struct Less {
  static constexpr Spec spec{"Less", "<", 4, "ii>b ff>b"};
  template <class T>
  BOLIDE_DEVICE static bool eval(T a, T b) {
    return a < b;
  }
  template <class T>
  BOLIDE_DEVICE static Range<bool> bounds(Range<T> a, Range<T> b) {
    return range_less(a, b);
  }
};
struct LessEqual {
  static constexpr Spec spec{"LessEqual", "<=", 4, "ii>b ff>b"};
  template <class T>
  BOLIDE_DEVICE static bool eval(T a, T b) {
    return a <= b;
  }
  template <class T>
  BOLIDE_DEVICE static Range<bool> bounds(Range<T> a, Range<T> b) {
    return range_less_equal(a, b);
  }
};
struct Equal {
  static constexpr Spec spec{"Equal", "==", 4, "ii>b ff>b bb>b", true};
  template <class T>
  BOLIDE_DEVICE static bool eval(T a, T b) {
    return a == b;
  }
  template <class T>
  BOLIDE_DEVICE static Range<bool> bounds(Range<T> a, Range<T> b) {
    return range_equal(a, b);
  }
};
struct NotEqual {
  static constexpr Spec spec{"NotEqual", "!=", 4, "ii>b ff>b bb>b", true};
  template <class T>
  BOLIDE_DEVICE static bool eval(T a, T b) {
    return a != b;
  }
  template <class T>
  BOLIDE_DEVICE static Range<bool> bounds(Range<T> a, Range<T> b) {
    const Range<bool> equal = range_equal(a, b);
    return {!equal.hi, !equal.lo};
  }
};
struct And {
  static constexpr Spec spec{"And", "&&", 2, "bb>b", true};
  BOLIDE_DEVICE static bool eval(bool a, bool b) { return a & b; }
  BOLIDE_DEVICE static Range<bool> bounds(Range<bool> a, Range<bool> b) {
    return {a.lo && b.lo, a.hi && b.hi};
  }
};
struct Or {
  static constexpr Spec spec{"Or", "||", 1, "bb>b", true};
  BOLIDE_DEVICE static bool eval(bool a, bool b) { return a | b; }
  BOLIDE_DEVICE static Range<bool> bounds(Range<bool> a, Range<bool> b) {
    return {a.lo || b.lo, a.hi || b.hi};
  }
};
struct Not {
  static constexpr Spec spec{"Not", "!", 3, "b>b"};
  BOLIDE_DEVICE static bool eval(bool a) { return !a; }
  BOLIDE_DEVICE static Range<bool> bounds(Range<bool> a) { return {!a.hi, !a.lo}; }
};
struct Where {
  static constexpr Spec spec{"Where", "where", 0, "bbb>b bii>i bff>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(bool c, T a, T b) {
    return c ? a : b;
  }
  template <class T>
  BOLIDE_DEVICE static Range<T> bounds(Range<bool> c, Range<T> a, Range<T> b) {
    return !decided(c) ? join(a, b) : c.lo ? a : b;
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int i, const E& d, const E&, const X& x) {
    return i == 1 ? where(x.c(0), d, E(0)) : where(x.c(0), E(0), d);
  }
};

// ---- conversions

struct ToFloat {
  static constexpr Spec spec{"ToFloat", "float", 0, "i>f b>f"};
  template <class F, class T>
  BOLIDE_DEVICE static F eval(T a) {
    return static_cast<F>(a);
  }
  template <class F, class T>
  BOLIDE_DEVICE static Range<F> bounds(Range<T> a) {
    return {static_cast<F>(a.lo), static_cast<F>(a.hi)};
  }
};
// Float to Int truncates towards 0 and saturates; NaN gives 0.
struct ToInt {
  static constexpr Spec spec{"ToInt", "int", 0, "f>i b>i"};
  template <class I, class T>
  BOLIDE_DEVICE static I eval(T a) {
    return to_integer<I>(a);
  }
  template <class I, class T>
  BOLIDE_DEVICE static Range<I> bounds(Range<T> a) {
    return range_to_integer<I>(a);
  }
};
struct ToBool {
  static constexpr Spec spec{"ToBool", "bool", 0, "i>b f>b"};
  template <class T>
  BOLIDE_DEVICE static bool eval(T a) {
    return a != T(0);
  }
  template <class T>
  BOLIDE_DEVICE static Range<bool> bounds(Range<T> a) {
    return {!has(a, T(0)), a.nan || a.lo != T(0) || a.hi != T(0)};
  }
};

}  // namespace bolide::op
