// How an operator of the expression language is described.
#pragma once
#include "range.cuh"

namespace bolide::op {

/// How an operator is written and typed. `signature` lists the accepted argument types and the result:
/// "ii>i ff>f" takes two integers or two floats (b Bool, i Int, f Float).
struct Spec {
  const char* struct_name;  // in emitted text: bolide::op::<struct_name>::eval
  const char* symbol;       // infix or prefix symbol, or function name
  int precedence;           // 0: written as a function; operators 1 (loosest) to 11
  const char* signature;
  bool commutative = false;
  float relative_error = 0;  // a definition that leaves room: what any back end may be off by (else rounding)
};
inline constexpr float kTanhFastError = 0.00069053396f;  // 2^-10.5

// derive(i, d, out, x): what a change d of argument i adds to the result, linear in d; out is the result
// itself, x.f(j) and x.c(j) its number and condition arguments. chain(p, d) is p * d with 0 for d = 0, so
// that an infinite slope beside an unused branch leaves no NaN.

}  // namespace bolide::op
