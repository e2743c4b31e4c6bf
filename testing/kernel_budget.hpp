// Random cases for a GPU: kernels are compiled for each program and configuration, so the draws share a
// bounded number of them, compiled on all cores before the first case runs.
#pragma once
#include <cstdint>
#include <vector>

#include "jit/kernel.hpp"
#include "testing/case.hpp"
#include "testing/random_case.hpp"

namespace bolide::testing {

struct SharedDraws {
  std::vector<Case> cases;
  std::vector<jit::KernelSpec> kernels;  ///< distinct ones that the cases need
};

/// `count` cases that need at most `kernels` distinct attention kernels on a device of so many
/// multiprocessors: those drawn from the seed for as long as their kernels fit, then drawn ones with the
/// programs, head dims and types of cases before. Cases that no kernel serves are among them, as the seed
/// draws them.
SharedDraws share_kernels(int multiprocessors, std::uint64_t seed, std::uint64_t count, const Filter& filter,
                          int kernels);

/// Compiles the kernels on all cores, or finds them in the cache, for all contexts of CUDA devices of this
/// process that are alive. Returns how many did not compile: their cases say why when they are checked.
int prepare_kernels(const SharedDraws& draws);

}  // namespace bolide::testing
