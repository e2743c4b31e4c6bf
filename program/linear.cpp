// Linear normal form of comparisons.
#include "program/linear.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace bolide::program {

std::optional<LinearAtom> linear_atom(const Graph& graph, int index, const std::vector<bool>& moves) {
  constexpr int kMostTerms = 64, kSmallNumber = 1 << 20;
  const Graph::Value& comparison = graph.values[index];
  const Op op = comparison.op;
  if (op != op_of<op::Less> && op != op_of<op::LessEqual> && op != op_of<op::Equal> &&
      op != op_of<op::NotEqual>)
    return {};
  if (graph.arg(comparison, 0).type != Type::integer) return {};
  std::map<LinearTerm, std::int64_t> terms;
  std::set<int> values;
  int leaves = 0;
  LinearAtom atom{.op = op};
  const auto add = [&](const auto& self, int i, std::int64_t sign, int number) -> void {
    const Graph::Value& v = graph.values[i];
    if (leaves > kMostTerms) return;
    const auto is_number = [&](int arg) {
      const Graph::Value& c = graph.arg(v, arg);
      return c.op == Op::constant && std::abs(c.integer) <= kSmallNumber;
    };
    if (moves[i] && (v.op == op_of<op::Add> || v.op == op_of<op::Sub>)) {
      self(self, v.args[0], sign, number);
      self(self, v.args[1], v.op == op_of<op::Add> ? sign : -sign, number);
    } else if (moves[i] && v.op == op_of<op::Neg>) {
      self(self, v.args[0], -sign, number);
    } else if (moves[i] && v.op == op_of<op::Mul> && number < 0 && (is_number(0) || is_number(1))) {
      const int factor = is_number(0) ? 0 : 1;
      self(self, v.args[1 - factor], sign, v.args[factor]);
    } else {
      ++leaves;
      atom.cancels |= moves[i] && !values.insert(i).second;
      terms[{i, number}] += sign;
    }
  };
  add(add, comparison.args[0], 1, -1);
  add(add, comparison.args[1], -1, -1);
  if (leaves > kMostTerms) return {};
  for (const auto& [term, factor] : terms) {
    if (factor != 0) (moves[term.value] ? atom.moving : atom.fixed).emplace_back(term, factor);
    else if (comparison.args[0] != comparison.args[1]) atom.cancelled.push_back(term.value);  // x <= x: any x
  }
  return atom;
}

std::vector<JointBounds> joint_bounds(const Graph& graph, int index, const std::vector<bool>& moves) {
  const Op joined = graph.values[index].op;
  std::map<LinearAtom::Terms, JointBounds> sums;
  each_joined_comparison(graph, index, [&](int i, bool positive) {
    std::optional<LinearAtom> atom = linear_atom(graph, i, moves);
    if (!atom || atom->moving.empty()) return;
    // sum + fixed < 0 is sum <= -fixed - 1; negated, or with the opposite sum, it bounds from below.
    JointBounds::Bound bound{atom->fixed, atom->op == op_of<op::Less> ? -1 : 0};
    const auto negate = [](LinearAtom::Terms& terms) {
      for (auto& term : terms) term.second = -term.second;
    };
    negate(bound.fixed);
    if (!positive) bound.upper = false, ++bound.number;
    if (atom->moving.front().second < 0) {
      negate(atom->moving), negate(bound.fixed);
      bound.upper = !bound.upper, bound.number = -bound.number;
    }
    if (joined == op_of<op::Or>) bound.number += bound.upper ? 1 : -1, bound.upper = !bound.upper;
    JointBounds& sum = sums[atom->moving];
    sum.bounds.push_back(bound);
    for (const auto& terms : {atom->moving, atom->fixed})
      for (const auto& term : terms) sum.values.push_back(term.first.value);
    sum.values.insert(sum.values.end(), atom->cancelled.begin(), atom->cancelled.end());
  });
  std::vector<JointBounds> joint;
  for (auto& [terms, sum] : sums) {
    const auto uppers =
        std::count_if(sum.bounds.begin(), sum.bounds.end(), [](const auto& b) { return b.upper; });
    if (uppers > 0 && uppers < std::ssize(sum.bounds)) joint.push_back(std::move(sum));
  }
  return joint;
}

}  // namespace bolide::program
