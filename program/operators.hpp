// The list of operators: each struct of device/operators.cuh has one line here, and nothing else names them.
#pragma once
#include <array>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "device/operators.cuh"

namespace bolide::program {

template <class... O>
struct OperatorList {
  static constexpr int size = sizeof...(O);
  static constexpr std::array<const op::Spec*, sizeof...(O)> specs = {&O::spec...};
};
using Operators =
    OperatorList<op::Add, op::Sub, op::Mul, op::Neg, op::Div, op::Min, op::Max, op::Abs, op::Sqr, op::Chain,
                 op::FloorDiv, op::Mod, op::BitAnd, op::BitXor, op::BitOr, op::BitNot, op::ShiftLeft,
                 op::ShiftRight, op::Less, op::LessEqual, op::Equal, op::NotEqual, op::And, op::Or, op::Not,
                 op::Where, op::ToFloat, op::ToInt, op::ToBool, op::Sqrt, op::Rsqrt, op::Exp, op::Exp2,
                 op::Log, op::Log2, op::Log1p, op::Tanh, op::TanhFast, op::Sigmoid, op::Erf, op::Sin, op::Cos,
                 op::Pow, op::Floor>;

/// What a node is: a leaf, a constant, a gather, or `operators` + index in the list.
enum class Op : std::uint8_t { b, h, q, kv, len_q, len_kv, score, constant, gather, operators };

template <class Wanted, class... O>
constexpr Op index_of(OperatorList<O...>) {
  int i = 0;
  (void)((std::is_same_v<Wanted, O> ? true : (++i, false)) || ...);
  return static_cast<Op>(static_cast<int>(Op::operators) + i);
}
/// op_of<op::Add>: the Op of an operator.
template <class O>
inline constexpr Op op_of = index_of<O>(Operators{});

constexpr bool is_leaf(Op op) { return op < Op::constant; }
constexpr bool is_operator(Op op) { return op >= Op::operators; }
constexpr int operator_index(Op op) { return static_cast<int>(op) - static_cast<int>(Op::operators); }
constexpr const op::Spec& spec_of(Op op) { return *Operators::specs[operator_index(op)]; }
inline constexpr std::array<const char*, 7> kLeafNames = {"b", "h", "q", "kv", "len_q", "len_kv", "score"};

template <class F, class... O>
auto visit_in(OperatorList<O...>, Op op, F&& f) {
  using First = std::tuple_element_t<0, std::tuple<O...>>;
  using Function = decltype(f(First{})) (*)(F&);
  static constexpr Function kTable[] = {[](F& g) { return g(O{}); }...};
  return kTable[operator_index(op)](f);
}
/// Calls f with the operator's struct.
template <class F>
auto visit(Op op, F&& f) {
  return visit_in(Operators{}, op, f);
}

}  // namespace bolide::program
