// Random cases for a GPU: kernels are compiled for each program and configuration, so the draws share a
// bounded number of them, compiled on all cores before the first case runs.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "jit/kernel.hpp"
#include "testing/case.hpp"
#include "testing/random_case.hpp"

namespace bolide::testing {

struct SharedDraws {
  std::vector<Case> cases;
  std::vector<jit::KernelSpec> kernels;  ///< distinct attention kernels that the cases need
  std::vector<jit::KernelSpec> small;    ///< those that count tiles and merge splits beside them
  std::uint64_t refused = 0;             ///< draws that no kernel serves: others took their place
};

/// `count` cases that need at most `kernels` distinct attention kernels on a device of so many
/// multiprocessors: those drawn from the seed for as long as their kernels fit, then drawn ones with the
/// programs, head dims and types of cases before. Some are made large: more work than thread blocks, or keys
/// that few queries split. Throws Error{refused} if no draw of the filter is served.
SharedDraws share_kernels(int multiprocessors, std::uint64_t seed, std::uint64_t count, const Filter& filter,
                          int kernels);

/// The distinct kernels that checks of these cases need, small ones last; refused cases need none.
std::vector<jit::KernelSpec> kernels_of(std::span<const Case> cases, int multiprocessors);

/// The keys of the attention kernels that a check of the case needs; none if it is refused.
std::vector<std::string> kernel_keys(const Case&, int multiprocessors);

/// Compiles these kernels on all cores, or finds them in the cache, for all
/// contexts of CUDA devices of this process that are alive. Returns how many did not compile: their cases say
/// why when they are checked. `done` is told the share that is ready.
int prepare_kernels(const std::vector<jit::KernelSpec>& kernels,
                    const std::function<void(double share)>& done = {});

/// shrink() for a GPU, where a new kernel costs seconds: first through relatives that need no other kernel,
/// then with at most `new_kernels` more, and no new attempt after `seconds`.
Case shrink_on_gpu(const Case& failing, const std::function<bool(const Case&)>& fails, int multiprocessors,
                   double seconds, int new_kernels);

}  // namespace bolide::testing
