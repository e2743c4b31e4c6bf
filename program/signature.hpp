// From an operator's signature text to a typed call of its eval: shared by the evaluators.
#pragma once
#include <bolide/expr.hpp>
#include <span>

#include "program/operators.hpp"

namespace bolide::program {

constexpr char letter(Type t) { return "bif"[static_cast<int>(t)]; }
constexpr Type type_of_letter(char c) {
  return c == 'b' ? Type::boolean : c == 'i' ? Type::integer : Type::floating;
}

/// A result and its operands, as letters of Spec::signature.
template <char R, char... A>
struct Signature {
  static constexpr int arity = sizeof...(A);
  static constexpr char text[] = {A..., '>', R, '\0'};
  static bool fits(std::span<const Type> operands) {
    if (operands.size() != arity) return false;
    int i = 0;
    return ((letter(operands[i++]) == A) && ...);
  }
};

/// Whether a signature list such as "ii>i ff>f" contains one signature.
constexpr bool contains(const char* list, const char* one) {
  for (const char* at = list; *at;) {
    int n = 0;
    while (one[n] && at[n] == one[n]) ++n;
    if (!one[n] && (at[n] == ' ' || !at[n])) return true;
    while (*at && *at != ' ') ++at;
    if (*at) ++at;
  }
  return false;
}

/// Every signature an operator may have.
template <class Visitor>
void for_each_signature(Visitor&& visit) {
  visit(Signature<'i', 'i', 'i'>{}), visit(Signature<'f', 'f', 'f'>{}), visit(Signature<'b', 'b', 'b'>{});
  visit(Signature<'i', 'i'>{}), visit(Signature<'f', 'f'>{}), visit(Signature<'b', 'b'>{});
  visit(Signature<'b', 'i', 'i'>{}), visit(Signature<'b', 'f', 'f'>{});
  visit(Signature<'f', 'i'>{}), visit(Signature<'f', 'b'>{}), visit(Signature<'i', 'f'>{});
  visit(Signature<'i', 'b'>{}), visit(Signature<'b', 'i'>{}), visit(Signature<'b', 'f'>{});
  visit(Signature<'b', 'b', 'b', 'b'>{}), visit(Signature<'i', 'b', 'i', 'i'>{});
  visit(Signature<'f', 'b', 'f', 'f'>{});
}

/// The C++ type of a letter; F is float in masks and double in scores.
template <class F, char C>
using CppType = std::conditional_t<C == 'b', bool, std::conditional_t<C == 'i', std::int64_t, F>>;

/// O::eval at one signature. Conversions take their result type explicitly.
template <class O, class F, char R, char... A>
CppType<F, R> invoke(Signature<R, A...>, CppType<F, A>... a) {
  if constexpr (sizeof...(A) == 1 && R != 'b' && ((A != R) && ...))
    return O::template eval<CppType<F, R>>(a...);
  else return O::eval(a...);
}

}  // namespace bolide::program
