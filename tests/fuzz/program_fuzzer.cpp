// The libFuzzer target of the text form: `make fuzz` builds and runs it, with clang.
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/program_properties.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string broken = bolide::testing::broken_property({reinterpret_cast<const char*>(data), size});
  if (broken.empty()) return 0;
  std::fprintf(stderr, "%s\n", broken.c_str());
  std::abort();
}
