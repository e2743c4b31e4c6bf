// Interval evaluation of programs: what each value can be while positions range over a rectangle.
#pragma once
#include <memory>

#include "device/program.cuh"
#include "program/graph.hpp"

namespace bolide::program {

using IntRange = Range<std::int64_t>;

/// A range of any of the three types; floats are float32, as masks compute.
struct AnyRange {
  Range<bool> boolean{false, true};
  IntRange integer = op::anything<std::int64_t>();
  Range<float> floating = op::anything<float>();
};

/// What the leaves can be.
struct LeafRanges {
  IntRange b{0, 0}, h{0, 0}, q{0, 0}, kv{0, 0}, len_q{0, 0}, len_kv{0, 0};
};

/// What a captured tensor of this type can hold, whatever its contents.
AnyRange range_of(DType t);

/// The range of every value of a graph. `table(v, indices)` answers for gathers.
class BoundsProgram {
 public:
  explicit BoundsProgram(const Graph& graph);
  template <class Table>
  void run(const LeafRanges& leaves, AnyRange* out, Table&& table) const {
    run(leaves, out, table, [](std::size_t, AnyRange&) {});
  }
  /// `adjust(i, range)` may replace the range of value i before others read it.
  template <class Table, class Adjust>
  void run(const LeafRanges& leaves, AnyRange* out, Table&& table, Adjust&& adjust) const {
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const Step& s = steps_[i];
      if (s.op == Op::gather) {
        IntRange indices[kMaxRank];
        for (int a = 0; a < s.arity; ++a) indices[a] = out[s.args[a]].integer;
        out[i] = table(graph_->values[i], indices);
      } else if (s.apply) {
        out[i] = s.apply(out, s.args);
        if (s.linear >= 0) out[i].boolean = meet(out[i].boolean, decide(linear_[s.linear], out));
      } else {
        out[i] = leaf(s, leaves);
      }
      adjust(i, out[i]);
    }
  }
  std::size_t size() const { return steps_.size(); }

 private:
  struct Step {
    Op op = Op::constant;
    int arity = 0, args[kMaxRank] = {};
    AnyRange (*apply)(const AnyRange* values, const int* args) = nullptr;
    AnyRange constant;
    int linear = -1;
  };
  // What sum of coefficient * value, plus a constant, says about a condition. Either it is a comparison of
  // that sum with 0, or several comparisons of one sum that together are always true, or never.
  struct Linear {
    Op op = Op::constant;
    std::vector<std::pair<int, std::int64_t>> terms;
    std::vector<int> cancelled;  // values that occur, but not in the sum
    std::int64_t constant = 0;
    bool cancels = false;  // some value occurs more than once in the comparison
    bool verdict = false;  // of several comparisons, op being a constant
  };
  static AnyRange leaf(const Step& s, const LeafRanges& leaves);
  static Range<bool> meet(Range<bool> a, Range<bool> b);
  static Range<bool> decide(const Linear& linear, const AnyRange* values);
  static bool linear_form(const Graph& graph, int index, Linear& linear);
  void add_linear(int index, Linear linear);
  void decide_together(const Graph& graph, int index);

  const Graph* graph_;
  std::vector<Step> steps_;
  std::vector<Linear> linear_;
};

}  // namespace bolide::program
