// Runs a case once on the CPU and answers questions about what came out.
#pragma once
#include <gtest/gtest.h>
#include <bolide/context.hpp>

#include <memory>
#include <string>

#include "testing/check.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {

/// The CPU as the tests see it: its fastest kernels, or the definition where the environment has
/// BOLIDE_TEST_KERNELS=definition. CTest runs all tests both ways.
Context tested();

/// Forward, and backward where the case has gradients, through the public calls. Poison, guards and
/// NaN-filled outputs as in every check; damage is a test failure.
class CaseRun {
 public:
  explicit CaseRun(const std::string& line, Fill fill = Fill::nonfinite);
  double out(std::int64_t outer, std::int64_t row, std::int64_t head = 0, std::int64_t column = 0) const;
  double lse(std::int64_t outer, std::int64_t row, std::int64_t head = 0) const;
  double dq(std::int64_t outer, std::int64_t row, std::int64_t head = 0, std::int64_t column = 0) const;
  double dk(std::int64_t outer, std::int64_t row, std::int64_t head = 0, std::int64_t column = 0) const;
  double dv(std::int64_t outer, std::int64_t row, std::int64_t head = 0, std::int64_t column = 0) const;
  /// exp(lse) of a case with data=zeroq and no score: how many keys the row saw.
  double count(std::int64_t outer, std::int64_t row, std::int64_t head = 0) const;
  const testing::Setup& setup() const { return setup_; }
  Reference want() const;
  /// Host tensors of the results.
  Tensor out_tensor, lse_tensor, dq_tensor, dk_tensor, dv_tensor;
  std::vector<Tensor> captured_tensors;  ///< gradients of captured tensors, in the problem's order

 private:
  void keep(Tensor& result, const Tensor& of);
  Case case_;
  HostMemory memory_;
  testing::Setup setup_;
  std::vector<std::vector<std::byte>> kept_;
};

/// The whole check passes; the failure's sentence is printed otherwise.
void expect_passes(const std::string& line);
/// The problem is refused; returns the sentence ("" and a test failure if it runs).
std::string refusal(const std::string& line);
/// All elements of both tensors have the same bits.
::testing::AssertionResult same_bits(const Tensor& a, const Tensor& b);

}  // namespace bolide::testing
