// Contract C5, C14 and C15: what soft caps, ALiBi, smallest scores and unusual scales come to.
#include <bolide/masks.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "support.hpp"
#include "testing/elements.hpp"

namespace bolide::testing {
namespace {

// lse of queries of zeros under a score program: log sum_j exp(score_j), rows queries against as many keys.
std::vector<float> lse_of_zeros(const Score& score, std::int64_t heads, std::int64_t rows) {
  const Dims shape{1, rows, heads, 2};
  const std::vector<float> zeros(static_cast<std::size_t>(rows * heads * 2));
  std::vector<float> out(zeros.size()), lse(static_cast<std::size_t>(rows * heads));
  const Tensor q(zeros.data(), shape);
  const auto problem = fwd({.q = q,
                            .k = q,
                            .v = q,
                            .out = Tensor(out.data(), shape),
                            .lse = Tensor(lse.data(), {1, heads, rows}),
                            .score = score});
  const Context cpu = tested();
  const Plan plan = cpu.plan(problem);
  const std::unique_ptr<void, decltype(&std::free)> workspace(std::aligned_alloc(256, plan.workspace_bytes()),
                                                              &std::free);
  cpu.forward(plan, problem, {workspace.get(), plan.workspace_bytes()});
  return lse;
}

TEST(Contract, C05_SoftcapIsBeforeTheMask) {
  // One key: lse is its score. A cap of 0.5 is far below these scores.
  const std::string text = softcap(0.5).text();
  const CaseRun plain("fwd f32 sq=4 skv=1 d=8 scale=2 seed=4");
  const CaseRun capped("fwd f32 sq=4 skv=1 d=8 scale=2 seed=4 score=\"" + text + "\"");
  for (std::int64_t i = 0; i < 4; ++i)
    EXPECT_NEAR(capped.lse(0, i), 0.5 * std::tanh(plain.lse(0, i) / 0.5), 1e-7) << i;
  const CaseRun masked("fwd f32 sq=4 skv=5 d=8 scale=2 seed=4 mask=\"kv < 0\" score=\"" + text + "\"");
  EXPECT_EQ(masked.lse(0, 0), -INFINITY);
}

TEST(Contract, C05_AlibiIsInTheLse) {
  constexpr std::int64_t kRows = 7;
  const std::vector<float> slopes{0.5f, 2.f};
  const auto lse = lse_of_zeros(alibi(Tensor(slopes.data(), {2})), 2, kRows);
  const auto usual = lse_of_zeros(alibi(8), 8, kRows);
  for (std::int64_t h = 0; h < 8; ++h)
    for (std::int64_t i = 0; i < kRows; ++i) {
      double given = 0, by_formula = 0;
      for (std::int64_t j = 0; j < kRows; ++j) {
        const auto distance = static_cast<double>(std::abs(i - j));
        if (h < 2) given += std::exp(-static_cast<double>(slopes[static_cast<std::size_t>(h)]) * distance);
        by_formula += std::exp(-std::exp2(-static_cast<double>(h + 1)) * distance);
      }
      const auto at = static_cast<std::size_t>(h * kRows + i);
      if (h < 2) EXPECT_NEAR(lse[at], std::log(given), 1e-6) << h << " " << i;
      EXPECT_NEAR(usual[at], std::log(by_formula), 1e-6) << h << " " << i;
    }
}

TEST(Contract, C14_ARowOfSmallestScoresIsTheMeanOfV) {
  const CaseRun run("fwd f32 sq=2 skv=5 d=4 score=\"0 * score - 3.4028234663852886e38\" seed=6");
  const Tensor& v = run.setup().host().forward.v;
  for (std::int64_t i = 0; i < 2; ++i) {
    EXPECT_EQ(run.lse(0, i), -std::numeric_limits<float>::max());
    for (std::int64_t c = 0; c < 4; ++c) {
      double mean = 0;
      for (std::int64_t j = 0; j < 5; ++j) mean += load(v, v.offset(0, j, 0, c)) / 5;
      EXPECT_NEAR(run.out(0, i, 0, c), mean, 1e-6);
    }
  }
}

TEST(Contract, C15_ZeroAndNegativeScales) {
  const CaseRun none("fwd f32 sq=3 skv=8 d=4 scale=0 seed=7");
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_NEAR(none.lse(0, i), std::log(8.), 1e-6);
  const CaseRun one("fwd f32 sq=3 skv=1 d=4 scale=1.5 seed=7"),
      other("fwd f32 sq=3 skv=1 d=4 scale=-1.5 seed=7");
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_NE(one.lse(0, i), 0);
    EXPECT_EQ(one.lse(0, i), -other.lse(0, i));
  }
  for (const char* scale : {"0", "-1.5"})
    expect_passes(std::string("bwd bf16 hq=2 sq=9 skv=17 d=16 mask=\"kv <= q\" scale=") + scale);
}

}  // namespace
}  // namespace bolide::testing
