// The properties of texts, on small tables.
#include "tests/fuzz/program_properties.hpp"

#include <bolide/error.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "program/classify.hpp"
#include "program/derive.hpp"
#include "program/emit.hpp"
#include "program/facts.hpp"

namespace bolide::testing {

namespace {

constexpr std::int64_t kRows = 23;

struct Tables {
  std::array<std::int32_t, kRows> doc;
  std::array<float, 4 * kRows> bias;
  std::array<std::uint8_t, kRows> flag;
  float scalar = 0.75f;
  Bindings bindings;
  Tables() {
    for (int i = 0; i < kRows; ++i) doc[i] = i / 5, flag[i] = i % 3 == 0;
    for (int i = 0; i < 4 * kRows; ++i) bias[i] = 0.25f * static_cast<float>(i % 9 - 4);
    bindings = {{"doc", Tensor(doc.data(), {kRows})},
                {"bias", Tensor(bias.data(), DType::f32, {4, kRows}, {1, 4})},
                {"flag", Tensor(flag.data(), DType::boolean, {kRows})},
                {"scalar", Tensor(&scalar, DType::f32, {})},
                {"n", std::int64_t{7}}};
  }
};

std::string print_and_parse(const Expr& e, const Bindings& bindings) {
  const std::string text = e.to_text();
  if (text.size() > static_cast<std::size_t>(kMaxTextBytes)) return "";
  const bool is_mask = e.type() == Type::boolean;
  try {
    const Expr back = is_mask ? Mask::parse(text, bindings).expr() : Score::parse(text, bindings).expr();
    if (!back.same(e)) return "parses back to another program: " + text;
    if (back.to_text() != text) return "prints differently the second time: " + text;
  } catch (const Error& error) {
    // Parentheses that the writer did not need may nest deeper than a text may.
    if (std::string_view(error.what()).find("nested deeper") == std::string_view::npos) return error.what();
  }
  return "";
}

std::string classes_hold(const Mask& mask) {
  const program::Classifier classifier(mask);
  program::ClassifierCounts counts;
  for (const auto& [q, kv, rows, keys] :
       {std::array<std::int64_t, 4>{0, 0, 5, 6}, {3, 11, 4, 3}, {-2, 20, 6, 5}}) {
    const program::TileBox box{1, 2, q, q + rows, kv, kv + keys, kRows, kRows};
    std::int64_t visible = 0;
    for (std::int64_t y = q; y < q + rows; ++y)
      for (std::int64_t x = kv; x < kv + keys; ++x)
        visible += program::eval_mask_point(mask.expr(), {1, 2, y, kRows, kRows}, x);
    const TileClass truth = visible == 0             ? TileClass::none
                            : visible == rows * keys ? TileClass::all
                                                     : TileClass::some;
    const TileClass plain = classifier.plain(box, counts);
    if (plain != TileClass::some && plain != truth) return "an unsound class: " + mask.text();
    if (classifier.exact(box, counts, 4) != truth) return "an inexact class: " + mask.text();
  }
  return "";
}

std::string derivatives_hold(const Score& score) {
  program::derivatives_by_tables(score.expr());
  const program::Row row{.b = 1, .h = 2, .q = 9, .len_q = kRows, .len_kv = kRows};
  const program::Evaluator evaluator(score.expr());
  std::vector<std::byte> memory(evaluator.scratch_bytes() + 64);
  void* scratch = memory.data();
  std::size_t space = memory.size();
  std::align(64, 1, scratch, space);
  std::array<double, 5> values{0.5, -1, 0, 2, 0.25}, slopes{};
  evaluator.score(row, 4, 5, values.data(), slopes.data(), scratch);
  const double first = program::eval_score_point(score.expr(), row, 4, 0.5);
  if (first != values[0] && !(std::isnan(first) && std::isnan(values[0])))
    return "the tape and the point evaluator differ: " + score.text();
  // The slope by itself; by the tape, for as a tree a derivative can be 2^60 operators large.
  const program::Evaluator slope(program::derivative_by_score(score.expr()));
  std::vector<std::byte> slope_memory(slope.scratch_bytes() + 64);
  scratch = slope_memory.data(), space = slope_memory.size();
  std::align(64, 1, scratch, space);
  std::array<double, 5> alone{0.5, -1, 0, 2, 0.25};
  slope.score(row, 4, 5, alone.data(), nullptr, scratch);
  for (int i = 0; i < 5; ++i)
    if (alone[i] != slopes[i] && !(std::isnan(alone[i]) && std::isnan(slopes[i])))
      return "the derivative beside the value and by itself differ: " + score.text();
  return "";
}

std::string emitted_holds(const Mask& mask, const Score& score) {
  const std::string text = program::emit(mask, score).text;
  for (const char* name : {"doc", "bias", "flag", "scalar"})
    if (text.find(name) != std::string::npos) return std::string("a name reaches the compiler: ") + name;
  return "";
}

// What the parser makes of the text, if it is a program.
template <class Program>
Program parsed(std::string_view text, const Bindings& bindings) {
  try {
    return Program::parse(text, bindings);
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

PropertyCounts& property_counts() {
  static PropertyCounts counts;
  return counts;
}

std::string broken_property(std::string_view text) {
  static const Tables tables;
  std::string broken;
  if (const Mask mask = parsed<Mask>(text, tables.bindings)) {
    ++property_counts().masks;
    broken = print_and_parse(mask.expr(), tables.bindings);
    if (broken.empty()) broken = classes_hold(mask);
    if (broken.empty()) broken = emitted_holds(mask, {});
  }
  if (const Score score = parsed<Score>(text, tables.bindings); score && broken.empty()) {
    ++property_counts().scores;
    broken = print_and_parse(score.expr(), tables.bindings);
    if (broken.empty()) broken = derivatives_hold(score);
    if (broken.empty()) broken = emitted_holds({}, score);
    const auto [mask, rest] = program::normalised({}, score);
    if (mask && broken.empty()) broken = classes_hold(mask);
  }
  return broken;
}

}  // namespace bolide::testing
