// Pictures of tile maps: PNG by libpng, SVG by hand.
#include <fmt/core.h>
#include <png.h>
#include <bolide/error.hpp>

#include <algorithm>
#include <array>

#include "cli/tile_canvas.hpp"

namespace bolide::cli {
namespace {

// none, all, then the shades of partial tiles from hidden to visible.
constexpr std::array<std::uint32_t, kInks> kColours = {0xeef0f2, 0x2c5f9e, 0xfde7cf, 0xf9cd9e,
                                                       0xf4ae6a, 0xea8c35, 0xd96b0f};

// Pixels of a cell: small maps are shown at about kSide pixels, and nothing thinner than kThinnest.
constexpr std::int64_t kSide = 512, kThinnest = 16;
struct Magnification {
  std::int64_t x, y;
};
Magnification magnification(const TileCanvas& c) {
  const std::int64_t both = std::max<std::int64_t>(kSide / std::max(c.rows(), c.columns()), 1);
  const auto at_least = [&](std::int64_t cells) { return std::max(both, (kThinnest + cells - 1) / cells); };
  return {at_least(c.columns()), at_least(c.rows())};
}

std::string escaped(const std::string& text) {
  std::string all;
  for (const char c : text) {
    if (c == '&') all += "&amp;";
    else if (c == '<') all += "&lt;";
    else if (c == '>') all += "&gt;";
    else all += c;
  }
  return all;
}

// Rectangles of one ink: runs along a row, joined with equal runs of the rows below.
std::string paths_of(const TileCanvas& c) {
  std::array<std::string, kInks> paths;
  std::vector<char> drawn(static_cast<std::size_t>(c.rows() * c.columns()));
  const auto is_free = [&](std::int64_t row, std::int64_t column, std::uint8_t ink) {
    return !drawn[static_cast<std::size_t>(row * c.columns() + column)] && c.ink(row, column) == ink;
  };
  for (std::int64_t row = 0; row < c.rows(); ++row) {
    for (std::int64_t column = 0; column < c.columns(); ++column) {
      const std::uint8_t ink = c.ink(row, column);
      if (ink == kNone || !is_free(row, column, ink)) continue;  // none is the background
      std::int64_t right = column + 1, bottom = row + 1;
      while (right < c.columns() && is_free(row, right, ink)) ++right;
      const auto row_is_free = [&](std::int64_t y) {
        for (std::int64_t x = column; x < right; ++x)
          if (!is_free(y, x, ink)) return false;
        return true;
      };
      while (bottom < c.rows() && row_is_free(bottom)) ++bottom;
      for (std::int64_t y = row; y < bottom; ++y)
        std::fill_n(drawn.begin() + y * c.columns() + column, right - column, 1);
      paths[ink] +=
          fmt::format("M{} {}h{}v{}h-{}z", column, row, right - column, bottom - row, right - column);
    }
  }
  std::string text;
  for (int ink = 0; ink < kInks; ++ink)
    if (!paths[ink].empty())
      text += fmt::format("<path fill=\"#{:06x}\" d=\"{}\"/>\n", kColours[ink], paths[ink]);
  return text;
}

}  // namespace

std::string png_of(const TileCanvas& canvas) {
  const Magnification m = magnification(canvas);
  const std::int64_t width = canvas.columns() * m.x, height = canvas.rows() * m.y;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width * height));
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      pixels[static_cast<std::size_t>(y * width + x)] = canvas.ink(y / m.y, x / m.x);
  std::array<std::uint8_t, 3 * kInks> palette;
  for (int i = 0; i < kInks; ++i)
    for (int part = 0; part < 3; ++part)
      palette[3 * i + part] = static_cast<std::uint8_t>(kColours[i] >> (16 - 8 * part));
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = PNG_FORMAT_RGB_COLORMAP;
  image.colormap_entries = kInks;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(bytes, '\0');
  if (!png_image_write_to_memory(&image, file.data(), &bytes, 0, pixels.data(), 0, palette.data()))
    throw Error(Code::device, fmt::format("libpng could not make the picture: {}", image.message));
  file.resize(bytes);
  return file;
}

std::string svg_of(const TileCanvas& canvas, const std::string& title) {
  const Magnification m = magnification(canvas);
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" "
      "preserveAspectRatio=\"none\" shape-rendering=\"crispEdges\">\n<title>{}</title>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#{:06x}\"/>\n{}</svg>\n",
      canvas.columns() * m.x, canvas.rows() * m.y, canvas.columns(), canvas.rows(), escaped(title),
      kColours[kNone], paths_of(canvas));
}

}  // namespace bolide::cli
