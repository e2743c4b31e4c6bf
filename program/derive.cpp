// Symbolic derivatives of score programs, by the chain rule over shared nodes.
#include "program/derive.hpp"

#include <cmath>
#include <optional>
#include <unordered_map>
#include <unordered_set>

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

// Nodes below a root, operands first.
class Order {
 public:
  std::vector<NodePointer> nodes;
  explicit Order(const NodePointer& root) { visit(root); }

 private:
  void visit(const NodePointer& n) {
    if (!seen_.insert(n.get()).second) return;
    for (const NodePointer& a : n->args) visit(a);
    nodes.push_back(n);
  }
  std::unordered_set<const Node*> seen_;
};

bool depends_on(const Node& n, Op leaf) {
  if (n.op == leaf) return true;
  for (const NodePointer& a : n.args) {
    if (depends_on(*a, leaf)) return true;
  }
  return false;
}

// Whether n sees q and kv only through their difference: the coefficients of both in a sum cancel, or every
// operand is such.
bool on_diagonal(const Node& n) {
  if (!depends_on(n, Op::q) && !depends_on(n, Op::kv)) return true;
  if (n.op == op_of<op::Sub>) {
    const Op a = n.args[0]->op, b = n.args[1]->op;
    if ((a == Op::q && b == Op::kv) || (a == Op::kv && b == Op::q)) return true;
  }
  if (n.args.empty()) return false;
  for (const NodePointer& a : n.args) {
    if (!on_diagonal(*a)) return false;
  }
  return true;
}

Reduction reduction_of(std::span<const Expr> indices) {
  bool on_q = false, on_kv = false, plain_q = false, plain_kv = false, diagonal = true, others_plain = true;
  for (const Expr& e : indices) {
    const Node& n = *e.node();
    on_q = on_q || depends_on(n, Op::q);
    on_kv = on_kv || depends_on(n, Op::kv);
    plain_q = plain_q || n.op == Op::q;
    plain_kv = plain_kv || n.op == Op::kv;
    diagonal = diagonal && on_diagonal(n);
    others_plain = others_plain && is_leaf(n.op);
  }
  if (!on_q && !on_kv) return Reduction::everything;
  if (!on_kv) return Reduction::along_keys;
  if (!on_q) return Reduction::along_rows;
  if (plain_q && plain_kv && others_plain) return Reduction::dense;
  return diagonal ? Reduction::diagonal : Reduction::scatter;
}

}  // namespace

std::vector<TableSlope> derivatives_by_tables(const Expr& e) {
  const Order order(e.node());
  std::unordered_map<const Node*, D> adjoints;
  adjoints.emplace(e.node().get(), D(1.0));
  std::vector<TableSlope> slopes;
  for (auto at = order.nodes.rbegin(); at != order.nodes.rend(); ++at) {
    const NodePointer& n = *at;
    const auto found = adjoints.find(n.get());
    if (found == adjoints.end() || n->type != Type::floating || is_number(found->second.e, 0)) continue;
    const D adjoint = found->second;
    if (n->op == Op::gather) {
      std::vector<Expr> indices;
      for (const NodePointer& a : n->args) indices.emplace_back(a);
      const Reduction reduction = reduction_of(indices);
      slopes.push_back({n->captured, std::move(indices), adjoint.e, reduction});
      continue;
    }
    if (!is_operator(n->op)) continue;
    for (std::size_t i = 0; i < n->args.size(); ++i) {
      if (n->args[i]->type != Type::floating) continue;
      const auto term = rule(n, static_cast<int>(i), adjoint);
      if (!term) continue;
      const auto [place, fresh] = adjoints.emplace(n->args[i].get(), *term);
      if (!fresh) place->second = place->second + *term;
    }
  }
  return slopes;
}

Expr derivative_by_score(const Expr& e) { return Forward()(e.node()).e; }

}  // namespace bolide::program
