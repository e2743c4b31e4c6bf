// What kernels make of a tile, by other means than emitted text.
#pragma once
#include <algorithm>
#include <deque>
#include <vector>

#include "program/bounds.hpp"
#include "program/classify.hpp"
#include "program/table_ranges.hpp"

namespace bolide::testing {

/// The classifier of kernels, from BoundsProgram: the same interval analysis, with tables as
/// fwd_prepare_ranges sums
// them up: blocks of 64 x 64 elements (of one row where one index moves), or of 4096 columns, where more than
// 16 elements may be read.
class KernelsClassifier {
 public:
  KernelsClassifier(const Mask& mask, bool ranged) : graph_(mask.expr()), bounds_(graph_), ranged_(ranged) {
    for (const program::Graph::Value& v : graph_.values) {
      bool moves = v.op == program::Op::q || v.op == program::Op::kv;
      for (const int a : v.args) moves = moves || moves_[static_cast<std::size_t>(a)];
      moves_.push_back(moves);
    }
    for (const program::Captured& c : graph_.tables) tables_.emplace_back(c.tensor);
    values_.resize(bounds_.size());
  }
  TileClass operator()(const program::TileBox& t) {
    bounds_.run({{t.b, t.b},
                 {t.h, t.h},
                 {t.q_begin, t.q_end - 1},
                 {t.kv_begin, t.kv_end - 1},
                 {t.len_q, t.len_q},
                 {t.len_kv, t.len_kv}},
                values_.data(), [&](const auto& v, const program::IntRange* at) { return table(v, at); });
    const Range<bool> visible = values_[static_cast<std::size_t>(graph_.roots[0])].boolean;
    return class_of(visible);
  }

 private:
  program::AnyRange table(const program::Graph::Value& v, const program::IntRange* indices) {
    constexpr std::int64_t kMost = 16;
    const Tensor& t = graph_.tables[static_cast<std::size_t>(v.table)].tensor;
    const program::AnyRange anything = program::range_of(t.dtype);
    program::IntRange at[kMaxRank];
    std::vector<int> moving;
    for (int axis = 0; axis < t.rank(); ++axis) {
      const auto clamp = [&](std::int64_t i) { return std::clamp<std::int64_t>(i, 0, t.size(axis) - 1); };
      at[axis] = {clamp(indices[axis].lo), clamp(indices[axis].hi)};
      if (moves_[static_cast<std::size_t>(v.args[static_cast<std::size_t>(axis)])]) moving.push_back(axis);
    }
    if (moving.size() > 2) return anything;
    std::int64_t elements = 1;
    for (const int axis : moving) elements *= at[axis].hi - at[axis].lo + 1;
    if (elements > kMost) {
      if (!ranged_) return anything;
      if (moving.size() == 2 && !widen(at[moving[0]], 64, t.size(moving[0]))) return anything;
      program::IntRange& columns = at[moving.back()];
      if (!widen(columns, 64, t.size(moving.back())) && !widen(columns, 4096, t.size(moving.back())))
        return anything;
    }
    const program::AnyRange r = tables_[static_cast<std::size_t>(v.table)](at);
    return is_floating(t.dtype) && r.floating.nan ? anything : r;
  }
  // To whole blocks, if they are not too many.
  static bool widen(program::IntRange& r, std::int64_t block, std::int64_t size) {
    constexpr std::int64_t kMost = 16;
    if (r.hi / block - r.lo / block >= kMost) return false;
    r = {r.lo / block * block, std::min(r.hi / block * block + block, size) - 1};
    return true;
  }

  program::Graph graph_;
  program::BoundsProgram bounds_;
  bool ranged_;
  std::vector<bool> moves_;
  std::deque<program::TableRanges> tables_;
  std::vector<program::AnyRange> values_;
};

}  // namespace bolide::testing
