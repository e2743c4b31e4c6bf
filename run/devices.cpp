// Looks for GPUs and for the folder of compiled kernels.
#include <bolide/devices.hpp>

#include "cuda/device.hpp"
#include "jit/disk_cache.hpp"

namespace bolide {

Gpus find_gpus() {
  Gpus gpus;
  gpus.why_none = cuda::why_no_cuda();
  if (!gpus.why_none.empty()) return gpus;
  const auto driver = cuda::Driver::open();
  const int count = cuda::device_count(*driver);
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    const cuda::DeviceFacts facts = cuda::device_facts(*driver, ordinal);
    gpus.found.push_back({.device = Device::cuda(ordinal),
                          .name = facts.name,
                          .architecture = facts.architecture(),
                          .multiprocessors = facts.multiprocessors,
                          .memory_bytes = facts.memory_bytes});
  }
  return gpus;
}

KernelCacheInfo kernel_cache() {
  KernelCacheInfo cache;
  cache.folder = jit::DiskCache::default_folder(cache.why_none);
  if (!cache.folder.empty()) cache.why_none.clear();
  return cache;
}

}  // namespace bolide
