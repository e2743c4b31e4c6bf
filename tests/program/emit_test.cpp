// The CUDA text, compiled by the host compiler: the same values as the evaluators, and tile classes that
// hold.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <bolide/masks.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "device/program.cuh"
#include "program/emit.hpp"
#include "program/point.hpp"
#include "tests/program/random_program.hpp"

namespace bolide {
namespace {

using program::Emitted;

// Many emitted programs compiled into one shared object; entry i calls program i.
class Compiled {
 public:
  using MaskFunction = bool (*)(const void*, const Point&);
  using ScoreFunction = float (*)(const void*, float, const Point&);
  using ClassFunction = TileClass (*)(const void*, const Tile&);

  explicit Compiled(const std::vector<Emitted>& programs) {
    folder_ = std::filesystem::temp_directory_path() / ("bolide-emit-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    const std::string source = folder_ / "programs.cpp", object = folder_ / "programs.so";
    std::ofstream file(source);
    file << "#include \"program.cuh\"\n";
    for (std::size_t i = 0; i < programs.size(); ++i) {
      const std::string& text = programs[i].text;
      const std::string n = std::to_string(i);
      file << "namespace p" << n << " {\n"
           << text.substr(text.find('\n') + 1) << "extern \"C\" bool mask" << n
           << "(const Program::Params& p, const bolide::Point& at) { return Program::mask(p, at); }\n"
           << "extern \"C\" float score" << n
           << "(const Program::Params& p, float s, const bolide::Point& at) { return Program::score(p, s, "
              "at); }\n"
           << "extern \"C\" bolide::TileClass classify" << n
           << "(const Program::Params& p, const bolide::Tile& t) { return Program::classify(p, t); }\n"
           << "extern \"C\" unsigned long size" << n << "() { return sizeof(Program::Params); }\n}\n";
    }
    file.close();
    const std::string command =
        std::string(BOLIDE_TEST_COMPILER) +
        " -std=c++20 -O0 -ffp-contract=off -fPIC -shared -Wall -Wno-parentheses -Werror -I'" +
        BOLIDE_TEST_ROOT "/device' '" + source + "' -o '" + object + "' 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string output;
    char buffer[512];
    while (std::fgets(buffer, sizeof(buffer), pipe)) output += buffer;
    if (::pclose(pipe) != 0) throw std::runtime_error(output.substr(0, 4000));
    handle_ = ::dlopen(object.c_str(), RTLD_NOW);
    if (!handle_) throw std::runtime_error(::dlerror());
  }
  ~Compiled() {
    if (handle_) ::dlclose(handle_);
    std::filesystem::remove_all(folder_);
  }
  template <class Function>
  Function get(const char* name, std::size_t i) const {
    return reinterpret_cast<Function>(::dlsym(handle_, (name + std::to_string(i)).c_str()));
  }

 private:
  std::filesystem::path folder_;
  void* handle_ = nullptr;
};

bool same_number(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

TEST(Emit, RandomProgramsComputeWhatTheEvaluatorsCompute) {
  std::mt19937_64 random(5);
  const testing::RandomTables tables(random);
  testing::RandomProgram programs(random, tables.captured());
  std::vector<Mask> masks;
  std::vector<Score> scores;
  std::vector<Emitted> emitted;
  // What once went wrong: sums of narrow tables taken for any 32-bit number, and NaN taken for a bound.
  for (const char* text : {"tag[kv] + tag[kv] >= tag[q]", "min(tag[q], b % kv & b % kv) <= tag[kv] + tag[kv]",
                           "bool(sqr(max(nan, empty[q] / 0.5403)))", "max(nan / (h + 1), float(kv)) >= 0"}) {
    masks.push_back(
        Mask::parse(text, {{"tag", tables.captured()[4].tensor}, {"empty", tables.captured()[12].tensor}}));
    scores.emplace_back();
    emitted.push_back(program::emit(masks.back(), scores.back()));
  }
  for (int i = 0; i < 160; ++i) {
    masks.push_back(i % 3 ? Mask(programs.mask(2 + i % 40)) : Mask());
    scores.push_back(i % 3 != 1 ? Score(programs.score(2 + i % 40)) : Score());
    emitted.push_back(program::emit(masks.back(), scores.back()));
  }
  const Compiled compiled(emitted);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<std::uint64_t>(n)); };
  int decided = 0;
  for (std::size_t i = 0; i < emitted.size(); ++i) {
    const std::vector<std::byte> params = program::pack_params(emitted[i]);
    ASSERT_EQ(compiled.get<unsigned long (*)()>("size", i)(), params.size());
    const auto mask = compiled.get<Compiled::MaskFunction>("mask", i);
    const auto score = compiled.get<Compiled::ScoreFunction>("score", i);
    const auto classify = compiled.get<Compiled::ClassFunction>("classify", i);
    const int span = i % 5 ? 120 : 1 << 29;
    for (int j = 0; j < 60; ++j) {
      const Point at{below(4), below(9), below(span) - span / 8, below(span), span, span};
      const program::Row row{at.b, at.h, at.q, at.len_q, at.len_kv};
      if (masks[i]) {
        const bool expected = program::eval_mask_point(masks[i].expr(), row, at.kv);
        ASSERT_EQ(mask(params.data(), at), expected) << masks[i].text() << emitted[i].text;
      }
      if (!scores[i]) continue;
      const float s = static_cast<float>(below(2000) - 1000) / 64;
      const float expected = program::eval_score_point_f32(scores[i].expr(), row, at.kv, s);
      ASSERT_PRED2(same_number, score(params.data(), s, at), expected) << scores[i].text() << emitted[i].text;
    }
    if (!masks[i]) continue;
    for (int j = 0; j < 40; ++j) {
      const int q = below(100) - 15, kv = below(120), rows = 1 + below(20), keys = 1 + below(20);
      const Tile tile{below(4), below(9), q, q + rows, kv, kv + keys, 120, 120};
      const TileClass found = classify(params.data(), tile);
      decided += found != TileClass::some;
      for (int y = q; y < q + rows && found != TileClass::some; ++y) {
        for (int x = kv; x < kv + keys; ++x) {
          ASSERT_EQ(program::eval_mask_point(masks[i].expr(), {tile.b, tile.h, y, 120, 120}, x),
                    found == TileClass::all)
              << masks[i].text() << emitted[i].text;
        }
      }
    }
  }
  EXPECT_GT(decided, 500);
}

TEST(Emit, TextIsTheSameForAllNumbersAndContents) {
  const std::vector<std::int32_t> a = {1, 2, 3}, b = {4, 5, 6, 7};
  const auto text = [](const std::string& mask, const Tensor& doc) {
    return program::emit(Mask::parse(mask, {{"doc", doc}}), {}).text;
  };
  EXPECT_EQ(text("kv <= q && q - kv < 1024 && doc[q] == 1", Tensor(a.data(), {3})),
            text("kv <= q && q - kv < -7 && doc[q] == 99", Tensor(b.data(), {4})));
  EXPECT_EQ(text("kv <= q && q < 3", Tensor(a.data(), {3})), text("q < 4 && kv <= q", Tensor(a.data(), {3})));
  EXPECT_NE(text("kv <= q", Tensor(a.data(), {3})), text("kv < q", Tensor(a.data(), {3})));
  const Emitted e = program::emit(causal(), softcap(30));
  EXPECT_EQ(e.floats, std::vector<float>{30});
}

TEST(Emit, UsesThirtyTwoBitsWhereTheySuffice) {
  const auto text = [](const std::string& mask) { return program::emit(Mask::parse(mask), {}).text; };
  const auto wide = [&](const std::string& mask) {
    const std::string t = text(mask);
    return t.find("long long", t.find("kHasMask")) != std::string::npos;
  };
  EXPECT_FALSE(wide("kv <= q && q - kv < 1024"));
  EXPECT_FALSE(wide("q // 64 == kv // 64 && (q - kv) % 4 == 0"));
  EXPECT_TRUE(wide("q * kv < 1024"));
  EXPECT_TRUE(wide("kv < 5000000000"));
}

}  // namespace
}  // namespace bolide
