// What the command says, and with which exit code, when it cannot do what it is asked.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "files/tensor_file.hpp"
#include "tests/cli/command.hpp"

namespace bolide::tests {
namespace {

class Errors : public ::testing::Test {
 protected:
  Folder folder;
  Array<float> rows = some_numbers({1, 4, 2, 8}, 1), few = some_numbers({1, 2, 2, 8}, 2);
  Array<std::int64_t> doc{{4}, {0, 0, 1, 1}}, large{{1}, {std::int64_t{1} << 40}};

  void SetUp() override {
    files::write_safetensors(folder / "in.safetensors", {{"q", rows.tensor()},
                                                         {"k", rows.tensor()},
                                                         {"v", rows.tensor()},
                                                         {"few", few.tensor()},
                                                         {"doc", doc.tensor()},
                                                         {"large", large.tensor()}});
  }
  // Expects the exit code, one message on stderr with these words, nothing on stdout and no file written.
  void expect_trouble(int exit, const std::vector<std::string>& more, const std::vector<std::string>& words) {
    std::vector<std::string> arguments{"run", "in.safetensors", "-o", "out.safetensors"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_trouble_of(exit, arguments, words);
  }
  void expect_trouble_of(int exit, const std::vector<std::string>& arguments,
                         const std::vector<std::string>& words) {
    const Ran ran = bolide(arguments, {folder.path()});
    std::string line = "bolide";
    for (const std::string& a : arguments) line += " '" + a + "'";
    EXPECT_EQ(ran.exit, exit) << line << "\n" << ran.err;
    EXPECT_TRUE(ran.err.starts_with("bolide: ")) << line << "\n" << ran.err;
    EXPECT_TRUE(ran.err.ends_with("\n")) << ran.err;
    for (const std::string& word : words)
      EXPECT_NE(ran.err.find(word), std::string::npos) << line << "\n" << ran.err;
    EXPECT_EQ(ran.out, "") << line;
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"in.safetensors"})) << line;
  }
};

TEST_F(Errors, ExpressionsPointAtThePlaceAndNameTheFix) {
  expect_trouble(2, {"--mask", "kv <= k"}, {"--mask: ", "kv <= k\n", "\n        ^"});
  expect_trouble(2, {"--mask", "kv <="}, {"--mask: ", "^"});
  expect_trouble(2, {"--mask", "kv < q < 3"}, {"--mask: ", "^"});
  expect_trouble(2, {"--mask", "score > 0"}, {"--mask: "});
  expect_trouble(2, {"--score", "kv <= q"}, {"--score: "});
  expect_trouble(2, {"--mask", "q - kv < window"}, {"--mask: ", "window"});
}

TEST_F(Errors, UnknownTensorsListThoseThereAre) {
  expect_trouble(2, {"--q", "query"}, {"--q query", "in.safetensors has doc, large, q, k, v, few"});
  expect_trouble(2, {"--mask", "x[q] == 0", "--tensor", "x"}, {"--tensor x x", "in.safetensors has "});
  expect_trouble_of(2, {"run"}, {"no input file is given"});
}

TEST_F(Errors, ArgumentsThatMeanNothingAreRefused) {
  expect_trouble(2, {"--max-seqlen-q", "3"}, {"--max-seqlen-q", "--cu-seqlens-q"});
  expect_trouble(2, {"--max-seqlen-kv", "3"}, {"--max-seqlen-kv", "--cu-seqlens-kv"});
  expect_trouble(2, {"--max-pages", "3"}, {"--max-pages"});
  expect_trouble(2, {"--dlse", "doc"}, {"--dlse", "--dout"});
  expect_trouble(2, {"--grad-dtype", "f32"}, {"--grad-dtype", "--dout"});
  expect_trouble(2, {"--number", "w=3", "--mask", "kv <= q"}, {"--number w", "neither"});
  expect_trouble(2, {"--tensor", "doc"}, {"--tensor doc", "neither"});
  expect_trouble(2, {"--tolerance", "1"}, {"--expect"});
  expect_trouble(2, {"--page-table", "doc", "--cu-seqlens-kv", "doc"}, {"--cu-seqlens-kv"});
  expect_trouble_of(2, {"run", "in.safetensors", "--lse"}, {"-o FILE"});
}

TEST_F(Errors, BadValuesNameTheValue) {
  expect_trouble(2, {"--nonsense"}, {"--nonsense", "bolide run --help"});
  expect_trouble(2, {"--layout", "sbhd"}, {"sbhd"});
  expect_trouble(2, {"--device", "gpu"}, {"gpu", "cuda:N"});
  expect_trouble(2, {"--scale", "nan"}, {"scale is nan"});
  expect_trouble(2, {"--scale", "big"}, {"big"});
  expect_trouble(2, {"--number", "w=wide", "--mask", "kv < w"}, {"w=wide"});
  expect_trouble(2, {"--number", "w=1", "--number", "w=2", "--mask", "kv < w"}, {"twice"});
  expect_trouble(2, {"--seqused-kv", "large"}, {"1099511627776", "32 bits"});
  expect_trouble(2, {"--seqused-kv", "q"}, {"f32", "integers"});
  expect_trouble(2, {"--seqused-kv", "doc"}, {"seqused_kv", "[4]", "[1]"});
  expect_trouble(2, {"--expect", "few"}, {"[1, 2, 2, 8]", "[1, 4, 2, 8]"});
  expect_trouble(2, {"--expect", "doc"}, {"i64"});
  expect_trouble(2, {"--expect", "dq=q"}, {"dq", "--dout"});
  expect_trouble(2, {"--expect", "q", "--tolerance", "-1"}, {"--tolerance"});
  expect_trouble(2, {"--v", "few"}, {"k has shape", "v [1, 2, 2, 8]"});
  expect_trouble(2, {"--q", "doc"}, {"q"});
  expect_trouble_of(2, {}, {"subcommand"});
  expect_trouble_of(2, {"walk"}, {"walk", "there are run check"});
}

TEST_F(Errors, C19_LengthsThatLeaveTheirTensorsAreRefused) {
  const Folder elsewhere;
  const Array<std::int32_t> used({1}, {5});
  files::write_npy(elsewhere / "used.npy", used.tensor());
  expect_trouble(2, {"--seqused-kv", elsewhere / "used.npy"}, {"5", "4"});
}

TEST_F(Errors, OutputsThatCannotBeAreRefusedBeforeComputing) {
  expect_trouble_of(2, {"run", "in.safetensors", "-o", "in.safetensors"}, {"also an input"});
  expect_trouble_of(2, {"run", "in.safetensors", "-o", "./in.safetensors"}, {"also an input"});
  expect_trouble_of(2, {"run", "in.safetensors", "-o", "out.txt"}, {"neither .safetensors nor .npy"});
  expect_trouble_of(2, {"run", "in.safetensors", "-o", "out.npy", "--lse"}, {"one tensor"});
  expect_trouble_of(2, {"run", "in.safetensors", "-o", "out.npy", "--dout", "q"}, {"one tensor"});
  expect_trouble_of(3, {"run", "in.safetensors", "-o", "nowhere/out.npy"}, {"nowhere", "not a folder"});
}

TEST_F(Errors, AFullDiskLeavesTheOldFileWhole) {
  const std::string before = "not much, but whole";
  std::ofstream(folder / "out.safetensors") << before;
  const Ran ran = bolide({"run", "in.safetensors", "-o", "out.safetensors"}, {folder.path(), 100});
  EXPECT_EQ(ran.exit, 3) << ran.err;
  EXPECT_TRUE(ran.err.starts_with("bolide: ")) << ran.err;
  EXPECT_EQ(text_of(folder / "out.safetensors"), before);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"in.safetensors", "out.safetensors"}));
}

TEST_F(Errors, C03_AProgramThatGathersByANegativePositionIsRefused) {
  const std::vector<std::string> gather{"--k",      "few", "--v", "few", "--mask", "doc[q] == doc[kv]",
                                        "--tensor", "doc"};
  expect_trouble(4, gather, {"gathers by q", "query_start"});
  std::vector<std::string> stated{"run", "in.safetensors", "--query-start", "0"};
  stated.insert(stated.end(), gather.begin(), gather.end());
  EXPECT_EQ(bolide(stated, {folder.path()}).exit, 0);
}

TEST_F(Errors, AreAlsoObjectsWithJson) {
  for (const auto& [more, exit, code] :
       {std::tuple{std::vector<std::string>{"--mask", "kv <= k"}, 2, "expression"},
        {{"--nonsense"}, 2, "invalid_argument"},
        {{"--v", "few"}, 2, "invalid_problem"},
        {{"absent.npy"}, 3, "file"},
        {{"--k", "few", "--v", "few", "--mask", "doc[q] == 0", "--tensor", "doc"}, 4, "refused"}}) {
    std::vector<std::string> arguments{"run", "in.safetensors", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ran ran = bolide(arguments, {folder.path()});
    EXPECT_EQ(ran.exit, exit) << ran.err;
    const auto object = nlohmann::json::parse(ran.out);
    EXPECT_EQ(object["error"]["code"], code);
    EXPECT_EQ(object["error"]["exit"], exit);
    EXPECT_EQ("bolide: " + object["error"]["sentence"].get<std::string>() + "\n", ran.err);
  }
}

TEST_F(Errors, HelpAndVersionSucceedOnStdout) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"--help"}, {"run", "--help"}, {"check", "--help"}, {"explain", "--help"}, {"info", "--help"}}) {
    const Ran ran = bolide(arguments);
    EXPECT_EQ(ran.exit, 0);
    EXPECT_EQ(ran.err, "");
    EXPECT_NE(ran.out.find("Examples:\n  bolide "), std::string::npos) << ran.out;
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 112u) << line;
  }
  EXPECT_EQ(bolide({"--version"}).out, "bolide " BOLIDE_VERSION "\n");
}

}  // namespace
}  // namespace bolide::tests
