// Ranges of captured tensors: minima and maxima of blocks, end values alone where a row is sorted.
#include "program/table_ranges.hpp"

#include <algorithm>

#include "program/point.hpp"

namespace bolide::program {

namespace {

constexpr std::int64_t kRowBlock = 16, kColumnBlock = 64;

// Least and greatest so far; floats keep NaN apart.
struct Extremes {
  std::int64_t least = std::numeric_limits<std::int64_t>::max(),
               greatest = std::numeric_limits<std::int64_t>::min();
  float low = op::Limits<float>::kMost, high = op::Limits<float>::kLeast;
  bool nan = false;

  void add(const AnyRange& r, Type t) {
    if (t == Type::integer) span(r.integer.lo, r.integer.hi);
    else if (t == Type::boolean) span(r.boolean.lo, r.boolean.hi);
    else if (r.floating.nan) nan = true;
    else low = std::min(low, r.floating.lo), high = std::max(high, r.floating.hi);
  }
  void add(const Extremes& e) {
    span(e.least, e.greatest);
    low = std::min(low, e.low), high = std::max(high, e.high), nan = nan || e.nan;
  }
  AnyRange range(Type t) const {
    AnyRange r;
    if (t == Type::integer) r.integer = {least, greatest};
    else if (t == Type::boolean) r.boolean = {least != 0, greatest != 0};
    else if (low <= high) r.floating = {low, high, nan};
    return r;
  }

 private:
  void span(std::int64_t from, std::int64_t to) {
    least = std::min(least, from), greatest = std::max(greatest, to);
  }
};

std::int64_t blocks_of(std::int64_t n, std::int64_t block) { return (n + block - 1) / block; }

}  // namespace

// A matrix of the table (rows may be 1): extremes per block of kRowBlock x kColumnBlock elements, a level
// above that in blocks of blocks, and whether a single row only rises or only falls.
struct TableRanges::Slice {
  const TableRanges& owner;
  Type type;
  std::int64_t offset, rows, columns, row_stride, column_stride, row_block;
  std::vector<Extremes> blocks;
  std::int64_t blocks_across;
  bool rising = false, falling = false;

  AnyRange at(std::int64_t row, std::int64_t column) const {
    return owner.element_at(offset + row * row_stride + column * column_stride);
  }
  void build() {
    blocks_across = blocks_of(columns, kColumnBlock);
    blocks.resize(blocks_of(rows, row_block) * blocks_across);
    rising = falling = rows == 1;
    for (std::int64_t row = 0; row < rows; ++row) {
      AnyRange last;
      for (std::int64_t column = 0; column < columns; ++column) {
        const AnyRange x = at(row, column);
        blocks[row / row_block * blocks_across + column / kColumnBlock].add(x, type);
        if (column > 0 && type == Type::integer) {
          rising = rising && last.integer.lo <= x.integer.lo;
          falling = falling && last.integer.lo >= x.integer.lo;
        }
        last = x;
      }
    }
    if (type != Type::integer) rising = falling = false;
  }
  AnyRange query(IntRange r, IntRange c) const {
    Extremes e;
    if (rising || falling) {
      e.add(at(0, c.lo), type);
      e.add(at(0, c.hi), type);
      return e.range(type);
    }
    for (std::int64_t row = r.lo; row <= r.hi;) {
      const bool whole_rows = row % row_block == 0 && std::min(row + row_block, rows) - 1 <= r.hi;
      for (std::int64_t column = c.lo; column <= c.hi;) {
        const bool whole =
            whole_rows && column % kColumnBlock == 0 && std::min(column + kColumnBlock, columns) - 1 <= c.hi;
        if (whole) {
          e.add(blocks[row / row_block * blocks_across + column / kColumnBlock]);
          column += kColumnBlock;
        } else {
          const std::int64_t next =
              whole_rows ? std::min(c.hi + 1, (column / kColumnBlock + 1) * kColumnBlock) : c.hi + 1;
          const std::int64_t last_row = whole_rows ? std::min(row + row_block, rows) : row + 1;
          for (std::int64_t y = row; y < last_row; ++y) {
            for (std::int64_t x = column; x < next; ++x) e.add(at(y, x), type);
          }
          column = next;
        }
      }
      row += whole_rows ? row_block : 1;
    }
    return e.range(type);
  }
};

TableRanges::TableRanges(const Tensor& table) : table_(table) {}
TableRanges::~TableRanges() = default;

AnyRange TableRanges::element_at(std::int64_t offset) const {
  Tensor one = table_;
  one.shape = one.strides = Dims{};
  one.data = static_cast<std::byte*>(table_.data) + offset * size_of(table_.dtype);
  AnyRange r;
  if (one.dtype == DType::boolean) {
    const bool v = element<bool>(one, nullptr);
    r.boolean = {v, v};
  } else if (is_integer(one.dtype)) {
    const std::int64_t v = element<std::int64_t>(one, nullptr);
    r.integer = {v, v};
  } else if (const float v = element<float>(one, nullptr); v == v) {
    r.floating = {v, v};
  }
  return r;
}

const TableRanges::Slice& TableRanges::slice(int row_axis, int column_axis, std::int64_t offset) const {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Slice>& s = slices_[row_axis][column_axis][offset];
  if (!s) {
    const bool matrix = row_axis != column_axis;
    const Type type = table_.dtype == DType::boolean ? Type::boolean
                      : is_integer(table_.dtype)     ? Type::integer
                                                     : Type::floating;
    s = std::make_unique<Slice>(Slice{*this,
                                      type,
                                      offset,
                                      matrix ? table_.shape[row_axis] : 1,
                                      table_.shape[column_axis],
                                      matrix ? table_.strides[row_axis] : 0,
                                      table_.strides[column_axis],
                                      matrix ? kRowBlock : 1,
                                      {},
                                      0});
    s->build();
  }
  return *s;
}

AnyRange TableRanges::operator()(const IntRange* indices) const {
  std::int64_t offset = 0;
  int varying[2], count = 0;
  IntRange clamped[kMaxRank];
  for (int axis = 0; axis < table_.rank(); ++axis) {
    const std::int64_t last = table_.shape[axis] - 1;
    if (last < 0) return {.boolean = {false, false}, .integer = {0, 0}, .floating = {0, 0}};
    clamped[axis] = {std::clamp<std::int64_t>(indices[axis].lo, 0, last),
                     std::clamp<std::int64_t>(indices[axis].hi, 0, last)};
    if (clamped[axis].lo == clamped[axis].hi || table_.strides[axis] == 0) {
      offset += clamped[axis].lo * table_.strides[axis];
    } else {
      if (count == 2) return range_of(table_.dtype);
      varying[count++] = axis;
    }
  }
  if (count == 0) return element_at(offset);
  const int row_axis = varying[0], column_axis = varying[count - 1];
  const IntRange rows = count == 2 ? clamped[row_axis] : IntRange{0, 0};
  return slice(row_axis, column_axis, offset).query(rows, clamped[column_axis]);
}

}  // namespace bolide::program
