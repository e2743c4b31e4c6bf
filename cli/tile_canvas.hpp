// Tiles of a mask drawn onto a grid of cells: text for a terminal, pixels for a picture.
#pragma once
#include <bolide/tiles.hpp>
#include <string>
#include <vector>

namespace bolide::cli {

/// What a cell is painted with. A cell is `none` or `all` if everything in it lies in such tiles; of the
/// others the ink says how much is visible: kSome nothing, kSome + kShades - 1 everything.
enum Ink : std::uint8_t { kNone, kAll, kSome };
inline constexpr int kShades = 5, kInks = kSome + kShades;

class TileCanvas {
 public:
  /// Cells of cell_q x cell_kv pairs over len_q x len_kv pairs; the last ones are clipped.
  TileCanvas(std::int64_t len_q, std::int64_t len_kv, std::int64_t cell_q, std::int64_t cell_kv);

  void add(const TileArea& area);
  void add_row(std::int64_t q, std::int64_t kv_begin, std::span<const std::uint8_t> visible);

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  std::int64_t cell_q() const { return cell_q_; }
  std::int64_t cell_kv() const { return cell_kv_; }
  std::uint8_t ink(std::int64_t row, std::int64_t column) const;

 private:
  struct Cell {
    std::int64_t none = 0, some = 0, all = 0, visible = 0;  // pairs by class of tile; visible ones of `some`
  };
  std::int64_t rows_, columns_, cell_q_, cell_kv_;
  std::vector<Cell> cells_;
};

/// One line a row of cells, two characters a cell; with ANSI colours, or with the marks of tile_mark.
std::string map_text(const TileCanvas& canvas, bool colours);
/// How map_text shows a class.
std::string tile_mark(Visibility v, bool colours);

/// A picture of the canvas as the bytes of a PNG file, or as an SVG file with `title`; small canvases are
/// magnified. Throws Error{device} when the PNG cannot be made.
std::string png_of(const TileCanvas& canvas);
std::string svg_of(const TileCanvas& canvas, const std::string& title);

}  // namespace bolide::cli
