// Machine code on a device: modules, their functions, and launches.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "cuda/device.hpp"
#include "jit/kernel.hpp"

namespace bolide::cuda {

/// The size and manner of a launch.
struct Launch {
  unsigned grid[3] = {1, 1, 1}, block[3] = {1, 1, 1};
  unsigned dynamic_shared_bytes = 0;
  unsigned cluster = 1;  ///< blocks of a cluster, along x
  /// The kernel may begin before those ahead of it on the stream have ended; it must wait for them itself
  /// (griddepcontrol.wait) before it touches anything that they read or write, and before it ends.
  bool overlaps_previous = false;
};

/// One kernel in a device's memory. Immutable after construction, thread-safe.
class Kernel {
 public:
  /// Loads the machine code, takes its function and allows it max_dynamic_shared_bytes. Throws Error{device}
  /// with the kernel's name; Error{refused} if the device has too little shared memory.
  Kernel(std::shared_ptr<const DeviceContext> context, const jit::CompiledKernel& code,
         int max_dynamic_shared_bytes);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  const DeviceContext& context() const { return *context_; }
  FunctionHandle function() const { return function_; }
  const std::string& name() const { return name_; }
  int attribute(FunctionAttribute which) const;
  /// How many blocks of this size fit on a multiprocessor at once.
  int blocks_per_multiprocessor(int threads, int dynamic_shared_bytes) const;

  /// Puts the kernel on a stream; never waits, never allocates. Every parameter is copied from where its
  /// pointer points. A grid with a dimension of 0 has no work: nothing is launched.
  void launch(const Launch& shape, StreamHandle stream, void** parameters) const;
  /// The same under a Current of the kernel's context that the caller holds: once for several launches.
  void launch(const Launch& shape, StreamHandle stream, void** parameters,
              const DeviceContext::Current&) const;
  template <class... Parameters>
  void operator()(const Launch& shape, StreamHandle stream, const Parameters&... parameters) const {
    void* pointers[sizeof...(Parameters) + 1] = {const_cast<void*>(static_cast<const void*>(&parameters))...,
                                                 nullptr};
    launch(shape, stream, pointers);
  }

 private:
  const std::shared_ptr<const DeviceContext> context_;
  const std::string name_;
  ModuleHandle module_ = nullptr;
  FunctionHandle function_ = nullptr;
};

/// The kernels loaded on one device so far: each is loaded once. Thread-safe.
class LoadedKernels {
 public:
  explicit LoadedKernels(std::shared_ptr<const DeviceContext> context) : context_(std::move(context)) {}
  /// Throws what Kernel's constructor throws.
  std::shared_ptr<const Kernel> get(const std::shared_ptr<const jit::CompiledKernel>& code,
                                    int max_dynamic_shared_bytes);

 private:
  struct Loaded {
    std::shared_ptr<const jit::CompiledKernel> code;  // kept, so that its address stays its own
    std::shared_ptr<const Kernel> kernel;
  };
  const std::shared_ptr<const DeviceContext> context_;
  std::mutex mutex_;
  std::unordered_map<const jit::CompiledKernel*, std::unordered_map<int, Loaded>>
      kernels_;  // by shared bytes
};

}  // namespace bolide::cuda
