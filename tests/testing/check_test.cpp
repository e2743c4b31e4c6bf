// The judge itself: it must see guards broken, keys lost, bits changed and budgets exceeded.
#include "testing/check.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "testing/coverage.hpp"
#include "testing/elements.hpp"
#include "testing/random_case.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

TEST(Arena, FindsEveryByteWrittenWhereNoneMayBe) {
  const Arena out("out", DType::f32, {2, 3}, {8, 1}, 1, true, Fill::nonfinite),
      in("in", DType::f32, {2, 3}, {8, 1}, 1, false, Fill::nonfinite);
  const auto bytes = static_cast<std::int64_t>(out.image().size());
  std::int64_t allowed = 0;
  for (std::int64_t i = 0; i < bytes; ++i) {
    std::vector<std::byte> after(out.image().begin(), out.image().end());
    after[static_cast<std::size_t>(i)] ^= std::byte{1};
    allowed += out.find_damage(after).empty();
    EXPECT_FALSE(in.find_damage(after).empty()) << i;
  }
  EXPECT_EQ(allowed, 2 * 3 * 4);
  EXPECT_EQ(out.find_damage(out.image()), "");
}

TEST(Arena, NegativeStridesAndOffsetsStayInside) {
  const Arena a("a", DType::bf16, {3, 4, 5}, {-40, -7, 1}, 3, true, Fill::finite);
  const Tensor t = a.host();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data) % 256, 6u);
  std::vector<std::byte> after(a.image().begin(), a.image().end());
  const Tensor copy = a.view(after.data(), Device::cpu());
  for_each_offset(copy, [&](std::int64_t at) { store(copy, at, 42); });
  EXPECT_EQ(a.find_damage(after), "");
}

TEST(Placement, WhatNoQuerySeesKeepsTheFill) {
  HostMemory memory;
  const testing::Setup setup(
      Case::parse("fwd f32 b=1 hq=4 hkv=2 sq=2 skv=6 d=2 mask=\"h < 2 && kv % 2 == 0 || kv == 5\""),
      Fill::nonfinite, memory);
  const Tensor& k = setup.host().forward.k;
  for (std::int64_t j = 0; j < 6; ++j)
    for (std::int64_t head = 0; head < 2; ++head) {
      const bool seen = j == 5 || (head == 0 && j % 2 == 0);  // key head 0 serves query heads 0 and 1
      EXPECT_EQ(
          std::isfinite(load(k, k.offset(0, j, head, 0))) && std::isfinite(load(k, k.offset(0, j, head, 1))),
          seen)
          << j << " " << head;
    }
}

TEST(Placement, UnusedTableEntriesHoldGarbage) {
  HostMemory memory;
  const testing::Setup setup(Case::parse("fwd f32 b=2 sq=1 skv=40 kv=paged:4 seqused_kv=5,0"),
                             Fill::nonfinite, memory);
  const Tensor table = std::get<Paged>(setup.host().forward.keys).table;
  const std::int64_t pages = setup.host().forward.k.size(0);
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t i = 0; i < table.size(1); ++i) {
      const std::int64_t page = load_integer(table, table.offset(b, i));
      EXPECT_EQ(page >= 0 && page < pages, b == 0 && i < 2) << b << " " << i;
    }
}

// A right result to spoil: the reference rounded to the tensors' types.
struct Right {
  HostMemory memory;
  testing::Setup setup;
  Reference want;
  std::vector<double> room;
  explicit Right(const std::string& line)
      : setup(Case::parse(line), Fill::nonfinite, memory),
        want(reference(setup.host(), setup.host().dq.present, setup.sequences(), setup.visible())) {}
  Tensor tensor(const Tensor& like, const Values& values) {
    room.assign(values.data.size() + 1, 0);
    const Tensor t(static_cast<const void*>(room.data()), like.dtype, like.shape);
    for (std::size_t i = 0; i < values.data.size(); ++i)
      store(t, static_cast<std::int64_t>(i), values.data[i]);
    return t;
  }
};

TEST(Compare, OutWithinTheBudgetPassesAndBeyondItFails) {
  for (const char* type : {"f32", "bf16", "f16"}) {
    Right right(std::string("fwd ") + type + " hq=2 sq=8 skv=40 d=32 seed=1");
    const Tensor out = right.tensor(right.setup.host().forward.out, right.want.out);
    EXPECT_EQ(compare_out(out, right.want).failure, "");
    EXPECT_NEAR(compare_out(out, right.want).distance.ratio(), 1, 1e-6);
    const double x = load(out, 37);
    store(out, 37, x + (x > 0 ? 1 : -1) * 0.3);
    EXPECT_NE(compare_out(out, right.want).failure.find("[0, 0, 1, 5]"), std::string::npos)
        << compare_out(out, right.want).failure;
    store(out, 37, NAN);
    EXPECT_NE(compare_out(out, right.want).failure.find("not finite"), std::string::npos);
  }
  // A small relative error everywhere: 1% of f32 elements' last 6 bits.
  Right right("fwd f32 hq=2 sq=8 skv=40 d=32 seed=1");
  const Tensor out = right.tensor(right.setup.host().forward.out, right.want.out);
  for (std::int64_t i = 0; i < out.count(); ++i) store(out, i, load(out, i) * (1 + 1e-5));
  EXPECT_NE(compare_out(out, right.want).failure.find("relative L2"), std::string::npos);
}

TEST(Compare, RowsThatSeeNothingMustBePositiveZero) {
  Right right("fwd f32 sq=3 skv=1 d=4 mask=\"kv <= q\" seed=1");
  const Tensor out = right.tensor(right.setup.host().forward.out, right.want.out);
  EXPECT_EQ(compare_out(out, right.want).failure, "");
  store(out, 2, -0.0);
  EXPECT_NE(compare_out(out, right.want).failure.find("+0"), std::string::npos);
}

TEST(Compare, LseBudget) {
  Right right("fwd f32 sq=3 skv=9 d=4 seed=1");
  const Tensor lse = right.tensor(right.setup.host().forward.lse, right.want.lse);
  EXPECT_EQ(compare_lse(lse, right.want).failure, "");
  store(lse, 1, load(lse, 1) + 1e-4);
  EXPECT_NE(compare_lse(lse, right.want).failure.find("lse[0, 0, 1]"), std::string::npos);
  store(lse, 1, -INFINITY);
  EXPECT_NE(compare_lse(lse, right.want).failure.find("not finite"), std::string::npos);
}

TEST(Compare, LseOfTruncatedSumsHasABudgetThatGrowsWithTheHeadDim) {
  Right right("fwd f16 sq=1 skv=1 d=256 data=uniform scale=8 seed=1");
  const double unit = 0x1p-22 * right.want.lse_reach.data[0];
  const auto off_by = [&](double units) {
    Values moved = right.want.lse;
    moved.data[0] += units * unit;
    return compare_lse(right.tensor(right.setup.host().forward.lse, moved), right.want, Sums::truncated, 256)
        .failure;
  };
  EXPECT_EQ(off_by(6.5), "");
  EXPECT_NE(off_by(12), "");
  Values moved = right.want.lse;
  moved.data[0] += 6.5 * unit;
  EXPECT_NE(compare_lse(right.tensor(right.setup.host().forward.lse, moved), right.want).failure, "");
}

TEST(Compare, AFewColumnsAreMeasuredByWhatWasAddedUp) {
  for (const int columns : {1, 8}) {
    Right right("fwd bf16 sq=1 skv=4 d=4 dv=" + std::to_string(columns) + " seed=1");
    right.want.out.data.assign(static_cast<std::size_t>(columns), 0.001);  // 1 cancelled nearly
    right.want.out_reach.data.assign(static_cast<std::size_t>(columns), 1);
    Values moved = right.want.out;
    for (double& x : moved.data) x += 0.003;  // 2 units in the last place of 1 are 0.016
    const Tensor out = right.tensor(right.setup.host().forward.out, moved);
    EXPECT_EQ(compare_out(out, right.want).failure == "", columns == 1) << columns;
  }
}

TEST(Compare, GradientBudget) {
  for (const char* type : {"f32", "bf16"}) {
    Right right(std::string("bwd ") + type + " hq=2 hkv=1 sq=8 skv=10 d=16 mask=\"kv != 3\" seed=1");
    const Tensor dk = right.tensor(right.setup.host().dk, right.want.dk);
    EXPECT_EQ(compare_gradient("dk", dk, right.want.dk, right.want.dk_slack).failure, "");
    const double x = load(dk, 20);
    store(dk, 20, x * 1.3 + 0.1);
    EXPECT_NE(compare_gradient("dk", dk, right.want.dk, right.want.dk_slack).failure.find("dk[0, 1, 0, 4]"),
              std::string::npos);
    store(dk, 20, x);
    store(dk, 3 * 16 + 1, 1e-30);  // nobody sees key 3
    EXPECT_NE(compare_gradient("dk", dk, right.want.dk, right.want.dk_slack).failure.find("must be 0"),
              std::string::npos);
  }
}

TEST(Compare, TheCountTestMissesNoKey) {
  Case c = Case::parse("fwd bf16 sq=2 skv=2000 d=2 dv=40 mask=\"kv <= q\"");
  c.data = Data::count, c.out_f32 = true;
  HostMemory memory;
  testing::Setup setup(c, Fill::nonfinite, memory);
  Visibility lost = setup.visible();
  const Reference right = reference(setup.host(), false, setup.sequences(), setup.visible());
  const auto judge = [&](const Visibility& seen) {
    const Reference got = reference(setup.host(), false, setup.sequences(), seen);
    std::vector<float> out, lse;
    for (const double x : got.out.data) out.push_back(static_cast<float>(x));
    for (const double x : got.lse.data) lse.push_back(static_cast<float>(x));
    return compare_counts(Tensor(out.data(), got.out.shape), Tensor(lse.data(), got.lse.shape), right,
                          setup.sequences(), setup.visible());
  };
  EXPECT_EQ(judge(lost), "");
  lost.seen[0][1234] = 0;  // one key of query 0
  EXPECT_NE(judge(lost).find("query 0"), std::string::npos);
  lost.seen[0][1234] = 1, lost.seen[0][1500] = 0, lost.seen[0][1999] = 1;  // one key too few and one too many
  EXPECT_NE(judge(lost).find("count test"), std::string::npos);
}

// Long problems: some rows are compared, the others not; keys that only the others see are not poisoned.
TEST(Compare, ASampleOfRows) {
  HostMemory memory;
  const testing::Setup setup(
      Case::parse("fwd bf16 b=3 hq=5 sq=200 skv=70 d=4 mask=\"kv <= q\" seqused_q=180,0,200"),
      Fill::nonfinite, memory);
  const ForwardProblem& p = setup.host().forward;
  EXPECT_FALSE(setup.visible().sampled) << "short enough to be compared as a whole";
  const Visibility all = visibility(p, setup.sequences()),
                   some = visibility(p, setup.sequences(), true, 1000);
  ASSERT_TRUE(some.sampled);
  EXPECT_EQ(some.keys, all.keys);
  std::size_t looked_at = 0;
  for (std::size_t entry = 0; entry < some.rows.size(); ++entry)
    for (std::size_t n = 0; n < some.rows[entry].size(); ++n, ++looked_at)
      for (std::size_t j = 0; j < 70; ++j)
        ASSERT_EQ(some.seen[entry][n * 70 + j],
                  all.seen[entry][static_cast<std::size_t>(some.rows[entry][n]) * 70 + j]);
  EXPECT_GE(looked_at, 60u);
  EXPECT_LE(looked_at, 200u);
  EXPECT_EQ(some.rows.front().front(), 0);
  EXPECT_EQ(some.rows.back().back(), 199);

  const Reference want = reference(setup.host(), false, setup.sequences(), some),
                  right = reference(setup.host(), false, setup.sequences(), all);
  std::vector<double> room(right.out.data.size() + 1);
  const Tensor out(static_cast<const void*>(room.data()), DType::bf16, p.out.shape);
  for (std::size_t i = 0; i < right.out.data.size(); ++i)
    store(out, static_cast<std::int64_t>(i), right.out.data[i]);
  EXPECT_EQ(compare_out(out, want, DType::bf16).failure, "");
  const auto spoiled = [&](std::int64_t b, std::int64_t row, std::int64_t head) {
    const std::int64_t at = out.offset(b, row, head);
    const double x = load(out, at);
    store(out, at, x + 3);
    const std::string failure = compare_out(out, want, DType::bf16).failure;
    store(out, at, x);
    return failure;
  };
  EXPECT_NE(spoiled(0, 0, 0), "");
  EXPECT_NE(spoiled(2, 199, 4), "");
  EXPECT_NE(spoiled(0, 190, 1), "") << "rows out of use are all compared";
  int unseen = 0;
  for (std::int64_t row = 0; row < 180; ++row) unseen += spoiled(0, row, 0).empty();
  EXPECT_GT(unseen, 100);
}

TEST(Check, RefusalsCarryTheSentence) {
  const Outcome o = check(Case::parse("fwd f32 let doc=runs(n) sq=4 skv=2 mask=\"doc[q] == doc[kv]\""),
                          Context(Device::cpu()));
  EXPECT_EQ(o.kind, Outcome::refused);
  EXPECT_NE(o.report.find("query_start"), std::string::npos);
  EXPECT_THROW(check(Case::parse("fwd f32 mask=\"kv <=\""), Context(Device::cpu())), Error);
  EXPECT_THROW(check(Case::parse("fwd f32 let m=file(/nowhere.npy) mask=\"m[kv]\""), Context(Device::cpu())),
               Error);
}

TEST(Check, ReadsCapturedTensorsFromFiles) {
  const std::filesystem::path path = std::filesystem::temp_directory_path() / "bolide_check_test_keep.npy";
  std::string header = "{'descr': '|b1', 'fortran_order': False, 'shape': (6,), }";
  header.resize(118 - 1, ' ');
  header += '\n';
  std::ofstream(path, std::ios::binary)
      << std::string("\x93NUMPY\x01\x00\x76\x00", 10) << header << std::string("\1\0\1\1\0\0", 6);
  const Case c = Case::parse("fwd f32 let m=file(" + path.string() + ") sq=1 skv=6 mask=\"m[kv]\"");
  HostMemory memory;
  EXPECT_EQ(testing::Setup(c, Fill::finite, memory).visible().seen[0],
            (std::vector<std::uint8_t>{1, 0, 1, 1, 0, 0}));
  EXPECT_EQ(check(c, Context(Device::cpu())).kind, Outcome::passed);
  std::filesystem::remove(path);
}

TEST(Shrink, FindsTheSmallestCaseThatStillFails) {
  const Case big = Case::parse(
      "varlen_bwd bf16 let doc=runs(n) b=3 hq=12 hkv=3 sq=0..40 skv=5..90 d=64 kv=paged:16 pages=shared "
      "start=top_left leftpad=0..3 "
      "mask=\"kv <= q && doc[q] == doc[kv]\" score=\"score * 2\" layout=mixed strides=reverse offset=3 "
      "data=large seed=4");
  int asked = 0;
  const Case small = shrink(
      big, [&](const Case& c) { return ++asked, c.rows_kv.largest() >= 17 && c.strides == Strides::reverse; },
      400);
  EXPECT_EQ(small.rows_kv.largest(), 17);
  EXPECT_EQ(small.strides, Strides::reverse);
  EXPECT_EQ(small.batch, 1);
  EXPECT_EQ(small.head_dim, 1);
  EXPECT_TRUE(small.mask.empty() && small.score.empty() && small.lets.empty());
  EXPECT_LE(asked, 400);
  EXPECT_EQ(Case::parse(small.text()), small);
}

TEST(Coverage, EveryPairIsDrawnTwentyTimesInTwentyThousand) {
  Coverage coverage;
  for (std::uint64_t i = 0; i < 20000; ++i) coverage.add(draw(1, i));
  EXPECT_GE(coverage.least_pair(), 20) << coverage.table();
}

TEST(Coverage, ContradictionsAreNeverDrawn) {
  const auto& all = options();
  for (std::uint64_t i = 0; i < 5000; ++i) {
    const Case c = draw(2, i);
    for (const Option& a : all)
      for (const Option& b : all) {
        const std::string x = a.label(c), y = b.label(c);
        // Dense shapes prove the start non-negative, so this one may be drawn; it is only not demanded.
        if (x.empty() || y.empty() || x == "bottom_right" || y == "bottom_right") continue;
        EXPECT_FALSE(contradict(a.name, x, b.name, y))
            << a.name << "=" << x << " " << b.name << "=" << y << "\n"
            << c.text();
      }
  }
}

TEST(Filter, KeepsWhatMatchesAndNamesWhatItDoesNotKnow) {
  const Filter f = Filter::parse("op=bwd,varlen_bwd kv=paged type=f16");
  for (std::uint64_t i = 0; i < 20; ++i) {
    const Case c = draw(3, i, f);
    EXPECT_TRUE(c.backward() && c.keys == Keys::paged && c.dtype == DType::f16) << c.text();
  }
  EXPECT_THROW(Filter::parse("shape=3"), Error);
  EXPECT_THROW(Filter::parse("kv=pages"), Error);
  EXPECT_THROW(draw(1, 1, Filter::parse("op=fwd dlse=yes")), Error);
}

TEST(Check, RandomCasesPassAndNoneIsRefused) {
  const Context cpu(Device::cpu());
  Pool pool;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const Case c = draw(20, i);
    const Outcome o = check(c, cpu);
    EXPECT_EQ(o.kind, Outcome::passed) << o.line << "\n  " << o.report;
    if (o.kind == Outcome::failed) ADD_FAILURE() << "shrunk: " << shrink(c, cpu).text();
    pool.add(c, o);
  }
  EXPECT_EQ(pool.failures(), "");
}

TEST(Pool, CountsRowsThatDifferFromEachOther) {
  Outcome o;
  o.distances["out"] = {4., 1., 1 << 20};  // twice the floor
  const auto failures = [&](const char* line) {
    Pool pool;
    pool.add(Case::parse(line), o);
    return pool.failures();
  };
  EXPECT_NE(failures("fwd bf16 sq=300 d=64"), "");
  EXPECT_EQ(failures("fwd bf16 sq=300 d=64 strides=expand"), "") << "one row many times";
  EXPECT_EQ(failures("fwd bf16 sq=300 d=64 scale=0 score=\"score - 0.1 * abs(q - kv)\""), "")
      << "one row of weights many times";
}

class CaseFile : public ::testing::TestWithParam<std::string> {};
TEST_P(CaseFile, EveryLinePasses) {
  std::ifstream file(BOLIDE_SOURCE_DIR "/tests/cases/" + GetParam());
  ASSERT_TRUE(file) << GetParam();
  const Context cpu(Device::cpu());
  int lines = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const Outcome o = check(Case::parse(line), cpu);
    EXPECT_EQ(o.kind, Outcome::passed) << o.line << "\n  " << o.report;
    ++lines;
  }
  EXPECT_GT(lines, 10);
}
INSTANTIATE_TEST_SUITE_P(Cases, CaseFile,
                         ::testing::Values("catalogue.txt", "edges.txt", "layouts.txt", "programs.txt",
                                           "shapes.txt"),
                         [](const auto& info) { return info.param.substr(0, info.param.find('.')); });

}  // namespace
}  // namespace bolide::testing
