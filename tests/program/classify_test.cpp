// Tile classes: sound on random programs, precise on the catalogue, cheap on long sequences.
#include <gtest/gtest.h>
#include <bolide/masks.hpp>
#include <bolide/tiles.hpp>
#include <chrono>
#include <cstdlib>
#include <sstream>

#include "program/classify.hpp"
#include "program/facts.hpp"
#include "program/signature.hpp"
#include "tests/program/catalogue.hpp"
#include "tests/program/random_program.hpp"

namespace bolide {
namespace {

using program::Classifier;
using program::ClassifierCounts;
using program::TileBox;

// The class by evaluating every pair.
class TrueClasses {
 public:
  explicit TrueClasses(const Mask& mask)
      : evaluator_(mask.expr()), scratch_(evaluator_.scratch_bytes() + 64) {}
  TileClass of(const TileBox& t) {
    void* p = scratch_.data();
    std::size_t space = scratch_.size();
    std::align(64, 1, p, space);
    visible_.resize(t.kv_end - t.kv_begin);
    bool shown = false, hidden = false;
    for (std::int64_t q = t.q_begin; q < t.q_end && !(shown && hidden); ++q) {
      evaluator_.mask({t.b, t.h, q, t.len_q, t.len_kv}, t.kv_begin, static_cast<int>(visible_.size()),
                      visible_.data(), p);
      for (std::uint8_t v : visible_) (v ? shown : hidden) = true;
    }
    return shown && hidden ? TileClass::some : shown ? TileClass::all : TileClass::none;
  }

 private:
  program::Evaluator evaluator_;
  std::vector<std::byte> scratch_;
  std::vector<std::uint8_t> visible_;
};

// BOLIDE_RANDOM_PAIRS in the environment asks for more.
TEST(Classify, IsSoundAndExactOnRandomPrograms) {
  const char* asked = std::getenv("BOLIDE_RANDOM_PAIRS");
  const std::int64_t wanted = asked ? std::max(std::atoll(asked), 60000ll) : 60000;
  std::mt19937_64 random(static_cast<std::uint64_t>(wanted) / 20000);
  std::int64_t pairs = 0, decided = 0, decidable = 0;
  ClassifierCounts counts;
  for (int i = 0; pairs < wanted; ++i) {
    const testing::RandomTables tables(random, 20 + static_cast<int>(random() % 150));
    testing::RandomProgram programs(random, tables.captured(), i % 2 == 0);
    const Mask mask = programs.mask(2 + static_cast<int>(random() % 40));
    const Classifier classifier(mask);
    TrueClasses truth(mask);
    const auto below = [&](int n) {
      return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
    };
    for (int j = 0; j < 40; ++j) {
      const std::int64_t q = below(150) - 30, kv = below(150), rows = 1 + below(j % 4 ? 16 : 70),
                         keys = 1 + below(j % 4 ? 16 : 70);
      const TileBox box{below(3), below(8), q, q + rows, kv, kv + keys, 150, 180};
      const TileClass expected = truth.of(box), plain = classifier.plain(box, counts);
      ASSERT_TRUE(plain == TileClass::some || plain == expected)
          << mask.text() << " q " << q << " + " << rows << " kv " << kv << " + " << keys;
      ASSERT_EQ(classifier.exact(box, counts, 20), expected) << mask.text();
      ++pairs;
      decided += plain != TileClass::some;
      decidable += expected != TileClass::some;
    }
  }
  EXPECT_GT(decided, decidable / 2);
}

// A sum cancels what both sides of a comparison add only where neither side wraps.
TEST(Classify, SumsThatWrapAreNotDecidedAsIfTheyDidNot) {
  const std::int64_t big[] = {std::numeric_limits<std::int64_t>::max() - 20};
  const Bindings names{{"big", Tensor(big, {1})}};
  for (const char* text :
       {"big[0] + q < big[0] + kv", "big[0] + q < big[0] + kv && big[0] + q > big[0] + kv - 3"}) {
    const Mask mask = Mask::parse(text, names);
    const Classifier classifier(mask);
    TrueClasses truth(mask);
    ClassifierCounts counts;
    for (std::int64_t q = 0; q < 64; q += 8)
      for (std::int64_t kv = 0; kv < 64; kv += 8) {
        const TileBox box{0, 0, q, q + 8, kv, kv + 8, 64, 64};
        const TileClass plain = classifier.plain(box, counts), expected = truth.of(box);
        ASSERT_TRUE(plain == TileClass::some || plain == expected) << text << " " << q << " " << kv;
      }
  }
}

// The signatures of an operator that `wanted` takes: "ff>b".
template <class Wanted>
std::vector<std::string> signatures_of(program::Op op, Wanted wanted) {
  std::vector<std::string> all;
  std::istringstream list(program::spec_of(op).signature);
  for (std::string one; list >> one;)
    if (wanted(one)) all.push_back(one);
  return all;
}

// Makes the range that bounds() gives for one operator too narrow by one at its upper end: an unsound rule.
struct Planted {
  program::Op op;
  void operator()(const program::Graph& graph, std::size_t i, program::AnyRange& r) const {
    const program::Graph::Value& v = graph.values[i];
    if (v.op != op) return;
    if (v.type == Type::boolean && r.boolean.lo != r.boolean.hi) r.boolean.hi = false;
    if (v.type == Type::integer && r.integer.lo != r.integer.hi) --r.integer.hi;
    if (v.type == Type::floating && r.floating.lo != r.floating.hi) r.floating.hi = r.floating.lo;
  }
};

// Pairs of random programs and tiles until a class is wrong; -1 if none of `most` is.
int pairs_until_unsound(const Planted& planted, int most) {
  std::mt19937_64 random(5);
  for (int pairs = 0; pairs < most;) {
    const testing::RandomTables tables(random, 20 + static_cast<int>(random() % 150));
    testing::RandomProgram programs(random, tables.captured(), pairs % 2 == 0);
    const Mask mask = programs.mask(2 + static_cast<int>(random() % 40));
    const program::Graph graph(mask.expr());
    const program::BoundsProgram bounds(graph);
    std::vector<std::unique_ptr<program::TableRanges>> ranges;
    for (const program::Captured& c : graph.tables)
      ranges.push_back(std::make_unique<program::TableRanges>(c.tensor));
    std::vector<program::AnyRange> out(bounds.size());
    TrueClasses truth(mask);
    for (int j = 0; j < 40; ++j, ++pairs) {
      const std::int64_t q = static_cast<std::int64_t>(random() % 150) - 30,
                         kv = static_cast<std::int64_t>(random() % 150);
      const TileBox box{static_cast<std::int64_t>(random() % 3),
                        static_cast<std::int64_t>(random() % 8),
                        q,
                        q + 1 + static_cast<std::int64_t>(random() % 16),
                        kv,
                        kv + 1 + static_cast<std::int64_t>(random() % 16),
                        150,
                        180};
      bounds.run(
          {{box.b, box.b},
           {box.h, box.h},
           {box.q_begin, box.q_end - 1},
           {box.kv_begin, box.kv_end - 1},
           {150, 150},
           {180, 180}},
          out.data(),
          [&](const program::Graph::Value& v, const program::IntRange* at) { return (*ranges[v.table])(at); },
          [&](std::size_t i, program::AnyRange& r) { planted(graph, i, r); });
      const TileClass found = class_of(out[graph.roots[0]].boolean);
      if (found != TileClass::some && found != truth.of(box)) return pairs;
    }
  }
  return -1;
}

// Operators of integers and conditions. A float that is off by a little seldom moves a class: those have a
// test of their own below.
TEST(Classify, RandomPairsFindAnUnsoundRuleOfAnyOperator) {
  for (int i = 0; i < program::Operators::size; ++i) {
    const auto op = static_cast<program::Op>(static_cast<int>(program::Op::operators) + i);
    if (!signatures_of(op, [](const std::string& s) { return s.find('f') == s.npos; }).size()) continue;
    const int pairs = pairs_until_unsound({op}, 200000);
    EXPECT_GE(pairs, 0) << program::spec_of(op).struct_name;
    RecordProperty(std::string("pairs_") + program::spec_of(op).struct_name, pairs);
  }
  EXPECT_GE(pairs_until_unsound({program::Op::gather}, 200000), 0);
}

// What a tile of the catalogue is, for all tiles.
struct Precision {
  std::int64_t decidable = 0, found = 0, unsound = 0, inexact = 0;
};
Precision precision(std::int64_t tile_q, std::int64_t tile_kv) {
  const testing::Catalogue catalogue;
  Precision total;
  for (const testing::CatalogueMask& entry : catalogue.masks()) {
    const Classifier classifier(entry.mask);
    TrueClasses truth(entry.mask);
    ClassifierCounts counts;
    std::int64_t missed = 0;
    const program::Facts facts = program::facts(entry.mask.expr());
    // The mask's patterns: both heads, or both batch entries.
    for (std::int64_t i = 0; i < (facts.uses_h || facts.uses_b ? 2 : 1); ++i) {
      for (std::int64_t q = 0; q < entry.len_q; q += tile_q) {
        for (std::int64_t kv = 0; kv < entry.len_kv; kv += tile_kv) {
          const TileBox box{i,           i,
                            q,           std::min(q + tile_q, entry.len_q),
                            kv,          std::min(kv + tile_kv, entry.len_kv),
                            entry.len_q, entry.len_kv};
          const TileClass expected = truth.of(box), plain = classifier.plain(box, counts);
          total.decidable += expected != TileClass::some;
          total.found += plain != TileClass::some;
          missed += plain != expected;
          total.unsound += plain != TileClass::some && plain != expected;
          total.inexact += classifier.exact(box, counts) != expected;
        }
      }
    }
    if (missed && ::testing::UnitTest::GetInstance())
      ::testing::Test::RecordProperty("missed_" + std::to_string(tile_q) + "_" + entry.id,
                                      static_cast<int>(missed));
  }
  return total;
}

TEST(Classify, FindsTheEmptyAndFullTilesOfTheCatalogue) {
  const Precision p = precision(64, 64);
  EXPECT_EQ(p.unsound, 0);
  EXPECT_EQ(p.inexact, 0);
  EXPECT_GE(static_cast<double>(p.found), 0.978 * static_cast<double>(p.decidable))
      << p.found << " of " << p.decidable;
  RecordProperty("decided", static_cast<int>(p.found));
  RecordProperty("decidable", static_cast<int>(p.decidable));
}
TEST(Classify, IsExactOnMisalignedTiles) {
  for (const auto& [tile_q, tile_kv] : {std::pair{48, 80}, {128, 112}}) {
    const Precision p = precision(tile_q, tile_kv);
    EXPECT_EQ(p.unsound, 0);
    EXPECT_EQ(p.inexact, 0);
  }
}

TEST(Classify, SamplingTrapLosesNoPair) {
  std::vector<std::int32_t> ids;
  std::mt19937_64 random(1);
  for (int id = 0; ids.size() < 1024; ++id) ids.insert(ids.end(), 4 + random() % 13, id);
  for (const Mask& mask :
       {document(Tensor(ids.data(), {static_cast<std::int64_t>(ids.size())})), sliding_window(16, 16)}) {
    const Classifier classifier(mask);
    TrueClasses truth(mask);
    ClassifierCounts counts;
    for (std::int64_t q = 0; q < 1024; q += 128) {
      for (std::int64_t kv = 0; kv < 1024; kv += 112) {
        const TileBox box{0, 0, q, q + 128, kv, std::min<std::int64_t>(kv + 112, 1024), 1024, 1024};
        EXPECT_EQ(classifier.exact(box, counts), truth.of(box));
      }
    }
    std::int64_t pairs = 0;
    for (std::int64_t q = 0; q < 1024; ++q)
      for (std::int64_t kv = 0; kv < 1024; ++kv)
        pairs += truth.of({0, 0, q, q + 1, kv, kv + 1, 1024, 1024}) == TileClass::all;
    for (const bool bisect : {true, false}) {
      TileQuestion question{.len_q = 1024, .len_kv = 1024, .tile_q = 128, .tile_kv = 112};
      question.bisect = bisect;
      EXPECT_EQ(classify_tiles(mask, question).visible_pairs, pairs);
    }
  }
}

ClassifierCounts whole(const Mask& mask, std::int64_t n, std::int64_t tile, double& ms) {
  const Classifier classifier(mask);
  ClassifierCounts counts;
  const auto start = std::chrono::steady_clock::now();
  std::int64_t covered = 0;
  classifier.tiles({0, 0, 0, n, 0, n, n, n}, tile, tile, false, counts, [&](const TileBox& t, TileClass) {
    covered += (t.q_end - t.q_begin) * (t.kv_end - t.kv_begin);
  });
  ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(covered, n * n);
  return counts;
}

TEST(Classify, LongSequencesCostLittle) {
  constexpr std::int64_t n = 65536;
  double ms;
  const ClassifierCounts c = whole(causal(), n, 128, ms);
  EXPECT_LE(c.interval_evaluations, 2150);
  EXPECT_EQ(c.some, 512);
  EXPECT_EQ(c.all, 512 * 511 / 2);
  RecordProperty("causal_evaluations", static_cast<int>(c.interval_evaluations));
  RecordProperty("causal_microseconds", static_cast<int>(1000 * ms));
  std::vector<std::int32_t> ids(n);
  for (std::int64_t i = 0; i < n; ++i) ids[i] = static_cast<std::int32_t>(i / 1500);
  const ClassifierCounts d = whole(both(document(Tensor(ids.data(), {n})), causal()), n, 128, ms);
  EXPECT_LE(d.interval_evaluations, 5835);
  RecordProperty("documents_evaluations", static_cast<int>(d.interval_evaluations));
  RecordProperty("documents_microseconds", static_cast<int>(1000 * ms));
  const ClassifierCounts w = whole(sliding_window(4096, 0), n, 128, ms);
  RecordProperty("window_evaluations", static_cast<int>(w.interval_evaluations));
}

TEST(Classify, SumsThatCancelAreDecidedAtOnce) {
  ClassifierCounts counts;
  const TileBox box{0, 0, 0, 100, 0, 100, 100, 100};
  EXPECT_EQ(Classifier(Mask::parse("kv + (q - kv) >= q")).plain(box, counts), TileClass::all);
  EXPECT_EQ(Classifier(Mask::parse("2 * (q + kv) - q - kv - q < kv")).plain(box, counts), TileClass::none);
  EXPECT_EQ(Classifier(Mask::parse("q * kv - kv * q == 0")).plain(box, counts), TileClass::all);
  EXPECT_EQ(Classifier(Mask::parse("q < kv || kv <= q")).plain(box, counts), TileClass::all);
  EXPECT_EQ(Classifier(Mask::parse("kv - q < 5 || h == 9 || q - kv <= -5")).plain(box, counts),
            TileClass::all);
  EXPECT_EQ(Classifier(Mask::parse("q - kv >= 40 && b == 0 && !(q - kv > 20)")).plain(box, counts),
            TileClass::none);
  EXPECT_EQ(Classifier(Mask::parse("q - kv >= 40 && q - kv <= 40")).plain(box, counts), TileClass::some);
  EXPECT_EQ(Classifier(Mask::parse("q < kv || kv < q")).plain(box, counts), TileClass::some);
  EXPECT_EQ(Classifier(Mask()).plain(box, counts), TileClass::all);
  EXPECT_EQ(Classifier(causal()).plain({0, 0, 5, 5, 0, 100}, counts), TileClass::none);
}

// Every operator's bounds against its values, exhaustively over small operands and at the edges of the types.
TEST(Bounds, HoldForEveryIntegerOperator) {
  std::mt19937_64 random(9);
  const std::int64_t edges[] = {std::numeric_limits<std::int64_t>::min(),
                                std::numeric_limits<std::int64_t>::min() + 1,
                                -65,
                                -64,
                                -8,
                                -3,
                                -2,
                                -1,
                                0,
                                1,
                                2,
                                3,
                                7,
                                8,
                                62,
                                63,
                                64,
                                65,
                                std::numeric_limits<std::int64_t>::max() - 1,
                                std::numeric_limits<std::int64_t>::max()};
  for (const char* text : {"q + kv",
                           "q - kv",
                           "q * kv",
                           "q // kv",
                           "q % kv",
                           "q & kv",
                           "q | kv",
                           "q ^ kv",
                           "q << kv",
                           "q >> kv",
                           "min(q, kv)",
                           "max(q, kv)",
                           "abs(q) + 0 * kv",
                           "-q",
                           "~q",
                           "sqr(q)",
                           "int(q < kv)",
                           "int(q == kv)",
                           "int(q != kv)",
                           "int(q <= kv)",
                           "where(q < kv, q, kv)",
                           "int(float(q) * 0.25)",
                           "int(bool(q))"}) {
    const Expr e = Mask::parse(std::string(text) + " != 12345").expr();
    const Expr value(e.node()->args[e.node()->args[0]->op == program::Op::constant ? 1 : 0]);
    const program::Graph graph(value);
    const program::BoundsProgram bounds(graph);
    std::vector<program::AnyRange> out(bounds.size());
    for (int i = 0; i < 20000; ++i) {
      const auto pick = [&] {
        return random() % 3 ? static_cast<std::int64_t>(random() % 41) - 20
                            : edges[random() % std::size(edges)];
      };
      std::int64_t q0 = pick(), q1 = pick(), k0 = pick(), k1 = pick();
      if (q1 < q0) std::swap(q0, q1);
      if (k1 < k0) std::swap(k0, k1);
      bounds.run({.q = {q0, q1}, .kv = {k0, k1}}, out.data(),
                 [](const auto&, const auto*) { return program::AnyRange{}; });
      const program::IntRange r = out[graph.roots[0]].integer;
      for (int j = 0; j < 6; ++j) {
        const auto inside = [&](std::int64_t lo, std::int64_t hi) {
          const std::uint64_t width = static_cast<std::uint64_t>(hi) - static_cast<std::uint64_t>(lo);
          return j == 0   ? lo
                 : j == 1 ? hi
                          : static_cast<std::int64_t>(static_cast<std::uint64_t>(lo) +
                                                      (width == ~0ull ? random() : random() % (width + 1)));
        };
        const std::int64_t q = inside(q0, q1), kv = inside(k0, k1),
                           x = program::eval_int_point(value, {.q = q}, kv);
        ASSERT_TRUE(r.lo <= x && x <= r.hi)
            << text << " q " << q << " in [" << q0 << ", " << q1 << "] kv " << kv << " in [" << k0 << ", "
            << k1 << "] gives " << x << " outside [" << r.lo << ", " << r.hi << "]";
      }
    }
  }
}

// One operator over operands that range over given intervals, each read from a table of its own.
class OneOperator {
 public:
  OneOperator(program::Op op, const std::string& signature) : op_(op) {
    const char* names[] = {"x", "y", "z"};
    std::vector<program::NodePointer> args;
    for (const char letter : signature.substr(0, signature.find('>'))) {
      types_.push_back(program::type_of_letter(letter));
      const DType dtype = letter == 'f' ? DType::f32 : letter == 'i' ? DType::i64 : DType::boolean;
      const std::size_t i = args.size();
      args.push_back(program::make_gather({Tensor(&memory_[i], dtype, {1}), names[i]},
                                          {program::make_leaf(program::Op::q)}));
    }
    graph_.emplace(Expr(program::make(op, args)));
    bounds_.emplace(*graph_);
    out_.resize(bounds_->size());
  }
  program::AnyRange bounds(const std::array<program::AnyRange, 3>& operands, bool planted) {
    bounds_->run(
        {}, out_.data(),
        [&](const program::Graph::Value& v, const program::IntRange*) {
          return operands[graph_->tables[v.table].name[0] - 'x'];
        },
        [&](std::size_t i, program::AnyRange& r) {
          if (planted) Planted{op_}(*graph_, i, r);
        });
    return out_[graph_->roots[0]];
  }
  program::Value<float> value(const std::array<program::Value<float>, 3>& operands) const {
    return program::apply<float>(op_, types_, {operands.data(), types_.size()});
  }
  Type result() const { return graph_->root().type; }
  const std::vector<Type>& types() const { return types_; }

 private:
  program::Op op_;
  std::vector<Type> types_;
  std::array<double, 3> memory_{};
  std::optional<program::Graph> graph_;
  std::optional<program::BoundsProgram> bounds_;
  std::vector<program::AnyRange> out_;
};

bool holds(const program::AnyRange& r, const program::Value<float>& v, Type t) {
  if (t == Type::boolean) return v.boolean ? r.boolean.hi : !r.boolean.lo;
  if (t == Type::integer) return r.integer.lo <= v.integer && v.integer <= r.integer.hi;
  if (v.floating != v.floating) return r.floating.nan;
  return r.floating.lo <= v.floating && v.floating <= r.floating.hi;
}

class Intervals {
 public:
  program::AnyRange range(Type t) {
    program::AnyRange r;
    if (t == Type::boolean) r.boolean = {random_() % 2 == 0, true};
    if (t == Type::boolean && random_() % 3 == 0) r.boolean = {false, random_() % 2 == 0};
    if (t == Type::integer) {
      const std::int64_t a = integer(), b = integer();
      r.integer = {std::min(a, b), std::max(a, b)};
    }
    if (t == Type::floating) {
      const float a = real(), b = random_() % 8 ? real() : a;
      r.floating = {std::min(a, b), std::max(a, b)};
    }
    return r;
  }
  program::Value<float> inside(const program::AnyRange& r, int sample) {
    program::Value<float> v;
    v.boolean = sample % 2 ? r.boolean.hi : r.boolean.lo;
    v.integer = sample == 0 ? r.integer.lo : sample == 1 ? r.integer.hi : middle(r.integer);
    const double lo = r.floating.lo, hi = r.floating.hi, share = static_cast<double>(random_() % 1000) / 1000;
    v.floating = sample == 0   ? r.floating.lo
                 : sample == 1 ? r.floating.hi
                               : std::clamp(static_cast<float>(std::clamp(lo, -1e39, 1e39) * (1 - share) +
                                                               std::clamp(hi, -1e39, 1e39) * share),
                                            r.floating.lo, r.floating.hi);
    return v;
  }

 private:
  std::int64_t integer() {
    return random_() % 4 ? static_cast<std::int64_t>(random_() % 200) - 100
                         : static_cast<std::int64_t>(random_());
  }
  std::int64_t middle(program::IntRange r) {
    const std::uint64_t width = static_cast<std::uint64_t>(r.hi) - static_cast<std::uint64_t>(r.lo);
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(r.lo) +
                                     (width == ~0ull ? random_() : random_() % (width + 1)));
  }
  float real() {
    constexpr float kEdges[] = {0.0f,
                                -0.0f,
                                1.0f,
                                -1.0f,
                                0.5f,
                                2.0f,
                                1e-30f,
                                -1e-30f,
                                1e30f,
                                -1e30f,
                                1e-45f,
                                3.4e38f,
                                -3.4e38f,
                                88.0f,
                                -90.0f,
                                1e6f,
                                std::numeric_limits<float>::infinity(),
                                -std::numeric_limits<float>::infinity()};
    if (random_() % 3 == 0) return kEdges[random_() % std::size(kEdges)];
    return static_cast<float>(static_cast<int>(random_() % 20001) - 10000) / 1000;
  }
  std::mt19937_64 random_{13};
};

// The first operands whose value leaves the range that bounds give; "" if none does.
std::string violation(program::Op op, const std::string& signature, bool planted, int tries) {
  OneOperator one(op, signature);
  Intervals intervals;
  for (int i = 0; i < tries; ++i) {
    std::array<program::AnyRange, 3> ranges;
    for (std::size_t a = 0; a < one.types().size(); ++a) ranges[a] = intervals.range(one.types()[a]);
    const program::AnyRange r = one.bounds(ranges, planted);
    for (int sample = 0; sample < 8; ++sample) {
      std::array<program::Value<float>, 3> values;
      for (std::size_t a = 0; a < one.types().size(); ++a)
        values[a] = intervals.inside(ranges[a], sample < 2 ? sample : sample + static_cast<int>(a));
      const program::Value<float> v = one.value(values);
      if (holds(r, v, one.result())) continue;
      std::ostringstream text;
      text << program::spec_of(op).struct_name << " " << signature << " of " << values[0].floating << ", "
           << values[1].floating << " is " << v.floating << " / " << v.integer << " / " << v.boolean
           << ", bounds [" << r.floating.lo << ", " << r.floating.hi << "] nan " << r.floating.nan;
      return text.str();
    }
  }
  return "";
}

TEST(Bounds, HoldForEveryFloatOperator) {
  for (int i = 0; i < program::Operators::size; ++i) {
    const auto op = static_cast<program::Op>(static_cast<int>(program::Op::operators) + i);
    for (const std::string& s :
         signatures_of(op, [](const std::string& s) { return s.find('f') != s.npos; })) {
      EXPECT_EQ(violation(op, s, false, 20000), "");
      EXPECT_NE(violation(op, s, true, 20000), "")
          << "a planted rule of " << program::spec_of(op).struct_name << " " << s << " is not found";
    }
  }
}

}  // namespace
}  // namespace bolide
