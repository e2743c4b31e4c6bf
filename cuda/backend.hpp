// A CUDA device as a back end: forward problems on Hopper GPUs.
#pragma once
#include <memory>

#include "plan/backend.hpp"

namespace bolide::cuda {

/// Throws Error{device} where there is no driver or no such device. plan() compiles the kernels it chooses,
/// or takes them from the cache; it refuses devices that are not sm_90, and backward problems.
std::unique_ptr<Backend> make_backend(int ordinal);

}  // namespace bolide::cuda
