// Least and greatest elements of captured tensors, block by block: what lets a tile's class follow from a
// gather. fwd_prepare writes them before every launch; emitted classifiers read them.
#pragma once
#include "captured.cuh"

namespace bolide {

/// Of a block. A float block that holds NaN has lo = NaN: nothing is known of it.
template <class T>
struct Extremes {
  T lo, hi;
};

/// How a tensor is cut. Indices of one or two axes move within a tile; along the columns blocks have 64
/// elements, and once more 4096 for spans of tiles, along the rows (absent: one row) 64.
struct RangeLayout {
  static constexpr int kFine = 64, kCoarse = 4096, kRows = 64;
  int rows, columns;  ///< sizes of the moving axes

  static constexpr int blocks(int n, int size) { return n / size + (n % size != 0); }
  BOLIDE_DEVICE int fine() const { return blocks(columns, kFine); }
  BOLIDE_DEVICE int coarse() const { return blocks(columns, kCoarse); }
  BOLIDE_DEVICE int row_blocks() const { return blocks(rows, kRows); }
  /// Entries of one matrix: per block of rows its fine blocks, then its coarse ones.
  BOLIDE_DEVICE i64 entries() const { return i64{row_blocks()} * (fine() + coarse()); }
};

BOLIDE_DEVICE RangeLayout range_layout(const TensorArg& t, int row_axis, int column_axis) {
  return {row_axis < 0 ? 1 : t.sizes[row_axis], t.sizes[column_axis]};
}

template <class T>
BOLIDE_DEVICE Extremes<T> no_extremes() {
  return {op::Limits<T>::kMost, op::Limits<T>::kLeast};
}
template <class T>
BOLIDE_DEVICE Extremes<T> join(Extremes<T> a, Extremes<T> b) {
  if constexpr (op::kIsFloat<T>) {
    if (a.lo != a.lo) return a;
    if (b.lo != b.lo) return b;
  }
  return {op::lesser(a.lo, b.lo), op::greater(a.hi, b.hi)};
}

/// A table whose extremes fwd_prepare finds. A block of threads takes a unit: up to 64 rows by 4096 columns.
struct RangeTask {
  TensorArg tensor;
  Stored stored;
  int rank, row_axis, column_axis;
  void* ranges;  ///< Extremes of the type that the elements are loaded as, see RangeLayout
  int units;     ///< of all matrices
};
struct RangeTasks {
  static constexpr int kMost = 8;
  int count;
  RangeTask tasks[kMost];
};

/// Worker's share of a block: columns worker, worker + workers, ... of `rows` rows; join all shares.
template <class Stored, class T>
BOLIDE_DEVICE Extremes<T> extremes_of(const Stored* data, i64 row_stride, i64 column_stride, int rows,
                                      int columns, int worker, int workers) {
  Extremes<T> e = no_extremes<T>();
  for (int row = 0; row < rows; ++row)
    for (int column = worker; column < columns; column += workers) {
      const T x = loaded<T>(data[row * row_stride + column * column_stride]);
      e = join(e, Extremes<T>{x, x});
    }
  return e;
}

/// What a gather with the given ranges of indices, each clamped into its axis, can give; only those of
/// kRowAxis (-1: none) and kColumnAxis may hold more than one index. Few elements are looked at themselves,
/// more by their blocks. `otherwise`: what the type of the elements allows; the answer where `ranges` is null
/// but needed, where too many blocks are asked for, and for NaN.
template <class Stored, class T, int kRowAxis, int kColumnAxis, class... Index>
BOLIDE_DEVICE Range<T> table_range(Range<T> otherwise, const TensorArg& t, const void* ranges,
                                   Range<Index>... index) {
  constexpr int kMost = 16;  // elements; blocks along each axis
  if (t.data == nullptr) return {T(0), T(0)};
  int axis = 0, row = 0, last_row = 0, column = 0, last_column = 0, matrix = 0;
  i64 first = 0;
  const auto take = [&](auto r) {
    const int lo = clamped_index(t, axis, r.lo);
    first += lo * t.strides[axis];
    if (axis == kColumnAxis) column = lo, last_column = clamped_index(t, axis, r.hi);
    else if (axis == kRowAxis) row = lo, last_row = clamped_index(t, axis, r.hi);
    else matrix = matrix * t.sizes[axis] + lo;
    ++axis;
  };
  (take(index), ...);
  Extremes<T> e = no_extremes<T>();
  int rows = last_row - row + 1, columns = last_column - column + 1;
  if (rows <= kMost && columns <= kMost && rows * columns <= kMost) {
    const auto* start = static_cast<const Stored*>(t.data) + first;
    BOLIDE_ROLLED
    for (; rows > 0; --rows, start += t.strides[kRowAxis < 0 ? 0 : kRowAxis]) BOLIDE_ROLLED
    for (int i = 0; i < columns; ++i) {
      const T x = loaded<T>(start[i * t.strides[kColumnAxis]]);
      e = join(e, Extremes<T>{x, x});
    }
  } else {
    if (ranges == nullptr) return otherwise;
    const RangeLayout layout = range_layout(t, kRowAxis, kColumnAxis);
    const int width = layout.fine() + layout.coarse();
    row /= RangeLayout::kRows, rows = last_row / RangeLayout::kRows - row + 1;
    const auto* entry =
        static_cast<const Extremes<T>*>(ranges) + (matrix * layout.row_blocks() + row) * width;
    int block = column / RangeLayout::kFine, blocks = last_column / RangeLayout::kFine - block + 1;
    if (blocks > kMost) {
      block = column / RangeLayout::kCoarse, blocks = last_column / RangeLayout::kCoarse - block + 1;
      entry += layout.fine();
    }
    if (rows > kMost || blocks > kMost) return otherwise;
    BOLIDE_ROLLED
    for (entry += block; rows > 0; --rows, entry += width) BOLIDE_ROLLED
    for (int i = 0; i < blocks; ++i) e = join(e, entry[i]);
  }
  if constexpr (op::kIsFloat<T>) {
    if (e.lo != e.lo) return otherwise;
  }
  return {e.lo, e.hi};
}

}  // namespace bolide
