// Parts of the command that need no process.
#include <gtest/gtest.h>
#include <bolide/error.hpp>

#include <cmath>
#include <vector>

#include "cli/compare.hpp"
#include "cli/machine.hpp"
#include "cli/progress.hpp"

namespace bolide::cli {
namespace {

TEST(ProgressLine, ShowsShareAndTimeLeftWithinTheTerminal) {
  const std::string line = progress_line("check", 0.25, 10, 80);
  EXPECT_TRUE(line.starts_with("check  25 % [##########  ")) << line;
  EXPECT_TRUE(line.ends_with("] 0:30 left")) << line;
  EXPECT_TRUE(progress_line("x", 0.5, 7200, 80).ends_with("] 2:00:00 left"));
  EXPECT_NE(progress_line("x", 0, 65, 80).find("1:05 so far"), std::string::npos);
  for (const int columns : {0, 1, 10, 20, 30, 200})
    for (const double share : {0.0, 0.3, 1.0, 7.0}) {
      const std::string any = progress_line("backward", share, 100, columns);
      EXPECT_LE(static_cast<int>(any.size()), std::max(columns - 1, 0)) << any;
    }
}

TEST(Comparison, MeasuresAgainstTheCoarserType) {
  const std::vector<float> expected(1000, 1.0f);
  std::vector<bf16> got(1000, bf16(1.0));
  const Tensor e(expected.data(), {1000}), g(got.data(), {1000});
  Comparison c = compare(g, e);
  EXPECT_EQ(c.max_abs, 0);
  EXPECT_NEAR(c.rounding_floor, std::ldexp(1.0, -7) / std::sqrt(12.0), 1e-15);  // bf16 has 8 significant bits
  got[7] = bf16(1 + std::ldexp(1.0, -7));
  c = compare(g, e);
  EXPECT_DOUBLE_EQ(c.max_abs, std::ldexp(1.0, -7));
  EXPECT_EQ(c.worst, (Dims{7}));
  EXPECT_NEAR(c.floors(), std::sqrt(12.0 / 1000), 1e-12);
}

TEST(Comparison, NonFiniteValuesMustAgree) {
  const float inf = INFINITY, nan = std::nanf("");
  const std::vector<float> a{1, inf, nan, -inf}, same = a, other{1, -inf, 3, -inf};
  EXPECT_EQ(compare(Tensor(a.data(), {4}), Tensor(same.data(), {4})).max_abs, 0);
  const Comparison c = compare(Tensor(a.data(), {4}), Tensor(other.data(), {4}));
  EXPECT_EQ(c.mismatched_nonfinite, 2);
  EXPECT_EQ(c.max_abs, INFINITY);
  EXPECT_EQ(c.worst, (Dims{1}));
  EXPECT_EQ(c.rmse, 0);
  EXPECT_THROW(compare(Tensor(a.data(), {4}), Tensor(a.data(), {2, 2})), Error);
}

TEST(Machine, ReadsWhatLinuxSays) {
  const Cpu cpu = parse_cpuinfo(
      "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 f16c avx512_bf16 avx\n"
      "processor\t: 1\nmodel name\t: Another\nflags\t: fma\n");
  EXPECT_EQ(cpu.name, "Some CPU @ 2 GHz");
  EXPECT_EQ(cpu.features, (std::vector<std::string>{"f16c", "avx", "avx2", "avx512_bf16"}));
  EXPECT_GT(this_cpu().threads, 0);
  EXPECT_EQ(parse_cpuinfo("").name, "");
}

}  // namespace
}  // namespace bolide::cli
