// Which rectangles of (q, kv) a mask shows in full, in part, or not at all: proved by interval analysis, made
// exact by bisection.
#pragma once
#include <functional>
#include <memory>
#include <optional>

#include "device/program.cuh"
#include "program/evaluator.hpp"
#include "program/table_ranges.hpp"

namespace bolide::program {

/// A rectangle of positions, half open, of one batch entry and head.
struct TileBox {
  std::int64_t b = 0, h = 0, q_begin = 0, q_end = 0, kv_begin = 0, kv_end = 0, len_q = 0, len_kv = 0;
};

/// Work done, and what was found: tiles of each class.
struct ClassifierCounts {
  std::int64_t none = 0, some = 0, all = 0;
  std::int64_t interval_evaluations = 0, point_evaluations = 0;
};

/// Sound always: none and all are proved for every pair of the box; an empty box is none. Thread-safe;
/// `counts` is the caller's. It remembers ranges of the captured tensors, so make a new one when their
/// contents change.
class Classifier {
 public:
  explicit Classifier(const Mask& mask);

  /// By one interval evaluation: `some` also when it cannot tell.
  TileClass plain(const TileBox& box, ClassifierCounts& counts) const;
  /// The true class: `some` only if the box holds a visible and a hidden pair. Undecided boxes are bisected,
  /// and evaluated at points once `budget` interval evaluations are spent or the piece is small.
  TileClass exact(const TileBox& box, ClassifierCounts& counts, int budget = 512) const;

  /// Classifies every tile of region, tile_q x tile_kv positions each (the last ones clipped), from the whole
  /// region downwards: calls visit(rectangle of positions, class) with disjoint rectangles that cover the
  /// region; a rectangle of class none or all may hold many tiles, one of class some is one tile. counts
  /// receives tiles.
  void tiles(const TileBox& region, std::int64_t tile_q, std::int64_t tile_kv, bool bisect,
             ClassifierCounts& counts, const std::function<void(const TileBox&, TileClass)>& visit) const;

 private:
  struct Search;
  struct Parts;
  TileClass bisect(const TileBox& box, Search& search) const;
  TileClass by_points(const TileBox& box, Search& search) const;
  std::shared_ptr<const Parts> parts_;  // null: everything is visible
};

}  // namespace bolide::program
