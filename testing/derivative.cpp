// The derivative of a score program at a point, with rules of its own: a second opinion on the library's.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <set>
#include <string_view>

#include "program/point.hpp"
#include "testing/reference.hpp"

namespace bolide::testing {
namespace {

using program::Node;

struct Point {
  program::Row row;
  std::int64_t kv;
  double score;
  const Node* variable = nullptr;  // a gather whose value is varied; null: the score is

  double value(const Expr::NodePointer& n) const {
    return program::eval_score_point(n->type == Type::floating ? Expr(n) : detail::call("float", {Expr(n)}),
                                     row, kv, score);
  }

  double slope(const Expr::NodePointer& n) const {
    if (variable ? n.get() == variable : n->op == program::Op::score) return 1;
    if (n->type != Type::floating || !program::is_operator(n->op)) return 0;
    const std::string_view name = program::spec_of(n->op).symbol;
    if (name == "where") return value(n->args[0]) != 0 ? slope(n->args[1]) : slope(n->args[2]);
    if (n->args.size() == 2) return binary(name, n->args[0], n->args[1]);
    const double inner = slope(n->args[0]);
    return inner == 0 ? 0 : inner * unary(name, value(n->args[0]));
  }

  double binary(std::string_view name, const Expr::NodePointer& a, const Expr::NodePointer& b) const {
    const double da = slope(a), db = slope(b);
    if (da == 0 && db == 0) return 0;
    const double x = value(a), y = value(b);
    const auto part = [](double d, double factor) { return d == 0 ? 0 : d * factor; };
    if (name == "+") return da + db;
    if (name == "-") return da - db;
    if (name == "*") return part(da, y) + part(db, x);
    if (name == "/") return part(da, 1 / y) - part(db, x / (y * y));
    if (name == "min") return y < x ? db : da;
    if (name == "max") return x < y ? db : da;
    if (name == "pow") return part(da, y * std::pow(x, y - 1)) + part(db, std::pow(x, y) * std::log(x));
    if (name == "chain") return part(da, y) + part(db, x);
    throw Error(Code::expression, "the reference knows no derivative of " + std::string(name));
  }

  static double unary(std::string_view name, double x) {
    if (name == "-") return -1;
    if (name == "abs") return x > 0 ? 1 : x < 0 ? -1 : 0;
    if (name == "sqr") return 2 * x;
    if (name == "sqrt") return 1 / (2 * std::sqrt(x));
    if (name == "rsqrt") return -0.5 / (x * std::sqrt(x));
    if (name == "exp") return std::exp(x);
    if (name == "exp2") return std::numbers::ln2 * std::exp2(x);
    if (name == "log") return 1 / x;
    if (name == "log2") return 1 / (x * std::numbers::ln2);
    if (name == "log1p") return 1 / (1 + x);
    if (name == "tanh" || name == "tanh_fast") return 1 / (std::cosh(x) * std::cosh(x));
    if (name == "sigmoid") return 1 / (2 + std::exp(x) + std::exp(-x));
    if (name == "erf") return 2 * std::numbers::inv_sqrtpi * std::exp(-x * x);
    if (name == "sin") return std::cos(x);
    if (name == "cos") return -std::sin(x);
    if (name == "floor") return 0;
    throw Error(Code::expression, "the reference knows no derivative of " + std::string(name));
  }
};

}  // namespace

double score_derivative(const Expr& program, std::int64_t b, std::int64_t h, std::int64_t q, std::int64_t kv,
                        std::int64_t len_q, std::int64_t len_kv, double score) {
  const Point at{{.b = b, .h = h, .q = q, .len_q = len_q, .len_kv = len_kv}, kv, score};
  return at.slope(program.node());
}

std::vector<Expr> gathers(const Expr& program, const Tensor& table) {
  std::vector<Expr> found;
  std::set<const Node*> seen;
  const std::function<void(const Expr::NodePointer&)> visit = [&](const Expr::NodePointer& n) {
    if (!seen.insert(n.get()).second) return;
    if (n->op == program::Op::gather && program::same_view(n->captured.tensor, table)) found.emplace_back(n);
    for (const auto& a : n->args) visit(a);
  };
  visit(program.node());
  return found;
}

std::vector<Expr> inexact_operators(const Expr& program) {
  std::vector<Expr> found;
  std::set<const Node*> seen;
  const std::function<void(const Expr::NodePointer&)> visit = [&](const Expr::NodePointer& n) {
    if (!seen.insert(n.get()).second) return;
    if (program::is_operator(n->op) && program::spec_of(n->op).relative_error > 0) found.emplace_back(n);
    for (const auto& a : n->args) visit(a);
  };
  visit(program.node());
  return found;
}

double declared_error(const Expr& program, const std::vector<Expr>& inexact, const program::Row& row,
                      std::int64_t kv, double score) {
  double error = 0;
  for (const Expr& e : inexact) {
    const Point at{row, kv, score, e.node().get()};
    error += std::abs(at.slope(program.node()) * at.value(e.node())) *
             program::spec_of(e.node()->op).relative_error;
  }
  return std::isfinite(error) ? error : 0;
}

GatherSlope gather_slope(const Expr& program, const Expr& gather, const program::Row& row, std::int64_t kv,
                         double score) {
  const Point at{row, kv, score, gather.node().get()};
  const Dims& shape = gather.node()->captured.tensor.shape;
  GatherSlope g{at.slope(program.node()), 0};
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const double index = at.value(gather.node()->args[static_cast<std::size_t>(axis)]);
    g.element = g.element * shape[axis] +
                static_cast<std::int64_t>(std::clamp(index, 0.0, static_cast<double>(shape[axis] - 1)));
  }
  return g;
}

}  // namespace bolide::testing
