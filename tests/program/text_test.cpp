// The text form: precedence, types, errors with the fix, limits, and the round trip through print.
#include <gtest/gtest.h>
#include <bolide/masks.hpp>
#include <ctime>

#include "program/derive.hpp"
#include "program/emit.hpp"
#include "program/evaluator.hpp"
#include "program/facts.hpp"
#include "program/node.hpp"
#include "tests/fuzz/program_properties.hpp"
#include "tests/program/catalogue.hpp"
#include "tests/program/random_program.hpp"

namespace bolide {
namespace {

std::string error_of(const std::string& text, bool is_mask = true, const Bindings& bindings = {}) {
  try {
    if (is_mask) Mask::parse(text, bindings);
    else Score::parse(text, bindings);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::expression);
    return e.what();
  }
  return "";
}
void expect_error(const std::string& text, const std::string& part, bool is_mask = true) {
  const std::string error = error_of(text, is_mask);
  EXPECT_NE(error.find(part), std::string::npos) << text << "\n" << error;
}
// Both texts mean the same expression.
void expect_same(const std::string& a, const std::string& b) {
  EXPECT_TRUE(Mask::parse(a).expr().same(Mask::parse(b).expr()))
      << Mask::parse(a).text() << " | " << Mask::parse(b).text();
}

TEST(Text, PrecedenceFromLoosestToTightest) {
  expect_same("q == 1 || q == 2 && q == 3", "(q == 1) || ((q == 2) && (q == 3))");
  expect_same("!q == 1 && kv == 2", "(!(q == 1)) && (kv == 2)");
  expect_same("q | 1 == kv", "(q | 1) == kv");
  expect_same("q | kv ^ h & b << 1 + 2 * -q == 0", "(q | (kv ^ (h & (b << (1 + (2 * (-q))))))) == 0");
  expect_same("q - kv - 1 == 0", "((q - kv) - 1) == 0");
  expect_same("q // 3 % 2 == 0", "((q // 3) % 2) == 0");
  expect_same("-q % 3 == 0", "((-q) % 3) == 0");
  expect_same("q > kv", "kv < q");
}

TEST(Text, IntBecomesFloatAndSlashIsTrueDivision) {
  expect_same("q / 2 == 1.5", "float(q) / 2.0 == 1.5");
  expect_same("q + 0.5 < kv", "float(q) + 0.5 < float(kv)");
  EXPECT_EQ(Score::parse("q").expr().type(), Type::floating);
}

TEST(Text, ErrorsPointAndNameTheFix) {
  expect_error("0 <= kv < q", "chained comparison: write 0 <= kv && kv < q\n  0 <= kv < q\n          ^");
  expect_error("(q >= kv) & b % 2 == 0", "& between Bool and Int");
  expect_error("(q >= kv) & b % 2", "put parentheses around each comparison");
  expect_error("(q >= kv) + 1 == 2", "Bool and numbers never mix");
  expect_error("q < kv == 1", "chained comparison");
  expect_error("qq < kv", "did you mean q?");
  expect_error("dok < kv", "known: b, h, q, kv, len_q, len_kv, score");
  expect_error("maks(q, kv) == 1", "did you mean max?");
  expect_error("max(q) == 1", "max does not take 1 arguments");
  expect_error("kv <= q and true", "write && between conditions");
  expect_error("not kv <= q", "write ! before a condition");
  expect_error("kv = q", "write == to compare");
  expect_error("kv <= q ? 1 : 2", "where(condition, a, b)");
  expect_error("kv ** 2 == 1", "pow(x, y)");
  expect_error("", "empty");
  expect_error("kv <=", "ends too early");
  expect_error("(kv <= q", ") is expected here");
  expect_error("kv <= q)", "an operator is expected here");
  expect_error("kv", "a mask is Bool and this is Int");
  expect_error("kv <= q", "a score is Float and this is Bool", false);
  expect_error("score < 1.0", "a mask cannot use score");
  expect_error("kv <= 9223372036854775808", "out of range");
  expect_error("kv <= 1e999", "out of range");
  expect_error("kv <= 12abc", "malformed");
  expect_error("doc[q] == 1", "unknown captured tensor doc");
}

TEST(Text, BindingsAreTensorsAndNumbers) {
  const std::vector<std::int32_t> doc = {0, 0, 1};
  const float weight = 2;
  const Bindings bindings{
      {"doc", Tensor(doc.data(), {3})}, {"w", Tensor(&weight, {})}, {"n", std::int64_t{4}}, {"x", 0.5}};
  EXPECT_EQ(Mask::parse("doc[q] == doc[kv] && kv < n", bindings).text(), "doc[q] == doc[kv] && kv < 4");
  EXPECT_EQ(Score::parse("score * w + x", bindings).text(), "score * w + 0.5");
  EXPECT_NE(error_of("doc[q, kv] == 1", true, bindings).find("doc has 1 axes and is read with 2 indices"),
            std::string::npos);
  EXPECT_NE(error_of("doc[0.5] == 1", true, bindings).find("an index is Int"), std::string::npos);
  EXPECT_NE(error_of("q == 1", true, {{"kv", std::int64_t{4}}}).find("the binding kv"), std::string::npos);
}

TEST(Text, TensorsOfOneNameAreToldApart) {
  const std::vector<std::int32_t> a = {0, 1}, b = {2, 3};
  const Mask m = ints(Tensor(a.data(), {2}))(leaf::q) == ints(Tensor(b.data(), {2}))(leaf::kv);
  EXPECT_EQ(m.text(), "t[q] == t_2[kv]");
  EXPECT_TRUE(Mask::parse(m.text(), captured(m.expr())).expr().same(m.expr()));
}

TEST(Text, RandomProgramsRoundTrip) {
  std::mt19937_64 random(7);
  const testing::RandomTables tables(random);
  testing::RandomProgram programs(random, tables.captured());
  int compared = 0;
  for (int i = 0; i < 20000; ++i) {
    const int size = 1 + static_cast<int>(random() % 30);
    const Expr e = random() % 2 ? static_cast<const Expr&>(programs.mask(size)) : programs.score(size);
    const std::string text = e.to_text();
    if (text.size() > kMaxTextBytes) continue;
    const Expr back = e.type() == Type::boolean ? Mask::parse(text, captured(e)).expr()
                                                : Score::parse(text, captured(e)).expr();
    ASSERT_TRUE(back.same(e)) << text << "\n" << back.to_text();
    ASSERT_EQ(back.to_text(), text);
    ++compared;
  }
  EXPECT_GT(compared, 19000);
}

// Of this thread alone, so that a busy machine does not count.
double thread_milliseconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return 1e3 * static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_nsec);
}

TEST(Text, HostileTextsEndQuicklyInAnError) {
  const auto repeat = [](const std::string& s, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) all += s;
    return all;
  };
  std::vector<std::string> texts = {repeat("(", 1000000),
                                    repeat("(", 4000),
                                    repeat("!", 4000) + "true",
                                    repeat("-", 4000) + "1 == 1",
                                    repeat("q+", 2040) + "q==1",
                                    repeat("max(", 1000),
                                    repeat("t[", 1000),
                                    std::string(10 << 20, 'x'),
                                    repeat("a&&", 1300) + "a",
                                    std::string("q\0==1", 5),
                                    "q == 1; system(\"x\")",
                                    "q == 1 */ /*",
                                    "#include \"/etc/passwd\"",
                                    "asm(\"\")",
                                    "__attribute__((x)) == 1",
                                    "q == 1 //\\\nkv",
                                    "%:define x",
                                    "q == \"1\"",
                                    "q ==\xd0\xb0",
                                    "\xef\xbb\xbfq == 1",
                                    "q == 1'0",
                                    "q == 0x",
                                    "q == 0xfffffffffffffffff",
                                    repeat("(q==1)||", 500) + "q==1",
                                    repeat("9", 4000) + "==q",
                                    "q == 1e",
                                    "q == .",
                                    "q[0] == 1",
                                    "q(0) == 1",
                                    "t\?\?(0\?\?) == 1",
                                    repeat("where(q<kv,", 300)};
  for (const std::string& text : texts) {
    const double start = thread_milliseconds();
    const std::string error = error_of(text);
    const double ms = thread_milliseconds() - start;
    EXPECT_FALSE(error.empty()) << text.substr(0, 60);
    EXPECT_LT(error.size(), 2000u) << text.substr(0, 60);
    EXPECT_LT(ms, 50) << text.substr(0, 60);
    for (char c : error) EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~')) << text.substr(0, 60);
  }
}

// Shared operands make the tree of a short text, and of its derivative, exponentially large; nothing may walk
// it.
TEST(Text, NestedFunctionsAreReadAndDerivedQuickly) {
  for (const std::string function :
       {"abs(X)", "gelu(X)", "softplus(X)", "silu(X)", "clamp(X, -1, 1)", "tan(X)", "tanh(X)", "1 / (1 + X)",
        "where(q < kv, X, -X)", "pow(X, X)", "min(X, max(X, 1))", "(X) * (X)", "sqr(X) + bias[h, kv]"}) {
    std::string text = "score";
    for (int levels = 0; levels < 60; ++levels) {
      std::string next = function;
      for (std::size_t at = 0; (at = next.find('X', at)) != next.npos; at += text.size())
        next.replace(at, 1, text);
      if (next.size() > kMaxTextBytes) break;
      text = next;
      const std::vector<float> bias(4, 0.5f);
      const double start = thread_milliseconds();
      try {
        const Expr e = Score::parse(text, {{"bias", Tensor(bias.data(), {2, 2})}}).expr();
        program::derivatives_by_tables(e);
        const program::Evaluator evaluator(e);
        program::emit({}, FloatExpr(e));
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::expression);
      }
      EXPECT_LT(thread_milliseconds() - start, 50) << text.substr(0, 100);
    }
  }
}

// The catalogue's texts with pieces changed, moved and joined: whatever still parses obeys the fuzzer's
// properties.
TEST(Text, MutatedTextsKeepTheirProperties) {
  const char* words[] = {"q",    "kv",   "h",    "score", "doc[q]", "bias[h, kv]", "flag[q]", "scalar",
                         "n",    "(",    ")",    " && ",  " || ",   "!",           " == ",    " < ",
                         " <= ", " - ",  " * ",  " // ",  " % ",    " & ",         " >> ",    "where(",
                         ", ",   "abs(", "exp(", "0",     "7",      "-1",          "0.5",     "inf",
                         "min(", "true", " / ",  "log("};
  std::vector<std::string> seeds = {"doc[q] == doc[kv] && kv <= q", "score + bias[h, kv] * scalar",
                                    "where(flag[q], score, -inf)", "tanh(score / n) * n"};
  const testing::Catalogue catalogue;
  for (const testing::CatalogueMask& m : catalogue.masks()) seeds.push_back(m.text);
  for (const testing::CatalogueScore& s : testing::catalogue_scores()) seeds.push_back(s.text);
  std::mt19937_64 random(11);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  testing::property_counts() = {};
  for (int i = 0; i < 30000; ++i) {
    std::string text = seeds[below(seeds.size())];
    for (std::size_t changes = below(4); changes > 0; --changes) {
      const std::size_t at = below(text.size() + 1),
                        length = below(std::min<std::size_t>(text.size() - at + 1, 6));
      if (below(8) == 0) text = "(" + text + ") - (" + seeds[below(seeds.size())] + ")";
      else
        text.replace(at, length, below(6) ? words[below(std::size(words))] : std::string(1, char(random())));
    }
    ASSERT_EQ(testing::broken_property(text), "") << text;
  }
  EXPECT_GT(testing::property_counts().masks, 2000);
  EXPECT_GT(testing::property_counts().scores, 1000);
}

TEST(Text, ProgramsBeyondTheLimitsAreRefused) {
  IntExpr sum = leaf::q;
  for (int i = 0; i < 300; ++i) sum = sum + leaf::kv * IntExpr(i + 2);
  EXPECT_THROW(Mask(sum == 0), Error);
  IntExpr doubled = leaf::q;
  for (int i = 0; i < 100; ++i) doubled = doubled + doubled;
  EXPECT_THROW(Mask(doubled == 0), Error);
  IntExpr deep = leaf::q;
  EXPECT_THROW(
      {
        for (int i = 0; i < 100000; ++i) deep = deep + leaf::kv;
      },
      Error);
}

TEST(Hash, LeavesOutNumbersContentsAndOperandOrder) {
  const auto hash = [](const std::string& text) { return program::structure_hash(Mask::parse(text).expr()); };
  EXPECT_EQ(hash("kv <= q && q - kv < 1024"), hash("q - kv < 77 && kv <= q"));
  EXPECT_NE(hash("kv <= q && q - kv < 1024"), hash("kv <= q && kv - q < 1024"));
  EXPECT_NE(hash("kv < q"), hash("kv <= q"));
  std::vector<std::int32_t> a = {1, 2}, b = {3, 4, 5};
  std::vector<std::int64_t> wide = {1, 2};
  const auto table_hash = [](const Tensor& t) {
    return program::structure_hash(Expr(ints(t)(leaf::q) == 1));
  };
  EXPECT_EQ(table_hash(Tensor(a.data(), {2})), table_hash(Tensor(b.data(), {3})));
  EXPECT_NE(table_hash(Tensor(a.data(), {2})), table_hash(Tensor(wide.data(), {2})));
}

}  // namespace
}  // namespace bolide
