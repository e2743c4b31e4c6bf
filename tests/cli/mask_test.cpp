// `bolide mask`: counts against plain loops, maps, pictures, and what it refuses.
#include <gtest/gtest.h>
#include <png.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "files/tensor_file.hpp"
#include "tests/cli/command.hpp"

namespace bolide::tests {
namespace {

using Json = nlohmann::json;

class MaskCommand : public ::testing::Test {
 protected:
  Folder folder;
  Array<std::int32_t> doc{{200}};

  void SetUp() override {
    for (std::int32_t i = 0; i < 200; ++i) doc.values[i] = i / 33;
    files::write_npy(folder / "ids.npy", doc.tensor());
  }
  Ran run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "mask");
    return bolide(arguments, {folder.path()});
  }
  Json json(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.exit, 0) << ran.err;
    return Json::parse(ran.out);
  }
  void expect_trouble(int exit, const std::vector<std::string>& arguments, const std::string& words) {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.exit, exit) << ran.err;
    EXPECT_EQ(ran.out, "");
    EXPECT_TRUE(ran.err.starts_with("bolide: ")) << ran.err;
    EXPECT_NE(ran.err.find(words), std::string::npos) << ran.err;
    EXPECT_EQ(folder.names(), std::vector<std::string>{"ids.npy"});
  }
};

// Tiles none, some, all and visible pairs.
template <class Visible>
std::array<std::int64_t, 4> counted(int sq, int skv, int tile_q, int tile_kv, Visible visible) {
  std::array<std::int64_t, 4> counts{};
  for (int y = 0; y < sq; y += tile_q)
    for (int x = 0; x < skv; x += tile_kv) {
      std::int64_t pairs = 0, shown = 0;
      for (int q = y; q < std::min(sq, y + tile_q); ++q)
        for (int kv = x; kv < std::min(skv, x + tile_kv); ++kv) ++pairs, shown += visible(q, kv);
      ++counts[shown == 0 ? 0 : shown < pairs ? 1 : 2];
      counts[3] += shown;
    }
  return counts;
}
std::array<std::int64_t, 4> counts_of(const Json& found) {
  return {found["tiles_none"], found["tiles_some"], found["tiles_all"], found["visible_pairs"]};
}

TEST_F(MaskCommand, CountsAreThoseOfPlainLoops) {
  EXPECT_EQ(counts_of(json({"kv <= q && doc[q] == doc[kv]", "--tensor", "doc=ids.npy", "--sq", "200", "--skv",
                            "200", "--tile", "24x40"})),
            counted(200, 200, 24, 40, [](int q, int kv) { return kv <= q && q / 33 == kv / 33; }));
  EXPECT_EQ(counts_of(json({"q - kv < w", "--number", "w=20", "--sq", "70", "--skv", "150", "--tile", "16"})),
            counted(70, 150, 16, 16, [](int q, int kv) { return q + 80 - kv < 20; }));
  EXPECT_EQ(counts_of(json({"q - kv < 20 && kv >= 100", "--sq", "70", "--skv", "150", "--query-start",
                            "top_left", "--key-start", "90"})),
            counted(70, 150, 64, 64, [](int q, int kv) { return q - kv - 90 < 20 && kv + 90 >= 100; }));
  EXPECT_EQ(counts_of(json({"kv < len_kv - len_q + b", "--sq", "70", "--skv", "150", "--query-start", "-5",
                            "--batch", "7"})),
            counted(70, 150, 64, 64, [](int, int kv) { return kv < 87; }));
  EXPECT_EQ(counts_of(json({"false", "--sq", "0", "--skv", "150"})), (std::array<std::int64_t, 4>{}));
}

TEST_F(MaskCommand, BisectionDecidesWhatOneEvaluationCannot) {
  const std::vector<std::string> question = {"(q ^ kv) & 1 < 2", "--sq", "64", "--skv", "64"};
  EXPECT_EQ(json(question)["tiles_all"], 1);
  std::vector<std::string> mini = {"abs(q % 48 - kv % 48) < 48", "--sq", "96", "--skv", "96"};
  const Json exact = json(mini);
  mini.push_back("--no-bisect");
  const Json plain = json(mini);
  EXPECT_EQ(exact["tiles_all"], 4);
  EXPECT_EQ(plain["tiles_some"].get<int>() + plain["tiles_all"].get<int>(), 4);
  EXPECT_LE(plain["interval_evaluations"], exact["interval_evaluations"]);
  EXPECT_EQ(exact["visible_pairs"], 96 * 96);
  EXPECT_EQ(plain["visible_pairs"], 96 * 96);
  EXPECT_EQ(plain["bisect"], false);
}

TEST_F(MaskCommand, DrawsAMapWithALegend) {
  const Ran ran = run({"kv <= q && q - kv < 128", "--sq", "256", "--skv", "256"});
  ASSERT_EQ(ran.exit, 0) << ran.err;
  EXPECT_NE(ran.out.find("\n + . . .\n## + . .\n +## + .\n . +## +\n"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find(" .  none             7 tiles,  43.8 %, skipped\n"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("visible   24640 of 65536 pairs, 37.6 %"), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find('\x1b'), std::string::npos);
}

TEST_F(MaskCommand, IsAsWideAsTheTerminalAndColouredThere) {
  const std::vector<std::string> wide = {"mask", "kv <= q", "--sq", "65536", "--skv", "65536"};
  const std::string shown = bolide_on_terminal(wide, true).err;
  EXPECT_NE(shown.find("a cell of the map is 27 x 27 tiles"), std::string::npos) << shown;
  EXPECT_NE(shown.find("\x1b[48;5;208m  \x1b[0m\x1b[2m"), std::string::npos);
  setenv("NO_COLOR", "1", 1);
  const std::string plain = bolide_on_terminal(wide, true).err;
  unsetenv("NO_COLOR");
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  std::istringstream lines(plain);
  for (std::string line; std::getline(lines, line);) EXPECT_LT(line.size(), 81u) << line;
}

TEST_F(MaskCommand, WritesAPngWhosePixelsAreThePairs) {
  ASSERT_EQ(run({"kv <= q", "--sq", "128", "--skv", "128", "--picture", "map.png"}).exit, 0);
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_TRUE(png_image_begin_read_from_file(&image, (folder / "map.png").c_str())) << image.message;
  EXPECT_EQ(image.width, 512u);
  EXPECT_EQ(image.height, 512u);
  image.format = PNG_FORMAT_RGB;
  std::vector<std::uint8_t> pixels(PNG_IMAGE_SIZE(image));
  ASSERT_TRUE(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr)) << image.message;
  const auto colour = [&](int q, int kv) {
    const std::uint8_t* p = &pixels[3 * (4 * q * 512 + 4 * kv)];
    return p[0] << 16 | p[1] << 8 | p[2];
  };
  EXPECT_EQ(colour(0, 127), 0xeef0f2);  // none
  EXPECT_EQ(colour(127, 0), 0x2c5f9e);  // all
  EXPECT_EQ(colour(10, 10), 0xd96b0f);  // visible, in a tile of class some
  EXPECT_EQ(colour(10, 11), 0xfde7cf);  // hidden there
  EXPECT_EQ(colour(100, 63), 0x2c5f9e);
  EXPECT_EQ(colour(100, 64), 0xd96b0f);
}

TEST_F(MaskCommand, WritesAnSvgThatEscapesTheMask) {
  ASSERT_EQ(run({"kv < q && q < 100", "--sq", "200", "--skv", "200", "--picture", "map.svg"}).exit, 0);
  const std::string svg = text_of(folder / "map.svg");
  EXPECT_TRUE(svg.starts_with("<svg ")) << svg;
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find("<title>kv &lt; q &amp;&amp; q &lt; 100</title>"), std::string::npos) << svg;
  EXPECT_NE(svg.find("viewBox=\"0 0 200 200\""), std::string::npos);
  EXPECT_NE(svg.find("fill=\"#d96b0f\" d=\"M0 1h1v99h-1z"), std::string::npos) << svg;
}

TEST_F(MaskCommand, SaysWhatItCannotDo) {
  const std::vector<std::string> sizes = {"--sq", "8", "--skv", "8"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), sizes.begin(), sizes.end());
    return more;
  };
  expect_trouble(2, {"kv <= q"}, "--sq is required");
  expect_trouble(2, {"kv <= q", "--sq", "-4", "--skv", "8"}, "--sq -4 is not 0 to 2147483647");
  expect_trouble(2, {"kv <= q", "--sq", "4", "--skv", "3000000000"}, "--skv 3000000000 is not");
  expect_trouble(2, with({"kv <= k"}), "mask: unknown name k");
  expect_trouble(2, with({"score < 1.0"}), "a mask cannot use score");
  expect_trouble(2, with({"kv <= q", "--tile", "0x4"}), "--tile 0x4");
  expect_trouble(2, with({"kv <= q", "--tile", "4x4x4"}), "--tile 4x4x4");
  expect_trouble(2, with({"kv <= q", "--query-start", "left"}), "--query-start left");
  expect_trouble(2, with({"kv <= q", "--head", "1"}), "does not mention h");
  expect_trouble(2, with({"kv <= q", "--batch", "1"}), "does not mention b");
  expect_trouble(2, with({"b < 3", "--batch", "-1"}), "the batch entry is -1");
  expect_trouble(2, with({"kv <= q", "--number", "w=1"}), "the mask does not use this name");
  expect_trouble(2, with({"kv <= q", "--picture", "map.gif"}), "neither .png nor .svg");
  expect_trouble(2, {"kv <= q", "--sq", "0", "--skv", "8", "--picture", "map.png"}, "nothing to draw");
  expect_trouble(3, with({"kv <= q", "--picture", "nowhere/map.png"}), "nowhere");
  expect_trouble(3, with({"doc[q] == 1", "--tensor", "doc=missing.npy"}), "missing.npy");
  expect_trouble(4, {"doc[q] == 1", "--tensor", "doc=ids.npy", "--sq", "9", "--skv", "8"},
                 "the first q is -1; state the query start");
}

}  // namespace
}  // namespace bolide::tests
