// The fields that --json prints are those that docs/command.md documents: no more, no fewer.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "files/tensor_file.hpp"
#include "tests/cli/command.hpp"

namespace bolide::tests {
namespace {

using Json = nlohmann::json;
using Names = std::set<std::string>;

// The names in the first column of the table under a heading.
Names documented(const std::string& heading) {
  std::istringstream lines(text_of(BOLIDE_SOURCE "/docs/command.md"));
  Names names;
  bool here = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#")) here = line.ends_with("# " + heading);
    if (!here || !line.starts_with("| `")) continue;
    const std::string cell = line.substr(2, line.find(" |", 2) - 2);  // other columns quote values
    for (std::size_t at = 0; (at = cell.find('`', at)) != std::string::npos;) {
      const std::size_t end = cell.find('`', at + 1);
      names.insert(cell.substr(at + 1, end - at - 1));
      at = end + 1;
    }
  }
  return names;
}

void collect(const Json& object, const std::string& prefix, Names& names) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = prefix + key;
    if (value.is_object()) collect(value, name + ".", names);
    else if (value.is_array() && !value.empty() && value.front().is_object())
      for (const Json& element : value) collect(element, name + "[].", names);
    else names.insert(name);
  }
}

class DocumentedJson : public ::testing::Test {
 protected:
  Folder folder;
  Names printed;
  std::vector<std::pair<std::string, std::string>> environment;

  void SetUp() override {
    const Array<float> x = some_numbers({1, 4, 2, 8}, 1);
    const Array<float> bias = some_numbers({2}, 2);
    files::write_safetensors(
        folder / "in.safetensors",
        {{"q", x.tensor()}, {"k", x.tensor()}, {"v", x.tensor()}, {"bias", bias.tensor()}});
  }
  // Every line of stdout must be an object; returns the last.
  Json run(const std::vector<std::string>& arguments, int exit = 0) {
    const Ran ran = bolide(arguments, {.folder = folder.path(), .environment = environment});
    EXPECT_EQ(ran.exit, exit) << ran.err;
    std::istringstream lines(ran.out);
    Json object;
    for (std::string line; std::getline(lines, line);) collect(object = Json::parse(line), "", printed);
    return object;
  }
};

TEST_F(DocumentedJson, Run) {
  const Json backward = run({"run", "in.safetensors", "--json", "--dout", "q", "--expect", "q", "--expect",
                             "dq=q", "--mask", "kv <= q", "--score", "score + bias[h]", "--tensor", "bias",
                             "--grad", "bias", "-o", "out.safetensors"});
  EXPECT_EQ(backward["operation"], "backward");
  EXPECT_EQ(backward["visible_pairs"], 20);
  EXPECT_EQ(backward["expect"].size(), 1u);
  EXPECT_EQ(backward["dcaptured"].size(), 1u);
  EXPECT_EQ(backward["dcaptured"][0]["name"], "dbias");
  EXPECT_EQ(printed, documented("JSON of run"));
}

TEST_F(DocumentedJson, RunGivesNullForWhatIsNotThere) {
  const Json forward = run({"run", "in.safetensors", "--json", "--mask", "kv > 100", "--layout", "bhsd"});
  EXPECT_TRUE(forward["lse"]["min"].is_null());
  EXPECT_TRUE(forward["output"].is_null());
  EXPECT_TRUE(forward["score"].is_null());
  EXPECT_EQ(forward["mask"], "100 < kv");
  EXPECT_EQ(forward["lse"]["empty_rows"], 8);
  EXPECT_EQ(forward["q"]["shape"], (std::vector<int>{1, 4, 2, 8}));
}

TEST_F(DocumentedJson, Check) {
  const Json summary = run({"check", "--count", "3", "--seed", "5", "--coverage", "--json"});
  EXPECT_EQ(summary["cases"], 3);
  EXPECT_EQ(summary["passed"], 3);
  EXPECT_EQ(summary["seed"], 5);
  EXPECT_EQ(printed, documented("JSON of check"));
}

TEST_F(DocumentedJson, Explain) {
  run({"explain", "in.safetensors", "--dout", "q", "--json"});
  EXPECT_EQ(printed, documented("JSON of explain"));
  printed.clear();
  const Json refused = run({"explain", "in.safetensors", "--scale", "nan", "--json"}, 2);
  EXPECT_EQ(refused["served"], false);
  EXPECT_EQ(refused["code"], "invalid_argument");
}

TEST_F(DocumentedJson, Mask) {
  const Json found = run({"mask", "kv <= q && h < 9", "--sq", "100", "--skv", "130", "--tile", "32x64",
                          "--head", "3", "--json"});
  EXPECT_EQ(found["tiles_none"], 4);
  EXPECT_EQ(found["tiles_some"], 6);
  EXPECT_EQ(found["tiles_all"], 2);
  EXPECT_EQ(found["visible_pairs"], 8050);
  EXPECT_EQ(found["query_start"], 30);
  EXPECT_EQ(found["h"], 3);
  EXPECT_TRUE(found["b"].is_null());
  EXPECT_EQ(printed, documented("JSON of mask"));
}

TEST_F(DocumentedJson, Info) {
  const Json info = run({"info", "--json"});
  for (const char* name : {"device", "name", "architecture", "multiprocessors", "memory_bytes"})
    for (const Json& gpu : info["gpus"]) EXPECT_TRUE(gpu.contains(name)) << name;
  std::erase_if(printed, [](const std::string& name) { return name.starts_with("gpus[]."); });
  printed.insert("gpus");
  EXPECT_EQ(info["gpus"].empty(), info["why_no_gpu"].is_string());
  EXPECT_EQ(printed, documented("JSON of info"));
}

TEST_F(DocumentedJson, Cache) {
  // A cache of one entry that cannot be used: nothing is compiled here.
  using std::filesystem::perms;
  const std::string cache = folder / "cache", entry = cache + "/" + std::string(64, 'a') + ".kernel";
  std::filesystem::create_directory(cache);
  std::filesystem::permissions(cache, perms::owner_all);
  std::ofstream(entry) << "damaged";
  std::filesystem::permissions(entry, perms::owner_read | perms::owner_write);
  environment = {{"BOLIDE_CACHE_DIR", cache}};
  EXPECT_EQ(run({"cache", "verify", "--json"}, 1)["faults"], 1);
  EXPECT_EQ(run({"cache", "path", "--json"})["folder"], cache);
  EXPECT_EQ(run({"cache", "clear", "--json"})["removed"], 1);
  EXPECT_EQ(run({"cache", "--json"})["entries"], 0);
  EXPECT_EQ(printed, documented("JSON of cache"));
}

TEST_F(DocumentedJson, Pack) {
  if (!std::filesystem::exists(BOLIDE_TEST_NVRTC "/libnvrtc.so.13"))
    GTEST_SKIP() << "no NVRTC to compile with";
  environment = {{"BOLIDE_CACHE_DIR", folder / "cache"}, {"BOLIDE_NVRTC", BOLIDE_TEST_NVRTC}};
  const std::vector<std::string> pack = {"pack", "a.pack", "fwd f32 sq=3 skv=5 d=8", "fwd f32 sq=9 skv=7 d=8",
                                         "--json"};
  Json made = run(pack);
  EXPECT_EQ(made["cases"], 2);
  EXPECT_EQ(made["kernels"], 2) << "lengths make no other kernel; merge's is always there";
  EXPECT_EQ(made["compiled"], 2);
  EXPECT_EQ(made["bytes"], std::filesystem::file_size(folder / "a.pack"));
  EXPECT_EQ(printed, documented("JSON of pack"));
  made = run(pack);
  EXPECT_EQ(made["compiled"], 0) << "it is in the cache";
  EXPECT_EQ(run({"cache", "verify", "--json"})["faults"], 0);
  const Json listed = run({"cache", "list", "--json"});
  EXPECT_EQ(listed["entries"], 2);
}

TEST_F(DocumentedJson, Errors) {
  run({"run", "--json"}, 2);
  EXPECT_EQ(printed, documented("Errors as JSON"));
}

}  // namespace
}  // namespace bolide::tests
