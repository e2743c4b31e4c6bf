// The evaluators: every operator's meaning at its edges, tape against recursion, slopes against differences.
#include <gtest/gtest.h>
#include <bolide/masks.hpp>
#include <cmath>
#include <cstring>

#include "program/derive.hpp"
#include "program/evaluator.hpp"
#include "program/facts.hpp"
#include "tests/program/random_program.hpp"

namespace bolide {
namespace {

using program::Row;
constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min(),
                       kMost = std::numeric_limits<std::int64_t>::max();
constexpr double kInf = std::numeric_limits<double>::infinity();

// 64-byte aligned scratch for an evaluator.
class Scratch {
 public:
  explicit Scratch(const program::Evaluator& e) : memory_(e.scratch_bytes() + 64) {}
  void* get() {
    void* p = memory_.data();
    std::size_t space = memory_.size();
    return std::align(64, space - 64, p, space);
  }

 private:
  std::vector<std::byte> memory_;
};

// x and y stand for q and kv, so that nothing is folded.
std::int64_t value(const std::string& text, std::int64_t x, std::int64_t y = 0) {
  const Expr e = Mask::parse(text + " == 0").expr();
  return program::eval_int_point(
      Expr(e.node()->args[0]->op == program::Op::constant ? e.node()->args[1] : e.node()->args[0]), {.q = x},
      y);
}
double number(const std::string& text, double score) {
  return program::eval_score_point(Score::parse(text).expr(), {}, 0, score);
}
bool truth(const std::string& text, std::int64_t x, std::int64_t y) {
  return program::eval_mask_point(Mask::parse(text).expr(), {.q = x}, y);
}

TEST(Operators, IntegersWrapFloorAndNeverTrap) {
  for (std::int64_t a : {-7, -6, -1, 0, 1, 6, 7}) {
    for (std::int64_t b : {-3, -1, 1, 3}) {
      EXPECT_EQ(value("q // kv", a, b), static_cast<std::int64_t>(std::floor(double(a) / double(b))));
      EXPECT_EQ(value("q % kv", a, b), a - b * static_cast<std::int64_t>(std::floor(double(a) / double(b))));
    }
    EXPECT_EQ(value("q // kv", a, 0), 0);
    EXPECT_EQ(value("q % kv", a, 0), 0);
  }
  EXPECT_EQ(value("q // kv", kLeast, -1), kLeast);
  EXPECT_EQ(value("q % kv", kLeast, -1), 0);
  EXPECT_EQ(value("q + kv", kMost, 1), kLeast);
  EXPECT_EQ(value("q - kv", kLeast, 1), kMost);
  EXPECT_EQ(value("q * kv", kMost, 2), -2);
  EXPECT_EQ(value("-q", kLeast), kLeast);
  EXPECT_EQ(value("abs(q)", kLeast), kLeast);
  EXPECT_EQ(value("abs(q)", -5), 5);
  EXPECT_EQ(value("sqr(q)", -5), 25);
  EXPECT_EQ(value("min(q, kv)", -5, 3), -5);
  EXPECT_EQ(value("max(q, kv)", -5, 3), 3);
  EXPECT_EQ(value("clamp(q, -2, kv)", -5, 3), -2);
  EXPECT_EQ(value("q & kv", -4, 7), 4);
  EXPECT_EQ(value("q | kv", -4, 1), -3);
  EXPECT_EQ(value("q ^ kv", -4, 1), -3);
  EXPECT_EQ(value("~q", 5), -6);
  EXPECT_EQ(value("q << kv", 3, 4), 48);
  EXPECT_EQ(value("q >> kv", -5, 1), -3);
  for (std::int64_t n : {std::int64_t{64}, std::int64_t{-1}, kMost, kLeast}) {
    EXPECT_EQ(value("q << kv", 3, n), 0);
    EXPECT_EQ(value("q >> kv", 3, n), 0);
    EXPECT_EQ(value("q >> kv", -3, n), -1);
  }
  EXPECT_EQ(value("q << kv", 1, 63), kLeast);
  EXPECT_EQ(value("where(q < kv, q, 9)", 1, 2), 1);
  EXPECT_EQ(value("where(q < kv, q, 9)", 2, 2), 9);
  EXPECT_EQ(value("int(q < kv)", 1, 2), 1);
}

TEST(Operators, ConversionsTruncateAndSaturate) {
  EXPECT_EQ(value("int(float(q) / 2)", -5), -2);
  EXPECT_EQ(value("int(float(q) / 2)", 5), 2);
  EXPECT_EQ(value("int(float(q) * 1e30)", 1), kMost);
  EXPECT_EQ(value("int(float(q) * 1e30)", -1), kLeast);
  EXPECT_EQ(value("int(float(q) / 0)", 0), 0);
  EXPECT_TRUE(truth("bool(q)", 2, 0));
  EXPECT_FALSE(truth("bool(float(q))", 0, 0));
  EXPECT_EQ(number("float(q < 1) * score", 3), 3);
}

TEST(Operators, ComparisonsAndLogic) {
  for (std::int64_t x : {0, 1, 2}) {
    EXPECT_EQ(truth("q < kv", x, 1), x < 1);
    EXPECT_EQ(truth("q <= kv", x, 1), x <= 1);
    EXPECT_EQ(truth("q > kv", x, 1), x > 1);
    EXPECT_EQ(truth("q >= kv", x, 1), x >= 1);
    EXPECT_EQ(truth("q == kv", x, 1), x == 1);
    EXPECT_EQ(truth("q != kv", x, 1), x != 1);
    EXPECT_EQ(truth("q == 1 && kv == 1", x, 1), x == 1);
    EXPECT_EQ(truth("q == 1 || kv == 0", x, 1), x == 1);
    EXPECT_EQ(truth("!(q == 1)", x, 1), x != 1);
    EXPECT_EQ(truth("(q == 1) == (kv == 1)", x, 1), x == 1);
    EXPECT_EQ(truth("(q == 1) ^ (kv == 1)", x, 1), x != 1);
    EXPECT_EQ(truth("where(q == 1, kv == 1, kv == 0)", x, 1), x == 1);
  }
  EXPECT_FALSE(truth("float(q) / 0 < 1", 0, 0));  // NaN
  EXPECT_FALSE(truth("float(q) / 0 >= 1", 0, 0));
  EXPECT_TRUE(truth("float(q) / 0 != 1", 0, 0));
}

// What a GPU computes; its reciprocal may be an ulp off either way.
TEST(Operators, TanhAsAQuotientIsWithinItsError) {
  double worst = 0;
  const auto each = [](math::TanhQuotient q, auto visit) {
    const float exact = 1 / q.below;
    for (const float inverse : {std::nextafter(exact, 0.0f), exact, std::nextafter(exact, 2.0f)})
      visit(math::divided(q, inverse));
  };
  const auto see = [&](float x) {
    const math::TanhQuotient q = math::tanh_quotient(x);
    const double exact = std::tanh(static_cast<double>(x));
    ASSERT_EQ(math::tanh_quotient(-x).above, -q.above) << x;
    each(q, [&](float y) {
      worst = std::max(worst, std::abs(y / exact - 1));
      ASSERT_LE(y, 1) << x;
    });
  };
  for (float x = 1e-38f; x < math::kTanhLimit; x += std::max(1e-38f, x * 0x1p-10f)) see(x);
  see(6.2707987f);  // the worst of all
  EXPECT_LT(worst, std::exp2(-21.6));
  each(math::tanh_quotient(math::kTanhLimit), [](float y) { EXPECT_EQ(y, 1); });
  EXPECT_EQ(math::tanh_quotient(1e-30f).above, 1e-30f);
  EXPECT_EQ(math::tanh_quotient(0.0f).below, 1.0f);
}

template <bool kFast>
double worst_of_small_tanh() {
  using Small = math::SmallTanh<kFast>;
  double worst = 0;
  for (float x = 1e-18f; x <= Small::kLimit; x += std::max(1e-18f, x * 0x1p-12f)) {
    const auto term = [](int n) { return static_cast<float>(Small::term(n)); };
    float slope = term(Small::kTerms - 1);
    for (int n = Small::kTerms - 2; n >= 0; --n) slope = math::fused(slope, x * x, term(n));
    worst = std::max(worst, std::abs(static_cast<double>(x) * slope / std::tanh(static_cast<double>(x)) - 1));
  }
  return worst;
}

// What GPUs make exponents of where scores are small beside their cap; x times the slope is not rounded
// there.
TEST(Operators, SmallTanhIsWithinItsError) {
  EXPECT_LT(worst_of_small_tanh<false>(), std::exp2(-22.8));
  EXPECT_LT(worst_of_small_tanh<true>(), 0x1p-11);
  EXPECT_LT(worst_of_small_tanh<true>(), op::kTanhFastError);
}

TEST(Operators, FunctionsOfAFloat) {
  const volatile double given = 0.7;  // the compiler must not compute these itself
  const double x = given;
  EXPECT_EQ(number("sqrt(score)", x), std::sqrt(x));
  EXPECT_EQ(number("rsqrt(score)", x), 1 / std::sqrt(x));
  EXPECT_EQ(number("exp(score)", x), std::exp(x));
  EXPECT_EQ(number("exp2(score)", x), std::exp2(x));
  EXPECT_EQ(number("log(score)", x), std::log(x));
  EXPECT_EQ(number("log2(score)", x), std::log2(x));
  EXPECT_EQ(number("log1p(score)", x), std::log1p(x));
  EXPECT_EQ(number("tanh(score)", x), std::tanh(x));
  EXPECT_EQ(number("tanh_fast(score)", x), std::tanh(x));  // exact on the CPU
  EXPECT_EQ(number("tanh_fast(score)", 1e300), 1);
  EXPECT_TRUE(std::isnan(number("tanh_fast(score)", NAN)));
  EXPECT_EQ(number("sigmoid(score)", x), 1 / (1 + std::exp(-x)));
  EXPECT_EQ(number("erf(score)", x), std::erf(x));
  EXPECT_EQ(number("sin(score)", x), std::sin(x));
  EXPECT_EQ(number("cos(score)", x), std::cos(x));
  EXPECT_EQ(number("pow(score, 3)", x), std::pow(x, 3));
  EXPECT_EQ(number("floor(score)", -x), -1);
  EXPECT_EQ(number("abs(score)", -x), x);
  EXPECT_EQ(number("sqr(score)", x), x * x);
  EXPECT_EQ(number("min(score, 2)", NAN), 2);
  EXPECT_EQ(number("max(2, score)", NAN), 2);
  EXPECT_EQ(number("chain(1 / score, score)", 0), 0);
  EXPECT_NEAR(number("gelu(score)", x), 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))), 1e-15);
  EXPECT_NEAR(number("softplus(score)", 800), 800, 1e-12);
  EXPECT_EQ(number("relu(score)", -x), 0);
}

TEST(Operators, MasksComputeInFloat32) {
  EXPECT_TRUE(truth("float(q) + 0.1 == 0.1 + float(q)", 1, 0));
  EXPECT_TRUE(truth("float(q) == 16777216.0", 16777217, 0));  // 2^24 + 1 is no float32
  EXPECT_EQ(program::eval_score_point(Score::parse("float(q)").expr(), {.q = 16777217}, 0, 0), 16777217.0);
}

TEST(Gather, ClampsEveryIndexAndReadsEveryType) {
  const std::vector<float> f = {1.5, -2, 3, 4};
  const std::vector<bf16> half(4, bf16(2.5));
  const std::vector<std::int8_t> small = {-1, 2, -3, 4};
  const std::vector<std::uint8_t> flags = {0, 2, 0, 1};
  const Row row{.q = 1};
  const auto at = [&](const FloatExpr& e, std::int64_t kv) {
    return program::eval_score_point(e, row, kv, 0);
  };
  const FloatTable table = floats(Tensor(f.data(), {2, 2}));
  EXPECT_EQ(at(table(leaf::q, leaf::kv), 0), 3);
  EXPECT_EQ(at(table(leaf::q, leaf::kv), 99), 4);
  EXPECT_EQ(at(table(leaf::kv, leaf::q), -kMost), -2);
  EXPECT_EQ(at(floats(Tensor(half.data(), {4}))(leaf::kv), 2), 2.5);
  EXPECT_EQ(program::eval_int_point(ints(Tensor(small.data(), {4}))[leaf::kv], row, 2), -3);
  EXPECT_TRUE(program::eval_mask_point(bools(Tensor(flags.data(), DType::boolean, {4}))[leaf::kv], row, 1));
  EXPECT_EQ(at(floats(Tensor(f.data(), {0}))(leaf::kv), 0), 0);  // an empty table
  EXPECT_THROW(bools(Tensor(flags.data(), {4})), Error);
  EXPECT_THROW(ints(Tensor(f.data(), {4})), Error);
}

bool same_number(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

TEST(Evaluator, EqualsTheRecursiveEvaluatorOnRandomPrograms) {
  std::mt19937_64 random(11);
  const testing::RandomTables tables(random);
  testing::RandomProgram programs(random, tables.captured());
  std::size_t points = 0;
  for (int i = 0; i < 4000; ++i) {
    const int size = 1 + static_cast<int>(random() % 60), n = 1 + static_cast<int>(random() % 600);
    const Row row{static_cast<std::int64_t>(random() % 3), static_cast<std::int64_t>(random() % 5),
                  static_cast<std::int64_t>(random() % 200) - 20, 100, 130};
    const std::int64_t begin = static_cast<std::int64_t>(random() % 50);
    if (i % 2) {
      const Mask m = programs.mask(size);
      const program::Evaluator evaluator(m.expr());
      Scratch scratch(evaluator);
      std::vector<std::uint8_t> visible(n + 1, 7);
      evaluator.mask(row, begin, n, visible.data(), scratch.get());
      EXPECT_EQ(visible[n], 7);
      for (int j = 0; j < n; ++j)
        ASSERT_EQ(visible[j], program::eval_mask_point(m.expr(), row, begin + j)) << m.text();
    } else {
      const Score s = programs.score(size);
      const program::Evaluator evaluator(s.expr());
      Scratch scratch(evaluator);
      std::vector<double> x(n), y, slope(n);
      for (double& v : x) v = (static_cast<double>(random() % 2001) - 1000) / 128;
      y = x;
      evaluator.score(row, begin, n, y.data(), slope.data(), scratch.get());
      std::vector<double> alone = x;
      evaluator.score(row, begin, n, alone.data(), nullptr, scratch.get());
      for (int j = 0; j < n; ++j) {
        const double expected = program::eval_score_point(s.expr(), row, begin + j, x[j]);
        ASSERT_PRED2(same_number, y[j], expected) << s.text();
        ASSERT_PRED2(same_number, alone[j], expected) << s.text();
      }
    }
    points += n;
  }
  EXPECT_GT(points, 500000u);
}

double slope_at(const std::string& text, double x) {
  const program::Evaluator evaluator(Score::parse(text).expr());
  Scratch scratch(evaluator);
  double score = x, slope = NAN;
  evaluator.score({.q = 5}, 3, 1, &score, &slope, scratch.get());
  return slope;
}

TEST(Derivative, AgreesWithFiniteDifferences) {
  const char* texts[] = {"score",
                         "3 * score - 1",
                         "score * score",
                         "30 * tanh(score / 30)",
                         "30 * tanh_fast(score / 30)",
                         "exp(score)",
                         "exp2(score)",
                         "log(2 + score)",
                         "log2(2 + score)",
                         "log1p(score)",
                         "sigmoid(score)",
                         "sqrt(2 + score)",
                         "rsqrt(2 + score)",
                         "erf(score)",
                         "sin(cos(score))",
                         "pow(2 + score, 3)",
                         "pow(2, score)",
                         "1 / (2 + score)",
                         "score / (2 + sqr(score))",
                         "abs(score)",
                         "min(score, 2 * score)",
                         "max(score, 2 * score)",
                         "clamp(score, -1, 1)",
                         "where(q < kv, 2 * score, score)",
                         "gelu(score)",
                         "silu(score)",
                         "softplus(score)",
                         "tan(score)",
                         "-score",
                         "floor(score) + score",
                         "chain(score, score)",
                         "score + exp2(-8.0 * (h + 1) / 4) * (kv - q)",
                         "5",
                         "sqr(abs(score)) - score * min(score, 0.25)"};
  for (const char* text : texts) {
    for (double x : {-0.73, 0.31, 0.92}) {
      const double step = 1e-5;
      const auto f = [&](double s) {
        return program::eval_score_point(Score::parse(text).expr(), {.q = 5}, 3, s);
      };
      const double difference = (f(x + step) - f(x - step)) / (2 * step);
      EXPECT_NEAR(slope_at(text, x), difference, 1e-8 * (1 + std::fabs(difference))) << text << " at " << x;
    }
  }
}

TEST(Derivative, HasTheDocumentedValuesAtKinks) {
  EXPECT_EQ(slope_at("abs(score)", 0), 0);
  EXPECT_EQ(slope_at("clamp(score, -1, 1)", 1), 1);
  EXPECT_EQ(slope_at("clamp(score, -1, 1)", -1), 1);
  EXPECT_EQ(slope_at("clamp(score, -1, 1)", 1.01), 0);
  EXPECT_EQ(slope_at("max(score, 0)", 0), 1);  // a tie: the first operand
  EXPECT_EQ(slope_at("max(0, score)", 0), 0);
  EXPECT_EQ(slope_at("floor(score)", 0.5), 0);
  EXPECT_EQ(slope_at("where(kv < q, score, sqrt(score))", -1), 1);  // no NaN from the branch not taken
  EXPECT_EQ(slope_at("where(kv < q, score, score / 0)", 0), 1);
  EXPECT_EQ(slope_at("where(kv < q, -inf, score)", 3), 0);
}

// The gradient of sum over (q, kv) of a score, with respect to every element of a table, by slopes and by
// differences.
TEST(Derivative, ByCapturedTensorsAgreesWithFiniteDifferences) {
  constexpr std::int64_t n = 9;
  const char* texts[] = {"score + t[q]",
                         "score * t[kv]",
                         "score + t[q] - t[kv]",
                         "score * t[h] + sqr(t[h])",
                         "score + t[q - kv + 4]",
                         "t[0] * tanh(score / t[0])",
                         "where(kv < q, score + t[q], score * t[kv])",
                         "exp(t[q] * t[kv]) + score",
                         "score - t[h] * log1p(t[b] * abs(q - kv))",
                         "max(score, t[kv])",
                         "score + t[abs(q - kv) % 3] / t[8]"};
  for (const char* text : texts) {
    std::vector<double> table = {0.55, 0.75, 1.25, 0.95, 1.13, 0.33, 0.84, 1.35, 0.66};
    const Expr e = Score::parse(text, {{"t", Tensor(table.data(), {n})}}).expr();
    const auto score_of = [](std::int64_t q, std::int64_t kv) {
      return 0.1 * static_cast<double>(3 * q - 2 * kv);
    };
    const auto sum = [&] {
      double total = 0;
      for (std::int64_t q = 0; q < n; ++q) {
        for (std::int64_t kv = 0; kv < n; ++kv)
          total += program::eval_score_point(e, {1, 2, q, n, n}, kv, score_of(q, kv));
      }
      return total;
    };
    std::vector<double> gradient(n, 0.0);
    for (const program::TableSlope& s : program::derivatives_by_tables(e)) {
      const program::Evaluator slope(s.slope), index(s.indices.at(0));
      Scratch slope_scratch(slope), index_scratch(index);
      for (std::int64_t q = 0; q < n; ++q) {
        std::vector<double> values(n);
        std::vector<std::int64_t> at(n);
        for (std::int64_t kv = 0; kv < n; ++kv) values[kv] = score_of(q, kv);
        slope.score({1, 2, q, n, n}, 0, n, values.data(), nullptr, slope_scratch.get());
        index.integers({1, 2, q, n, n}, 0, n, at.data(), index_scratch.get());
        for (std::int64_t kv = 0; kv < n; ++kv)
          gradient[std::clamp<std::int64_t>(at[kv], 0, n - 1)] += values[kv];
      }
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const double kept = table[i], step = 1e-6;
      table[i] = kept + step;
      const double above = sum();
      table[i] = kept - step;
      const double below = sum();
      table[i] = kept;
      EXPECT_NEAR(gradient[i], (above - below) / (2 * step), 1e-6 * (1 + std::fabs(gradient[i])))
          << text << " element " << i;
    }
  }
}

TEST(Derivative, ReductionIsReadOffTheIndex) {
  using program::Reduction;
  const std::vector<float> t(16, 1.0f);
  const auto reduction = [&](const std::string& index, const Dims& shape = {16}) {
    return program::derivatives_by_tables(
               Score::parse("score + t[" + index + "]", {{"t", Tensor(t.data(), shape)}}).expr())
        .at(0)
        .reduction;
  };
  EXPECT_EQ(reduction("h"), Reduction::everything);
  EXPECT_EQ(reduction("q // 2"), Reduction::along_keys);
  EXPECT_EQ(reduction("kv"), Reduction::along_rows);
  EXPECT_EQ(reduction("clamp(q - kv, 0, 5) + 3"), Reduction::diagonal);
  EXPECT_EQ(reduction("q, kv", {4, 4}), Reduction::dense);
  EXPECT_EQ(reduction("q * kv"), Reduction::scatter);
  EXPECT_EQ(reduction("q - kv - q"), Reduction::scatter);
}

template <class A, class B>
constexpr bool kCanAnd = requires(A a, B b) {
  a&& b;
};
template <class A, class B>
constexpr bool kCanBitAnd = requires(A a, B b) {
  a& b;
};
template <class A, class B>
constexpr bool kCanLess = requires(A a, B b) {
  a < b;
};
template <class A, class B>
constexpr bool kCanEqual = requires(A a, B b) {
  a == b;
};
template <class A, class B>
constexpr bool kCanAdd = requires(A a, B b) {
  a + b;
};
template <class A, class B>
constexpr bool kCanDivide = requires(A a, B b) {
  a / b;
};
template <class A>
constexpr bool kChains = requires(A a) {
  a < a < a;
};

TEST(Types, MixturesDoNotCompile) {
  static_assert(kCanBitAnd<BoolExpr, BoolExpr> && kCanBitAnd<IntExpr, IntExpr>);
  static_assert(!kCanBitAnd<BoolExpr, IntExpr> && !kCanBitAnd<IntExpr, BoolExpr> &&
                !kCanBitAnd<BoolExpr, int>);
  static_assert(!kCanAnd<BoolExpr, IntExpr> && !kCanAnd<IntExpr, IntExpr>);
  static_assert(kCanLess<IntExpr, IntExpr> && kCanLess<IntExpr, int> && kCanLess<IntExpr, double> &&
                kCanLess<FloatExpr, IntExpr>);
  static_assert(!kCanLess<BoolExpr, IntExpr> && !kCanLess<BoolExpr, BoolExpr> && !kChains<IntExpr> &&
                !kChains<FloatExpr>);
  static_assert(kCanEqual<BoolExpr, BoolExpr> && kCanEqual<BoolExpr, bool> && !kCanEqual<BoolExpr, IntExpr> &&
                !kCanEqual<BoolExpr, int>);
  static_assert(kCanAdd<IntExpr, double> && kCanAdd<int, FloatExpr> && !kCanAdd<BoolExpr, IntExpr>);
  static_assert(!kCanDivide<IntExpr, IntExpr> && !kCanDivide<IntExpr, int> && kCanDivide<FloatExpr, IntExpr>);
  static_assert(!std::convertible_to<BoolExpr, bool> && !std::convertible_to<FloatExpr, IntExpr> &&
                std::convertible_to<IntExpr, FloatExpr>);
}

TEST(Types, LambdasBuildPrograms) {
  const Mask window = [](auto, auto, auto q, auto kv) { return kv <= q && q - kv < 1024; };
  EXPECT_EQ(window.text(), "kv <= q && q - kv < 1024");
  const Score score = [](auto s, auto, auto h, auto q, auto kv) { return s - exp2(-0.5 * h) * abs(q - kv); };
  EXPECT_EQ(score.text(), "score - exp2(-0.5 * float(h)) * float(abs(q - kv))");
  EXPECT_FALSE(Mask());
  EXPECT_EQ(Mask().text(), "true");
  EXPECT_EQ(Score().text(), "score");
}

TEST(Facts, SayWhatAProgramReads) {
  const std::vector<std::int32_t> doc = {0, 0, 1};
  const program::Facts f = program::facts(
      Mask::parse("doc[q] == doc[kv // 2] && h < 3", {{"doc", Tensor(doc.data(), {3})}}).expr());
  EXPECT_TRUE(f.uses_h && f.uses_q && f.uses_kv && f.gathers_by_q && f.gathers_by_kv);
  EXPECT_FALSE(f.uses_b || f.uses_len_q || f.uses_len_kv || f.uses_score);
  EXPECT_EQ(f.captured.size(), 1u);
  EXPECT_EQ(f.functions, 0);
  EXPECT_EQ(program::facts(Score::parse("20 * tanh(score / 20) + exp(score) * abs(q - kv)").expr()).functions,
            2);
}

TEST(Normalised, AScoreOfMinusInfinityIsAMask) {
  const auto both = program::normalised(Mask::parse("q < 9"),
                                        Score::parse("where(kv <= q, where(h == 1, -inf, 2 * score), -inf)"));
  EXPECT_EQ(both.first.text(), "q < 9 && kv <= q && !(h == 1)");
  EXPECT_EQ(both.second.text(), "2.0 * score");
  const auto alone = program::normalised({}, Score::parse("where(kv <= q, score, -inf)"));
  EXPECT_EQ(alone.first.text(), "kv <= q");
  EXPECT_FALSE(alone.second);
  EXPECT_FALSE(program::normalised({}, Score::parse("where(score < 1, score, -inf)")).first);
}

TEST(Masks, ReadyMadeOnesAreWhatTheySay) {
  const std::vector<std::int32_t> ids = {0, 0, 1, 1};
  const std::vector<std::uint32_t> bits = {0b1011, 0, 0b0100, 1};  // 2 queries x 33..64 keys
  const auto shows = [](const Mask& m, std::int64_t q, std::int64_t kv) {
    return program::eval_mask_point(m.expr(), {.q = q, .len_q = 4, .len_kv = 4}, kv);
  };
  for (int q = 0; q < 4; ++q) {
    for (int kv = 0; kv < 4; ++kv) {
      EXPECT_EQ(shows(causal(), q, kv), kv <= q);
      EXPECT_EQ(shows(sliding_window(2, 0), q, kv), q - 2 <= kv && kv <= q) << "C4";
      EXPECT_EQ(shows(sliding_window(-1, 1), q, kv), kv <= q + 1) << "C4";
      EXPECT_EQ(shows(sliding_window(1, -1), q, kv), kv >= q - 1) << "C4";
      EXPECT_EQ(shows(document(Tensor(ids.data(), {4})), q, kv), ids[q] == ids[kv]);
      EXPECT_EQ(shows(prefix_lm(2), q, kv), kv < 2 || kv <= q);
      EXPECT_EQ(shows(both(causal(), inverted(prefix_lm(2))), q, kv), false);
    }
  }
  EXPECT_FALSE(sliding_window(-1, -1));
  const Mask packed = bit_mask(Tensor(bits.data(), {2, 2}));
  EXPECT_TRUE(shows(packed, 0, 0) && shows(packed, 0, 1) && !shows(packed, 0, 2) && shows(packed, 0, 3));
  EXPECT_TRUE(shows(packed, 1, 2) && shows(packed, 1, 32) && !shows(packed, 1, 33));
  EXPECT_NEAR(program::eval_score_point(softcap(30).expr(), {}, 0, 100), 30 * std::tanh(100 / 30.0), 1e-12);
  EXPECT_EQ(softcap(30, true).text(), "30.0 * tanh_fast(score / 30.0)");
  EXPECT_NEAR(program::eval_score_point(alibi(8).expr(), {.h = 1, .q = 5}, 2, 1), 1 - 0.25 * 3, 1e-12);
  EXPECT_EQ(compose(softcap(30), Score::parse("2 * score")).text(), "2.0 * (30.0 * tanh(score / 30.0))");
  EXPECT_THROW(softcap(0), Error);
}

}  // namespace
}  // namespace bolide
