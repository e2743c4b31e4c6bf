// Merging partial results: the identity with an empty part, emptiness of two, agreement with one pass over
// all keys.
#include <gtest/gtest.h>
#include <bolide/bolide.hpp>

#include <cmath>

namespace bolide {
namespace {

struct Part {
  float out[2], lse;
  Tensor out_view() { return {out, {1, 1, 1, 2}}; }
  Tensor lse_view() { return {&lse, {1, 1, 1}}; }
};

Part merged(Part a, Part b) {
  Part c{{NAN, NAN}, NAN};
  const Tensor outs[] = {a.out_view(), b.out_view()}, lses[] = {a.lse_view(), b.lse_view()};
  Context(Device::cpu()).merge(outs, lses, c.out_view(), c.lse_view());
  return c;
}

TEST(Merge, C09_EmptyIsTheIdentity) {
  const Part full{{0.1f, -3.7e-12f}, 4.2f}, empty{{NAN, 5}, -INFINITY};
  for (const Part& c : {merged(full, empty), merged(empty, full)}) {
    EXPECT_EQ(c.out[0], full.out[0]);
    EXPECT_EQ(c.out[1], full.out[1]);
    EXPECT_EQ(c.lse, full.lse);
  }
}

TEST(Merge, C09_EmptyIsTheIdentityForNegativeZerosToo) {
  const Part c = merged({{-0.f, 1}, -0.f}, {{3, 4}, -INFINITY});
  EXPECT_TRUE(std::signbit(c.out[0]));
  EXPECT_TRUE(std::signbit(c.lse));
}

TEST(Merge, C09_TwoEmptiesAreEmpty) {
  const Part c = merged({{1, 2}, -INFINITY}, {{3, 4}, -INFINITY});
  EXPECT_EQ(c.out[0], 0);
  EXPECT_EQ(c.lse, -INFINITY);
}

TEST(Merge, WeighsByExpOfLse) {
  const Part c = merged({{1, 0}, 0.f}, {{5, 0}, std::log(3.f)});
  EXPECT_FLOAT_EQ(c.out[0], 4.f);
  EXPECT_FLOAT_EQ(c.lse, std::log(4.f));
}

TEST(Merge, C13_NaNIsNotSwallowed) { EXPECT_TRUE(std::isnan(merged({{1, 2}, NAN}, {{1, 2}, 1.f}).lse)); }

}  // namespace
}  // namespace bolide
