// Classifies the tiles of a mask from the whole downwards, and counts the pairs it shows.
#include <bolide/tiles.hpp>
#include <chrono>

#include "program/classify.hpp"
#include "program/facts.hpp"

namespace bolide {

namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr Visibility visibility_of(TileClass c) { return static_cast<Visibility>(c); }
static_assert(visibility_of(TileClass::all) == Visibility::all);

void check(const TileQuestion& t) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const auto within = [](const char* what, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value >= least && value <= most) return;
    throw Error(Code::invalid_argument, std::string(what) + " is " + std::to_string(value) + "; it must be " +
                                            std::to_string(least) + " to " + std::to_string(most));
  };
  within("the number of queries", t.len_q, 0, kMost);
  within("the number of keys", t.len_kv, 0, kMost);
  within("the queries of a tile", t.tile_q, 1, kMost);
  within("the keys of a tile", t.tile_kv, 1, kMost);
  within("the batch entry", t.b, 0, kMost);
  within("the head", t.h, 0, kMost);
  within("the key start", t.key_start, -kMost, kMost);
  if (t.query_start) within("the query start", *t.query_start, -kMost, kMost);
}

// Evaluates the pairs of tiles, a row at a time.
class PairCounter {
 public:
  explicit PairCounter(const Mask& mask)
      : evaluator_(mask.expr()), scratch_(evaluator_.scratch_bytes() + 64) {}

  std::int64_t count(const program::TileBox& box, std::int64_t query_start, std::int64_t key_start,
                     const TileVisitor& visitor) {
    void* scratch = scratch_.data();
    std::size_t space = scratch_.size();
    std::align(64, 1, scratch, space);
    visible_.resize(static_cast<std::size_t>(box.kv_end - box.kv_begin));
    std::int64_t pairs = 0;
    for (std::int64_t q = box.q_begin; q < box.q_end; ++q) {
      evaluator_.mask({box.b, box.h, q, box.len_q, box.len_kv}, box.kv_begin,
                      static_cast<int>(visible_.size()), visible_.data(), scratch);
      for (const std::uint8_t v : visible_) pairs += v;
      if (visitor.row) visitor.row(q - query_start, box.kv_begin - key_start, visible_);
    }
    return pairs;
  }

 private:
  program::Evaluator evaluator_;
  std::vector<std::byte> scratch_;
  std::vector<std::uint8_t> visible_;
};

}  // namespace

TileCounts classify_tiles(const Mask& mask, const TileQuestion& t, const TileVisitor& visitor) {
  check(t);
  const std::int64_t query_start = t.query_start.value_or(t.key_start + t.len_kv - t.len_q);
  if (mask && !t.query_start && query_start < 0 && program::facts(mask.expr()).gathers_by_q) {
    throw Error(Code::refused,
                "the mask " + mask.text() + " gathers by q, but with the default query start " +
                    "(key start + keys - queries) the first q is " + std::to_string(query_start) +
                    "; state the query start (top_left or a number)");
  }
  TileCounts counts;
  const auto start = Clock::now();
  const program::Classifier classifier(mask);
  std::optional<PairCounter> counter;
  program::ClassifierCounts found;
  const auto visit = [&](const program::TileBox& box, TileClass c) {
    TileArea area{box.q_begin - query_start, box.q_end - query_start, box.kv_begin - t.key_start,
                  box.kv_end - t.key_start, visibility_of(c)};
    if (c == TileClass::all) area.visible_pairs = (box.q_end - box.q_begin) * (box.kv_end - box.kv_begin);
    if (c == TileClass::some) {
      const auto counting = Clock::now();
      if (!counter) counter.emplace(mask);
      area.visible_pairs = counter->count(box, query_start, t.key_start, visitor);
      counts.count_seconds += since(counting);
    }
    counts.visible_pairs += area.visible_pairs;
    if (visitor.area) visitor.area(area);
  };
  classifier.tiles(
      {t.b, t.h, query_start, query_start + t.len_q, t.key_start, t.key_start + t.len_kv, t.len_q, t.len_kv},
      t.tile_q, t.tile_kv, t.bisect, found, visit);
  counts.classify_seconds = since(start) - counts.count_seconds;
  counts.none = found.none, counts.some = found.some, counts.all = found.all;
  counts.interval_evaluations = found.interval_evaluations;
  counts.point_evaluations = found.point_evaluations;
  return counts;
}

bool depends_on(const Mask& mask, const Expr& leaf) {
  if (!mask) return false;
  const program::Graph graph(mask.expr());
  for (const program::Graph::Value& v : graph.values) {
    if (v.op == leaf.node()->op) return true;
  }
  return false;
}

}  // namespace bolide
