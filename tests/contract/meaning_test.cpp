// Contract C1 to C4: what attention is, in which order, and which positions programs see.
#include <bolide/masks.hpp>

#include <cmath>
#include <vector>

#include "support.hpp"
#include "testing/elements.hpp"

namespace bolide::testing {
namespace {

TEST(Contract, C01_OutIsTheFloat64ResultRoundedOnce) {
  for (const char* type : {"f32", "f16", "bf16"}) {
    const CaseRun run(std::string("fwd ") + type +
                      " b=2 hq=4 hkv=2 sq=9 skv=70 d=40 dv=24 mask=\"kv <= q\" seed=3");
    const Reference want = run.want();
    // The definition; faster kernels are held to the budgets.
    if (tested().explain(run.setup().placed().forward).path != "cpu/naive") {
      EXPECT_EQ(compare_out(run.out_tensor, want, run.out_tensor.dtype).failure, "") << type;
      continue;
    }
    std::size_t i = 0, different = 0;
    for_each_offset(run.out_tensor, [&](std::int64_t at) {
      different += load(run.out_tensor, at) != rounded(run.out_tensor.dtype, want.out.data[i]);
      ++i;
    });
    // Two float64 sums in different orders may fall on two sides of a rounding boundary, about once in 2^28
    // elements.
    EXPECT_EQ(different, 0u) << type;
  }
}

TEST(Contract, C01_OutRoundsTiesToEven) {
  // With q = 0 and two keys out is the mean of two values of v.
  const auto mean = [](double a, double b) {
    const std::vector<bf16> q{bf16(0)}, k{bf16(1), bf16(2)}, v{bf16(a), bf16(b)};
    std::vector<bf16> out(1);
    const auto problem = fwd({.q = Tensor(q.data(), {1, 1, 1, 1}),
                              .k = Tensor(k.data(), {1, 2, 1, 1}),
                              .v = Tensor(v.data(), {1, 2, 1, 1}),
                              .out = Tensor(out.data(), {1, 1, 1, 1})});
    const Context cpu = tested();
    const Plan plan = cpu.plan(problem);
    std::vector<double> workspace(plan.workspace_bytes() / 8 + 64);
    void* aligned =
        reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(workspace.data()) + 255) / 256 * 256);
    cpu.forward(plan, problem, {aligned, plan.workspace_bytes()});
    return static_cast<double>(static_cast<float>(out[0]));
  };
  const double step = 0x1p-7;
  EXPECT_EQ(mean(1, 1 + step), 1);
  EXPECT_EQ(mean(1 + step, 1 + 2 * step), 1 + 2 * step);
  EXPECT_EQ(mean(-1, -1 - step), -1);
}

TEST(Contract, C01_LseIsTheNaturalLogarithmWithScaleAndScore) {
  const CaseRun run("fwd f32 hq=2 sq=5 skv=33 d=16 scale=0.7 score=\"score + 0.25 * h - 3\" seed=8");
  const Reference want = run.want();
  for (std::int64_t i = 0; i < 5; ++i)
    for (std::int64_t h = 0; h < 2; ++h) {
      double sum = 0;
      const ForwardProblem& p = run.setup().host().forward;
      for (std::int64_t j = 0; j < 33; ++j) {
        double s = 0;
        for (std::int64_t c = 0; c < 16; ++c)
          s += load(p.q, p.q.offset(0, i, h, c)) * load(p.k, p.k.offset(0, j, h, c));
        sum += std::exp(static_cast<double>(0.7f) * s + 0.25 * static_cast<double>(h) - 3);
      }
      EXPECT_NEAR(run.lse(0, i, h), std::log(sum), 2e-6);
    }
}

TEST(Contract, C01_EveryTypeAndOperationWithinBudgets) {
  for (const char* type : {"f32", "f16", "bf16"})
    for (const char* rest :
         {" b=2 hq=2 sq=17 skv=65 d=64 seed=1", " b=2 hq=2 sq=17 skv=65 d=64 out=f32 data=large seed=2"})
      for (const char* operation : {"fwd ", "bwd ", "varlen_fwd ", "varlen_bwd ", "fwd_kvcache "})
        expect_passes(std::string(operation) + type + rest);
}

// One key: lse is its score.
TEST(Contract, C02_ScaleThenScoreThenMask) {
  const CaseRun plain("fwd f32 sq=3 skv=1 d=8 scale=5 seed=4"),
      clamped("fwd f32 sq=3 skv=1 d=8 scale=5 score=\"clamp(score, -1.0, 1.0)\" seed=4");
  bool cut = false;
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_FLOAT_EQ(static_cast<float>(clamped.lse(0, i)),
                    static_cast<float>(std::clamp(plain.lse(0, i), -1.0, 1.0)));
    cut |= std::abs(plain.lse(0, i)) > 1;
  }
  EXPECT_TRUE(cut);
  // The mask comes last: what the score program makes of a masked key is nothing.
  const CaseRun masked(
      "fwd f32 sq=2 skv=5 data=zeroq mask=\"kv < 3\" score=\"where(kv < 3, score, 1000.0)\"");
  EXPECT_NEAR(masked.count(0, 0), 3, 1e-5);
}

TEST(Contract, C02_HeadIsTheQueryHeadAndKeyHeadsServeConsecutiveGroups) {
  const CaseRun run("fwd f32 hq=6 hkv=2 sq=1 skv=9 d=4 data=zeroq mask=\"kv <= h\" seed=5");
  const Tensor& v = run.setup().host().forward.v;
  for (std::int64_t h = 0; h < 6; ++h) {
    EXPECT_NEAR(run.count(0, 0, h), static_cast<double>(h + 1), 1e-4);
    double mean = 0;
    for (std::int64_t j = 0; j <= h; ++j)
      mean += load(v, v.offset(0, j, h / 3, 0)) / static_cast<double>(h + 1);
    EXPECT_NEAR(run.out(0, 0, h, 0), mean, 1e-5);
  }
  expect_passes(
      "bwd f32 b=2 hq=6 hkv=2 sq=5 skv=9 d=16 mask=\"kv <= q + h\" score=\"score + 0.1 * h\" seed=6");
  EXPECT_NE(refusal("fwd f32 hq=5 hkv=2 sq=1 skv=3 d=4").find("multiple"), std::string::npos);
}

// Rows of a causal count test: row i sees the keys at positions up to start + i.
void expect_counts(const std::string& line, const std::vector<double>& counts) {
  const CaseRun run(line + " data=zeroq mask=\"kv <= q\"");
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0)
      EXPECT_EQ(run.lse(0, static_cast<std::int64_t>(i)), -INFINITY) << line << " row " << i;
    else EXPECT_NEAR(run.count(0, static_cast<std::int64_t>(i)), counts[i], 1e-4) << line << " row " << i;
  }
}

TEST(Contract, C03_QueryStart) {
  expect_counts("fwd f32 sq=3 skv=7", {5, 6, 7});
  expect_counts("fwd f32 sq=4 skv=2", {0, 0, 1, 2});
  expect_counts("fwd f32 sq=3 skv=7 start=top_left", {1, 2, 3});
  expect_counts("fwd f32 sq=3 skv=7 start=2", {3, 4, 5});
  expect_counts("fwd f32 sq=3 skv=7 start=-2", {0, 0, 1});
  expect_counts("fwd f32 sq=2 skv=7 start=per:4", {5, 6});
  expect_counts("fwd f32 sq=3 skv=7 seqused_kv=5", {3, 4, 5});
  expect_counts("fwd f32 sq=3 skv=7 seqused_q=2", {6, 7, 0});
}

TEST(Contract, C03_KeyStartAndLeftpad) {
  expect_counts("fwd f32 sq=3 skv=7 key_start=100", {5, 6, 7});
  expect_counts("fwd f32 sq=3 skv=7 key_start=100 start=101", {2, 3, 4});
  expect_counts("fwd f32 sq=3 skv=7 key_start=per:2 start=top_left", {0, 0, 1});
  expect_counts("fwd f32 sq=3 skv=7 leftpad=3", {2, 3, 4});
  expect_counts("fwd f32 sq=3 skv=7 leftpad=3 seqused_kv=5", {0, 1, 2});
  // kv counts from the first row after leftpad.
  const CaseRun run("fwd f32 sq=1 skv=7 leftpad=3 data=zeroq mask=\"kv < 2\"");
  EXPECT_NEAR(run.count(0, 0), 2, 1e-5);
}

TEST(Contract, C03_LengthsAreLeaves) {
  const CaseRun run(
      "fwd f32 b=1 sq=6 skv=9 seqused_q=4 seqused_kv=8 leftpad=1 data=zeroq mask=\"kv < len_kv - len_q\"");
  EXPECT_NEAR(run.count(0, 0), 3, 1e-5);
}

TEST(Contract, C03_OneMaskMeansTheSameInPrefillChunksAndDecode) {
  const std::string rest =
      " skv=12 d=8 score=\"score - 0.1 * abs(q - kv)\" mask=\"kv <= q && q - kv < 5\" seed=11";
  const CaseRun whole("fwd f32 sq=12" + rest);
  for (std::int64_t i = 0; i < 12; ++i) {
    const CaseRun decode("fwd f32 sq=1 seqused_kv=" + std::to_string(i + 1) + rest);
    EXPECT_EQ(decode.setup().sequences()[0].query_start, i);
    const CaseRun chunk("fwd f32 sq=1 start=" + std::to_string(i) + rest);
    EXPECT_FLOAT_EQ(static_cast<float>(decode.lse(0, 0)), static_cast<float>(chunk.lse(0, 0)));
  }
  const CaseRun first("fwd f32 sq=5 start=0" + rest);
  for (std::int64_t i = 0; i < 5; ++i) EXPECT_EQ(first.lse(0, i), whole.lse(0, i));
}

TEST(Contract, C03_GatherByQWithAnUnstatedStartIsRefused) {
  const std::string gather = " let doc=runs(n) mask=\"doc[q] == doc[kv]\"";
  EXPECT_NE(refusal("fwd f32 sq=4 skv=3" + gather).find("query_start"), std::string::npos);
  EXPECT_NE(refusal("varlen_fwd f32 sq=4 skv=4" + gather).find("query_start"), std::string::npos);
  expect_passes("fwd f32 sq=3 skv=4" + gather);
  expect_passes("varlen_fwd f32 sq=4 skv=3 start=top_left" + gather);
  expect_passes("varlen_fwd f32 sq=4 skv=3 start=-2" + gather);
}

TEST(Contract, C03_ScoresSeeThePositionsThatMasksSee) {
  // One row without a mask, q = 0: lse is the logarithm of the summed exponentials of the program's values.
  const CaseRun run(
      "fwd f32 b=1 sq=1 skv=7 leftpad=2 key_start=3 start=5 data=zeroq "
      "score=\"score + 0.5 * kv - 0.25 * q + len_kv\"");
  double sum = 0;
  for (int kv = 3; kv < 8; ++kv) sum += std::exp(0.5 * kv - 0.25 * 5 + 5);
  EXPECT_NEAR(run.lse(0, 0), std::log(sum), 2e-6);
  expect_passes(
      "bwd f32 b=2 sq=3 skv=7 key_start=3 start=5 score=\"score * (1 + 0.1 * kv)\" dlse=yes seed=1");
}

TEST(Contract, C04_WindowDoesNotCountTheQueryItself) {
  const auto visible = [](std::int64_t left, std::int64_t right, std::int64_t rows_q, std::int64_t rows_kv) {
    std::vector<float> q(static_cast<std::size_t>(rows_q), 0.f), kv(static_cast<std::size_t>(rows_kv), 1.f),
        out(q.size()), lse(q.size());
    const auto problem = fwd({.q = Tensor(q.data(), {1, rows_q, 1, 1}),
                              .k = Tensor(kv.data(), {1, rows_kv, 1, 1}),
                              .v = Tensor(kv.data(), {1, rows_kv, 1, 1}),
                              .out = Tensor(out.data(), {1, rows_q, 1, 1}),
                              .lse = Tensor(lse.data(), {1, 1, rows_q}),
                              .mask = sliding_window(left, right)});
    const Context cpu = tested();
    const Plan plan = cpu.plan(problem);
    std::vector<double> workspace(plan.workspace_bytes() / 8 + 64);
    void* aligned =
        reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(workspace.data()) + 255) / 256 * 256);
    cpu.forward(plan, problem, {aligned, plan.workspace_bytes()});
    std::vector<std::int64_t> counts;
    for (const float l : lse) counts.push_back(std::llround(std::exp(l)));
    return counts;
  };
  for (const auto [rows_q, rows_kv] : {std::pair<std::int64_t, std::int64_t>{6, 6}, {3, 8}, {8, 3}, {1, 5}})
    for (std::int64_t left = -1; left <= rows_kv; ++left)
      for (std::int64_t right = -1; right <= rows_q; ++right) {
        const std::vector<std::int64_t> got = visible(left, right, rows_q, rows_kv);
        for (std::int64_t i = 0; i < rows_q; ++i) {
          const std::int64_t q = rows_kv - rows_q + i;
          std::int64_t want = 0;
          for (std::int64_t kv = 0; kv < rows_kv; ++kv)
            want += (left < 0 || kv >= q - left) && (right < 0 || kv <= q + right);
          EXPECT_EQ(got[static_cast<std::size_t>(i)], want)
              << "window " << left << ", " << right << " row " << i << " of " << rows_q << "x" << rows_kv;
        }
        if (left >= rows_kv - 1) EXPECT_EQ(got, visible(-1, right, rows_q, rows_kv));
        if (right >= rows_q - 1) EXPECT_EQ(got, visible(left, -1, rows_q, rows_kv));
      }
}

}  // namespace
}  // namespace bolide::testing
