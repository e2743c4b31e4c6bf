// 16-bit floats: every value survives a round trip, and rounding is to nearest, ties to even, in one step.
#include <gtest/gtest.h>
#include <bolide/tensor.hpp>

#include <vector>

namespace bolide {
namespace {

template <class T>
void every_value_round_trips() {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    T x;
    x.bits = static_cast<std::uint16_t>(bits);
    const float f = static_cast<float>(x);
    const T back(static_cast<double>(f));
    if (std::isnan(f)) EXPECT_TRUE(std::isnan(static_cast<float>(back))) << bits;
    else EXPECT_EQ(back.bits, x.bits) << bits;
  }
}

// Halfway between two neighbours goes to the even one; a hair to either side goes to the nearer.
template <class T>
void ties_go_to_even(std::uint16_t largest) {
  for (std::uint16_t bits = 0; bits < largest; ++bits) {
    T lo, hi;
    lo.bits = bits, hi.bits = static_cast<std::uint16_t>(bits + 1);
    const double a = static_cast<float>(lo), b = static_cast<float>(hi), middle = a + (b - a) / 2;
    EXPECT_EQ(T(middle).bits, bits % 2 ? hi.bits : lo.bits);
    EXPECT_EQ(T(middle - (b - a) * 1e-9).bits, lo.bits);
    EXPECT_EQ(T(middle + (b - a) * 1e-9).bits, hi.bits);
    EXPECT_EQ(T(-middle).bits, T(middle).bits | 0x8000);
  }
}

TEST(DType, EveryHalfRoundTrips) { every_value_round_trips<f16>(); }
TEST(DType, EveryBfloatRoundTrips) { every_value_round_trips<bf16>(); }
TEST(DType, HalfRoundsTiesToEven) { ties_go_to_even<f16>(0x7bff); }
TEST(DType, BfloatRoundsTiesToEven) { ties_go_to_even<bf16>(0x7f7f); }

TEST(DType, OverflowGoesToInfinity) {
  EXPECT_EQ(f16(65519.0).bits, 0x7bff);  // below halfway to 65536
  EXPECT_EQ(f16(65520.0).bits, 0x7c00);
  EXPECT_EQ(f16(-1e300).bits, 0xfc00);
  EXPECT_EQ(bf16(1e300).bits, 0x7f80);
}

TEST(Dims, MoreThanEightIsRefused) {
  const std::vector<std::int64_t> nine(9, 1);
  EXPECT_ANY_THROW(Dims{std::span<const std::int64_t>(nine)});
}

TEST(Tensor, TransposeKeepsAddresses) {
  float x[6] = {};
  const Tensor t(x, {2, 3});
  EXPECT_EQ(t.offset(1, 2), t.transposed(0, 1).offset(2, 1));
}

}  // namespace
}  // namespace bolide
