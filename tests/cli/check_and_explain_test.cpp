// `bolide check`, `bolide explain` and `bolide bench` from outside.
#include <gtest/gtest.h>

#include "files/tensor_file.hpp"
#include "tests/cli/command.hpp"

namespace bolide::tests {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Check, DrawsTheSameProblemsFromTheSameSeed) {
  const auto cases = [](const char* seed) {
    const Ran ran = bolide({"check", "--count", "5", "--seed", seed, "--json"});
    EXPECT_EQ(ran.exit, 0) << ran.out << ran.err;
    std::string lines;
    std::istringstream all(ran.out);
    for (std::string line; std::getline(all, line);)
      if (const auto at = line.find("\"case\":"); at != line.npos)
        lines += line.substr(at, line.find("\"outcome\"") - at) + "\n";
    return lines;
  };
  const std::string seven = cases("7");
  EXPECT_EQ(std::count(seven.begin(), seven.end(), '\n'), 5);
  EXPECT_EQ(seven, cases("7"));
  EXPECT_NE(seven, cases("8"));
}

TEST(Check, SummarisesForPeople) {
  const Ran ran = bolide({"check", "--count", "4"});
  EXPECT_EQ(ran.exit, 0) << ran.out << ran.err;
  EXPECT_TRUE(contains(ran.out, "4 cases: 4 passed, 0 failed, 0 refused (0.00 %); ")) << ran.out;
  EXPECT_EQ(ran.err, "");
}

TEST(Check, TakesCasesAndCaseFiles) {
  const std::string line = "fwd f32 b=1 hq=2 hkv=1 sq=3 skv=5 d=8 mask=\"kv<=q\" seed=7";
  EXPECT_TRUE(contains(bolide({"check", line, line}).out, "2 cases: 2 passed"));
  const Folder folder;
  std::ofstream(folder / "some.txt") << "# a comment\n\n" << line << "\n" << line << "\n";
  const Ran ran = bolide({"check", "--cases", "some.txt"}, {folder.path()});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_TRUE(contains(ran.out, "2 cases: 2 passed")) << ran.out;
}

TEST(Check, FiltersDraws) {
  const Ran ran = bolide({"check", "--count", "5", "--filter", "type=bf16 kv=paged", "--json"});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  std::istringstream all(ran.out);
  int cases = 0;
  for (std::string line; std::getline(all, line);) {
    if (!contains(line, "\"case\":")) continue;
    EXPECT_TRUE(contains(line, " bf16") && contains(line, "kv=paged:")) << line;
    ++cases;
  }
  EXPECT_EQ(cases, 5);
}

TEST(Check, EndsAfterMinutes) {
  const Ran ran = bolide({"check", "--minutes", "0.01"});
  EXPECT_EQ(ran.exit, 0) << ran.out << ran.err;
}

TEST(Check, RefusesBadCasesAndOptions) {
  EXPECT_EQ(bolide({"check", "fwd f33"}).exit, 2);
  EXPECT_EQ(bolide({"check", "fwd f32 mask=\"kv <=\""}).exit, 2);
  EXPECT_EQ(bolide({"check", "fwd f32", "--count", "3"}).exit, 2);
  EXPECT_EQ(bolide({"check", "--minutes", "0"}).exit, 2);
  EXPECT_EQ(bolide({"check", "--count", "-3"}).exit, 2);
  EXPECT_EQ(bolide({"check", "--seed", "-1", "--count", "1"}).exit, 2);
  EXPECT_EQ(bolide({"check", "--filter", "kv=sideways"}).exit, 2);
  EXPECT_EQ(bolide({"check", "--threads", "2"}).exit, 2) << "for a GPU";
  const Folder folder;
  std::ofstream(folder / "bad.txt") << "fwd f32\nfwd f33\n";
  const Ran ran = bolide({"check", "--cases", "bad.txt"}, {folder.path()});
  EXPECT_EQ(ran.exit, 2);
  EXPECT_TRUE(contains(ran.err, "bad.txt, line 2: ")) << ran.err;
}

TEST(Explain, NamesPathAndMemoryOfAFileAndOfACase) {
  const Folder folder;
  const Array<float> x = some_numbers({1, 4, 2, 8}, 1);
  files::write_safetensors(folder / "in.safetensors",
                           {{"q", x.tensor()}, {"k", x.tensor()}, {"v", x.tensor()}});
  Ran ran = bolide({"explain", "in.safetensors", "--mask", "kv <= q"}, {folder.path()});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_TRUE(contains(ran.out, "cpu/tiled") && contains(ran.out, "results: 288 bytes"))
      << ran.out;  // 64 + 8 floats
  ran = bolide({"explain", "bwd f32 b=1 hq=2 hkv=2 sq=4 skv=4 d=8 dv=8"});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_TRUE(contains(ran.out, "forward on cpu") && contains(ran.out, "backward on cpu")) << ran.out;
  EXPECT_TRUE(contains(ran.out, "results: 768 bytes")) << ran.out;  // three gradients of 64 floats
}

TEST(Explain, RefusalsAreSentencesWithTheirExitCode) {
  const Folder folder;
  const Array<float> x = some_numbers({1, 4, 2, 8}, 1), few = some_numbers({1, 2, 2, 8}, 1);
  const Array<std::int32_t> doc({4}, {0, 0, 1, 1});
  files::write_safetensors(
      folder / "in.safetensors",
      {{"q", x.tensor()}, {"k", few.tensor()}, {"v", few.tensor()}, {"doc", doc.tensor()}});
  Ran ran =
      bolide({"explain", "in.safetensors", "--mask", "doc[q] == 0", "--tensor", "doc"}, {folder.path()});
  EXPECT_EQ(ran.exit, 4);
  EXPECT_TRUE(contains(ran.err, "gathers by q")) << ran.err;
  EXPECT_EQ(ran.out, "");
  ran = bolide({"explain", "in.safetensors", "--q", "doc"}, {folder.path()});
  EXPECT_EQ(ran.exit, 2);
  ran = bolide({"explain", "fwd f32 sq=3 skv=3", "--scale", "2"});
  EXPECT_EQ(ran.exit, 2);
  EXPECT_TRUE(contains(ran.err, "--scale belongs to problems over files")) << ran.err;
}

TEST(Bench, TimesCasesAsAFileListsThem) {
  const Folder folder;
  const std::string line = "fwd f32 sq=3 skv=5 d=8";
  std::ofstream(folder / "some.txt") << "# a comment\n" << line << "\n" << line << "\nfwd f32 sq=4 d=8\n";
  const Ran ran = bolide({"bench", "--cases", "some.txt", "--samples", "1", "--json"}, {folder.path()});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n'), 3) << ran.out;
  const Ran listed = bolide({"bench", "--cases", "some.txt", "--list"}, {folder.path()});
  EXPECT_EQ(listed.out, line + "\n" + line + "\nfwd f32 sq=4 d=8\n");
  EXPECT_EQ(bolide({"bench", line, "--cases", "some.txt"}, {folder.path()}).exit, 2)
      << "one source at a time";
}

}  // namespace
}  // namespace bolide::tests
