// Comparisons as sums against 0, for emitted classifiers: numbers stay symbols, as one text serves them all.
#pragma once
#include <optional>
#include <vector>

#include "program/graph.hpp"

namespace bolide::program {

/// A product in a sum: a value, times a small number of the program where it has one.
struct LinearTerm {
  int value = 0, number = -1;  ///< values of the graph
  friend auto operator<=>(const LinearTerm&, const LinearTerm&) = default;
};

/// sum of coefficient * term, compared with 0. Values that move within a tile stand apart from those that do
/// not; the latter may be any value, numbers among them.
struct LinearAtom {
  using Terms =
      std::vector<std::pair<LinearTerm, std::int64_t>>;  ///< term, coefficient other than 0; in order
  Op op = Op::constant;                                  ///< the comparison
  Terms moving, fixed;
  std::vector<int> cancelled;  ///< values that occur, but not in the sum
  bool cancels = false;        ///< a moving value occurs more than once in the comparison
};
/// Of a comparison of integers; none where it has too many terms. It means the same as the comparison where
/// no value, cancelled ones included, exceeds 2^32 in magnitude.
std::optional<LinearAtom> linear_atom(const Graph& graph, int index, const std::vector<bool>& moves);

/// Calls visit(value, positive) for every < and <= that value `index`, && or ||, joins; not positive where it
/// is negated. Of more than 256 values the rest is left out.
template <class Visit>
void each_joined_comparison(const Graph& graph, int index, Visit visit) {
  int visited = 0;
  const auto walk = [&](const auto& self, int i, bool positive) -> void {
    const Graph::Value& v = graph.values[i];
    if (++visited > 256) return;
    if (v.op == graph.values[index].op && positive) {
      self(self, v.args[0], true);
      self(self, v.args[1], true);
    } else if (v.op == op_of<op::Not>) {
      self(self, v.args[0], !positive);
    } else if (v.op == op_of<op::Less> || v.op == op_of<op::LessEqual>) {
      visit(i, positive);
    }
  };
  walk(walk, index, true);
}

/// What comparisons of one moving sum that are joined by && or || demand of it: that it is at most each upper
/// bound and at least each other one. A bound is a sum of fixed values plus a number. Under || these are the
/// demands of the opposite condition, which holds where the joined one does not.
struct JointBounds {
  struct Bound {
    LinearAtom::Terms fixed;
    std::int64_t number = 0;
    bool upper = true;
  };
  std::vector<Bound> bounds;
  std::vector<int> values;  ///< all that occur in the comparisons
};
/// Of value `index`, && or ||; only sums that are bounded from both sides, which may exclude each other.
std::vector<JointBounds> joint_bounds(const Graph& graph, int index, const std::vector<bool>& moves);

}  // namespace bolide::program
