// An expression as a list of distinct values in order of computation: what every reading but printing starts
// from.
#pragma once
#include "program/node.hpp"

namespace bolide::program {

/// Equal subexpressions are one value; x * x is sqr(x); operands of commutative operators are in an order
/// that does not depend on how they were written.
struct Graph {
  struct Value {
    Op op = Op::constant;
    Type type = Type::boolean;
    std::vector<int> args;     ///< earlier values
    std::int64_t integer = 0;  ///< a constant
    double floating = 0;
    int table = -1;           ///< a gather's table, in `tables`
    bool along_keys = false;  ///< depends on kv or on the score: changes along a row
    bool uses_score = false;
    std::uint64_t structure = 0;  ///< numbers and tensor contents excluded
  };
  std::vector<Value> values;
  std::vector<Captured> tables;  ///< distinct tensors, in order of appearance
  std::vector<int> roots;

  explicit Graph(std::span<const Expr> expressions);
  explicit Graph(const Expr& e) : Graph(std::span(&e, 1)) {}
  const Value& root(int i = 0) const { return values[roots[i]]; }
  const Value& arg(const Value& v, int i) const { return values[v.args[i]]; }
  /// By value: whether one of `from` is computed with it, or is it.
  std::vector<bool> reachable(const std::vector<int>& from) const;

 private:
  void renumber();
};

}  // namespace bolide::program
