// The tiled path's inner loops against plain loops, on every instruction set that this machine has.
#include <gtest/gtest.h>

#include <hwy/targets.h>

#include <cstring>
#include <random>
#include <vector>

#include "cpu/tile_math.hpp"

namespace bolide::cpu {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Runs a test once for each instruction set.
template <class F>
void on_each_target(F&& test) {
  int ran = 0;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    SCOPED_TRACE(instruction_set());
    test();
    ++ran;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
  EXPECT_GE(ran, 1);
}

std::vector<float> draw(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& e : x) e = normal(random);
  return x;
}

TEST(TileMath, ProductsAgreeWithPlainLoops) {
  on_each_target([] {
    for (const int m : {1, 2, 3, 5, 6, 7, 13, 64})
      for (const int n : {16, 32, 48, 80}) {
        const int k = 37;
        const std::vector<float> a = draw(static_cast<std::size_t>(m * k), 1), b = draw(k * 80u, 2);
        std::vector<double> c(static_cast<std::size_t>(m * n), 1.5), keep(static_cast<std::size_t>(m), 0.25);
        multiply(Product<float, double>{.a = a.data(),
                                        .a_row = 1,
                                        .a_column = m,
                                        .b = b.data(),
                                        .b_row = 80,
                                        .c = c.data(),
                                        .c_row = n,
                                        .m = m,
                                        .n = n,
                                        .k = k,
                                        .factor = 3,
                                        .keep = keep.data()});
        for (int i = 0; i < m; ++i)
          for (int j = 0; j < n; ++j) {
            double sum = 0;
            for (int x = 0; x < k; ++x) sum += static_cast<double>(a[x * m + i]) * b[x * 80 + j];
            ASSERT_NEAR(c[i * n + j], 1.5 * 0.25 + 3 * sum, 1e-12) << m << " " << n;
          }
      }
  });
}

TEST(TileMath, C12_WhereSkipsWhatItShouldAndChangesNoBit) {
  on_each_target([] {
    const int m = 9, n = 32, k = 21;
    std::vector<float> a = draw(m * k, 3), b = draw(k * n, 4), plain(m * n), careful(m * n);
    std::vector<std::uint8_t> where(m * k, 1);
    for (int i = 0; i < m * k; i += 3) a[i] = 0, where[i] = 0;
    Product<float, float> p{.a = a.data(),
                            .a_row = k,
                            .a_column = 1,
                            .b = b.data(),
                            .b_row = n,
                            .c = plain.data(),
                            .c_row = n,
                            .m = m,
                            .n = n,
                            .k = k};
    multiply(p);
    p.where = where.data(), p.c = careful.data();
    multiply(p);
    EXPECT_EQ(std::memcmp(plain.data(), careful.data(), plain.size() * 4), 0);
    for (int i = 0; i < m; ++i) where[i * k + 6] = 0, a[i * k + 6] = 0;
    std::fill_n(b.begin() + 6 * n, n, std::nanf(""));
    std::fill(careful.begin(), careful.end(), 0.f);
    multiply(p);
    for (const float x : careful) EXPECT_TRUE(std::isfinite(x));
  });
}

TEST(TileMath, ConversionsRoundToNearestEven) {
  on_each_target([] {
    std::mt19937 random(5);
    for (int n = 0; n < 40; ++n) {
      std::vector<float> x(static_cast<std::size_t>(padded(n)), 7.f), back(x.size());
      for (int i = 0; i < n; ++i) {
        const std::uint32_t bits = random();
        std::memcpy(&x[i], &bits, 4);
        if (std::isnan(x[i])) x[i] = 1 + static_cast<float>(bits % 4096) / 2048 * 0x1p-7f;
      }
      std::vector<bf16> b(static_cast<std::size_t>(n) + 1, bf16(9));
      std::vector<f16> h(static_cast<std::size_t>(n) + 1, f16(9));
      store_floats(DType::bf16, x.data(), n, b.data());
      store_floats(DType::f16, x.data(), n, h.data());
      for (int i = 0; i < n; ++i) {
        EXPECT_EQ(b[i].bits, bf16(static_cast<double>(x[i])).bits) << x[i];
        EXPECT_EQ(h[i].bits, f16(static_cast<double>(x[i])).bits) << x[i];
      }
      EXPECT_EQ(b[n].bits, bf16(9).bits);  // nothing past the row
      EXPECT_EQ(h[n].bits, f16(9).bits);
      bool finite = true;
      for (int i = 0; i < n; ++i) finite &= std::isfinite(static_cast<float>(h[i]));
      EXPECT_EQ(load_floats(DType::f16, h.data(), n, back.data()), finite);
      for (int i = 0; i < padded(n); ++i) EXPECT_EQ(back[i], i < n ? static_cast<float>(h[i]) : 0);
    }
    const float special[16] = {std::nanf(""), kInf, -kInf, -0.f};
    bf16 to[4];
    store_floats(DType::bf16, special, 4, to);
    EXPECT_TRUE(std::isnan(static_cast<float>(to[0])));
    EXPECT_EQ(static_cast<float>(to[1]), kInf);
    EXPECT_TRUE(std::signbit(static_cast<float>(to[3])));
  });
}

TEST(TileMath, MaximaAndExponentials) {
  on_each_target([] {
    std::vector<float> s = draw(3 * 16, 6), max(16, -kInf), poison(16), p(48), sums(16);
    s[0] = std::nanf(""), s[16 + 1] = kInf, s[2] = s[18] = s[34] = -kInf, s[3] = -kInf;
    find_maxima({s.data(), 3, 16}, max.data(), poison.data());
    for (int r = 0; r < 16; ++r) EXPECT_EQ(std::isnan(poison[r]), r < 2) << r;
    EXPECT_EQ(max[2], -kInf);
    EXPECT_EQ(max[3], std::max(s[19], s[35]));
    max[2] = 0;
    exponentiate({s.data(), 3, 16}, max.data(), p.data(), sums.data());
    EXPECT_EQ(sums[2], 0);
    EXPECT_EQ(p[3], 0);
    for (int r = 3; r < 16; ++r) {
      double want = 0;
      for (int j = 0; j < 3; ++j) want += std::exp(static_cast<double>(s[j * 16 + r]) - max[r]);
      EXPECT_NEAR(sums[r], want, 5e-7);
    }
  });
}

}  // namespace
}  // namespace bolide::cpu
