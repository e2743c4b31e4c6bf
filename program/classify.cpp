// Tile classes on the CPU.
#include "program/classify.hpp"

#include <algorithm>

namespace bolide::program {

namespace {

constexpr std::int64_t kSmallPiece = 256;  // pairs that are quicker evaluated than bounded again

std::int64_t pairs(const TileBox& t) { return (t.q_end - t.q_begin) * (t.kv_end - t.kv_begin); }
bool is_empty(const TileBox& t) { return t.q_begin >= t.q_end || t.kv_begin >= t.kv_end; }

// The middle of [begin, end), moved to a multiple of the largest period that has one inside: a program with
// // 64 or % 64 is often constant between multiples of 64.
std::int64_t split(std::int64_t begin, std::int64_t end, std::span<const std::int64_t> periods) {
  const std::int64_t middle = begin + (end - begin) / 2;
  for (std::int64_t p : periods) {
    const std::int64_t below = op::floor_div(middle, p) * p;
    if (below > begin) return below;
    if (below + p < end) return below + p;
  }
  return middle;
}

}  // namespace

struct Classifier::Parts {
  Graph graph;
  BoundsProgram bounds;
  Evaluator evaluator;
  std::vector<std::unique_ptr<TableRanges>> tables;
  std::vector<std::int64_t> periods;  // largest first

  explicit Parts(const Expr& e) : graph(e), bounds(graph), evaluator(e) {
    for (const Captured& c : graph.tables) tables.push_back(std::make_unique<TableRanges>(c.tensor));
    for (const Graph::Value& v : graph.values) {
      const bool divides = v.op == op_of<op::FloorDiv> || v.op == op_of<op::Mod>;
      if (!divides && v.op != op_of<op::ShiftRight>) continue;
      const Graph::Value& by = graph.arg(v, 1);
      if (by.op != Op::constant || by.integer < 1 || (!divides && by.integer > 40)) continue;
      periods.push_back(divides ? by.integer : std::int64_t{1} << by.integer);
    }
    std::sort(periods.rbegin(), periods.rend());
    periods.erase(std::unique(periods.begin(), periods.end()), periods.end());
    if (!periods.empty() && periods.back() == 1) periods.pop_back();
  }
};

struct Classifier::Search {
  ClassifierCounts& counts;
  int budget;
  std::vector<std::byte> scratch;
  std::vector<std::uint8_t> visible;
  void* aligned() {
    void* p = scratch.data();
    std::size_t space = scratch.size();
    return std::align(64, 1, p, space);
  }
};

Classifier::Classifier(const Mask& mask) {
  if (mask) parts_ = std::make_shared<const Parts>(mask.expr());
}

TileClass Classifier::plain(const TileBox& t, ClassifierCounts& counts) const {
  if (is_empty(t)) return TileClass::none;
  if (!parts_) return TileClass::all;
  ++counts.interval_evaluations;
  const LeafRanges leaves{
      {t.b, t.b},         {t.h, t.h},          {t.q_begin, t.q_end - 1}, {t.kv_begin, t.kv_end - 1},
      {t.len_q, t.len_q}, {t.len_kv, t.len_kv}};
  std::array<AnyRange, 64> few;
  std::vector<AnyRange> many(parts_->bounds.size() > few.size() ? parts_->bounds.size() : 0);
  AnyRange* out = many.empty() ? few.data() : many.data();
  parts_->bounds.run(leaves, out, [&](const Graph::Value& v, const IntRange* indices) {
    return (*parts_->tables[v.table])(indices);
  });
  return class_of(out[parts_->graph.roots[0]].boolean);
}

TileClass Classifier::by_points(const TileBox& t, Search& search) const {
  const int n = static_cast<int>(t.kv_end - t.kv_begin);
  search.visible.resize(n);
  bool shown = false, hidden = false;
  for (std::int64_t q = t.q_begin; q < t.q_end && !(shown && hidden); ++q) {
    parts_->evaluator.mask({t.b, t.h, q, t.len_q, t.len_kv}, t.kv_begin, n, search.visible.data(),
                           search.aligned());
    search.counts.point_evaluations += n;
    for (int i = 0; i < n; ++i) (search.visible[i] ? shown : hidden) = true;
  }
  return shown && hidden ? TileClass::some : shown ? TileClass::all : TileClass::none;
}

TileClass Classifier::bisect(const TileBox& t, Search& search) const {
  if (pairs(t) <= kSmallPiece || search.budget <= 0) return by_points(t, search);
  --search.budget;
  if (const TileClass c = plain(t, search.counts); c != TileClass::some) return c;
  const auto periods = std::span<const std::int64_t>(parts_->periods);
  TileBox first = t, second = t;
  if (t.q_end - t.q_begin >= t.kv_end - t.kv_begin) {
    first.q_end = second.q_begin = split(t.q_begin, t.q_end, periods);
  } else {
    first.kv_end = second.kv_begin = split(t.kv_begin, t.kv_end, periods);
  }
  const TileClass a = bisect(first, search);
  return a == TileClass::some || bisect(second, search) != a ? TileClass::some : a;
}

TileClass Classifier::exact(const TileBox& t, ClassifierCounts& counts, int budget) const {
  if (const TileClass c = plain(t, counts); c != TileClass::some) return c;
  Search search{counts, budget, std::vector<std::byte>(parts_->evaluator.scratch_bytes() + 64), {}};
  // Two edges usually show both kinds of pairs, and then no bisection is needed.
  TileBox top = t, bottom = t;
  top.q_end = std::min(t.q_begin + 1, t.q_end);
  bottom.q_begin = std::max(t.q_end - 1, t.q_begin);
  const TileClass a = by_points(top, search), b = by_points(bottom, search);
  if (a == TileClass::some || a != b) return TileClass::some;
  return bisect(t, search);
}

void Classifier::tiles(const TileBox& region, std::int64_t tile_q, std::int64_t tile_kv, bool bisect,
                       ClassifierCounts& counts,
                       const std::function<void(const TileBox&, TileClass)>& visit) const {
  const auto blocks = [](std::int64_t n, std::int64_t size) { return (n + size - 1) / size; };
  const auto walk = [&](const auto& self, std::int64_t y0, std::int64_t y1, std::int64_t x0,
                        std::int64_t x1) -> void {
    if (y0 >= y1 || x0 >= x1) return;
    TileBox box = region;
    box.q_begin = region.q_begin + y0 * tile_q;
    box.q_end = std::min(region.q_end, region.q_begin + y1 * tile_q);
    box.kv_begin = region.kv_begin + x0 * tile_kv;
    box.kv_end = std::min(region.kv_end, region.kv_begin + x1 * tile_kv);
    const bool single = y1 - y0 == 1 && x1 - x0 == 1;
    const TileClass c = single && bisect ? exact(box, counts) : plain(box, counts);
    if (single || c != TileClass::some) {
      (c == TileClass::none  ? counts.none
       : c == TileClass::all ? counts.all
                             : counts.some) += (y1 - y0) * (x1 - x0);
      if (visit) visit(box, c);
      return;
    }
    const std::int64_t y = y1 - y0 > 1 ? y0 + (y1 - y0) / 2 : y1, x = x1 - x0 > 1 ? x0 + (x1 - x0) / 2 : x1;
    self(self, y0, y, x0, x);
    self(self, y0, y, x, x1);
    self(self, y, y1, x0, x);
    self(self, y, y1, x, x1);
  };
  walk(walk, 0, blocks(region.q_end - region.q_begin, tile_q), 0,
       blocks(region.kv_end - region.kv_begin, tile_kv));
}

}  // namespace bolide::program
