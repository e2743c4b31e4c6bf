// Expressions: small typed programs over positions, the score and captured tensors, written with C++
// operators.
#pragma once
#include <bolide/tensor.hpp>
#include <concepts>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

namespace bolide {

namespace program {
struct Node;
}

/// The three types of the language. Bool and Int never mix; Int becomes Float where a Float is wanted.
enum class Type : std::uint8_t { boolean, integer, floating };

/// A handle on an immutable, shared expression. Int is 64-bit and wraps; // and % floor; x // 0 and x % 0 are
/// 0; an index outside a table is clamped into it.
class Expr {
 public:
  using NodePointer = std::shared_ptr<const program::Node>;
  explicit Expr(NodePointer node) : node_(std::move(node)) {}
  Type type() const;
  bool same(const Expr& other) const;  ///< the same structure, numbers and tensors (== builds an expression)
  std::uint64_t hash() const;          ///< of structure, numbers and tensors
  std::string to_text() const;         ///< canonical text; parses back to the same expression
  const NodePointer& node() const { return node_; }

 private:
  NodePointer node_;
};

namespace detail {
Expr constant(bool value);
Expr constant(std::int64_t value);
Expr constant(double value);
Expr leaf(const char* name);
Expr call(std::string_view name, std::initializer_list<Expr> arguments);  ///< throws Error{expression}
Expr gather(const Tensor& table, std::string_view name, std::initializer_list<Expr> indices);
const Expr& checked(const Expr& e, Type type);  ///< throws Error{expression} when e is of another type
template <class T>
concept Number = std::is_arithmetic_v<T> && !std::same_as<T, bool>;
}  // namespace detail

class BoolExpr : public Expr {
 public:
  template <std::same_as<bool> T>
  BoolExpr(T value) : Expr(detail::constant(value)) {}
  explicit BoolExpr(const Expr& e) : Expr(detail::checked(e, Type::boolean)) {}
};

class IntExpr : public Expr {
 public:
  template <detail::Number T>
  requires std::integral<T> IntExpr(T value) : Expr(detail::constant(static_cast<std::int64_t>(value))) {}
  explicit IntExpr(const Expr& e) : Expr(detail::checked(e, Type::integer)) {}
};

class FloatExpr : public Expr {
 public:
  template <detail::Number T>
  FloatExpr(T value) : Expr(detail::constant(static_cast<double>(value))) {}
  FloatExpr(const IntExpr& e) : Expr(detail::call("float", {e})) {}
  explicit FloatExpr(const Expr& e) : Expr(detail::checked(e, Type::floating)) {}
};

/// The leaves, by the names the text form uses: batch, query head, positions (contract C3), lengths, score.
namespace leaf {
inline const IntExpr b{detail::leaf("b")}, h{detail::leaf("h")}, q{detail::leaf("q")}, kv{detail::leaf("kv")};
inline const IntExpr len_q{detail::leaf("len_q")}, len_kv{detail::leaf("len_kv")};
inline const FloatExpr score{detail::leaf("score")};
}  // namespace leaf

/// A captured tensor, read by index: doc(q), m(b, h, q, kv), doc[q]. The tensor must outlive every call that
/// uses the expression; its contents are read at each call.
template <class Result>
class Table {
 public:
  Table(const Tensor& tensor, std::string_view name) : tensor_(tensor), name_(name) {}
  template <class... Index>
  Result operator()(const Index&... indices) const {
    return Result(detail::gather(tensor_, name_, {static_cast<const Expr&>(IntExpr(indices))...}));
  }
  Result operator[](const IntExpr& index) const { return (*this)(index); }

 private:
  Tensor tensor_;
  std::string name_;
};
using BoolTable = Table<BoolExpr>;
using IntTable = Table<IntExpr>;
using FloatTable = Table<FloatExpr>;

/// Captures a tensor of bool / of integers / of floats; `name` is how the text form calls it. Throws
/// Error{expression} for an element type of another kind or a name that is not an identifier.
BoolTable bools(const Tensor& tensor, std::string_view name = "t");
IntTable ints(const Tensor& tensor, std::string_view name = "t");
FloatTable floats(const Tensor& tensor, std::string_view name = "t");

}  // namespace bolide

#include <bolide/expr_operators.hpp>
