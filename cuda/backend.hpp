// A CUDA device as a back end: forward problems on Hopper GPUs.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cuda/device.hpp"
#include "plan/backend.hpp"
#include "program/classes.hpp"

namespace bolide::jit {
class KernelStore;
}

namespace bolide::cuda {

/// Throws Error{device} where there is no driver or no such device, Error{file} for a pack that cannot be
/// loaded. plan() takes the kernels it chooses from the packs, from the cache, or compiles them; it refuses
/// devices that are not sm_90, and backward problems.
std::unique_ptr<Backend> make_backend(int ordinal, const std::vector<std::string>& packs = {});

/// The store of kernels of all back ends that live at the same time: a kernel is compiled once for all
/// devices. A new one loads the packs that $BOLIDE_PACK lists; throws Error{file}.
std::shared_ptr<jit::KernelStore> kernel_store(const Driver& driver);

/// A back end over a context and a store of the caller's. `tiles`: for tests.
std::unique_ptr<Backend> make_backend(std::shared_ptr<const DeviceContext> context,
                                      std::shared_ptr<jit::KernelStore> store, TileOptions tiles = {});

}  // namespace bolide::cuda
