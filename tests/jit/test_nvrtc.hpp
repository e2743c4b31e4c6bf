// The real compiler for tests, or a reason to skip: BOLIDE_NVRTC, else what scripts/setup_nvrtc.sh put into
// the build folder, else what the machine has. Where BOLIDE_REQUIRE_NVRTC is set (CI), doing without is a
// failure.
#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <bolide/error.hpp>
#include <filesystem>

#include "jit/nvrtc.hpp"

namespace bolide::jit::testing {

/// Null, and `why` says why, if there is none.
inline std::shared_ptr<const Nvrtc> nvrtc_for_tests(std::string& why) {
  if (!getenv("BOLIDE_NVRTC") && std::filesystem::exists(BOLIDE_TEST_NVRTC "/libnvrtc.so.13"))
    setenv("BOLIDE_NVRTC", BOLIDE_TEST_NVRTC, 1);
  try {
    return Nvrtc::open();
  } catch (const Error& error) {
    why = error.what();
    if (getenv("BOLIDE_REQUIRE_NVRTC")) ADD_FAILURE() << why;
    return nullptr;
  }
}

}  // namespace bolide::jit::testing
