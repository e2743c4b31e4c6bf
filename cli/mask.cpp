// `bolide mask`: a map of what a mask shows, tile by tile, with counts of tiles, pairs and work.
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <bolide/tiles.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>

#include "cli/bindings.hpp"
#include "cli/commands.hpp"
#include "cli/exit_codes.hpp"
#include "cli/json_text.hpp"
#include "cli/progress.hpp"
#include "cli/tile_canvas.hpp"
#include "files/output_file.hpp"

namespace bolide::cli {
namespace {

constexpr const char* kExamples = R"help(
Each tile of (query, key) pairs is none (nothing visible: never loaded), all (everything visible: computed
without masking) or some (masked pair by pair). The map is as wide as the terminal; a cell that holds several
tiles is none or all only if all of them are. A picture shows the pairs of `some` tiles too.

Examples:
  bolide mask "kv <= q && q - kv < 1024" --sq 8192 --skv 8192
  bolide mask "kv <= q && doc[q] == doc[kv]" --tensor doc=doc.npy --sq 4096 --skv 4096 --picture doc.png
  bolide mask "kv <= q" --sq 1 --skv 4097 --tile 1x64 --json)help";

struct MaskCommand {
  std::string text, tile = "64x64", query_start = "bottom_right", picture;
  std::vector<std::string> files, tensors, numbers;
  std::int64_t len_q = 0, len_kv = 0, key_start = 0;
  std::optional<std::int64_t> b, h;
  bool no_bisect = false, json = false;
};

// "64x128", or "64" for "64x64".
void parse_tile(const std::string& text, TileQuestion& t) {
  const std::size_t x = text.find('x');
  const auto tile_q = parse_whole<std::int64_t>(text.substr(0, x));
  const auto tile_kv = x == text.npos ? tile_q : parse_whole<std::int64_t>(text.substr(x + 1));
  if (!tile_q || !tile_kv || *tile_q < 1 || *tile_kv < 1)
    throw Error(Code::invalid_argument,
                fmt::format("--tile {} is not ROWSxKEYS, two numbers of at least 1", files::printable(text)));
  t.tile_q = *tile_q, t.tile_kv = *tile_kv;
}

void parse_query_start(const std::string& text, TileQuestion& t) {
  if (text == "bottom_right") return;
  t.query_start = text == "top_left" ? std::int64_t{0} : parse_whole<std::int64_t>(text);
  if (!t.query_start)
    throw Error(
        Code::invalid_argument,
        fmt::format("--query-start {} is not bottom_right, top_left or an integer", files::printable(text)));
}

void check_rows(const char* option, std::int64_t rows) {
  constexpr std::int64_t kMost = INT32_MAX;
  if (rows < 0 || rows > kMost)
    throw Error(Code::invalid_argument, fmt::format("{} {} is not 0 to {}", option, rows, kMost));
}

TileQuestion question_of(const MaskCommand& o, const Mask& mask) {
  check_rows("--sq", o.len_q);
  check_rows("--skv", o.len_kv);
  TileQuestion t;
  t.len_q = o.len_q, t.len_kv = o.len_kv, t.key_start = o.key_start, t.bisect = !o.no_bisect;
  parse_tile(o.tile, t);
  parse_query_start(o.query_start, t);
  if (o.b && !depends_on(mask, leaf::b))
    throw Error(Code::invalid_argument, "--batch means nothing here: the mask does not mention b");
  if (o.h && !depends_on(mask, leaf::h))
    throw Error(Code::invalid_argument, "--head means nothing here: the mask does not mention h");
  t.b = o.b.value_or(0), t.h = o.h.value_or(0);
  return t;
}

struct Picture {
  std::string path;
  bool png = false;
};
Picture picture_of(const std::string& path, const Inputs& inputs) {
  if (path.empty()) return {};
  const bool png = path.ends_with(".png");
  if (!png && !path.ends_with(".svg"))
    throw Error(Code::invalid_argument,
                fmt::format("--picture {}: the name ends in neither .png nor .svg", files::printable(path)));
  std::error_code none;
  for (const std::string& input : inputs.paths())
    if (std::filesystem::equivalent(input, path, none))
      throw Error(Code::invalid_argument,
                  fmt::format("--picture {}: the file is also an input", files::printable(path)));
  return {path, png};
}

bool shows_colours() {
  const char* refusal = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) && !(refusal && *refusal) && !(terminal && std::string(terminal) == "dumb");
}

std::int64_t terminal_columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// Cells of whole tiles, as many tiles a side as the terminal's width asks for, at most kMostCells cells.
TileCanvas terminal_canvas(const TileQuestion& t) {
  constexpr std::int64_t kMostCells = 64;
  const std::int64_t cells = std::clamp<std::int64_t>((terminal_columns() - 1) / 2, 1, kMostCells);
  const std::int64_t across = (t.len_kv + t.tile_kv - 1) / t.tile_kv,
                     down = (t.len_q + t.tile_q - 1) / t.tile_q;
  const std::int64_t tiles = std::max<std::int64_t>((std::max(across, down) + cells - 1) / cells, 1);
  return TileCanvas(t.len_q, t.len_kv, tiles * t.tile_q, tiles * t.tile_kv);
}

// Pixels of as many pairs as keep the longer side within kMostPixels.
TileCanvas picture_canvas(const TileQuestion& t) {
  constexpr std::int64_t kMostPixels = 1024;
  const std::int64_t pairs =
      std::max<std::int64_t>((std::max(t.len_q, t.len_kv) + kMostPixels - 1) / kMostPixels, 1);
  return TileCanvas(t.len_q, t.len_kv, pairs, pairs);
}

struct Map {
  TileCounts counts;
  TileCanvas cells, pixels;
};

Map classify(const Mask& mask, const TileQuestion& t, bool draw) {
  Map map{{}, terminal_canvas(t), draw ? picture_canvas(t) : TileCanvas(0, 0, 1, 1)};
  std::atomic<double> done = 0;
  const double pairs = static_cast<double>(t.len_q) * static_cast<double>(t.len_kv);
  TileVisitor visitor;
  visitor.area = [&](const TileArea& area) {
    map.cells.add(area);
    if (draw) map.pixels.add(area);
    done = done + static_cast<double>(area.q_end - area.q_begin) *
                      static_cast<double>(area.kv_end - area.kv_begin) / pairs;
  };
  if (draw)
    visitor.row = [&](std::int64_t q, std::int64_t kv_begin, std::span<const std::uint8_t> visible) {
      map.pixels.add_row(q, kv_begin, visible);
    };
  const Progress progress("mask", [&] { return done.load(); });
  map.counts = classify_tiles(mask, t, visitor);
  return map;
}

void write_picture(const Picture& picture, const TileCanvas& pixels, const Mask& mask) {
  files::OutputFile file(picture.path);
  file.write(picture.png ? png_of(pixels) : svg_of(pixels, mask.text()));
  file.commit();
}

double share(std::int64_t part, double whole) { return whole > 0 ? static_cast<double>(part) / whole : 0; }

struct Report {
  const MaskCommand& o;
  const Mask& mask;
  const TileQuestion& t;
  const Map& map;

  double tiles() const { return static_cast<double>(map.counts.none + map.counts.some + map.counts.all); }
  double pairs() const { return static_cast<double>(t.len_q) * static_cast<double>(t.len_kv); }
  std::int64_t query_start() const { return t.query_start.value_or(t.key_start + t.len_kv - t.len_q); }
};

void print_json(const Report& r) {
  using Json = nlohmann::ordered_json;
  const TileCounts& c = r.map.counts;
  const Json object = {{"command", "mask"},
                       {"mask", r.mask.text()},
                       {"sq", r.t.len_q},
                       {"skv", r.t.len_kv},
                       {"tile", {r.t.tile_q, r.t.tile_kv}},
                       {"query_start", r.query_start()},
                       {"key_start", r.t.key_start},
                       {"b", depends_on(r.mask, leaf::b) ? Json(r.t.b) : Json(nullptr)},
                       {"h", depends_on(r.mask, leaf::h) ? Json(r.t.h) : Json(nullptr)},
                       {"bisect", r.t.bisect},
                       {"tiles_none", c.none},
                       {"tiles_some", c.some},
                       {"tiles_all", c.all},
                       {"skipped_share", share(c.none, r.tiles())},
                       {"visible_pairs", c.visible_pairs},
                       {"visible_share", share(c.visible_pairs, r.pairs())},
                       {"interval_evaluations", c.interval_evaluations},
                       {"point_evaluations", c.point_evaluations},
                       {"classify_seconds", c.classify_seconds},
                       {"count_seconds", c.count_seconds},
                       {"picture", r.o.picture.empty() ? Json(nullptr) : Json(r.o.picture)}};
  fmt::print("{}", json_line(object));
}

std::string time_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.1f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.2f} ms", seconds * 1e3);
  return fmt::format("{:.2f} s", seconds);
}

void print_text(const Report& r) {
  const TileCounts& c = r.map.counts;
  const TileCanvas& cells = r.map.cells;
  const bool colours = shows_colours();
  std::string where;
  if (depends_on(r.mask, leaf::b)) where += fmt::format(", b {}", r.t.b);
  if (depends_on(r.mask, leaf::h)) where += fmt::format(", h {}", r.t.h);
  fmt::print("mask      {}{}\n", r.mask.text(), where);
  fmt::print("queries   {}, positions {} to {}, downwards\n", r.t.len_q, r.query_start(),
             r.query_start() + r.t.len_q - 1);
  fmt::print("keys      {}, positions {} to {}, to the right\n", r.t.len_kv, r.t.key_start,
             r.t.key_start + r.t.len_kv - 1);
  const std::int64_t tiles = cells.cell_kv() / r.t.tile_kv;
  fmt::print("tiles     {} x {}", r.t.tile_q, r.t.tile_kv);
  fmt::print("{}\n{}", tiles > 1 ? fmt::format("; a cell of the map is {} x {} tiles", tiles, tiles) : "",
             map_text(cells, colours));
  const auto line = [&](const char* name, Visibility v, std::int64_t count, const char* meaning) {
    fmt::print("{}  {:<5} {:>12} {} {:5.1f} %, {}\n", tile_mark(v, colours), name, count,
               count == 1 ? "tile, " : "tiles,", 100 * share(count, r.tiles()), meaning);
  };
  line("none", Visibility::none, c.none, "skipped");
  line("some", Visibility::some, c.some,
       r.t.bisect ? "masked pair by pair" : "or not decided: masked pair by pair");
  line("all", Visibility::all, c.all, "computed without masking");
  fmt::print("visible   {} of {:.0f} pairs, {:.1f} %\n", c.visible_pairs, r.pairs(),
             100 * share(c.visible_pairs, r.pairs()));
  fmt::print("time      {} to classify; {} interval and {} point evaluations\n",
             time_text(c.classify_seconds), c.interval_evaluations, c.point_evaluations);
  if (!r.o.picture.empty()) fmt::print("wrote {}\n", files::printable(r.o.picture));
}

int mask(const MaskCommand& o) {
  Inputs inputs;
  for (const std::string& path : o.files) inputs.open(path);
  const Bindings bindings = read_bindings(inputs, o.tensors, o.numbers, {{"the mask", o.text}});
  const Mask mask = parse_named("mask", [&] { return Mask::parse(o.text, bindings); });
  const TileQuestion question = question_of(o, mask);
  const Picture picture = picture_of(o.picture, inputs);
  if (!picture.path.empty() && (o.len_q == 0 || o.len_kv == 0))
    throw Error(
        Code::invalid_argument,
        fmt::format("--picture: there is nothing to draw of {} queries and {} keys", o.len_q, o.len_kv));
  const Map map = classify(mask, question, !picture.path.empty());
  if (!picture.path.empty()) write_picture(picture, map.pixels, mask);
  (o.json ? print_json : print_text)({o, mask, question, map});
  return kDone;
}

void add_program_options(CLI::App& command, MaskCommand& o) {
  command
      .add_option("mask", o.text,
                  "Visible where true: a text over b, h, q, kv, len_q, len_kv (docs/expressions.md)")
      ->type_name("TEXT")
      ->required();
  command.add_option("files", o.files, ".safetensors or .npy files that --tensor may name tensors of")
      ->type_name("FILE");
  command
      .add_option(
          "--tensor", o.tensors,
          "Gives the text a tensor, as doc[q]: a NAME of the files, FILE.npy or FILE.safetensors:NAME; "
          "NAME alone is NAME=NAME. Repeatable")
      ->type_name("NAME=TENSOR")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_option("--number", o.numbers, "Gives the text a number. Repeatable")
      ->type_name("NAME=NUMBER")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

}  // namespace

void add_mask(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("mask", "Shows which tiles a mask skips, masks and leaves whole");
  const auto o = std::make_shared<MaskCommand>();
  add_program_options(*command, *o);
  command->add_option("--sq", o->len_q, "Queries")->type_name("N")->required();
  command->add_option("--skv", o->len_kv, "Keys")->type_name("N")->required();
  command->add_option("--tile", o->tile, "Queries and keys of a tile")
      ->type_name("ROWSxKEYS")
      ->capture_default_str();
  command
      ->add_option(
          "--query-start", o->query_start,
          "Position of the first query: bottom_right (the last query stands at the last key), top_left "
          "(0), or an integer")
      ->type_name("START")
      ->capture_default_str();
  command->add_option("--key-start", o->key_start, "Position of the first key")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("-b,--batch", o->b, "Batch entry, for a mask that mentions b (default: 0)")
      ->type_name("N");
  command->add_option("--head", o->h, "Query head, for a mask that mentions h (default: 0)")->type_name("N");
  command->add_flag("--no-bisect", o->no_bisect,
                    "One interval evaluation a tile: quicker, and `some` also where it cannot tell");
  command->add_option("--picture", o->picture, "Draws the map into this .png or .svg file")
      ->type_name("FILE");
  command->add_flag("--json", o->json, "One JSON object on stdout (fields: docs/command.md)");
  command->footer(kExamples);
  command->callback([o, &action] { action = [o] { return mask(*o); }; });
}

}  // namespace bolide::cli
