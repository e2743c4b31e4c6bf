// What tests on a real Hopper GPU stand on: the device, or a skip that says what is missing.
#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "cuda/device.hpp"
#include "tests/jit/test_nvrtc.hpp"

namespace bolide::cuda {

/// A fixture's own SetUp calls this one first and returns if IsSkipped().
class OnHopper : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string none = why_no_cuda(); !none.empty()) GTEST_SKIP() << none;
    std::string why;
    if (!jit::testing::nvrtc_for_tests(why)) GTEST_SKIP() << why;
    device = DeviceContext::open(Driver::open(), 0);
    if (device->facts().architecture() != "sm_90a") GTEST_SKIP() << device->facts().name << " is not Hopper";
  }
  std::shared_ptr<const DeviceContext> device;
};

}  // namespace bolide::cuda
