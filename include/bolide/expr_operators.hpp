// The operators and functions of expressions in C++. Bool & Int and a < b < c do not compile.
#pragma once
#include <bolide/expr.hpp>

namespace bolide {

// Arithmetic. There is no Int / Int: write floor_div(a, b), or to_float(a) / b for the quotient.
inline IntExpr operator+(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("+", {a, b})); }
inline IntExpr operator-(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("-", {a, b})); }
inline IntExpr operator*(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("*", {a, b})); }
inline IntExpr operator%(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("%", {a, b})); }
inline IntExpr floor_div(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("//", {a, b})); }
IntExpr operator/(const IntExpr& a, const IntExpr& b) = delete;
inline IntExpr operator-(const IntExpr& a) { return IntExpr(detail::call("-", {a})); }
inline FloatExpr operator+(const FloatExpr& a, const FloatExpr& b) {
  return FloatExpr(detail::call("+", {a, b}));
}
inline FloatExpr operator-(const FloatExpr& a, const FloatExpr& b) {
  return FloatExpr(detail::call("-", {a, b}));
}
inline FloatExpr operator*(const FloatExpr& a, const FloatExpr& b) {
  return FloatExpr(detail::call("*", {a, b}));
}
inline FloatExpr operator/(const FloatExpr& a, const FloatExpr& b) {
  return FloatExpr(detail::call("/", {a, b}));
}
inline FloatExpr operator-(const FloatExpr& a) { return FloatExpr(detail::call("-", {a})); }
// Bits. A shift by a count outside 0..63 shifts everything out.
inline IntExpr operator&(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("&", {a, b})); }
inline IntExpr operator|(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("|", {a, b})); }
inline IntExpr operator^(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("^", {a, b})); }
inline IntExpr operator<<(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call("<<", {a, b})); }
inline IntExpr operator>>(const IntExpr& a, const IntExpr& b) { return IntExpr(detail::call(">>", {a, b})); }
inline IntExpr operator~(const IntExpr& a) { return IntExpr(detail::call("~", {a})); }
// Logic; & | ^ between two Bool are and, or, different.
inline BoolExpr operator&&(const BoolExpr& a, const BoolExpr& b) {
  return BoolExpr(detail::call("&&", {a, b}));
}
inline BoolExpr operator||(const BoolExpr& a, const BoolExpr& b) {
  return BoolExpr(detail::call("||", {a, b}));
}
inline BoolExpr operator!(const BoolExpr& a) { return BoolExpr(detail::call("!", {a})); }
inline BoolExpr operator&(const BoolExpr& a, const BoolExpr& b) { return a && b; }
inline BoolExpr operator|(const BoolExpr& a, const BoolExpr& b) { return a || b; }
inline BoolExpr operator==(const BoolExpr& a, const BoolExpr& b) {
  return BoolExpr(detail::call("==", {a, b}));
}
inline BoolExpr operator!=(const BoolExpr& a, const BoolExpr& b) {
  return BoolExpr(detail::call("!=", {a, b}));
}
inline BoolExpr operator^(const BoolExpr& a, const BoolExpr& b) { return a != b; }
// Comparisons; they give Bool, so a chain a < b < c does not compile: write a < b && b < c.
inline BoolExpr operator<(const IntExpr& a, const IntExpr& b) { return BoolExpr(detail::call("<", {a, b})); }
inline BoolExpr operator<=(const IntExpr& a, const IntExpr& b) {
  return BoolExpr(detail::call("<=", {a, b}));
}
inline BoolExpr operator>(const IntExpr& a, const IntExpr& b) { return b < a; }
inline BoolExpr operator>=(const IntExpr& a, const IntExpr& b) { return b <= a; }
inline BoolExpr operator==(const IntExpr& a, const IntExpr& b) {
  return BoolExpr(detail::call("==", {a, b}));
}
inline BoolExpr operator!=(const IntExpr& a, const IntExpr& b) {
  return BoolExpr(detail::call("!=", {a, b}));
}
inline BoolExpr operator<(const FloatExpr& a, const FloatExpr& b) {
  return BoolExpr(detail::call("<", {a, b}));
}
inline BoolExpr operator<=(const FloatExpr& a, const FloatExpr& b) {
  return BoolExpr(detail::call("<=", {a, b}));
}
inline BoolExpr operator>(const FloatExpr& a, const FloatExpr& b) { return b < a; }
inline BoolExpr operator>=(const FloatExpr& a, const FloatExpr& b) { return b <= a; }
inline BoolExpr operator==(const FloatExpr& a, const FloatExpr& b) {
  return BoolExpr(detail::call("==", {a, b}));
}
inline BoolExpr operator!=(const FloatExpr& a, const FloatExpr& b) {
  return BoolExpr(detail::call("!=", {a, b}));
}
namespace detail {
template <class T>
concept Logical = std::same_as<T, bool> || std::derived_from<T, BoolExpr>;
template <class T>
concept Integral = (std::integral<T> && !std::same_as<T, bool>) || std::derived_from<T, IntExpr>;
template <class T>
concept Numeric = Integral<T> || std::floating_point<T> || std::derived_from<T, FloatExpr>;
template <class... T>
using Arithmetic = std::conditional_t<(Integral<T> && ...), IntExpr, FloatExpr>;
}  // namespace detail

/// c ? a : b, element by element.
template <detail::Numeric A, detail::Numeric B>
auto where(const BoolExpr& c, const A& a, const B& b) {
  using Face = detail::Arithmetic<A, B>;
  return Face(detail::call("where", {c, Face(a), Face(b)}));
}
template <detail::Logical A, detail::Logical B>
BoolExpr where(const BoolExpr& c, const A& a, const B& b) {
  return BoolExpr(detail::call("where", {c, BoolExpr(a), BoolExpr(b)}));
}
/// The smaller and the larger; of a NaN and a number, the number.
template <detail::Numeric A, detail::Numeric B>
auto min(const A& a, const B& b) {
  using Face = detail::Arithmetic<A, B>;
  return Face(detail::call("min", {Face(a), Face(b)}));
}
template <detail::Numeric A, detail::Numeric B>
auto max(const A& a, const B& b) {
  using Face = detail::Arithmetic<A, B>;
  return Face(detail::call("max", {Face(a), Face(b)}));
}
template <detail::Numeric A, detail::Numeric B, detail::Numeric C>
auto clamp(const A& x, const B& low, const C& high) {
  return min(max(x, low), high);
}
inline IntExpr abs(const IntExpr& a) { return IntExpr(detail::call("abs", {a})); }
inline IntExpr sqr(const IntExpr& a) { return IntExpr(detail::call("sqr", {a})); }
inline FloatExpr abs(const FloatExpr& a) { return FloatExpr(detail::call("abs", {a})); }
inline FloatExpr sqr(const FloatExpr& a) { return FloatExpr(detail::call("sqr", {a})); }
// Conversions. Float to Int truncates towards 0 and saturates; NaN gives 0.
inline IntExpr to_int(const BoolExpr& a) { return IntExpr(detail::call("int", {a})); }
inline IntExpr to_int(const FloatExpr& a) { return IntExpr(detail::call("int", {a})); }
inline FloatExpr to_float(const BoolExpr& a) { return FloatExpr(detail::call("float", {a})); }
inline FloatExpr to_float(const IntExpr& a) { return a; }
inline BoolExpr to_bool(const IntExpr& a) { return BoolExpr(detail::call("bool", {a})); }
inline BoolExpr to_bool(const FloatExpr& a) { return BoolExpr(detail::call("bool", {a})); }
// Functions of a Float, which an Int becomes. tanh_fast is within 2^-10.5 of tanh, relative.
inline FloatExpr sqrt(const FloatExpr& a) { return FloatExpr(detail::call("sqrt", {a})); }
inline FloatExpr rsqrt(const FloatExpr& a) { return FloatExpr(detail::call("rsqrt", {a})); }
inline FloatExpr exp(const FloatExpr& a) { return FloatExpr(detail::call("exp", {a})); }
inline FloatExpr exp2(const FloatExpr& a) { return FloatExpr(detail::call("exp2", {a})); }
inline FloatExpr log(const FloatExpr& a) { return FloatExpr(detail::call("log", {a})); }
inline FloatExpr log2(const FloatExpr& a) { return FloatExpr(detail::call("log2", {a})); }
inline FloatExpr log1p(const FloatExpr& a) { return FloatExpr(detail::call("log1p", {a})); }
inline FloatExpr tanh(const FloatExpr& a) { return FloatExpr(detail::call("tanh", {a})); }
inline FloatExpr tanh_fast(const FloatExpr& a) { return FloatExpr(detail::call("tanh_fast", {a})); }
inline FloatExpr sigmoid(const FloatExpr& a) { return FloatExpr(detail::call("sigmoid", {a})); }
inline FloatExpr erf(const FloatExpr& a) { return FloatExpr(detail::call("erf", {a})); }
inline FloatExpr sin(const FloatExpr& a) { return FloatExpr(detail::call("sin", {a})); }
inline FloatExpr cos(const FloatExpr& a) { return FloatExpr(detail::call("cos", {a})); }
inline FloatExpr floor(const FloatExpr& a) { return FloatExpr(detail::call("floor", {a})); }
inline FloatExpr pow(const FloatExpr& a, const FloatExpr& b) {
  return FloatExpr(detail::call("pow", {a, b}));
}
/// slope * change, and 0 where change is 0 whatever the slope: the product of the chain rule.
inline FloatExpr chain(const FloatExpr& slope, const FloatExpr& change) {
  return FloatExpr(detail::call("chain", {slope, change}));
}

}  // namespace bolide
