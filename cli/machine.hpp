// What this machine is: its CPU, for `bolide info`.
#pragma once
#include <string>
#include <vector>

namespace bolide::cli {

struct Cpu {
  std::string name;                   ///< empty if the system does not say
  std::vector<std::string> features;  ///< those that attention cares about, of the first processor
  int threads = 0;                    ///< processors this process may use
};

Cpu this_cpu();

/// Reads the text of /proc/cpuinfo.
Cpu parse_cpuinfo(const std::string& text);

}  // namespace bolide::cli
