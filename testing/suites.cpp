// What the suites of the benchmark hold: case lines, written out by loops.
#include "testing/suites.hpp"

#include <bolide/error.hpp>

#include <fmt/core.h>

namespace bolide::testing {
namespace {

constexpr Suite kSuites[] = {
    {"forward", "bf16, 16,384 tokens, heads x head dim = 2048, 512 to 16,384 keys, full and causal"},
    {"programs", "masks and scores at 16,384 keys, 16 heads of 128"},
    {"layouts", "packed, paged and strided prefill, 128 columns, grouped heads"},
    {"decode", "one query row, 128 columns, paged and not"},
};

std::vector<std::string> forward_lines() {
  std::vector<std::string> lines;
  constexpr int kTokens = 16384, kWidth = 2048;
  for (const int d : {128, 64, 256})
    for (const char* mask : {"", " mask=\"kv<=q\""})
      for (int s = 512; s <= kTokens; s *= 2)
        lines.push_back(fmt::format("fwd bf16 b={} hq={} sq={} d={}{}", kTokens / s, kWidth / d, s, d, mask));
  return lines;
}

std::vector<std::string> program_lines() {
  const std::string problem = "fwd bf16 b=1 hq=16 sq=16384 d=128 ";
  return {problem + "mask=\"kv<=q\"",
          problem + "mask=\"kv<=q && q-kv<1024\"",
          problem + "let doc=steps(1500,n) mask=\"kv<=q && doc[q]==doc[kv]\"",
          problem + "mask=\"kv<4096 || kv<=q\"",
          problem + "let slope=slopes(h) mask=\"kv<=q\" score=\"score-slope[h]*abs(q-kv)\"",
          problem + "mask=\"kv<=q\" score=\"20*tanh(score/20)\""};
}

std::vector<std::string> layout_lines() {
  std::vector<std::string> lines;
  for (const char* mask : {"", " mask=\"kv<=q\""}) {
    lines.push_back(fmt::format("varlen_fwd bf16 b=64 hq=32 hkv=8 sq=64..4064 d=128{}", mask));
    lines.push_back(fmt::format("fwd bf16 b=4 hq=16 hkv=4 sq=4096 d=128{}", mask));
    for (const int page : {16, 64, 256})
      lines.push_back(
          fmt::format("fwd_kvcache bf16 b=4 hq=16 hkv=4 sq=4096 d=128 kv=paged:{}{}", page, mask));
    lines.push_back(fmt::format("fwd bf16 b=4 hq=16 hkv=4 sq=4096 d=128 strides=odd{}", mask));
  }
  return lines;
}

std::vector<std::string> decode_lines() {
  std::vector<std::string> lines;
  for (const auto& [batch, keys, heads_kv] : {std::tuple{1, 8192, 8},
                                              {1, 131072, 8},
                                              {16, 4096, 8},
                                              {64, 2048, 8},
                                              {64, 8192, 8},
                                              {128, 1024, 8},
                                              {1, 8192, 32}})
    for (const char* kv : {"", " kv=paged:16", " kv=paged:256"})
      lines.push_back(
          fmt::format("fwd_kvcache bf16 b={} hq=32 hkv={} sq=1 skv={} d=128{}", batch, heads_kv, keys, kv));
  return lines;
}

}  // namespace

std::span<const Suite> suites() { return kSuites; }

std::vector<Case> suite_cases(const std::string& name) {
  std::vector<std::string> lines;
  if (name == "forward") lines = forward_lines();
  if (name == "programs") lines = program_lines();
  if (name == "layouts") lines = layout_lines();
  if (name == "decode") lines = decode_lines();
  if (lines.empty())
    throw Error(Code::invalid_argument,
                fmt::format("there is no suite '{}'; there are forward, programs, layouts and decode", name));
  std::vector<Case> cases;
  for (const std::string& line : lines) cases.push_back(Case::parse(line));
  return cases;
}

}  // namespace bolide::testing
