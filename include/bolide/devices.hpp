// What this machine offers beside the CPU: the GPUs found, or why there are none; where kernels are kept.
#pragma once
#include <bolide/tensor.hpp>
#include <string>
#include <vector>

namespace bolide {

struct GpuInfo {
  Device device;
  std::string name;          ///< as the driver says
  std::string architecture;  ///< as the compiler says: "sm_90a"
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0;
};

struct Gpus {
  std::vector<GpuInfo> found;
  std::string why_none;  ///< a sentence if none can be used, else empty
};

/// Asks the CUDA driver, which is opened if there is one. Never throws for its absence.
Gpus find_gpus();

struct KernelCacheInfo {
  std::string folder;    ///< where compiled kernels are kept between processes; empty: nowhere
  std::string why_none;  ///< a sentence if nowhere, else empty
};

/// The folder a context uses unless told otherwise. Creates nothing.
KernelCacheInfo kernel_cache();

}  // namespace bolide
