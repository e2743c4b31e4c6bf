// `bolide cache` and `bolide pack` from outside, and what the command says of a GPU that is not there.
#include <gtest/gtest.h>

#include "files/tensor_file.hpp"
#include "tests/cli/command.hpp"

namespace bolide::tests {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class CacheCommand : public ::testing::Test {
 protected:
  Folder folder;
  Ran run(const std::vector<std::string>& arguments, const std::string& cache) {
    return bolide(arguments, {.folder = folder.path(), .environment = {{"BOLIDE_CACHE_DIR", cache}}});
  }
};

TEST_F(CacheCommand, AnEmptyCacheIsListedAndCleared) {
  const std::string cache = folder / "new";
  const Ran listed = run({"cache"}, cache);
  EXPECT_EQ(listed.exit, 0) << listed.err;
  EXPECT_TRUE(contains(listed.out, "0 kernels, 0.0 MiB in " + cache)) << listed.out;
  EXPECT_TRUE(contains(run({"cache", "clear"}, cache).out, "removed 0 kernels"));
  EXPECT_EQ(run({"cache", "path"}, cache).out, cache + "\n");
}

TEST_F(CacheCommand, T127_AFolderOpenToOthersIsNamedAndLeftAlone) {
  using std::filesystem::perms;
  const std::string cache = folder / "open";
  std::filesystem::create_directory(cache);
  std::filesystem::permissions(cache, perms::all);
  const std::string entry = cache + "/" + std::string(64, 'b') + ".kernel";
  std::ofstream(entry) << "somebody's";
  for (const char* action : {"list", "verify", "clear"}) {
    const Ran ran = run({"cache", action}, cache);
    EXPECT_EQ(ran.exit, 3) << action;
    EXPECT_TRUE(contains(ran.err, cache)) << ran.err;
  }
  EXPECT_TRUE(std::filesystem::exists(entry));
}

TEST_F(CacheCommand, BadActionsAndPacksAreRefused) {
  const std::string cache = folder / "cache";
  EXPECT_EQ(run({"cache", "burn"}, cache).exit, 2);
  EXPECT_EQ(run({"pack"}, cache).exit, 2);
  EXPECT_EQ(run({"pack", "a.pack"}, cache).exit, 2) << "no cases";
  EXPECT_EQ(run({"pack", "a.pack", "bwd bf16 sq=3 skv=3"}, cache).exit, 4);
  EXPECT_EQ(run({"pack", "a.pack", "fwd bf16 sq=3 skv=3 d=300"}, cache).exit, 4);
  const Ran other = run({"pack", "a.pack", "fwd bf16 sq=3 skv=3", "--arch", "sm_80"}, cache);
  EXPECT_EQ(other.exit, 4);
  EXPECT_TRUE(contains(other.err, "sm_90a so far, not for \"sm_80\"")) << other.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "a.pack"));
}

TEST(ExplainCase, ALargeCaseCostsNothing) {
  const Ran ran = bolide({"explain", "fwd bf16 b=64 hq=32 hkv=8 sq=1000000 skv=1000000 d=128"});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_TRUE(contains(ran.out, "results: 532480000000 bytes")) << ran.out;
  EXPECT_LT(ran.cpu_seconds, 1);
}

TEST(NoGpu, EveryCommandSaysSoWithExitFive) {
  if (contains(bolide({"info"}).out, "cuda:0")) GTEST_SKIP() << "there is a GPU";
  const Folder folder;
  const Array<float> x = some_numbers({1, 4, 2, 8}, 1);
  files::write_safetensors(folder / "in.safetensors",
                           {{"q", x.tensor()}, {"k", x.tensor()}, {"v", x.tensor()}});
  const std::vector<std::vector<std::string>> commands = {{"run", "in.safetensors", "-o", "out.safetensors"},
                                                          {"explain", "in.safetensors"},
                                                          {"explain", "fwd bf16 sq=3 skv=3"},
                                                          {"check", "fwd bf16 sq=3 skv=3"},
                                                          {"bench", "fwd bf16 sq=3 skv=3"}};
  for (std::vector<std::string> command : commands) {
    command.insert(command.end(), {"--device", "cuda:0"});
    const Ran ran = bolide(command, {folder.path()});
    EXPECT_EQ(ran.exit, 5) << command[0] << ran.err;
    EXPECT_TRUE(contains(ran.err, "NVIDIA driver")) << ran.err;
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << "one sentence";
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "out.safetensors"));
}

}  // namespace
}  // namespace bolide::tests
