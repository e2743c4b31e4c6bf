// Random cases for a GPU share a bounded number of kernels, however many cases there are.
#include "testing/kernel_budget.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>

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

TEST(KernelBudget, RefusedDrawsAreReplacedAndSomeDrawsAreLarge) {
  const SharedDraws draws = share_kernels(132, 3, 400, Filter(), 40);
  EXPECT_EQ(draws.cases.size(), 400u);
  EXPECT_GT(draws.refused, 100u) << "two of five operations are backward";
  int wide = 0, split = 0, copied = 0;
  for (const Case& c : draws.cases) {
    EXPECT_FALSE(c.backward());
    EXPECT_FALSE(kernel_keys(c, 132).empty()) << c.text();
    const std::int64_t heads = c.batch * c.heads_q;
    wide += heads * ((c.rows_q.largest() + 191) / 192) > 132;
    copied += c.dtype != DType::f32 && c.head_dim % 8 == 0 && c.head_dim_v % 8 == 0 && c.offset % 8 == 0 &&
              (c.strides == Strides::none || c.strides == Strides::gaps) && c.rows_kv.largest() > 128;
    split += heads > 0 && heads <= 24 && c.rows_q.largest() <= 64 && c.rows_kv.largest() >= 512;
  }
  EXPECT_GE(wide, 8);
  EXPECT_GE(split, 12);
  EXPECT_GE(copied, 60) << "by the copy engine, more than a tile of keys";
  EXPECT_THROW(share_kernels(132, 3, 10, Filter::parse("op=bwd"), 40), Error);
}

TEST(KernelBudget, ShrinkingAsksForFewNewKernels) {
  const Case big = Case::parse(
      "varlen_fwd bf16 let doc=runs(n) b=3 hq=6 hkv=2 sq=0..300 skv=5..900 d=100 kv=paged:16 start=top_left "
      "mask=\"kv <= q && doc[q] == doc[kv]\" score=\"score * 2\" strides=reverse offset=3 seed=4");
  const std::vector<std::string> first = kernel_keys(big, 132);
  std::set<std::string> asked;
  const auto fails = [&](const Case& c) {
    for (const std::string& key : kernel_keys(c, 132)) asked.insert(key);
    return c.rows_kv.largest() >= 17;
  };
  const Case small = shrink_on_gpu(big, fails, 132, 60, 3);
  for (const std::string& key : first) asked.erase(key);
  EXPECT_LE(asked.size(), 3u);
  EXPECT_GE(asked.size(), 1u);
  EXPECT_EQ(small.rows_kv.largest(), 17) << small.text();
  EXPECT_EQ(small.batch, 1) << small.text();
  EXPECT_EQ(shrink_on_gpu(big, fails, 132, 0, 3), big) << "no time";
}

TEST(KernelBudget, TheSameSeedGivesTheSameCases) {
  const Filter filter = Filter::parse("op=fwd type=bf16");
  EXPECT_EQ(share_kernels(132, 5, 40, filter, 8).cases, share_kernels(132, 5, 40, filter, 8).cases);
}

// What compute-sanitizer is run on, slow as it is.
TEST(KernelBudget, TheSmallCasesReachEveryKindOfKernel) {
  std::vector<Case> cases;
  std::ifstream file(BOLIDE_SOURCE_DIR "/tests/cases/gpu_small.txt");
  for (std::string line; std::getline(file, line);)
    if (!line.empty() && line[0] != '#') cases.push_back(Case::parse(line));
  std::string names;
  for (const jit::KernelSpec& kernel : kernels_of(cases, 132)) names += kernel.name + "\n";
  for (const char* kind :
       {"Producer::gathered, .copy_bytes = 16", "Producer::gathered, .copy_bytes = 4",
        "Producer::gathered, .copy_bytes = 2",
        ".partial = false, .sequences = bolide::device::Sequences::any",
        ".partial = true, .sequences = bolide::device::Sequences::any", "Sequences::whole",
        "Sequences::packed", ".partial = false, .sequences = bolide::device::Sequences::paged",
        ".partial = true, .sequences = bolide::device::Sequences::paged", "fwd_f32", "fwd_combine",
        "fwd_prepare"})
    EXPECT_NE(names.find(kind), names.npos) << kind << " in\n" << names;
}

}  // namespace
}  // namespace bolide::testing
