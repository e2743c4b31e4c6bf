// Contract C8 to C11 and C13: nothing to see, empty parts, zero sizes, everything written, NaN that stays
// NaN.
#include <cmath>
#include <vector>

#include "support.hpp"
#include "testing/elements.hpp"

namespace bolide::testing {
namespace {

// out +0 by every bit, lse -inf.
void expect_empty(const CaseRun& run, std::int64_t b, std::int64_t row, std::int64_t head) {
  EXPECT_EQ(run.lse(b, row, head), -INFINITY) << "row " << row;
  const std::int64_t columns = run.out_tensor.shape[run.out_tensor.rank() - 1];
  for (std::int64_t c = 0; c < columns; ++c) {
    EXPECT_EQ(run.out(b, row, head, c), 0) << "row " << row;
    EXPECT_FALSE(std::signbit(run.out(b, row, head, c))) << "row " << row;
  }
}

TEST(Contract, C08_NothingVisibleGivesZeroAndMinusInfinity) {
  for (const char* type : {"f32", "f16", "bf16"})
    for (const char* keys : {"skv=4", "skv=0", "skv=4 seqused_kv=0", "skv=4 kv=paged:3", "skv=4 kv=packed",
                             "skv=4 leftpad=4", "skv=0 kv=pagelist:2"}) {
      const CaseRun run(std::string("fwd ") + type + " hq=2 sq=3 d=8 mask=\"kv < -5\" " + keys);
      for (std::int64_t i = 0; i < 3; ++i)
        for (std::int64_t h = 0; h < 2; ++h) expect_empty(run, 0, i, h);
    }
}

TEST(Contract, C08_CausalPrefixOfMoreQueriesThanKeys) {
  const CaseRun run("bwd f32 sq=6 skv=2 d=8 mask=\"kv <= q\" dlse=yes seed=2");
  for (std::int64_t i = 0; i < 4; ++i) {
    expect_empty(run, 0, i, 0);
    for (std::int64_t c = 0; c < 8; ++c) EXPECT_EQ(run.dq(0, i, 0, c), 0);
  }
  EXPECT_TRUE(std::isfinite(run.lse(0, 4)));
}

TEST(Contract, C08_EmptyRowsAddNothingToGradients) {
  for (const char* line : {"bwd f32 hq=2 hkv=1 sq=4 skv=5 d=8 mask=\"kv < -5\" dlse=yes",
                           "varlen_bwd f32 b=2 sq=4 skv=5 d=8 mask=\"kv < -5\"",
                           "bwd f32 sq=4 skv=5 d=8 kv=paged:2 mask=\"kv < -5\" pages=shared b=2",
                           "bwd f32 sq=4 skv=5 d=8 score=\"where(kv >= 0, log(0.0), score)\" dlse=yes"}) {
    const CaseRun run(line);
    for (const Tensor* t : {&run.dq_tensor, &run.dk_tensor, &run.dv_tensor})
      for_each_offset(*t, [&](std::int64_t at) { EXPECT_EQ(load(*t, at), 0) << line; });
  }
  expect_passes("bwd bf16 b=2 hq=4 hkv=2 sq=9 skv=6 d=32 mask=\"kv <= q\" dlse=yes seed=4");
}

// Two partial results over disjoint keys and their merge.
struct Part {
  std::vector<float> out, lse;
  Tensor out_tensor, lse_tensor;
  Part(std::vector<float> o, std::vector<float> l) : out(std::move(o)), lse(std::move(l)) {
    const auto rows = static_cast<std::int64_t>(lse.size());
    out_tensor = Tensor(out.data(), {1, rows, 1, 2}), lse_tensor = Tensor(lse.data(), {1, 1, rows});
  }
};
Part merged(const std::vector<const Part*>& parts) {
  std::vector<Tensor> outs, lses;
  for (const Part* p : parts) outs.push_back(p->out_tensor), lses.push_back(p->lse_tensor);
  Part result(std::vector<float>(parts[0]->out.size(), NAN), std::vector<float>(parts[0]->lse.size(), NAN));
  tested().merge(outs, lses, result.out_tensor, result.lse_tensor);
  return result;
}

TEST(Contract, C09_MergingWithAnEmptyPartIsTheIdentityBitwise) {
  const float inf = INFINITY;
  const Part full({0.1f, -7.3f, 1e-30f, 3e38f, -0.f, 5.f}, {0.7f, -90.25f, 88.f}),
      empty({0, 0, 0, 0, 0, 0}, {-inf, -inf, -inf});
  for (const auto& parts : {std::vector{&full, &empty}, {&empty, &full}, {&empty, &full, &empty}, {&full}}) {
    const Part got = merged(parts);
    for (std::size_t i = 0; i < full.out.size(); ++i) EXPECT_EQ(got.out[i], full.out[i]);
    EXPECT_EQ(got.lse, full.lse);
  }
}

TEST(Contract, C09_MergingEmptyPartsIsEmpty) {
  const Part empty({0, 0}, {-INFINITY});
  const Part got = merged({&empty, &empty});
  EXPECT_EQ(got.lse[0], -INFINITY);
  EXPECT_EQ(got.out, (std::vector<float>{0, 0}));
  EXPECT_FALSE(std::signbit(got.out[0]));
}

TEST(Contract, C09_PartsOfTheKeysMergeToTheWhole) {
  const std::string rest = " hq=2 sq=5 skv=40 d=16 seed=9";
  const CaseRun whole("fwd f32" + rest), low("fwd f32 mask=\"kv < 13\"" + rest),
      high("fwd f32 mask=\"kv >= 13\"" + rest), none("fwd f32 mask=\"kv < 0\"" + rest);
  std::vector<float> out(static_cast<std::size_t>(whole.out_tensor.count())), lse(10);
  const Tensor out_tensor(out.data(), whole.out_tensor.shape), lse_tensor(lse.data(), whole.lse_tensor.shape);
  const std::vector<Tensor> outs{low.out_tensor, none.out_tensor, high.out_tensor},
      lses{low.lse_tensor, none.lse_tensor, high.lse_tensor};
  tested().merge(outs, lses, out_tensor, lse_tensor);
  for (std::int64_t i = 0; i < whole.out_tensor.count(); ++i)
    EXPECT_NEAR(load(out_tensor, i), load(whole.out_tensor, i), 1e-6);
  for (std::int64_t i = 0; i < 10; ++i) EXPECT_NEAR(load(lse_tensor, i), load(whole.lse_tensor, i), 1e-6);
}

TEST(Contract, C10_ZeroSizesSucceed) {
  for (const char* sizes :
       {"b=0", "hq=0", "hq=0 hkv=2", "sq=0 skv=3", "sq=3 skv=0", "b=0 hq=0 sq=0 skv=0", "b=2 sq=0 skv=0"})
    for (const char* operation :
         {"fwd f32 ", "bwd bf16 ", "varlen_fwd f16 ", "varlen_bwd f32 ", "fwd_kvcache bf16 ",
          "fwd f16 kv=paged:4 ", "bwd f32 q=packed kv=pagelist:3 "})
      expect_passes(std::string(operation) + sizes + " d=8 mask=\"kv <= q\"");
}

TEST(Contract, C10_ZeroLengthsInAPackedBatch) {
  for (const char* lengths : {"sq=0,3,0 skv=2,0,4", "sq=0,0,0 skv=1,2,3", "sq=3,1,2 skv=0,0,0",
                              "sq=0,5,1 skv=0,7,0", "sq=0,0,0 skv=0,0,0"})
    for (const char* rest : {"", " tail=3", " kv=paged:2", " kv=pagelist:2", " max_seqlen=given cu=i64"}) {
      expect_passes(std::string("varlen_fwd f32 b=3 hq=2 hkv=1 d=8 mask=\"kv <= q\" ") + lengths + rest);
      expect_passes(std::string("varlen_bwd f32 b=3 hq=2 hkv=1 d=8 mask=\"kv <= q\" dlse=yes ") + lengths +
                    rest);
    }
}

TEST(Contract, C10_KeysThatNoQuerySeesHaveZeroGradients) {
  const CaseRun run("varlen_bwd f32 b=2 sq=0,3 skv=4,4 d=8 mask=\"kv < 2\" seed=3");
  for (std::int64_t row = 0; row < 8; ++row)
    for (std::int64_t c = 0; c < 8; ++c) {
      const bool seen = row == 4 || row == 5;  // the first two keys of the second sequence
      EXPECT_EQ(run.dk(0, row, 0, c) != 0, seen) << row;
      EXPECT_EQ(run.dv(0, row, 0, c) != 0, seen) << row;
    }
}

TEST(Contract, C11_EveryElementIsWritten) {
  // Outputs start as NaN and infinities; afterwards unused rows are 0, their lse -inf.
  const CaseRun used("fwd f32 b=2 hq=2 sq=5 skv=4 d=8 seqused_q=3,1"),
      tail("varlen_fwd f16 b=2 hq=2 sq=2,1 skv=3,3 d=8 tail=4"),
      inside("varlen_fwd f32 b=2 sq=4,3 skv=3,3 d=8 seqused_q=2,1");
  for (std::int64_t h = 0; h < 2; ++h) {
    for (const auto& [b, row] : {std::pair{0, 3}, {0, 4}, {1, 1}, {1, 4}}) expect_empty(used, b, row, h);
    for (std::int64_t row = 3; row < 7; ++row) expect_empty(tail, 0, row, h);
  }
  for (const std::int64_t row : {2, 3, 5, 6}) expect_empty(inside, 0, row, 0);
  for (const std::int64_t row : {0, 1, 4}) EXPECT_TRUE(std::isfinite(inside.lse(0, row)));
}

TEST(Contract, C11_EveryGradientElementIsWritten) {
  for (const char* line :
       {"bwd f32 b=2 hq=2 hkv=1 sq=5 skv=7 d=8 seqused_q=3,0 seqused_kv=2,6 leftpad=1 dlse=yes seed=1",
        "varlen_bwd bf16 b=2 sq=2,1 skv=3,0 d=8 tail=5 seed=1",
        "bwd f16 b=2 sq=3 skv=5 kv=paged:4 d=8 seed=1", "bwd f32 b=0 sq=3 skv=5 kv=paged:4 d=8",
        "bwd f32 b=2 sq=3 skv=5 q=packed kv=pagelist:4 d=8 tail=2 strides=odd seed=1"}) {
    const CaseRun run(line);
    for (const Tensor* t : {&run.dq_tensor, &run.dk_tensor, &run.dv_tensor})
      for_each_offset(*t, [&](std::int64_t at) { EXPECT_TRUE(std::isfinite(load(*t, at))) << line; });
    expect_passes(line);
  }
}

// A problem whose inputs a test may spoil: 1 sequence, 1 head, 4 queries, 6 keys, causal from the bottom
// right.
struct Spoiled {
  std::vector<float> q, k, v, out, lse;
  Spoiled() : q(4 * 3), k(6 * 3), v(6 * 3), out(4 * 3, 7), lse(4, 7) {
    for (std::size_t i = 0; i < 18; ++i) {
      k[i] = std::sin(static_cast<float>(i)), v[i] = std::cos(2 * static_cast<float>(i));
      if (i < 12) q[i] = std::sin(3 * static_cast<float>(i) + 1);
    }
  }
  void run(const Score& score = {}) {
    const auto problem = fwd({.q = Tensor(q.data(), {1, 4, 1, 3}),
                              .k = Tensor(k.data(), {1, 6, 1, 3}),
                              .v = Tensor(v.data(), {1, 6, 1, 3}),
                              .out = Tensor(out.data(), {1, 4, 1, 3}),
                              .lse = Tensor(lse.data(), {1, 1, 4}),
                              .mask = Mask::parse("kv <= q"),
                              .score = score});
    const Context cpu = tested();
    const Plan plan = cpu.plan(problem);
    std::vector<double> workspace(plan.workspace_bytes() / 8 + 64);
    void* aligned =
        reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(workspace.data()) + 255) / 256 * 256);
    cpu.forward(plan, problem, {aligned, plan.workspace_bytes()});
  }
};

TEST(Contract, C13_NanInAVisibleKeyOrQueryGivesNanInThatRowOnly) {
  Spoiled clean;
  clean.run();
  Spoiled key, query;
  key.k[4 * 3 + 1] = NAN;  // key 4 is seen by rows 2 and 3
  query.q[1 * 3] = NAN;
  key.run(), query.run();
  for (std::size_t i = 0; i < 4; ++i) {
    const bool bad_key = i >= 2, bad_query = i == 1;
    EXPECT_EQ(std::isnan(key.lse[i]), bad_key) << i;
    EXPECT_EQ(std::isnan(query.lse[i]), bad_query) << i;
    if (!bad_key) EXPECT_EQ(key.lse[i], clean.lse[i]);
    if (!bad_query) EXPECT_EQ(query.lse[i], clean.lse[i]);
    for (std::size_t c = i * 3; c < i * 3 + 3; ++c) {
      EXPECT_EQ(std::isnan(key.out[c]), bad_key) << i;
      EXPECT_EQ(std::isnan(query.out[c]), bad_query) << i;
      if (!bad_key) EXPECT_EQ(key.out[c], clean.out[c]);
      if (!bad_query) EXPECT_EQ(query.out[c], clean.out[c]);
    }
  }
}

TEST(Contract, C13_NanInAVisibleValueGivesNanInThatColumnOnly) {
  Spoiled clean, value;
  clean.run();
  value.v[5 * 3 + 2] = NAN;  // key 5 is seen by row 3
  value.run();
  EXPECT_EQ(value.lse, clean.lse);
  for (std::size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(std::isnan(value.out[i]), i == 11) << i;
    if (i != 11) EXPECT_EQ(value.out[i], clean.out[i]);
  }
}

TEST(Contract, C13_InfiniteScores) {
  Spoiled masked, lost, above;
  masked.run(Score::parse("where(kv == 1, log(0.0), score)"));
  lost.k[3] = lost.k[4] = lost.k[5] = 0;  // whatever key 1 holds
  lost.v[3] = lost.v[4] = lost.v[5] = 5;
  lost.run(Score::parse("where(kv == 1, log(0.0), score)"));
  EXPECT_EQ(masked.out, lost.out);  // a score of -inf equals masked
  EXPECT_EQ(masked.lse, lost.lse);
  above.run(Score::parse("where(kv == 3, -log(0.0), score)"));
  EXPECT_TRUE(std::isfinite(above.lse[0]));
  for (std::size_t i = 1; i < 4; ++i)
    EXPECT_TRUE(std::isnan(above.lse[i]) && std::isnan(above.out[i * 3])) << i;
}

TEST(Contract, C13_RandomNans) {
  expect_passes("fwd f32 b=2 hq=4 hkv=2 sq=9 skv=17 d=16 data=nan mask=\"kv <= q\" seed=1");
  expect_passes(
      "varlen_fwd bf16 b=3 hq=2 sq=1..9 skv=1..17 d=16 data=nan mask=\"kv <= q && q - kv < 4\" kv=paged:4 "
      "seed=2");
}

}  // namespace
}  // namespace bolide::testing
