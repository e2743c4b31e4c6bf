// The keys of a case: name, allowed values, meaning, how to set and how to print. docs/cases.md repeats this
// table.
#include <fmt/core.h>

#include <cmath>
#include <cstdlib>

#include "testing/case.hpp"

namespace bolide::testing {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31;

// ---- spreads: "5", "5,0,17", "0..17"

bool set_spread(Spread& s, std::string_view text, std::int64_t low) {
  Spread read;
  const auto add = [&](std::string_view part) {
    std::int64_t n;
    if (!parse_integer(part, n) || n < low || n > kMost) return false;
    read.values.push_back(n);
    return true;
  };
  if (const std::size_t dots = text.find(".."); dots != std::string_view::npos) {
    read.range = true;
    if (!add(text.substr(0, dots)) || !add(text.substr(dots + 2)) || read.values[1] < read.values[0])
      return false;
  } else {
    for (std::size_t begin = 0;;) {
      const std::size_t comma = text.find(',', begin);
      if (!add(text.substr(begin, comma - begin))) return false;
      if (comma == std::string_view::npos) break;
      begin = comma + 1;
    }
  }
  s = read;
  return true;
}

std::string text_of(const Spread& s) {
  if (s.range) return fmt::format("{}..{}", s.values[0], s.values[1]);
  std::string out;
  for (const std::int64_t v : s.values) out += fmt::format("{}{}", out.empty() ? "" : ",", v);
  return out;
}

Key spread_key(const char* name, Spread Case::*field, const char* meaning, std::int64_t low = 0) {
  return {name, "a number, a list 5,0,17 or a range 0..17", meaning,
          [=](Case& c, std::string_view v) { return set_spread(c.*field, v, low); },
          [=](const Case& c) { return text_of(c.*field); }};
}

// ---- whole numbers

Key number_key(const char* name, std::int64_t Case::*field, std::int64_t low, std::int64_t high,
               std::function<std::int64_t(const Case&)> fallback, const char* meaning) {
  return {name, fmt::format("{}..{}", low, high), meaning,
          [=](Case& c, std::string_view v) {
            std::int64_t n;
            if (!parse_integer(v, n) || n < low || n > high) return false;
            c.*field = n;
            return true;
          },
          [=](const Case& c) { return c.*field == fallback(c) ? "" : std::to_string(c.*field); }};
}

// ---- names, in the order of the enumeration

template <class E>
Key choice_key(const char* name, E Case::*field, std::vector<std::string> names, const char* meaning) {
  std::string values;
  for (const std::string& n : names) values += (values.empty() ? "" : ", ") + n;
  return {name, values, meaning,
          [=](Case& c, std::string_view v) {
            for (std::size_t i = 0; i < names.size(); ++i)
              if (names[i] == v) return c.*field = static_cast<E>(i), true;
            return false;
          },
          [=](const Case& c) {
            return c.*field == Case{}.*field ? "" : names.at(static_cast<std::size_t>(c.*field));
          }};
}

// ---- layouts, whose default depends on the operation

bool varlen(const Case& c) {
  return c.operation == Operation::varlen_fwd || c.operation == Operation::varlen_bwd;
}

Key query_layout_key() {
  return {"q", "dense, packed", "layout of the queries; varlen operations: packed",
          [](Case& c, std::string_view v) {
            if (v != "dense" && v != "packed") return false;
            c.queries = v == "dense" ? Rows::dense : Rows::packed;
            return true;
          },
          [](const Case& c) -> std::string {
            if (varlen(c) == (c.queries == Rows::packed)) return "";
            return c.queries == Rows::packed ? "packed" : "dense";
          }};
}

Key key_layout_key() {
  return {"kv", "dense, packed, paged:N, pagelist:N with N rows a page",
          "layout of the keys: a tensor, packed sequences, a page table, or page lists; varlen operations: "
          "packed",
          [](Case& c, std::string_view v) {
            const std::size_t colon = v.find(':');
            const std::string_view name = v.substr(0, colon);
            if (name == "dense" || name == "packed") {
              c.keys = name == "dense" ? Keys::dense : Keys::packed;
              return colon == std::string_view::npos;
            }
            if (name != "paged" && name != "pagelist") return false;
            c.keys = name == "paged" ? Keys::paged : Keys::pagelist;
            return colon != std::string_view::npos && parse_integer(v.substr(colon + 1), c.page_rows) &&
                   c.page_rows >= 1 && c.page_rows <= 65536;
          },
          [](const Case& c) -> std::string {
            if (c.keys == Keys::paged) return fmt::format("paged:{}", c.page_rows);
            if (c.keys == Keys::pagelist) return fmt::format("pagelist:{}", c.page_rows);
            if (varlen(c) == (c.keys == Keys::packed)) return "";
            return c.keys == Keys::packed ? "packed" : "dense";
          }};
}

// ---- positions: "bottom_right", "top_left", "5", "per:0..9"

Key position_key(const char* name, Position Case::*field, bool named, const char* meaning) {
  return {name,
          fmt::format("{}an integer, per:SPREAD with one for each sequence",
                      named ? "bottom_right, top_left, " : ""),
          meaning,
          [=](Case& c, std::string_view v) {
            Position p{Position::number, {}};
            std::int64_t n;
            if (named && v == "bottom_right") p.kind = Position::bottom_right;
            else if (named && v == "top_left") p.kind = Position::top_left;
            else if (parse_integer(v, n) && std::abs(n) <= kMost) p.value = n;
            else if (v.starts_with("per:") && set_spread(p.value, v.substr(4), -kMost))
              p.kind = Position::per_sequence;
            else return false;
            c.*field = p;
            return true;
          },
          [=](const Case& c) -> std::string {
            const Position& p = c.*field;
            if (p == Case{}.*field) return "";
            if (p.kind == Position::bottom_right) return "bottom_right";
            if (p.kind == Position::top_left) return "top_left";
            return (p.kind == Position::per_sequence ? "per:" : "") + text_of(p.value);
          }};
}

Key scale_key() {
  return {"scale", "a finite number", "factor of q.k before the score program; default 1 / sqrt(d)",
          [](Case& c, std::string_view v) {
            const std::string text(v);
            char* end = nullptr;
            const float x = std::strtof(text.c_str(), &end);
            if (text.empty() || *end || !std::isfinite(x)) return false;
            c.scale = text;
            return true;
          },
          [](const Case& c) { return c.scale; }};
}

Key program_key(const char* name, std::string Case::*field, const char* meaning) {
  return {name, "an expression in quotes", meaning,
          [=](Case& c, std::string_view v) { return c.*field = std::string(v), !v.empty(); },
          [=](const Case& c) { return c.*field; }};
}

Key seed_key() {
  return {"seed", "0..2^63-1", "from which every random number of the case comes",
          [](Case& c, std::string_view v) {
            std::int64_t n;
            if (!parse_integer(v, n) || n < 0) return false;
            c.seed = static_cast<std::uint64_t>(n);
            return true;
          },
          [](const Case& c) { return c.seed ? std::to_string(c.seed) : ""; }};
}

Key captured_gradients_key() {
  return {"dcaptured", "names of lets, separated by commas",
          "captured tensors whose gradients are asked for; their type: captured's, or with grad=f32 that",
          [](Case& c, std::string_view v) {
            for (std::size_t begin = 0;;) {
              const std::size_t comma = v.find(',', begin);
              c.dcaptured.emplace_back(v.substr(begin, comma - begin));
              if (c.dcaptured.back().empty()) return false;
              if (comma == std::string_view::npos) return true;
              begin = comma + 1;
            }
          },
          [](const Case& c) {
            std::string out;
            for (const std::string& name : c.dcaptured) out += (out.empty() ? "" : ",") + name;
            return out;
          }};
}

Key let_key() {
  return {"let", "name=generator",
          "names a captured tensor or a number for mask and score; any number of them",
          [](Case&, std::string_view) { return false; }, [](const Case&) { return std::string(); }};
}

std::vector<Key> make_keys() {
  const auto fixed = [](std::int64_t n) { return [n](const Case&) { return n; }; };
  Key skv = spread_key("skv", &Case::rows_kv, "rows of keys of a sequence; default sq");
  skv.get = [](const Case& c) { return c.rows_kv == c.rows_q ? "" : text_of(c.rows_kv); };
  return {
      let_key(),
      number_key("b", &Case::batch, 0, 65536, fixed(1), "sequences"),
      number_key("hq", &Case::heads_q, 0, 4096, fixed(1), "query heads"),
      number_key(
          "hkv", &Case::heads_kv, 0, 4096, [](const Case& c) { return c.heads_q; }, "key heads; default hq"),
      spread_key("sq", &Case::rows_q, "rows of queries of a sequence; they differ only with q=packed"),
      skv,
      number_key("d", &Case::head_dim, 1, 65536, fixed(64), "head dimension of q and k"),
      number_key(
          "dv", &Case::head_dim_v, 1, 65536, [](const Case& c) { return c.head_dim; },
          "head dimension of v; default d"),
      query_layout_key(),
      key_layout_key(),
      choice_key("pages", &Case::pages, {"shuffled", "ordered", "shared"},
                 "where pages lie; shared: some serve several sequences"),
      spread_key("seqused_q", &Case::seqused_q, "used rows of queries; a number or range is cut to the rows"),
      spread_key("seqused_kv", &Case::seqused_kv,
                 "used rows of keys, leftpad included; a number or range is cut to the rows"),
      spread_key("leftpad", &Case::leftpad,
                 "first rows of keys that are skipped; a number or range is cut to the used rows"),
      position_key("start", &Case::query_start, true,
                   "position of the first query (contract C3); default bottom_right"),
      position_key("key_start", &Case::key_start, false, "position of the first key; default 0"),
      scale_key(),
      program_key("mask", &Case::mask, "which keys are visible; default all"),
      program_key("score", &Case::score, "what becomes of scale * q.k; default itself"),
      choice_key("out", &Case::out_f32, {"same", "f32"}, "type of out: q's or f32"),
      choice_key("lse", &Case::lse, {"no", "yes"}, "whether lse is asked for; default yes"),
      choice_key("dlse", &Case::dlse, {"no", "yes"}, "whether a gradient arrives at lse"),
      choice_key("dout", &Case::dout_f32, {"same", "f32"}, "type of dout: q's or f32"),
      choice_key("grad", &Case::grad_f32, {"same", "f32"}, "type of dq, dk, dv: q's or f32"),
      captured_gradients_key(),
      choice_key("cu", &Case::cu_i64, {"i32", "i64"}, "type of cu_seqlens"),
      choice_key("max_seqlen", &Case::max_seqlen, {"absent", "given"},
                 "whether packed rows state their longest length"),
      number_key("tail", &Case::tail, 0, 65536, fixed(0), "packed rows after the last sequence's"),
      choice_key("layout", &Case::layout, {"bshd", "bhsd", "mixed"},
                 "order in memory of batch, row, head; mixed: a different one for each tensor"),
      choice_key("strides", &Case::strides, {"none", "gaps", "odd", "expand", "reverse"},
                 "none: no gaps; gaps: between heads and rows, of 8 elements or more; odd: of odd sizes; "
                 "expand: inputs with "
                 "stride 0; reverse: inputs with negative strides"),
      number_key("offset", &Case::offset, 0, 4096, fixed(0),
                 "elements between a 256-byte boundary and each tensor's first element"),
      choice_key("data", &Case::data,
                 {"normal", "uniform", "outliers", "large", "tiny", "ties", "zeroq", "nan"},
                 "normal; uniform in 0..1; 2% twenty times larger; q and k eight times larger; 2^-18 times "
                 "smaller; all keys equal "
                 "and v positive; q zero; some elements NaN"),
      seed_key(),
  };
}

}  // namespace

const std::vector<Key>& keys() {
  static const std::vector<Key> table = make_keys();
  return table;
}

}  // namespace bolide::testing
