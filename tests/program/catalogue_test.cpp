// The catalogue of masks and score modifications: texts against C++, derivatives, its case lines, its
// gallery.
#include "tests/program/catalogue.hpp"

#include <gtest/gtest.h>
#include <bolide/error.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "program/derive.hpp"
#include "program/evaluator.hpp"
#include "program/facts.hpp"
#include "program/point.hpp"
#include "testing/captured.hpp"
#include "testing/elements.hpp"

namespace bolide::testing {
namespace {

std::string text_of(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(std::string(BOLIDE_SOURCE_DIR "/") + file, std::ios::binary).rdbuf();
  return text.str();
}

TEST(Catalogue, NamesEveryMaskAndScore) {
  std::set<std::string> ids, numbers;
  const Catalogue catalogue;
  for (const CatalogueMask& m : catalogue.masks()) {
    EXPECT_TRUE(ids.insert(m.id).second) << m.id;
    numbers.insert(m.id.substr(0, 3));
  }
  for (const CatalogueScore& s : catalogue_scores()) {
    EXPECT_TRUE(ids.insert(s.id).second) << s.id;
    numbers.insert(s.id.substr(0, 3));
  }
  const auto number = [](char letter, int i) {
    return std::string(1, letter) + (i < 10 ? "0" : "") + std::to_string(i);
  };
  for (int i = 1; i <= 71; ++i) EXPECT_EQ(numbers.contains(number('M', i)), i != 57) << i;
  for (int i = 1; i <= 30; ++i) EXPECT_EQ(numbers.contains(number('S', i)), i != 20) << i;
}

TEST(Catalogue, TextAndCppAreTheSameProgram) {
  const Catalogue catalogue;
  const Bindings bindings = catalogue.bindings();
  for (const CatalogueMask& m : catalogue.masks()) {
    const Mask parsed = Mask::parse(m.text, bindings);
    EXPECT_EQ(parsed.text(), m.mask.text()) << m.id;
    EXPECT_TRUE(parsed.expr().same(m.mask.expr())) << m.id;
  }
}

// Every pair of every fifth row, before position 0 too: the row evaluator and, here and there, the point
// evaluator against the lambda over plain integers.
TEST(Catalogue, MasksAreWhatTheirLambdasGiveForPlainIntegers) {
  const Catalogue catalogue;
  std::int64_t visible = 0, pairs = 0;
  for (const CatalogueMask& m : catalogue.masks()) {
    const program::Evaluator evaluator(m.mask.expr());
    std::vector<std::byte> memory(evaluator.scratch_bytes() + 64);
    void* scratch = memory.data();
    std::size_t space = memory.size();
    std::align(64, 1, scratch, space);
    std::vector<std::uint8_t> row(static_cast<std::size_t>(m.len_kv));
    const program::Facts facts = program::facts(m.mask.expr());
    for (std::int64_t i = 0; i < (facts.uses_b || facts.uses_h ? 2 : 1); ++i) {
      for (std::int64_t q = -21; q < m.len_q; q += 5) {
        const program::Row at{i, i, q, m.len_q, m.len_kv};
        evaluator.mask(at, 0, static_cast<int>(m.len_kv), row.data(), scratch);
        for (std::int64_t kv = 0; kv < m.len_kv; ++kv) {
          const BoolExpr expected = m.reference(i, i, q, kv);
          const bool shown = program::eval_mask_point(expected, at, kv);
          ASSERT_EQ(row[kv] != 0, shown)
              << m.id << " " << m.text << " b, h " << i << " q " << q << " kv " << kv;
          if (kv % 17 == 0) {
            ASSERT_EQ(program::eval_mask_point(m.mask.expr(), at, kv), shown) << m.id;
          }
          visible += shown;
          ++pairs;
        }
      }
    }
  }
  RecordProperty("pairs", static_cast<int>(pairs));
  EXPECT_GT(pairs, 3000000);
  EXPECT_GT(visible, pairs / 5);
}

// What a score captures, with the contents of a case.
class ScoreTables {
 public:
  static constexpr ShapeNames kSizes{2, 2, 2, 24, 40, 8};
  ScoreTables() {
    for (const auto& [name, generator] : score_tables()) {
      const Generator g = parse_generator(name, generator);
      const bool is_float = is_floating(g.dtype);
      const Dims shape = g.dims(kSizes);
      std::int64_t count = 1;
      for (const std::int64_t s : shape) count *= s;
      // Floats in float64, so that differences are exact enough.
      auto memory = std::make_shared<std::vector<double>>(static_cast<std::size_t>(count) + 1);
      const Tensor t(memory->data(), is_float ? DType::f64 : g.dtype, shape);
      g.fill(t, 17 + owners_.size());
      owners_.push_back(memory);
      bindings_.values.emplace(name, t);
    }
  }
  const Bindings& bindings() const { return bindings_; }

 private:
  Bindings bindings_;
  std::vector<std::shared_ptr<void>> owners_;
};

constexpr std::int64_t kQueries[] = {0, 3, 7, 15, 23}, kKeys[] = {0, 2, 7, 16, 24, 39};
template <class F>
void for_points(F f) {
  for (const std::int64_t q : kQueries)
    for (const std::int64_t kv : kKeys)
      f(program::Row{.b = q % 2, .h = kv / 2 % 2, .q = q, .len_q = 24, .len_kv = 40}, kv, 0.371 + 0.01 * q);
}

TEST(Catalogue, DerivativesByScoreAgreeWithFiniteDifferences) {
  const ScoreTables tables;
  for (const CatalogueScore& s : catalogue_scores()) {
    const Expr e = Score::parse(s.text, tables.bindings()).expr(), slope = program::derivative_by_score(e);
    for (const double sign : {1.0, -1.0})
      for_points([&](const program::Row& row, std::int64_t kv, double x) {
        x *= sign;
        const double step = 1e-6, at = program::eval_score_point(e, row, kv, x);
        const double difference = std::isinf(at) ? 0
                                                 : (program::eval_score_point(e, row, kv, x + step) -
                                                    program::eval_score_point(e, row, kv, x - step)) /
                                                       (2 * step);
        EXPECT_NEAR(program::eval_score_point(slope, row, kv, x), difference,
                    1e-7 * (1 + std::abs(difference)))
            << s.id << " " << s.text << " q " << row.q << " kv " << kv << " score " << x;
      });
  }
}

// Every element of every float table, at the points that read it.
TEST(Catalogue, DerivativesByTablesAgreeWithFiniteDifferences) {
  const ScoreTables tables;
  int compared = 0;
  for (const CatalogueScore& s : catalogue_scores()) {
    const Expr e = Score::parse(s.text, tables.bindings()).expr();
    const std::vector<program::TableSlope> slopes = program::derivatives_by_tables(e);
    for_points([&](const program::Row& row, std::int64_t kv, double x) {
      // d e / d (element) of each table element this point reads.
      std::map<std::pair<const void*, std::int64_t>, double> gradient;
      std::map<const void*, Tensor> by_data;
      for (const program::TableSlope& t : slopes) {
        std::int64_t at = 0;
        for (std::size_t axis = 0; axis < t.indices.size(); ++axis) {
          const std::int64_t index = program::eval_int_point(t.indices[axis], row, kv);
          at += std::clamp<std::int64_t>(index, 0, t.table.tensor.shape[axis] - 1) *
                t.table.tensor.strides[axis];
        }
        gradient[{t.table.tensor.data, at}] += program::eval_score_point(t.slope, row, kv, x);
        by_data.emplace(t.table.tensor.data, t.table.tensor);
      }
      for (const auto& [place, slope] : gradient) {
        const Tensor& t = by_data.at(place.first);
        const double kept = load(t, place.second), step = 1e-6;
        store(t, place.second, kept + step);
        const double above = program::eval_score_point(e, row, kv, x);
        store(t, place.second, kept - step);
        const double below = program::eval_score_point(e, row, kv, x);
        store(t, place.second, kept);
        const double difference = (above - below) / (2 * step);
        EXPECT_NEAR(slope, difference, 1e-7 * (1 + std::abs(difference)))
            << s.id << " " << s.text << " q " << row.q << " kv " << kv;
        ++compared;
      }
    });
  }
  EXPECT_GT(compared, 1000);
}

// A tensor of rank 0 is a scalar: its gradient is one sum over everything.
TEST(Catalogue, ScalarsHaveGradients) {
  const ScoreTables tables;
  const Expr e = Score::parse("score * a - r1 * log(1 + r2 * abs(q - kv))", tables.bindings()).expr();
  const std::vector<program::TableSlope> slopes = program::derivatives_by_tables(e);
  ASSERT_EQ(slopes.size(), 3u);
  for (const program::TableSlope& s : slopes) {
    EXPECT_EQ(s.reduction, program::Reduction::everything);
    EXPECT_TRUE(s.indices.empty());
  }
}

TEST(Catalogue, ScoresOfMinusInfinityBecomeMasks) {
  for (const CatalogueScore& s : catalogue_scores()) {
    if (!s.id.starts_with("S24")) continue;
    const auto [mask, score] = program::normalised({}, Score::parse(s.text));
    EXPECT_TRUE(mask) << s.id;
    EXPECT_FALSE(score) << s.id;
  }
}

// tests/cases/catalogue.txt is run by the case files' test, and by `bolide check --cases`.
TEST(Catalogue, CaseFileHasEveryEntry) {
  std::istringstream file(text_of("tests/cases/catalogue.txt"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);)
    if (!line.starts_with("#")) lines.push_back(line);
  const std::vector<std::string> wanted = catalogue_cases();
  ASSERT_EQ(lines.size(), wanted.size()) << "build the target gallery and run scripts/gallery.py";
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i], wanted[i]);
}

std::string without_spaces(const std::string& text) {
  std::string all;
  for (const char c : text)
    if (!std::isspace(static_cast<unsigned char>(c))) all += c;
  return all;
}

TEST(Catalogue, GalleryShowsEveryMask) {
  const std::string gallery = without_spaces(text_of("docs/gallery.md"));
  const Catalogue catalogue;
  std::uintmax_t bytes = 0;
  for (const CatalogueMask& m : catalogue.masks()) {
    EXPECT_NE(gallery.find(without_spaces("```\n" + m.text + "\n```")), std::string::npos) << m.id;
    EXPECT_NE(gallery.find(without_spaces("```cpp\n" + m.code + "\n```")), std::string::npos) << m.id;
    const std::string picture = "gallery/" + m.id + ".png";
    EXPECT_NE(gallery.find("\"" + picture + "\""), std::string::npos) << m.id;
    std::error_code trouble;
    bytes += std::filesystem::file_size(BOLIDE_SOURCE_DIR "/docs/" + picture, trouble);
    EXPECT_FALSE(trouble) << picture;
  }
  EXPECT_LT(bytes, 1500000u);
  for (const CatalogueScore& s : catalogue_scores())
    EXPECT_NE(gallery.find(without_spaces("| " + s.id + " | " + s.name + " | `" + s.text + "` |")),
              std::string::npos)
        << s.id;
}

}  // namespace
}  // namespace bolide::testing
