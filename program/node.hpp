// The nodes of an expression: immutable, shared, built in one place that types, folds and hashes them.
#pragma once
#include <bolide/error.hpp>
#include <bolide/program.hpp>
#include <span>
#include <vector>

#include "program/operators.hpp"

namespace bolide::program {

using NodePointer = Expr::NodePointer;

struct Captured {
  Tensor tensor;
  std::string name;
};
bool same_view(const Tensor& a, const Tensor& b);  ///< the same elements, by address, type, shape and strides

struct Node {
  Op op = Op::constant;
  Type type = Type::boolean;
  std::vector<NodePointer> args;  ///< operands, or a gather's indices
  std::int64_t integer = 0;       ///< a constant's value: Bool 0 or 1, Int
  double floating = 0;            ///< a Float constant's value
  Captured captured;              ///< a gather's table
  std::uint64_t hash = 0;         ///< structure, numbers and tensors
  int depth = 1, tree = 1;        ///< height; nodes counted without sharing, saturating
};

/// A program with more than kMaxTree nodes when shared parts are counted each time is refused, and an
/// expression taller than kMaxDepth (which no program of kMaxNodes nodes is, but a derivative can be) where
/// it is built: recursion over nodes stays bounded in depth and in time.
inline constexpr int kMaxDepth = 4096, kMaxTree = 1 << 16;

NodePointer make_leaf(Op op);
NodePointer make_constant(bool value);
NodePointer make_constant(std::int64_t value);
NodePointer make_constant(double value);
NodePointer make_gather(const Captured& table, std::vector<NodePointer> indices);
/// Applies an operator: converts Int to Float where its signature wants it, and evaluates it when every
/// operand is a constant. Throws Error{expression} when no signature fits; `mismatch` tells beforehand.
NodePointer make(Op op, std::vector<NodePointer> args);
std::string mismatch(Op op, std::span<const NodePointer> args);  ///< "" if the types fit, else the sentence

/// The operator of a given spelling and number of operands. Op::constant if there is none.
Op find_operator(std::string_view symbol, std::size_t operands);
inline bool is_constant(const Node& n) { return n.op == Op::constant; }
bool same(const Node& a, const Node& b);
const char* name_of(Type t);

}  // namespace bolide::program
