// Finds factors around a score, and lines along a row in it.
#include "program/score_form.hpp"

#include <cmath>

#include "program/linear.hpp"

namespace bolide::program {

namespace {

// What value i multiplies or divides by a number whose product with another such is still a number.
struct Scaled {
  int value;
  ScoreCore::Factor by;
};
std::optional<Scaled> scaled(const Graph& graph, int i) {
  const Graph::Value& v = graph.values[i];
  const bool product = v.op == op_of<op::Mul>;
  if (v.type != Type::floating || (!product && v.op != op_of<op::Div>)) return {};
  const auto is_factor = [&](int a) {
    const Graph::Value& n = graph.values[a];
    return n.op == Op::constant && std::abs(n.floating) >= 0x1p-40 && std::abs(n.floating) <= 0x1p40;
  };
  const bool first = product && is_factor(v.args[0]);
  if (!first && !is_factor(v.args[1])) return {};
  return Scaled{v.args[first], {v.args[!first], !product}};
}

// Which sign a distance has where the mask is true, 1 for a magnitude's of what is not below 0; 0: either.
int sign_of(const Graph& graph, const Distance& distance, int mask) {
  if (!distance.magnitude) return 1;
  const Graph::Value& d = graph.values[distance.keys];
  if (mask < 0 || d.op != op_of<op::Sub>) return 0;
  int sign = 0;
  const auto visit = [&](int c, bool positive) {  // a < b or a <= b
    const std::vector<int>& sides = graph.values[c].args;
    if (d.args[0] == sides[1] && d.args[1] == sides[0]) sign = positive ? 1 : -1;
    if (d.args[0] == sides[0] && d.args[1] == sides[1]) sign = positive ? -1 : 1;
  };
  const Op op = graph.values[mask].op;
  if (op == op_of<op::Less> || op == op_of<op::LessEqual>) visit(mask, true);
  else if (op == op_of<op::And>) each_joined_comparison(graph, mask, visit);
  return sign;
}

}  // namespace

std::optional<Distance> distance_of(const Graph& graph, const std::vector<int>& steps, int i) {
  if (graph.values[i].op != op_of<op::ToFloat>) return {};
  const int a = graph.values[i].args[0];
  const bool magnitude = graph.values[a].op == op_of<op::Abs>;
  const int keys = magnitude ? graph.values[a].args[0] : a;
  if (steps[keys] == 0) return {};
  return Distance{keys, magnitude};
}

ScoreCore score_core(const Graph& graph, int root) {
  ScoreCore c{root, -1, {}, {}};
  if (const auto behind = scaled(graph, root); behind && graph.values[behind->by.number].floating > 0)
    c.root = behind->value, c.after = behind->by;
  const std::vector<bool> under = graph.reachable({c.root});
  int users = 0, user = -1;
  for (int i = 0; i <= c.root; ++i)
    if (under[i])
      for (const int a : graph.values[i].args)
        if (graph.values[a].op == Op::score) ++users, user = i;
  if (users != 1) return c;
  if (const auto ahead = scaled(graph, user)) c.score = user, c.before = ahead->by;
  return c;
}

ScoreForm form_of(const Graph& graph, const ScoreCore& core) {
  const Graph::Value& v = graph.values[core.root];
  if (v.op != op_of<op::Tanh> && v.op != op_of<op::TanhFast>) return ScoreForm::any;
  if (v.args[0] != core.score && graph.values[v.args[0]].op != Op::score) return ScoreForm::any;
  return v.op == op_of<op::Tanh> ? ScoreForm::cap : ScoreForm::fast_cap;
}

std::optional<ScoreAlongRow> score_along_row(const Graph& graph, const std::vector<int>& steps, int root,
                                             int mask) {
  ScoreAlongRow found;
  int scores = 0, distances = 0;
  bool is_sum = true;
  const auto fixed = [&](int i) { return !graph.values[i].along_keys; };
  const auto walk = [&](const auto& self, int i, bool negative) -> void {
    const Graph::Value& v = graph.values[i];
    if (v.op == Op::score) {
      ++scores, is_sum &= !negative;
    } else if (fixed(i)) {
      found.rest.push_back({i, negative});
    } else if (v.op == op_of<op::Add> || v.op == op_of<op::Sub>) {
      self(self, v.args[0], negative);
      self(self, v.args[1], negative != (v.op == op_of<op::Sub>));
    } else if (v.op == op_of<op::Neg>) {
      self(self, v.args[0], !negative);
    } else {
      const bool product = v.op == op_of<op::Mul>, first = product && fixed(v.args[0]);
      const auto distance = distance_of(graph, steps, product ? v.args[first] : i);
      const int factor = product ? v.args[!first] : -1;
      const int sign = distance ? sign_of(graph, *distance, mask) : 0;
      ++distances, is_sum &= sign != 0 && (factor < 0 || fixed(factor));
      if (sign) found.factor = factor, found.keys = distance->keys, found.negative = negative != (sign < 0);
    }
  };
  walk(walk, root, false);
  if (!is_sum || scores != 1 || distances != 1) return {};
  return found;
}

}  // namespace bolide::program
