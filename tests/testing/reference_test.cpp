// The reference against hand computation and difference quotients: it must be right on its own.
#include "testing/reference.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "testing/elements.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

TEST(Reference, TwoKeysByHand) {
  const std::vector<float> q{2}, k{1, -1}, v{3, 5};
  std::vector<float> out(1), lse(1);
  const BackwardProblem p{.forward = fwd({.q = Tensor(q.data(), {1, 1, 1, 1}),
                                          .k = Tensor(k.data(), {1, 2, 1, 1}),
                                          .v = Tensor(v.data(), {1, 2, 1, 1}),
                                          .out = Tensor(out.data(), {1, 1, 1, 1}),
                                          .lse = Tensor(lse.data(), {1, 1, 1}),
                                          .scale = 0.5f})};
  const auto all = sequences(p.forward);
  const Reference r = reference(p, false, all, visibility(p.forward, all));
  const double a = std::exp(1.0), b = std::exp(-1.0);
  EXPECT_NEAR(r.out.data[0], (3 * a + 5 * b) / (a + b), 1e-15);
  EXPECT_NEAR(r.lse.data[0], std::log(a + b), 1e-15);
  EXPECT_NEAR(r.lse_reach.data[0], 1, 1e-15);
}

// loss = sum dout * out + sum dlse * lse, as the reference computes both.
double loss(testing::Setup& setup) {
  const BackwardProblem& p = setup.host();
  const Reference r = reference(p, false, setup.sequences(), setup.visible());
  double sum = 0;
  std::size_t i = 0;
  for_each_offset(p.dout, [&](std::int64_t at) {
    const double x = load(p.dout, at);
    if (r.out.data[i] != 0 && std::isfinite(x)) sum += x * r.out.data[i];
    ++i;
  });
  i = 0;
  for_each_offset(p.dlse, [&](std::int64_t at) {
    if (std::isfinite(r.lse.data[i])) sum += load(p.dlse, at) * r.lse.data[i];
    ++i;
  });
  return sum;
}

void expect_gradients(const std::string& line) {
  HostMemory memory;
  testing::Setup setup(Case::parse(line), Fill::finite, memory);
  const BackwardProblem p = setup.host();
  const Reference r = reference(p, true, setup.sequences(), setup.visible());
  const std::tuple<const Tensor*, const Values*, const char*> parts[] = {
      {&p.forward.q, &r.dq, "dq"}, {&p.forward.k, &r.dk, "dk"}, {&p.forward.v, &r.dv, "dv"}};
  for (const auto& [input, gradient, name] : parts) {
    std::size_t i = 0;
    for_each_offset(*input, [&, input = input, gradient = gradient, name = name](std::int64_t at) {
      const double want = gradient->data[i++], x = load(*input, at), step = 1.0 / 256;
      if (i % 5 != 1 || std::abs(x) > 1e6) return;
      store(*input, at, x + step);
      const double above = loss(setup), up = load(*input, at);
      store(*input, at, x - step);
      const double below = loss(setup), down = load(*input, at);
      store(*input, at, x);
      EXPECT_NEAR((above - below) / (up - down), want, 2e-4 * (1 + std::abs(want)))
          << name << " element " << i - 1 << " of " << line;
    });
  }
}

TEST(Reference, GradientsAreDifferenceQuotients) {
  expect_gradients("bwd f32 hq=2 hkv=1 sq=3 skv=5 d=3 dv=2 dlse=yes seed=1");
  expect_gradients(
      "bwd f32 b=2 hq=2 sq=3 skv=5 d=3 mask=\"kv <= q\" score=\"20 * tanh(score / 20) - 0.1 * abs(q - kv)\" "
      "dlse=yes seed=2");
  expect_gradients(
      "varlen_bwd f32 b=2 hq=4 hkv=2 sq=3,1 skv=2,5 d=3 score=\"score * sigmoid(score)\" scale=-0.4 dlse=yes "
      "seed=3");
  expect_gradients("bwd f32 b=2 sq=3 skv=7 d=3 kv=paged:2 pages=shared leftpad=1 dlse=yes seed=4");
}

TEST(Reference, DerivativesOfEveryFunctionAreDifferenceQuotients) {
  const Bindings none;
  for (const char* text : {"score + 1",
                           "3 - score",
                           "score * score * 2",
                           "score / 3",
                           "3 / (score + 9)",
                           "min(score, 0.1)",
                           "max(score, 0.1)",
                           "abs(score)",
                           "sqr(score)",
                           "sqrt(score + 9)",
                           "rsqrt(score + 9)",
                           "exp(score)",
                           "exp2(score)",
                           "log(score + 9)",
                           "log2(score + 9)",
                           "log1p(score + 9)",
                           "tanh(score)",
                           "sigmoid(score)",
                           "erf(score)",
                           "sin(score)",
                           "cos(score)",
                           "pow(score + 9, 1.5)",
                           "pow(2, score)",
                           "where(score > 0.1, score, 3 * score)",
                           "where(q > 100, log(0.0) * score, score)",
                           "-score",
                           "clamp(score, -1, 1)"}) {
    const Score program = Score::parse(text, none);
    for (const double x : {-1.7, -0.4, 0.03, 0.9, 2.5}) {
      const auto value = [&](double s) {
        // One key: its score is the lse.
        const std::vector<float> one{1};
        std::vector<float> out(1), lse(1);
        const BackwardProblem p{.forward = fwd({.q = Tensor(one.data(), {1, 1, 1, 1}),
                                                .k = Tensor(one.data(), {1, 1, 1, 1}),
                                                .v = Tensor(one.data(), {1, 1, 1, 1}),
                                                .out = Tensor(out.data(), {1, 1, 1, 1}),
                                                .lse = Tensor(lse.data(), {1, 1, 1}),
                                                .scale = static_cast<float>(s),
                                                .score = program})};
        const auto all = sequences(p.forward);
        return reference(p, false, all, visibility(p.forward, all)).lse.data[0];
      };
      const double low = static_cast<float>(x - 1e-3), high = static_cast<float>(x + 1e-3);
      EXPECT_NEAR(score_derivative(program.expr(), 0, 0, 0, 0, 1, 1, x),
                  (value(high) - value(low)) / (high - low), 1e-4)
          << text << " at " << x;
    }
  }
}

TEST(Reference, ProgramsInFloat32AreOffAsFloat32Is) {
  HostMemory memory;
  const bolide::testing::Setup setup(
      Case::parse("fwd f32 sq=1 skv=1500 d=4 score=\"score + cos(0.2 * kv)\" seed=1"), Fill::nonfinite,
      memory);
  const auto lse = [&](Programs programs) {
    return reference(setup.host(), false, setup.sequences(), setup.visible(), programs).lse.data[0];
  };
  const double off = std::abs(lse(Programs::float32) - lse(Programs::float64));
  EXPECT_GT(off, 1e-8);
  EXPECT_LT(off, 1e-4);
  const bolide::testing::Setup plain(Case::parse("fwd f32 sq=1 skv=1500 d=4 seed=1"), Fill::nonfinite,
                                     memory);
  EXPECT_EQ(reference(plain.host(), false, plain.sequences(), plain.visible(), Programs::float32).lse.data,
            reference(plain.host(), false, plain.sequences(), plain.visible()).lse.data);
}

}  // namespace
}  // namespace bolide::testing
