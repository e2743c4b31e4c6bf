// Masks and scores: expressions with a purpose, from C++ lambdas or from text.
#pragma once
#include <bolide/expr.hpp>
#include <map>
#include <optional>
#include <variant>

namespace bolide {

/// What the free names of a text mean: a captured tensor (doc[q], m[b, h, q, kv]; a rank-0 tensor by its bare
/// name) or a number.
struct Bindings {
  using Value = std::variant<Tensor, std::int64_t, double>;
  std::map<std::string, Value, std::less<>> values;

  Bindings() = default;
  Bindings(std::initializer_list<std::pair<const std::string, Value>> init) : values(init) {}
};

/// Limits of a program: Error{expression} beyond. A text is at most 4 KiB with parentheses nested at most 64
/// deep; an expression has at most 512 distinct nodes.
inline constexpr int kMaxTextBytes = 4096, kMaxNesting = 64, kMaxNodes = 512;

namespace detail {
void check_program(const Expr& e, bool is_mask);  // node count, and no score inside a mask
}

/// Which keys a query sees: a Bool program of (b, h, q, kv), positions as in contract C3. Default: every key.
/// Where it uses floats it computes in float32 on every back end, so that the decision is one.
class Mask {
 public:
  Mask() = default;
  Mask(const BoolExpr& e) : expr_(e) { detail::check_program(e, true); }
  /// A lambda of (b, h, q, kv) with `auto` parameters, called once with the leaves; it must return BoolExpr.
  template <class F>
  requires std::invocable<F, IntExpr, IntExpr, IntExpr, IntExpr> Mask(const F& lambda)
      : Mask(BoolExpr(lambda(leaf::b, leaf::h, leaf::q, leaf::kv))) {}
  /// Throws Error{expression} with the line, a caret and the fix.
  static Mask parse(std::string_view text, const Bindings& bindings = {});

  explicit operator bool() const { return expr_.has_value(); }  ///< false: everything is visible
  const Expr& expr() const { return expr_.value(); }            ///< only of a mask that is there
  std::string text() const { return expr_ ? expr_->to_text() : "true"; }

 private:
  std::optional<Expr> expr_;
};

/// What becomes of scale * q.k before the mask and the softmax: a Float program of (score, b, h, q, kv).
/// Default: the score itself.
class Score {
 public:
  Score() = default;
  Score(const FloatExpr& e) : expr_(e) { detail::check_program(e, false); }
  /// A lambda of (score, b, h, q, kv) with `auto` parameters; it returns a number expression.
  template <class F>
  requires std::invocable<F, FloatExpr, IntExpr, IntExpr, IntExpr, IntExpr> Score(const F& lambda)
      : Score(FloatExpr(lambda(leaf::score, leaf::b, leaf::h, leaf::q, leaf::kv))) {}
  /// Throws Error{expression} with the line, a caret and the fix.
  static Score parse(std::string_view text, const Bindings& bindings = {});

  explicit operator bool() const { return expr_.has_value(); }  ///< false: the score is left as it is
  const Expr& expr() const { return expr_.value(); }            ///< only of a score program that is there
  std::string text() const { return expr_ ? expr_->to_text() : "score"; }

 private:
  std::optional<Expr> expr_;
};

/// The tensors an expression captures, by the names its text uses: parse(e.to_text(), captured(e)) is e
/// again.
Bindings captured(const Expr& e);

}  // namespace bolide
