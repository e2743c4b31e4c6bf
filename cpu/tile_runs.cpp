// Runs of tiles from the classifier's rectangles, and the memory of the last ones.
#include "cpu/tile_runs.hpp"

#include "program/facts.hpp"

namespace bolide::cpu {
namespace {

std::int64_t tiles_in(std::int64_t begin, std::int64_t end, std::int64_t size) {
  return (end - begin + size - 1) / size;
}

bool same(const program::TileBox& x, const program::TileBox& y) {
  return x.b == y.b && x.h == y.h && x.q_begin == y.q_begin && x.q_end == y.q_end &&
         x.kv_begin == y.kv_begin && x.kv_end == y.kv_end && x.len_q == y.len_q && x.len_kv == y.len_kv;
}

}  // namespace

TileMask::TileMask(const Mask& mask, Classes classes) : classes_(classes), present_(mask) {
  if (mask) {
    const program::Facts facts = program::facts(mask.expr());
    mentions_b = facts.uses_b, mentions_h = facts.uses_h;
  }
  if (mask && classes == Classes::on) classifier_.emplace(mask);
}

std::span<const TileRun> TileRuns::find(program::TileBox box) {
  if (!mask_.mentions_b) box.b = 0;
  if (!mask_.mentions_h) box.h = 0;
  const auto found = [this] { return std::span<const TileRun>(runs_, static_cast<std::size_t>(count_)); };
  if (last_ && same(*last_, box)) return found();
  last_ = box, count_ = 0;
  const std::int64_t rows = tiles_in(box.q_begin, box.q_end, kTileQ),
                     columns = tiles_in(box.kv_begin, box.kv_end, kTileKv);
  if (rows == 0 || columns == 0) return found();
  if (!mask_.classifier_) {
    runs_[count_++] = {0, rows * columns, !mask_.present_ && mask_.classes_ != Classes::partial};
    return found();
  }
  const auto add = [this, &box](const program::TileBox& part, TileClass c) {
    if (c == TileClass::none) return;
    const std::int64_t begin =
        (part.q_begin - box.q_begin) / kTileQ + (part.kv_begin - box.kv_begin) / kTileKv;
    const std::int64_t end =
        begin + tiles_in(part.q_begin, part.q_end, kTileQ) * tiles_in(part.kv_begin, part.kv_end, kTileKv);
    const bool all = c == TileClass::all;
    if (count_ > 0 && runs_[count_ - 1].end == begin && runs_[count_ - 1].all == all)
      runs_[count_ - 1].end = end;
    else runs_[count_++] = {begin, end, all};
  };
  // Rectangles come in ascending order, since the box is one tile high or wide.
  mask_.classifier_->tiles(box, kTileQ, kTileKv, false, counts_, add);
  return found();
}

}  // namespace bolide::cpu
