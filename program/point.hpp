// Evaluation at a single point by plain recursion: independent of the tape, the second opinion of the tests.
#pragma once
#include "program/node.hpp"

namespace bolide::program {

/// What is constant along a row of keys: positions as in contract C3.
struct Row {
  std::int64_t b = 0, h = 0, q = 0, len_q = 0, len_kv = 0;
};

/// A value of any of the three types; F is float in masks and double in scores.
template <class F>
struct Value {
  bool boolean = false;
  std::int64_t integer = 0;
  F floating = 0;
};

/// Applies an operator to values of the given types.
template <class F>
Value<F> apply(Op op, std::span<const Type> types, std::span<const Value<F>> operands);

/// The value of an expression at one point. Float arithmetic is float32 for a mask or an integer, float64 for
/// a score. Throws Error{expression} when the expression has another type.
bool eval_mask_point(const Expr& e, const Row& row, std::int64_t kv);
double eval_score_point(const Expr& e, const Row& row, std::int64_t kv, double score);
/// A score as a GPU computes it, in float32.
float eval_score_point_f32(const Expr& e, const Row& row, std::int64_t kv, float score);
std::int64_t eval_int_point(const Expr& e, const Row& row, std::int64_t kv);

/// The element of a captured tensor at `indices`, each clamped into its axis; 0 from a table without
/// elements. `Result` is bool, std::int64_t, float or double.
template <class Result>
Result element(const Tensor& table, const std::int64_t* indices);

}  // namespace bolide::program
