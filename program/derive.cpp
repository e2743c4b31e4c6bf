// Symbolic derivatives of score programs, by the chain rule over shared nodes.
#include "program/derive.hpp"

#include <cmath>
#include <optional>
#include <unordered_map>

namespace bolide::program {

namespace {

bool is_number(const FloatExpr& e, double v) { return is_constant(*e.node()) && e.node()->floating == v; }

// The expressions that the rules build, without the terms that constants make trivial.
struct D {
  FloatExpr e;
  D(double v) : e(v) {}
  D(const FloatExpr& v) : e(v) {}
  friend D operator+(const D& a, const D& b) {
    return is_number(a.e, 0) ? b : is_number(b.e, 0) ? a : D(a.e + b.e);
  }
  friend D operator-(const D& a, const D& b) {
    return is_number(b.e, 0) ? a : is_number(a.e, 0) ? -b : D(a.e - b.e);
  }
  friend D operator*(const D& a, const D& b) {
    return is_number(a.e, 1) ? b : is_number(b.e, 1) ? a : D(a.e * b.e);
  }
  friend D operator/(const D& a, const D& b) { return is_number(b.e, 1) ? a : D(a.e / b.e); }
  friend D operator-(const D& a) { return D(-a.e); }
  friend BoolExpr operator<(const D& a, const D& b) { return a.e < b.e; }
  friend BoolExpr operator>(const D& a, const D& b) { return a.e > b.e; }
  friend D where(const BoolExpr& c, const D& a, const D& b) {
    return a.e.same(b.e) ? a : D(bolide::where(c, a.e, b.e));
  }
  friend D chain(const D& slope, const D& d) {
    if (is_number(d.e, 0)) return 0.0;
    if (is_number(d.e, 1)) return slope;
    const bool plain = is_constant(*slope.e.node()) && std::isfinite(slope.e.node()->floating);
    return plain ? slope * d : D(bolide::chain(slope.e, d.e));
  }
  friend D sqr(const D& a) { return bolide::sqr(a.e); }
  friend D exp(const D& a) { return bolide::exp(a.e); }
  friend D log(const D& a) { return bolide::log(a.e); }
  friend D sin(const D& a) { return bolide::sin(a.e); }
  friend D cos(const D& a) { return bolide::cos(a.e); }
  friend D pow(const D& a, const D& b) { return bolide::pow(a.e, b.e); }
};

struct Operands {
  const Node& n;
  D f(int i) const { return FloatExpr(Expr(n.args[i])); }
  BoolExpr c(int i) const { return BoolExpr(Expr(n.args[i])); }
};

// What a change d of operand i adds to the node, or nothing for an operator without slope.
std::optional<D> rule(const NodePointer& n, int i, const D& d) {
  return visit(n->op, [&]<class O>(O) -> std::optional<D> {
    const Operands operands{*n};
    const auto out = [&] { return D(FloatExpr(Expr(n))); };
    if constexpr (requires { O::derive(i, d, d, operands); }) return O::derive(i, d, out(), operands);
    else return std::nullopt;
  });
}

class Forward {
 public:
  D operator()(const NodePointer& n) {
    if (n->op == Op::score) return 1.0;
    if (n->type != Type::floating || !is_operator(n->op)) return 0.0;
    if (const auto at = memo_.find(n.get()); at != memo_.end()) return at->second;
    D total = 0.0;
    for (std::size_t i = 0; i < n->args.size(); ++i) {
      const D change = (*this)(n->args[i]);
      if (is_number(change.e, 0)) continue;
      if (const auto term = rule(n, static_cast<int>(i), change)) total = total + *term;
    }
    memo_.emplace(n.get(), total);
    return total;
  }

 private:
  std::unordered_map<const Node*, D> memo_;
};

}  // namespace

Expr derivative_by_score(const Expr& e) { return Forward()(e.node()).e; }

}  // namespace bolide::program
