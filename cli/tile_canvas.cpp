// Collects tiles into cells and shows them in a terminal.
#include "cli/tile_canvas.hpp"

#include <algorithm>

namespace bolide::cli {
namespace {

std::int64_t cells_of(std::int64_t pairs, std::int64_t cell) { return (pairs + cell - 1) / cell; }

constexpr const char* kPlain[] = {" .", " +", "##"};  // none, some, all
constexpr const char* kColoured[] = {"\x1b[2m \xc2\xb7\x1b[0m", "\x1b[48;5;208m  \x1b[0m",
                                     "\x1b[48;5;26m  \x1b[0m"};

}  // namespace

TileCanvas::TileCanvas(std::int64_t len_q, std::int64_t len_kv, std::int64_t cell_q, std::int64_t cell_kv)
    : rows_(cells_of(len_q, cell_q)),
      columns_(cells_of(len_kv, cell_kv)),
      cell_q_(cell_q),
      cell_kv_(cell_kv),
      cells_(static_cast<std::size_t>(rows_ * columns_)) {}

void TileCanvas::add(const TileArea& area) {
  std::int64_t Cell::*member = area.visibility == Visibility::none   ? &Cell::none
                               : area.visibility == Visibility::some ? &Cell::some
                                                                     : &Cell::all;
  for (std::int64_t row = area.q_begin / cell_q_; row * cell_q_ < area.q_end; ++row) {
    const std::int64_t rows =
        std::min(area.q_end, (row + 1) * cell_q_) - std::max(area.q_begin, row * cell_q_);
    for (std::int64_t column = area.kv_begin / cell_kv_; column * cell_kv_ < area.kv_end; ++column) {
      const std::int64_t keys =
          std::min(area.kv_end, (column + 1) * cell_kv_) - std::max(area.kv_begin, column * cell_kv_);
      cells_[static_cast<std::size_t>(row * columns_ + column)].*member += rows * keys;
    }
  }
}

void TileCanvas::add_row(std::int64_t q, std::int64_t kv_begin, std::span<const std::uint8_t> visible) {
  Cell* row = cells_.data() + q / cell_q_ * columns_;
  std::int64_t column = kv_begin / cell_kv_, left = (column + 1) * cell_kv_ - kv_begin;
  for (const std::uint8_t v : visible) {
    if (left == 0) ++column, left = cell_kv_;
    row[column].visible += v;
    --left;
  }
}

std::uint8_t TileCanvas::ink(std::int64_t row, std::int64_t column) const {
  const Cell& c = cells_[static_cast<std::size_t>(row * columns_ + column)];
  if (c.some == 0 && c.all == 0) return kNone;
  if (c.some == 0 && c.none == 0) return kAll;
  const std::int64_t pairs = c.none + c.some + c.all, visible = c.all + c.visible;
  if (visible == 0) return kSome;
  if (visible == pairs) return kSome + kShades - 1;
  return static_cast<std::uint8_t>(kSome + 1 + visible * (kShades - 2) / pairs);
}

std::string tile_mark(Visibility v, bool colours) {
  return (colours ? kColoured : kPlain)[static_cast<int>(v)];
}

std::string map_text(const TileCanvas& canvas, bool colours) {
  std::string text;
  for (std::int64_t row = 0; row < canvas.rows(); ++row) {
    for (std::int64_t column = 0; column < canvas.columns(); ++column) {
      const std::uint8_t ink = canvas.ink(row, column);
      text += tile_mark(ink == kNone  ? Visibility::none
                        : ink == kAll ? Visibility::all
                                      : Visibility::some,
                        colours);
    }
    text += "\n";
  }
  return text;
}

}  // namespace bolide::cli
