// Random cases for a GPU share a bounded number of kernels, however many cases there are.
#include "testing/kernel_budget.hpp"

#include <gtest/gtest.h>

#include <set>

namespace bolide::testing {
namespace {

TEST(KernelBudget, ManyCasesShareFewKernels) {
  const Filter filter = Filter::parse("op=fwd,varlen_fwd,fwd_kvcache type=bf16,f16");
  const SharedDraws draws = share_kernels(132, 3, 200, filter, 24);
  EXPECT_EQ(draws.cases.size(), 200u);
  EXPECT_LE(draws.kernels.size(), 24u);
  EXPECT_GE(draws.kernels.size(), 20u);
  std::set<std::string> lines, layouts, masks;
  for (const Case& c : draws.cases) {
    lines.insert(c.text()), masks.insert(c.mask);
    layouts.insert(std::to_string(static_cast<int>(c.queries)) + std::to_string(static_cast<int>(c.keys)));
    EXPECT_NO_THROW(c.validate()) << c.text();
    EXPECT_EQ(Case::parse(c.text()), c) << "the line reruns it";
  }
  EXPECT_GE(lines.size(), 195u) << "cases differ";
  EXPECT_EQ(layouts.size(), 8u) << "every layout of queries meets every layout of keys";
  EXPECT_GE(masks.size(), 4u);
}

TEST(KernelBudget, TheSameSeedGivesTheSameCases) {
  const Filter filter = Filter::parse("op=fwd type=bf16");
  EXPECT_EQ(share_kernels(132, 5, 40, filter, 8).cases, share_kernels(132, 5, 40, filter, 8).cases);
}

}  // namespace
}  // namespace bolide::testing
