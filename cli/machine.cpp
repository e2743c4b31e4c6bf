// Asks the system about its CPU.
#include "cli/machine.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

namespace bolide::cli {
namespace {

// As Linux spells them; x86, then Arm.
constexpr const char* kFeatures[] = {
    "fma",         "f16c",     "avx",      "avx2",     "avx512f",  "avx512bw",    "avx512vl",
    "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8", "avx512_fp16", "asimd",
    "asimdhp",     "bf16",     "asimdfhm", "sve",      "sve2",     "svebf16",     "sme"};

std::string value_of(const std::string& line) {
  const std::size_t colon = line.find(':');
  const std::size_t begin = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
  return begin == std::string::npos ? "" : line.substr(begin);
}

}  // namespace

Cpu parse_cpuinfo(const std::string& text) {
  Cpu cpu;
  std::vector<std::string> has;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (cpu.name.empty() && line.starts_with("model name")) cpu.name = value_of(line);
    if (has.empty() && (line.starts_with("flags") || line.starts_with("Features"))) {
      std::istringstream words(value_of(line));
      for (std::string word; words >> word;) has.push_back(word);
    }
  }
  for (const char* feature : kFeatures)
    if (std::find(has.begin(), has.end(), feature) != has.end()) cpu.features.push_back(feature);
  return cpu;
}

Cpu this_cpu() {
  std::ostringstream text;
  text << std::ifstream("/proc/cpuinfo").rdbuf();
  Cpu cpu = parse_cpuinfo(text.str());
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) cpu.threads = CPU_COUNT(&allowed);
  else cpu.threads = static_cast<int>(std::thread::hardware_concurrency());
  return cpu;
}

}  // namespace bolide::cli
