// Memory for checks on any device a context can be made for.
#pragma once
#include <memory>

#include "testing/memory.hpp"

namespace bolide::testing {

/// The host itself, or memory of a CUDA device that keeps what it has allocated for the next case. Throws
/// Error{device} where the device cannot be used.
std::unique_ptr<Memory> memory_for(Device device);

/// Of a CUDA device. Throws Error{device}.
int multiprocessors(Device device);

}  // namespace bolide::testing
