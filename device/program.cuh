// What the text of an emitted program stands on: points, tiles, classes, captured tensors.
#pragma once
#include "table_ranges.cuh"

namespace bolide {

/// Logical coordinates (contract C3). Positions and lengths stay within +-2^29: emitted text computes in 32
/// bits where that proves enough.
struct Point {
  int b, h, q, kv, len_q, len_kv;
};
/// A rectangle of positions, half open.
struct Tile {
  int b, h, q_begin, q_end, kv_begin, kv_end, len_q, len_kv;
};
/// How many of a tile's pairs are visible.
enum class TileClass : int { none, some, all };

/// An integer that changes by one from key to key, as a float: in two parts, so that those of a row's other
/// keys are two additions, rounded once as a conversion is.
struct Near {
  float high, low;
  /// `offset`, of magnitude below 2^23, keys further.
  BOLIDE_DEVICE float at(float offset) const { return op::add(high, op::add(low, offset)); }
};
BOLIDE_DEVICE Near near(int first) {
  return {static_cast<float>(first & ~255), static_cast<float>(first & 255)};
}

/// What kernels know of a score. `along`, of the product plus what Along says; `cap`, `fast_cap`, of
/// Program::core(): the tanh, or tanh_fast, of the product times Program::before().
enum class ScoreForm : int { any, along, cap, fast_cap };

/// A score along a row: the product plus rest plus factor times a distance, which is `distance` here and one
/// more from key to key.
struct Along {
  float rest, factor;
  int distance;
};

// What emitted interval code is written with.
template <class T>
BOLIDE_DEVICE Range<T> only(T x) {
  if constexpr (op::kIsFloat<T>) {
    if (x != x) return op::anything<T>();  // NaN bounds nothing
  }
  return {x, x};
}
template <class T, class S>
BOLIDE_DEVICE Range<T> as(Range<S> r) {
  return {static_cast<T>(r.lo), static_cast<T>(r.hi), r.nan};
}
BOLIDE_DEVICE TileClass class_of(Range<bool> visible) {
  return visible.lo ? TileClass::all : visible.hi ? TileClass::some : TileClass::none;
}

// The true class of a tile that is not empty, pair by pair: what tests compare the classifiers with.
template <class Program>
BOLIDE_DEVICE TileClass class_by_points(const typename Program::Params& p, const Tile& t) {
  bool shown = false, hidden = false;
  BOLIDE_ROLLED
  for (int q = t.q_begin; q < t.q_end && !(shown && hidden); ++q) BOLIDE_ROLLED
  for (int kv = t.kv_begin; kv < t.kv_end; ++kv) {
    const bool visible = Program::mask(p, Point{t.b, t.h, q, kv, t.len_q, t.len_kv});
    shown |= visible, hidden |= !visible;
  }
  return shown && hidden ? TileClass::some : shown ? TileClass::all : TileClass::none;
}

}  // namespace bolide
