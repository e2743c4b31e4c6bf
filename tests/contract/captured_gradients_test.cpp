// Gradients of captured tensors: against finite differences of the whole attention, where they must be zero,
// and that they are the same bits however they are computed.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <vector>

#include "support.hpp"
#include "testing/elements.hpp"

namespace bolide::testing {
namespace {

std::vector<double> elements_of(const Tensor& t) {
  std::vector<double> all;
  for_each_offset(t, [&](std::int64_t at) { all.push_back(load(t, at)); });
  return all;
}

// The loss sum(out * dout) + sum(lse * dlse), in float64: what the gradients of the case are those of.
double loss(const testing::Setup& setup) {
  const BackwardProblem& p = setup.host();
  Reference r = reference(p, false, setup.sequences(), setup.visible());
  double sum = 0;
  const std::int64_t heads = p.forward.q.size(p.forward.q.rank() - 2);
  for (const testing::Sequence& s : setup.sequences())
    for (const Place& at : s.queries)
      for (std::int64_t h = 0; h < heads; ++h) {
        const double lse = r.lse.number(at, h);
        if (std::isinf(lse)) continue;  // sees nothing: constant
        const double* out = r.out.row(at, h);
        for (std::int64_t c = 0; c < p.dout.size(p.dout.rank() - 1); ++c)
          sum += out[c] * load(p.dout, row_at(p.dout, at.outer, at.inner, h) + c);
        if (p.dlse) sum += lse * load(p.dlse, number_at(p.dlse, at.outer, at.inner, h));
      }
  return sum;
}

// Of every element of the case's first captured tensor.
void expect_finite_differences(const std::string& line) {
  const CaseRun run(line);
  const CapturedGradient& g = run.setup().host().dcaptured.at(0);
  const std::vector<double> got = elements_of(run.captured_tensors.at(0));
  double norm = 0;
  std::size_t i = 0;
  for_each_offset(g.captured, [&](std::int64_t at) {
    // The step is a power of two that float32 tables take exactly enough: its true size is read back.
    const double kept = load(g.captured, at);
    store(g.captured, at, kept + 0x1p-9);
    const double right = load(g.captured, at), above = loss(run.setup());
    store(g.captured, at, kept - 0x1p-9);
    const double left = load(g.captured, at), below = loss(run.setup());
    store(g.captured, at, kept);
    const double difference = (above - below) / (right - left);
    EXPECT_NEAR(got[i], difference, 2e-5 * (1 + std::abs(difference))) << line << "\n  element " << i;
    norm += got[i] * got[i], ++i;
  });
  EXPECT_GT(norm, 0) << line;
}

TEST(CapturedGradients, AlibiSlopes) {
  expect_finite_differences(
      "bwd f32 let s=slopes(h) b=2 hq=4 hkv=2 sq=5 skv=7 d=8 mask=\"kv <= q\" "
      "score=\"score - s[h] * abs(q - kv)\" dcaptured=s dlse=yes seed=3");
}

TEST(CapturedGradients, DenseBiasOfEveryHead) {
  expect_finite_differences(
      "bwd f32 let bias=randn(h,sq,skv) b=2 hq=2 sq=4 skv=6 d=8 start=top_left "
      "score=\"score + bias[h, q, kv]\" dcaptured=bias dlse=yes seed=4");
}

// Five elements for distances of -8..9: the ends collect all that is clamped to them.
TEST(CapturedGradients, RelativeBiasWithClampedDistances) {
  const std::string line =
      "bwd f32 let near=randn(h,5) b=2 hq=2 hkv=1 sq=9 skv=10 d=8 "
      "score=\"score + near[h, clamp(q - kv, -2, 2) + 2]\" dcaptured=near dlse=yes seed=5";
  expect_finite_differences(line);
  // A table without clamp is read at the same elements.
  const CaseRun clamped(line);
  const CaseRun bare(
      "bwd f32 let near=randn(h,5) b=2 hq=2 hkv=1 sq=9 skv=10 d=8 "
      "score=\"score + near[h, q - kv + 2]\" dcaptured=near start=1 dlse=yes seed=5");
  EXPECT_TRUE(same_bits(clamped.captured_tensors.at(0), bare.captured_tensors.at(0)));
}

TEST(CapturedGradients, TemperatureOfRankZero) {
  expect_finite_differences(
      "varlen_bwd f32 let heat=uniform(0.5,1.5) b=3 hq=2 sq=4,0,3 skv=6,2,3 d=8 mask=\"kv <= q\" "
      "score=\"score * heat\" dcaptured=heat dlse=yes seed=6");
}

// One tensor read twice, at rows and at keys, and through something that is not linear.
TEST(CapturedGradients, TwoReadsOfOneTensorAddUp) {
  expect_finite_differences(
      "bwd f32 let t=uniform(0.5,1.5,n) hq=2 sq=5 skv=7 d=8 start=top_left mask=\"kv <= q + 2\" "
      "score=\"tanh(score * t[q]) * 2 - log(t[kv] * t[kv] + 1)\" dcaptured=t dlse=yes seed=7");
}

// Indices that two heads share through clamping: key heads' sums meet.
TEST(CapturedGradients, HeadsThatShareAnElement) {
  expect_finite_differences(
      "bwd f32 let s=uniform(0.1,1,2) hq=6 hkv=3 sq=3 skv=5 d=4 score=\"score - s[h] * abs(q - kv)\" "
      "dcaptured=s dlse=yes seed=8");
}

TEST(CapturedGradients, C02_HeadIsTheQueryHead) {
  // Elements of query heads that the score of others reads: only heads 1 and 3 read gain.
  const CaseRun run(
      "bwd f32 let gain=uniform(0.5,1.5,h) hq=4 hkv=2 sq=5 skv=7 d=8 "
      "score=\"where(h % 2 == 1, score * gain[h], score)\" dcaptured=gain seed=9");
  const std::vector<double> got = elements_of(run.captured_tensors.at(0));
  EXPECT_EQ(got[0], 0);
  EXPECT_EQ(got[2], 0);
  EXPECT_NE(got[1], 0);
  EXPECT_NE(got[3], 0);
}

TEST(CapturedGradients, C08_RowsThatSeeNothingContributeNothing) {
  // Rows 3 and beyond see nothing; without them the gradient is the same, bit for bit.
  const std::string rest =
      " skv=6 d=8 start=top_left score=\"score + bias[kv]\" dcaptured=bias dlse=yes seed=10";
  const CaseRun some("bwd f32 let bias=randn(skv) sq=5 mask=\"q < 3\"" + rest);
  const CaseRun less("bwd f32 let bias=randn(skv) sq=5 seqused_q=3" + rest);
  EXPECT_TRUE(same_bits(some.captured_tensors.at(0), less.captured_tensors.at(0)));
  const CaseRun none("bwd f32 let bias=randn(skv) sq=5 mask=\"q < 0\"" + rest);
  for (const double x : elements_of(none.captured_tensors.at(0))) {
    EXPECT_EQ(x, 0);
    EXPECT_FALSE(std::signbit(x));
  }
}

TEST(CapturedGradients, C10_ZeroSizesGiveZero) {
  for (const char* sizes : {"b=0", "hq=0 hkv=0", "sq=0 skv=4", "sq=3 skv=0"}) {
    const CaseRun run(std::string("bwd f32 let t=randn(3,2) d=4 score=\"score + t[h, q]\" start=top_left ") +
                      "dcaptured=t " + sizes);
    for (const double x : elements_of(run.captured_tensors.at(0))) {
      EXPECT_EQ(x, 0) << sizes;
      EXPECT_FALSE(std::signbit(x)) << sizes;
    }
  }
  expect_passes("bwd f32 let t=randn(0) sq=3 d=4 score=\"score + t[kv]\" dcaptured=t");
}

TEST(CapturedGradients, C11_ElementsThatNothingReadsAreZero) {
  const CaseRun run(
      "bwd f32 let bias=randn(skv+3) sq=4 skv=6 d=8 mask=\"kv != 2\" score=\"score + bias[kv]\" "
      "dcaptured=bias strides=odd offset=3 seed=11");
  const std::vector<double> got = elements_of(run.captured_tensors.at(0));
  ASSERT_EQ(got.size(), 9u);
  for (const std::size_t i : {2, 6, 7, 8}) {
    EXPECT_EQ(got[i], 0) << i;
    EXPECT_FALSE(std::signbit(got[i])) << i;
  }
  for (const std::size_t i : {0, 1, 3, 4, 5}) EXPECT_NE(got[i], 0) << i;
  // What only a condition reads has no slope.
  const CaseRun condition(
      "bwd f32 let t=randn(skv) sq=4 skv=6 d=8 score=\"where(t[kv] > 0, score, 0.5 * score)\" dcaptured=t");
  for (const double x : elements_of(condition.captured_tensors.at(0))) EXPECT_EQ(x, 0);
}

// Keys that nobody sees hold NaN and infinities, then large numbers: no bit may change.
TEST(CapturedGradients, C12_DeadKeysChangeNoBit) {
  for (const char* layout : {"kv=paged:4 seqused_kv=5,9", "leftpad=2,0", "seqused_kv=7,3 seqused_q=2,4"}) {
    const std::string line =
        std::string("bwd f32 let bias=randn(16) b=2 hq=4 hkv=2 sq=5 skv=10 d=8 ") +
        "mask=\"kv <= q && kv % 3 != 1\" score=\"score * bias[kv + 2]\" dcaptured=bias " +
        "start=4 dlse=yes seed=12 " + layout;
    const CaseRun nan(line, Fill::nonfinite), large(line, Fill::finite);
    EXPECT_TRUE(same_bits(nan.captured_tensors.at(0), large.captured_tensors.at(0))) << layout;
    for (const double x : elements_of(nan.captured_tensors.at(0))) EXPECT_TRUE(std::isfinite(x)) << layout;
  }
}

// Enough work for several threads; sums of four key heads meet in one element, and float64 shows their order.
TEST(CapturedGradients, D1_EqualBitsWhateverTheThreads) {
  const std::string line =
      "bwd f32 let near=randn(33):f64 let s=slopes(h):f64 let few=uniform(0.5,1,3):f64 "
      "b=2 hq=8 hkv=4 sq=128 skv=192 d=32 "
      "score=\"score * few[h] + near[q - kv + 16] - s[h] * abs(q - kv)\" dcaptured=near,s,few seed=13";
  const int usual = omp_get_max_threads();
  omp_set_num_threads(1);
  const CaseRun one(line);
  for (const int threads : {2, 3, 4}) {
    omp_set_num_threads(threads);
    for (int repeat = 0; repeat < 3; ++repeat) {
      const CaseRun several(line);
      for (std::size_t i = 0; i < 3; ++i)
        EXPECT_TRUE(same_bits(one.captured_tensors.at(i), several.captured_tensors.at(i))) << threads;
    }
  }
  omp_set_num_threads(usual);
}

// As docs/expressions.md writes it. A plan holds for other memory, but not for other tensors.
TEST(CapturedGradients, APlanHoldsForItsChoiceOfTensors) {
  const Dims shape{1, 2, 1, 3};
  const std::vector<float> x{1, -1, 2, 0.5f, 1, 0}, rows{0.5f, 1}, keys{1, -2};
  std::vector<float> out(6), lse(2), dq(6), dk(6), dv(6), gradient(2, NAN), other(2, NAN);
  const Tensor in(x.data(), shape), by_row(rows.data(), {2}), by_key(keys.data(), {2});
  const FloatTable row_bias = floats(by_row, "row_bias"), key_bias = floats(by_key, "key_bias");
  BwdArgs a{.dout = in,
            .q = in,
            .k = in,
            .v = in,
            .out = Tensor(out.data(), shape),
            .lse = Tensor(lse.data(), {1, 1, 2}),
            .dq = Tensor(dq.data(), shape),
            .dk = Tensor(dk.data(), shape),
            .dv = Tensor(dv.data(), shape),
            .dcaptured = {{by_key, Tensor(gradient.data(), {2})}},
            .score = [&](auto s, auto, auto, auto q, auto kv) { return s + row_bias[q] + key_bias[kv]; }};
  const Context cpu = tested();
  const Plan plan = cpu.plan(bwd(a));
  const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(256, 1 << 20), &std::free);
  ASSERT_LE(plan.workspace_bytes(), 1u << 20);
  const Workspace workspace{memory.get(), 1 << 20};
  cpu.backward(plan, bwd(a), workspace);
  EXPECT_NE(gradient[0], 0);
  EXPECT_NEAR(gradient[0] + gradient[1], 0, 1e-6);  // both moved together, the softmax stays
  a.dcaptured = {{by_key, Tensor(other.data(), {2})}};
  cpu.backward(plan, bwd(a), workspace);
  EXPECT_EQ(gradient, other);
  for (const std::vector<CapturedGradient>& wanted : {std::vector<CapturedGradient>{},
                                                      {{by_row, Tensor(other.data(), {2})}},
                                                      {{in, Tensor(dq.data(), {2})}}}) {
    a.dcaptured = wanted;
    try {
      cpu.backward(plan, bwd(a), workspace);
      ADD_FAILURE() << "the plan was made for the gradient of key_bias";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::invalid_argument) << e.what();
    }
  }
}

// Every type a captured tensor of floats can have; its gradient in that type and in f32, any strides.
TEST(CapturedGradients, TypesAndStrides) {
  for (const char* type : {"f64", "f32", "f16", "bf16"})
    for (const char* grad : {"same", "f32"})
      for (const char* strides : {"none", "gaps", "odd", "expand", "reverse"})
        expect_passes(
            std::string("varlen_bwd bf16 let bias=randn(h,skv):") + type +
            " b=2 hq=4 hkv=2 sq=5,3 skv=7,4 d=8 score=\"score + bias[h, kv]\" dcaptured=bias grad=" + grad +
            " strides=" + strides + " offset=1 seed=14");
}

}  // namespace
}  // namespace bolide::testing
