// Tiles of a mask: which of them it shows in full, in part or not at all, and how many pairs that makes.
#pragma once
#include <bolide/program.hpp>
#include <functional>
#include <span>

namespace bolide {

/// How much of a rectangle of (query, key) pairs is visible.
enum class Visibility : std::uint8_t { none, some, all };

/// What to classify: all pairs of len_q queries and len_kv keys of one sequence and query head.
struct TileQuestion {
  std::int64_t len_q = 0, len_kv = 0;       ///< rows; 0 to 2^31 - 1
  std::int64_t tile_q = 64, tile_kv = 64;   ///< rows of a tile; the last ones are clipped
  std::int64_t b = 0, h = 0;                ///< batch entry and query head
  std::optional<std::int64_t> query_start;  ///< position of the first query (contract C3); absent: bottom
                                            ///< right, key_start + len_kv - len_q
  std::int64_t key_start = 0;               ///< position of the first key
  bool bisect = true;  ///< false: by one interval evaluation, which may say `some` of a tile that is not
};

/// Rows of queries and keys (not positions), half open: one tile of class `some`, or any number of the
/// others.
struct TileArea {
  std::int64_t q_begin = 0, q_end = 0, kv_begin = 0, kv_end = 0;
  Visibility visibility = Visibility::none;
  std::int64_t visible_pairs = 0;  ///< exact
};

/// Called while tiles are classified; either may be absent.
struct TileVisitor {
  /// Disjoint areas that cover every pair.
  std::function<void(const TileArea&)> area;
  /// Row q of a tile of class `some`, before its area: visible[i] is 1 or 0 for key kv_begin + i.
  std::function<void(std::int64_t q, std::int64_t kv_begin, std::span<const std::uint8_t> visible)> row;
};

struct TileCounts {
  std::int64_t none = 0, some = 0, all = 0;  ///< tiles of each class
  std::int64_t visible_pairs = 0;            ///< exact, whatever the classes are
  /// What classification cost; the pairs of `some` tiles that are counted afterwards are not in it.
  std::int64_t interval_evaluations = 0, point_evaluations = 0;
  double classify_seconds = 0, count_seconds = 0;
};

/// Sound always; exact unless `bisect` is false. One thread; memory does not grow with the lengths. Throws
/// Error{invalid_argument} for sizes out of range, Error{refused} for a captured tensor on a GPU, and for a
/// mask that gathers by q where the default query start is negative (contract C3).
TileCounts classify_tiles(const Mask& mask, const TileQuestion& question, const TileVisitor& visitor = {});

/// Whether a mask's value depends on one of the leaves, as in depends_on(mask, leaf::h).
bool depends_on(const Mask& mask, const Expr& leaf);

}  // namespace bolide
