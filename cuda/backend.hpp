// A CUDA device as a back end: forward problems on Hopper GPUs.
#pragma once
#include <memory>

#include "cuda/device.hpp"
#include "plan/backend.hpp"

namespace bolide::jit {
class KernelStore;
}

namespace bolide::cuda {

/// Throws Error{device} where there is no driver or no such device. plan() compiles the kernels it chooses,
/// or takes them from the cache; it refuses devices that are not sm_90, and backward problems.
std::unique_ptr<Backend> make_backend(int ordinal);

/// The store of kernels of all back ends that live at the same time: a kernel is compiled once for all
/// devices.
std::shared_ptr<jit::KernelStore> kernel_store(const Driver& driver);

/// A back end over a context and a store of the caller's.
std::unique_ptr<Backend> make_backend(std::shared_ptr<const DeviceContext> context,
                                      std::shared_ptr<jit::KernelStore> store);

}  // namespace bolide::cuda
