// The CUDA text, compiled by the host compiler: the same values as the evaluators, and tile classes that
// hold.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <bolide/masks.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "device/program.cuh"
#include "program/classify.hpp"
#include "program/emit.hpp"
#include "program/point.hpp"
#include "tests/program/catalogue.hpp"
#include "tests/program/kernels_classifier.hpp"
#include "tests/program/random_program.hpp"

namespace bolide {
namespace {

using program::Emitted;

// Many emitted programs compiled into one shared object; entry i calls program i.
class Compiled {
 public:
  using MaskFunction = bool (*)(const void*, const Point&);
  using ScoreFunction = float (*)(const void*, float, const Point&);
  using ScoreFromFunction = float (*)(const void*, float, const Point& first, int offset);
  using ClassFunction = TileClass (*)(const void*, const Tile&);

  explicit Compiled(const std::vector<Emitted>& programs) {
    folder_ = std::filesystem::temp_directory_path() / ("bolide-emit-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    const std::string source = folder_ / "programs.cpp", object = folder_ / "programs.so";
    std::ofstream file(source);
    file << "#include \"program.cuh\"\n";
    for (std::size_t i = 0; i < programs.size(); ++i) {
      const std::string& text = programs[i].text;
      const std::string n = std::to_string(i);
      file << "namespace p" << n << " {\n"
           << text.substr(text.find('\n') + 1) << "extern \"C\" bool mask" << n
           << "(const Program::Params& p, const bolide::Point& at) { return Program::mask(p, at); }\n"
           << "extern \"C\" float score" << n
           << "(const Program::Params& p, float s, const bolide::Point& at) { return Program::score(p, s, "
              "at); }\n"
           << "extern \"C\" float score_from" << n
           << "(const Program::Params& p, float s, const bolide::Point& first, int offset) {\n"
              "  bolide::Point at = first; at.kv += offset;\n"
              "  return Program::score(p, s, Program::score_row(p, first), Program::score_column(p, at), at, "
              "static_cast<float>(offset)); }\n"
           << "extern \"C\" float in_short" << n
           << "(const Program::Params& p, float s, const bolide::Point& first, int offset) {\n"
              "  bolide::Point at = first; at.kv += offset;\n"
              "  const bolide::Along along = Program::along(p, first);\n"
              "  if (Program::kForm == bolide::ScoreForm::along)\n"
              "    return s + along.rest + along.factor * (along.distance + static_cast<float>(offset));\n"
              "  return Program::core(p, s * Program::before(p), Program::score_row(p, first), "
              "Program::score_column(p, at), at, static_cast<float>(offset)) * Program::after(p); }\n"
           << "extern \"C\" bolide::TileClass classify" << n
           << "(const Program::Params& p, const bolide::Tile& t) { return Program::classify(p, t); }\n"
           << "extern \"C\" unsigned long size" << n << "() { return sizeof(Program::Params); }\n}\n";
    }
    file.close();
    const std::string command =
        std::string(BOLIDE_TEST_COMPILER) +
        " -std=c++20 -O0 -ffp-contract=off -fPIC -shared -Wall -Wno-parentheses -Werror -I'" +
        BOLIDE_TEST_ROOT "/device' '" + source + "' -o '" + object + "' 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string output;
    char buffer[512];
    while (std::fgets(buffer, sizeof(buffer), pipe)) output += buffer;
    if (::pclose(pipe) != 0) throw std::runtime_error(output.substr(0, 4000));
    handle_ = ::dlopen(object.c_str(), RTLD_NOW);
    if (!handle_) throw std::runtime_error(::dlerror());
  }
  ~Compiled() {
    if (handle_) ::dlclose(handle_);
    std::filesystem::remove_all(folder_);
  }
  template <class Function>
  Function get(const char* name, std::size_t i) const {
    return reinterpret_cast<Function>(::dlsym(handle_, (name + std::to_string(i)).c_str()));
  }

 private:
  std::filesystem::path folder_;
  void* handle_ = nullptr;
};

// The extremes of a table, as fwd_prepare writes them.
template <class Stored, class T>
std::vector<std::byte> extremes(const TensorArg& t, const program::RangedTable& table, int rank,
                                std::size_t bytes) {
  std::vector<std::byte> room(bytes);
  auto* entry = reinterpret_cast<Extremes<T>*>(room.data());
  const RangeLayout layout = range_layout(t, table.row_axis, table.column_axis);
  const i64 row_stride = table.row_axis < 0 ? 0 : t.strides[table.row_axis],
            column_stride = t.strides[table.column_axis];
  const i64 matrices = static_cast<i64>(bytes / sizeof(Extremes<T>)) / std::max<i64>(layout.entries(), 1);
  for (i64 matrix = 0; matrix < matrices; ++matrix) {
    i64 offset = 0, rest = matrix;
    for (int axis = rank - 1; axis >= 0; --axis) {
      if (axis == table.row_axis || axis == table.column_axis) continue;
      offset += rest % t.sizes[axis] * t.strides[axis];
      rest /= t.sizes[axis];
    }
    for (int row = 0; row < layout.rows; row += RangeLayout::kRows)
      for (const int size : {RangeLayout::kFine, RangeLayout::kCoarse})
        for (int column = 0; column < layout.columns; column += size)
          *entry++ = extremes_of<Stored, T>(
              static_cast<const Stored*>(t.data) + offset + row * row_stride + column * column_stride,
              row_stride, column_stride, std::min(RangeLayout::kRows, layout.rows - row),
              std::min(size, layout.columns - column), 0, 1);
  }
  return room;
}
std::vector<std::byte> extremes(const Tensor& tensor, const program::RangedTable& table) {
  const auto make = [&]<class Stored, class T>(Stored, T) {
    return extremes<Stored, T>(program::tensor_arg(tensor), table, tensor.rank(),
                               program::range_bytes(tensor, table));
  };
  switch (tensor.dtype) {
    case DType::f64: return make(double(), float());
    case DType::f32: return make(float(), float());
    case DType::f16: return make(F16(), float());
    case DType::bf16: return make(Bf16(), float());
    case DType::i64: return make(i64(), i64());
    case DType::i32: return make(int(), int());
    case DType::i16: return make(short(), int());
    case DType::i8: return make(static_cast<signed char>(0), int());
    case DType::u32: return make(u32(), i64());
    case DType::u8: return make(u8(), int());
    case DType::boolean: return make(Bool8(), bool());
    default: throw std::logic_error("no program captures this type");
  }
}

// Params of a program, with ranges.
struct Params {
  std::vector<std::vector<std::byte>> ranges;
  std::vector<std::byte> bytes;
  explicit Params(const Emitted& e) {
    std::vector<const void*> pointers;
    for (const program::RangedTable& table : e.ranges) {
      ranges.push_back(extremes(e.tensors[table.tensor], table));
      pointers.push_back(ranges.back().data());
    }
    bytes = program::pack_params(e, pointers);
  }
  const std::byte* data() const { return bytes.data(); }
};

bool same_number(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

TEST(Emit, RandomProgramsComputeWhatTheEvaluatorsCompute) {
  std::mt19937_64 random(5);
  const testing::RandomTables tables(random);
  testing::RandomProgram programs(random, tables.captured());
  std::vector<Mask> masks;
  std::vector<Score> scores;
  std::vector<Emitted> emitted;
  // What once went wrong: sums of narrow tables taken for any 32-bit number, and NaN taken for a bound.
  for (const char* text : {"tag[kv] + tag[kv] >= tag[q]", "min(tag[q], b % kv & b % kv) <= tag[kv] + tag[kv]",
                           "bool(sqr(max(nan, empty[q] / 0.5403)))", "max(nan / (h + 1), float(kv)) >= 0"}) {
    masks.push_back(
        Mask::parse(text, {{"tag", tables.captured()[4].tensor}, {"empty", tables.captured()[12].tensor}}));
    scores.emplace_back();
    emitted.push_back(program::emit(masks.back(), scores.back()));
  }
  for (const char* text : {"score - 0.3 * abs(q - kv)", "score + 1e-3 * (kv - q)", "score + (kv - (q + 5))",
                           "score * (3 - kv) + float(kv)", "score - abs(b - (kv + h) + 7)"}) {
    masks.emplace_back();
    scores.push_back(Score::parse(text));
    emitted.push_back(program::emit(masks.back(), scores.back()));
    EXPECT_NE(emitted.back().text.find(".at("), std::string::npos) << "a distance is converted for every key";
  }
  for (const char* text : {"score + float(kv + int(score > 0))", "score - abs(q - kv + int(score < 0.5))"}) {
    masks.emplace_back();  // such a distance is no row's value
    scores.push_back(Score::parse(text));
    emitted.push_back(program::emit(masks.back(), scores.back()));
  }
  for (int i = 0; i < 160; ++i) {
    masks.push_back(i % 3 ? Mask(programs.mask(2 + i % 40)) : Mask());
    scores.push_back(i % 3 != 1 ? Score(programs.score(2 + i % 40)) : Score());
    emitted.push_back(program::emit(masks.back(), scores.back()));
  }
  const Compiled compiled(emitted);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<std::uint64_t>(n)); };
  int decided = 0;
  for (std::size_t i = 0; i < emitted.size(); ++i) {
    const Params params(emitted[i]);
    ASSERT_EQ(compiled.get<unsigned long (*)()>("size", i)(), params.bytes.size());
    const auto mask = compiled.get<Compiled::MaskFunction>("mask", i);
    const auto score = compiled.get<Compiled::ScoreFunction>("score", i);
    const auto score_from = compiled.get<Compiled::ScoreFromFunction>("score_from", i);
    const auto classify = compiled.get<Compiled::ClassFunction>("classify", i);
    const int span = i % 5 ? 120 : 1 << 29;
    for (int j = 0; j < 60; ++j) {
      const Point at{below(4), below(9), below(span) - span / 8, below(span), span, span};
      const program::Row row{at.b, at.h, at.q, at.len_q, at.len_kv};
      if (masks[i]) {
        const bool expected = program::eval_mask_point(masks[i].expr(), row, at.kv);
        ASSERT_EQ(mask(params.data(), at), expected) << masks[i].text() << emitted[i].text;
      }
      if (!scores[i]) continue;
      const float s = static_cast<float>(below(2000) - 1000) / 64;
      const float expected = program::eval_score_point_f32(scores[i].expr(), row, at.kv, s);
      ASSERT_PRED2(same_number, score(params.data(), s, at), expected) << scores[i].text() << emitted[i].text;
      Point first = at;  // of its row in a tile
      const int offset = below(128);
      first.kv -= offset;
      ASSERT_PRED2(same_number, score_from(params.data(), s, first, offset), expected)
          << scores[i].text() << emitted[i].text;
    }
    if (!masks[i]) continue;
    for (int j = 0; j < 40; ++j) {
      const int q = below(100) - 15, kv = below(120), rows = 1 + below(20), keys = 1 + below(20);
      const Tile tile{below(4), below(9), q, q + rows, kv, kv + keys, 120, 120};
      const TileClass found = classify(params.data(), tile);
      decided += found != TileClass::some;
      for (int y = q; y < q + rows && found != TileClass::some; ++y) {
        for (int x = kv; x < kv + keys; ++x) {
          ASSERT_EQ(program::eval_mask_point(masks[i].expr(), {tile.b, tile.h, y, 120, 120}, x),
                    found == TileClass::all)
              << masks[i].text() << emitted[i].text;
        }
      }
    }
  }
  EXPECT_GT(decided, 500);
}

// What kernels of 16-bit types compute instead of a score: the same but for rounding, wherever it is visible.
TEST(Emit, KernelsComputeScoresInShort) {
  const std::vector<float> slopes = {0.84f, 0.3f, 1e-3f};
  const Bindings names{{"slope", Tensor(slopes.data(), {3})}};
  struct {
    const char *mask, *score;
    const char* form;
  } const cases[] = {{"kv <= q", "score - slope[h] * abs(q - kv)", "along"},
                     {"kv <= q && q - kv < 40", "score - abs(kv - q) * slope[h] + 3.0", "along"},
                     {"q - 40 < kv && !(q < kv)", "slope[h] + (score - abs(q - kv))", "along"},
                     {"kv > q", "score - slope[h] * abs(q - kv)", "along"},
                     {"", "0.25 * (kv - q) + score", "along"},
                     {"", "(score - (kv - q) * slope[h]) - (slope[b] - q)", "along"},
                     {"", "score - slope[h] * (q - kv) - slope[b] * (kv - q)", "any"},
                     {"", "score + slope[h]", "any"},
                     {"", "score", "any"},
                     {"", "score - slope[h] * abs(q - kv)", "any"},
                     {"kv <= q || kv < 5", "score - slope[h] * abs(q - kv)", "any"},
                     {"kv <= q", "20 * tanh(score / 20)", "cap"},
                     {"kv <= q", "tanh(0.05 * score) * 20 / 2", "any"},
                     {"", "tanh(0.05 * score) * 20", "cap"},
                     {"", "tanh(score)", "cap"},
                     {"", "20 * tanh_fast(score / -20)", "fast_cap"},
                     {"", "-20 * tanh(score / 20)", "any"},
                     {"", "20 * tanh(score / 20 + 1)", "any"},
                     {"", "tanh(score * slope[h])", "any"},
                     {"", "1e13 * tanh(score / 20)", "any"},
                     {"", "tanh(tanh(score))", "any"},
                     {"", "20 * tanh(score / 20) + score", "any"},
                     {"", "-3 * score", "any"},
                     {"", "3 * max(score / 4, score * 2)", "any"},
                     {"", "2 * (slope[h] * score - 1)", "any"},
                     {"", "score * slope[h]", "any"}};
  std::vector<Emitted> emitted;
  for (const auto& c : cases)
    emitted.push_back(program::emit(*c.mask ? Mask::parse(c.mask) : Mask(), Score::parse(c.score, names)));
  const Compiled compiled(emitted);
  for (std::size_t i = 0; i < emitted.size(); ++i) {
    EXPECT_NE(emitted[i].text.find(std::string("ScoreForm::") + cases[i].form + ";"), std::string::npos)
        << cases[i].score << emitted[i].text;
    const Params params(emitted[i]);
    const auto mask = compiled.get<Compiled::MaskFunction>("mask", i);
    const auto exact = compiled.get<Compiled::ScoreFromFunction>("score_from", i),
               in_short = compiled.get<Compiled::ScoreFromFunction>("in_short", i);
    for (int q = 0; q < 60; q += 7)
      for (int first = 0; first < 64; first += 16)
        for (int offset = 0; offset < 16; ++offset) {
          const Point row{q % 2, q % 3, q, first, 64, 64};
          Point at = row;
          at.kv += offset;
          const float s = 0.37f * static_cast<float>(q - 30 + offset);
          if (*cases[i].mask && !mask(params.data(), at)) continue;
          const float expected = exact(params.data(), s, row, offset);
          ASSERT_NEAR(in_short(params.data(), s, row, offset), expected, 1e-6 * (1 + std::abs(expected)))
              << cases[i].score << emitted[i].text;
        }
  }
}

TEST(Emit, T132_WhatCOrHardwareLeaveOpenIsDefinedAlike) {
  const std::vector<int> table = {3, 1, 4, 1, 5};
  const std::vector<std::int64_t> wide = {std::numeric_limits<std::int64_t>::min(), -1, 0, 1};
  const std::vector<float> floats = {NAN, INFINITY, -INFINITY, 0, 1e30f};
  const Bindings names{{"t", Tensor(table.data(), {5})},
                       {"wide", Tensor(wide.data(), {4})},
                       {"f", Tensor(floats.data(), {5})}};
  std::vector<Mask> masks;
  std::vector<Emitted> emitted;
  for (const char* text :
       {"q // (kv - kv) == 0", "q % (kv - 2) >= 0", "wide[0] // wide[1] < 0", "wide[0] % wide[1] == 0",
        "abs(wide[0]) == wide[0]", "(1 << (60 + kv)) > 0", "(q << (0 - kv)) == q", "(q >> (60 + kv)) < 0",
        "t[q - 100] == t[kv + 100]", "t[kv * 1000000000] == 5", "f[kv] < f[q]", "f[kv] == f[kv]",
        "!(f[kv] >= 0) && f[q] != 1", "max(f[kv], f[q]) > 0", "int(f[kv]) > 5", "f[kv] / f[3] > 1"}) {
    masks.push_back(Mask::parse(text, names));
    emitted.push_back(program::emit(masks.back(), {}));
  }
  const Compiled compiled(emitted);
  for (std::size_t i = 0; i < masks.size(); ++i) {
    const Params params(emitted[i]);
    const auto mask = compiled.get<Compiled::MaskFunction>("mask", i);
    const auto classify = compiled.get<Compiled::ClassFunction>("classify", i);
    for (int q = -6; q < 8; ++q)
      for (int kv = 0; kv < 8; ++kv) {
        const bool shown = program::eval_mask_point(masks[i].expr(), {0, 0, q, 8, 8}, kv);
        ASSERT_EQ(mask(params.data(), {0, 0, q, kv, 8, 8}), shown)
            << masks[i].text() << " " << q << " " << kv;
        const TileClass found = classify(params.data(), {0, 0, q, q + 1, kv, kv + 1, 8, 8});
        ASSERT_NE(found, shown ? TileClass::none : TileClass::all)
            << masks[i].text() << " " << q << " " << kv;
      }
  }
}

TEST(Emit, RangesOfCapturedTensorsDecideTiles) {
  constexpr int kLength = 9000, kRows = 130;
  std::vector<int> doc(2 * kLength);
  std::vector<float> weight(kLength);
  std::vector<std::uint8_t> flags(kRows * kLength);
  for (int i = 0; i < kLength; ++i) {
    doc[i] = i / 300, doc[kLength + i] = i / 500;
    weight[i] = i < 4096 ? 1 : i == 5000 ? NAN : 3;
    for (int row = 0; row < kRows; ++row) flags[row * kLength + i] = row / 64 == i / 64 % 3;
  }
  const std::vector<Mask> masks = {
      Mask::parse("doc[b, q] == doc[b, kv] && kv <= q", {{"doc", Tensor(doc.data(), {2, kLength})}}),
      Mask::parse("weight[kv] < 2.0", {{"weight", Tensor(weight.data(), {kLength})}}),
      Mask::parse("flags[q, kv]", {{"flags", Tensor(flags.data(), DType::boolean, {kRows, kLength})}})};
  std::vector<Emitted> emitted;
  for (const Mask& mask : masks) emitted.push_back(program::emit(mask, {}));
  const Compiled compiled(emitted);
  const auto classify = [&](std::size_t i, const Params& params, Tile t) {
    return compiled.get<Compiled::ClassFunction>("classify", i)(params.data(), t);
  };
  const auto tile = [](int b, int q, int kv, int keys) {
    return Tile{b, 0, q, q + 64, kv, kv + keys, kLength, kLength};
  };
  const Params documents(emitted[0]), weights(emitted[1]), matrix(emitted[2]);
  EXPECT_EQ(classify(0, documents, tile(0, 640, 640, 64)), TileClass::some);   // the diagonal
  EXPECT_EQ(classify(0, documents, tile(0, 832, 640, 64)), TileClass::all);    // 600 to 900
  EXPECT_EQ(classify(0, documents, tile(0, 960, 640, 64)), TileClass::none);   // 600 to 900, 900 to 1200
  EXPECT_EQ(classify(0, documents, tile(1, 896, 640, 64)), TileClass::all);    // 500 to 1000
  EXPECT_EQ(classify(0, documents, tile(0, 8192, 0, 4096)), TileClass::none);  // a span, by coarse blocks
  EXPECT_EQ(classify(1, weights, tile(0, 0, 0, 4096)), TileClass::all);
  EXPECT_EQ(classify(1, weights, tile(0, 0, 4096, 128)), TileClass::none);
  EXPECT_EQ(classify(1, weights, tile(0, 0, 4992, 64)), TileClass::some);  // NaN
  EXPECT_EQ(classify(2, matrix, tile(0, 64, 64, 64)), TileClass::all);
  EXPECT_EQ(classify(2, matrix, tile(0, 64, 128, 64)), TileClass::none);
  EXPECT_EQ(classify(2, matrix, tile(0, 32, 64, 64)), TileClass::some);
  // Without ranges nothing is known.
  const std::vector<std::byte> bare = program::pack_params(emitted[0]);
  EXPECT_EQ(compiled.get<Compiled::ClassFunction>("classify", 0)(bare.data(), tile(0, 960, 640, 64)),
            TileClass::some);
}

// Tile by tile no coarser than the classifier's single interval evaluation. Tiles begin where blocks of
// tables do.
TEST(Emit, ClassesOfTheCatalogueAreNoCoarserThanTheClassifiers) {
  const testing::Catalogue catalogue;
  std::vector<Emitted> emitted;
  for (const testing::CatalogueMask& m : catalogue.masks()) emitted.push_back(program::emit(m.mask, {}));
  const Compiled compiled(emitted);
  program::ClassifierCounts counts;
  int decided = 0, finer = 0;
  for (std::size_t i = 0; i < emitted.size(); ++i) {
    const testing::CatalogueMask& m = catalogue.masks()[i];
    const program::Classifier classifier(m.mask);
    const Params params(emitted[i]);
    const auto classify = compiled.get<Compiled::ClassFunction>("classify", i);
    int coarser = 0;
    for (const int size : {64, 128})
      for (int q = 0; q < m.len_q; q += size)
        for (int kv = 0; kv < m.len_kv; kv += size) {
          const int q_end = std::min<int>(m.len_q, q + size), kv_end = std::min<int>(m.len_kv, kv + size);
          const int len_q = static_cast<int>(m.len_q), len_kv = static_cast<int>(m.len_kv);
          const TileClass plain = classifier.plain({0, 1, q, q_end, kv, kv_end, len_q, len_kv}, counts),
                          found = classify(params.data(), {0, 1, q, q_end, kv, kv_end, len_q, len_kv}),
                          exact = classifier.exact({0, 1, q, q_end, kv, kv_end, len_q, len_kv}, counts);
          ASSERT_TRUE(found == TileClass::some || found == exact) << m.id << " " << q << " " << kv;
          decided += found != TileClass::some;
          coarser += found == TileClass::some && plain != TileClass::some;
          finer += found != TileClass::some && plain == TileClass::some;
        }
    EXPECT_EQ(coarser, 0) << m.id << " " << m.text;
    testing::KernelsClassifier kernels(m.mask, true);  // wherever tiles begin
    for (int q = -40; q < 400; q += 37)
      for (int kv = 3; kv < 480; kv += 61) {
        const Tile t{0, 1, q, q + 64, kv, kv + 128, 512, 512};
        ASSERT_EQ(classify(params.data(), t),
                  kernels({t.b, t.h, t.q_begin, t.q_end, t.kv_begin, t.kv_end, t.len_q, t.len_kv}))
            << m.id << " " << m.text << " " << q << " " << kv;
      }
  }
  EXPECT_GT(decided, 2000);
  RecordProperty("finer", finer);
}

TEST(Emit, SumsDecideWhatTheirSidesDoNot) {
  struct {
    const char* text;
    TileClass expected;
  } const sums[] = {{"kv + (q - kv) >= kv", TileClass::some},
                    {"kv + (q - kv) >= q", TileClass::all},
                    {"q - kv + kv + h < q", TileClass::none},
                    {"q - kv >= 40 && q - kv <= 20", TileClass::none},
                    {"q - kv >= 20 && q - kv <= 40", TileClass::some},
                    {"q - kv >= n && kv + n > q", TileClass::none},
                    {"q - kv >= n && kv + n >= q", TileClass::some},
                    {"!(q - kv < n) && !(kv - q < 1 - n)", TileClass::none},
                    {"n * (q - kv) - n * q <= 0 - 7 * kv", TileClass::all},
                    {"n * q - n * kv > 20 && (q - kv) * n < 20 - h", TileClass::none},
                    {"n * q - n * kv > 20 && (q - kv) * n < 25", TileClass::some},
                    {"q < kv || kv <= q", TileClass::all},
                    {"q < kv || kv < q", TileClass::some},
                    {"q - kv > h && (b == 0 && q - kv < h)", TileClass::none},
                    {"b == 0 && (q - kv > 3 || q - kv <= 3)", TileClass::all},
                    {"big[0] + q < big[0] + kv", TileClass::some},
                    {"big[q] == big[q]", TileClass::all},
                    {"big[kv] + q < big[kv] + q", TileClass::none},
                    {"q - kv > big[1] && q - kv < big[0]", TileClass::some}};
  const std::int64_t big[] = {std::numeric_limits<std::int64_t>::max() - 20, 5};
  const Bindings names{{"n", std::int64_t{7}}, {"big", Tensor(big, {2})}};
  std::vector<Emitted> emitted;
  for (const auto& s : sums) emitted.push_back(program::emit(Mask::parse(s.text, names), {}));
  const Compiled compiled(emitted);
  for (std::size_t i = 0; i < emitted.size(); ++i) {
    const Params params(emitted[i]);
    EXPECT_EQ(
        compiled.get<Compiled::ClassFunction>("classify", i)(params.data(), {0, 1, 0, 64, 0, 64, 64, 64}),
        sums[i].expected)
        << sums[i].text << emitted[i].text;
  }
}

// Sums of few terms, so that some cancel and some exclude each other: sound, and as fine as the classifier's.
TEST(Emit, RandomSumsAreDecidedAsByTheClassifier) {
  std::mt19937_64 random(9);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<std::uint64_t>(n)); };
  const std::vector<int> table = {3, -4, 5, 40, 7, 11, 12, -13};
  const Bindings names{{"n", std::int64_t{5}}, {"t", Tensor(table.data(), {8})}};
  const auto sum = [&] {
    constexpr const char* kTerms[] = {"q", "kv", "q", "kv", "(q - kv)", "n * q", "(q - kv) * n", "kv * n",
                                      "h", "b",  "n", "3",  "t[q]",     "t[kv]", "t[h]",         "17"};
    std::string text = kTerms[below(16)];
    for (int i = below(4); i > 0; --i) text += std::string(below(2) ? " + " : " - ") + kTerms[below(16)];
    return text;
  };
  constexpr const char* kComparisons[] = {" < ", " <= ", " > ", " >= ", " == ", " != "};
  std::vector<Mask> masks;
  std::vector<Emitted> emitted;
  for (int i = 0; i < 120; ++i) {
    std::string text;
    const std::string shared = sum(), joint = below(2) ? " && " : " || ";
    for (int atoms = 1 + below(3); atoms > 0; --atoms) {
      const std::string left = below(2) ? shared : sum(), right = below(2) ? "n + 1" : sum();
      text +=
          (text.empty() ? "" : joint) + (below(4) ? "(" : "!(") + left + kComparisons[below(6)] + right + ")";
    }
    masks.push_back(Mask::parse(text, names));
    emitted.push_back(program::emit(masks.back(), {}));
  }
  const Compiled compiled(emitted);
  for (std::size_t i = 0; i < masks.size(); ++i) {
    const Params params(emitted[i]);
    testing::KernelsClassifier kernels(masks[i], true);
    const auto classify = compiled.get<Compiled::ClassFunction>("classify", i);
    for (int j = 0; j < 60; ++j) {
      const int q = below(60) - 10, kv = below(60), rows = 1 + below(8), keys = 1 + below(8);
      const Tile t{below(3), below(3), q, q + rows, kv, kv + keys, 60, 70};
      const TileClass found = classify(params.data(), t),
                      plain = kernels({t.b, t.h, q, q + rows, kv, kv + keys, t.len_q, t.len_kv});
      ASSERT_TRUE(plain == TileClass::some || found == plain) << masks[i].text() << emitted[i].text;
      for (int y = q; y < q + rows && found != TileClass::some; ++y)
        for (int x = kv; x < kv + keys; ++x)
          ASSERT_EQ(program::eval_mask_point(masks[i].expr(), {t.b, t.h, y, 60, 70}, x),
                    found == TileClass::all)
              << masks[i].text() << emitted[i].text;
    }
  }
}

TEST(Emit, TextIsTheSameForAllNumbersAndContents) {
  const std::vector<std::int32_t> a = {1, 2, 3}, b = {4, 5, 6, 7};
  const auto text = [](const std::string& mask, const Tensor& doc) {
    return program::emit(Mask::parse(mask, {{"doc", doc}}), {}).text;
  };
  EXPECT_EQ(text("kv <= q && q - kv < 1024 && doc[q] == 1", Tensor(a.data(), {3})),
            text("kv <= q && q - kv < -7 && doc[q] == 99", Tensor(b.data(), {4})));
  EXPECT_EQ(text("kv <= q && q < 3", Tensor(a.data(), {3})), text("q < 4 && kv <= q", Tensor(a.data(), {3})));
  EXPECT_NE(text("kv <= q", Tensor(a.data(), {3})), text("kv < q", Tensor(a.data(), {3})));
  const auto score = [](const std::string& s) { return program::emit(causal(), Score::parse(s)).text; };
  EXPECT_EQ(score("20 * tanh(score / 30)"), score("3e5 * tanh(score / -0.01)"));
  EXPECT_NE(score("20 * tanh(score / 30)"), score("-20 * tanh(score / 30)"));  // a softmax scale is positive
  EXPECT_NE(score("20 * tanh(score / 30)"), score("20 * tanh(score / 1e13)"));
  const Emitted e = program::emit(causal(), softcap(30));
  EXPECT_EQ(e.floats, (std::vector<float>{30, 1.0f / 30}));  // the cap, and what scores are multiplied by
}

TEST(Emit, UsesThirtyTwoBitsWhereTheySuffice) {
  const auto text = [](const std::string& mask) { return program::emit(Mask::parse(mask), {}).text; };
  const auto wide = [&](const std::string& mask) {
    const std::string t = text(mask);
    return t.find("long long", t.find("kHasMask")) != std::string::npos;
  };
  EXPECT_FALSE(wide("kv <= q && q - kv < 1024"));
  EXPECT_FALSE(wide("q // 64 == kv // 64 && (q - kv) % 4 == 0"));
  EXPECT_TRUE(wide("q * kv < 1024"));
  EXPECT_TRUE(wide("kv < 5000000000"));
}

}  // namespace
}  // namespace bolide
