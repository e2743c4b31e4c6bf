// The CUDA driver, opened when it is there: its entries, and calls that become sentences when they fail.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "cuda/driver_types.hpp"

namespace bolide::cuda {

/// One entry of the driver: the name that errors show, and the symbol it was found under.
template <class F>
struct Entry {
  const char* name;
  const char* symbol;
  F* function = nullptr;
};

/// Every entry that is used. A test may put its own functions into a table and make a Driver of it.
struct DriverTable {
  Entry<Result(unsigned flags)> init{"cuInit", "cuInit"};
  Entry<Result(int*)> driver_version{"cuDriverGetVersion", "cuDriverGetVersion"};
  Entry<Result(Result, const char**)> error_name{"cuGetErrorName", "cuGetErrorName"};
  Entry<Result(Result, const char**)> error_string{"cuGetErrorString", "cuGetErrorString"};

  Entry<Result(int*)> device_count{"cuDeviceGetCount", "cuDeviceGetCount"};
  Entry<Result(DeviceId*, int ordinal)> device_get{"cuDeviceGet", "cuDeviceGet"};
  Entry<Result(char*, int length, DeviceId)> device_name{"cuDeviceGetName", "cuDeviceGetName"};
  Entry<Result(int*, DeviceAttribute, DeviceId)> device_attribute{"cuDeviceGetAttribute",
                                                                  "cuDeviceGetAttribute"};
  Entry<Result(std::size_t*, DeviceId)> device_memory{"cuDeviceTotalMem", "cuDeviceTotalMem_v2"};
  Entry<Result(ContextHandle*, DeviceId)> retain_context{"cuDevicePrimaryCtxRetain",
                                                         "cuDevicePrimaryCtxRetain"};
  Entry<Result(DeviceId)> release_context{"cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2"};
  Entry<Result(ContextHandle)> push_context{"cuCtxPushCurrent", "cuCtxPushCurrent_v2"};
  Entry<Result(ContextHandle*)> pop_context{"cuCtxPopCurrent", "cuCtxPopCurrent_v2"};

  Entry<Result(ModuleHandle*, const void* image)> load_module{"cuModuleLoadData", "cuModuleLoadData"};
  Entry<Result(ModuleHandle)> unload_module{"cuModuleUnload", "cuModuleUnload"};
  Entry<Result(FunctionHandle*, ModuleHandle, const char*)> get_function{"cuModuleGetFunction",
                                                                         "cuModuleGetFunction"};
  Entry<Result(int*, FunctionAttribute, FunctionHandle)> function_attribute{"cuFuncGetAttribute",
                                                                            "cuFuncGetAttribute"};
  Entry<Result(FunctionHandle, FunctionAttribute, int)> set_function_attribute{"cuFuncSetAttribute",
                                                                               "cuFuncSetAttribute"};
  Entry<Result(int*, FunctionHandle, int, std::size_t)> occupancy{
      "cuOccupancyMaxActiveBlocksPerMultiprocessor", "cuOccupancyMaxActiveBlocksPerMultiprocessor"};
  Entry<Result(const LaunchConfig*, FunctionHandle, void** arguments, void** extra)> launch{
      "cuLaunchKernelEx", "cuLaunchKernelEx"};

  Entry<Result(DevicePointer*, std::size_t)> allocate{"cuMemAlloc", "cuMemAlloc_v2"};
  Entry<Result(DevicePointer)> free{"cuMemFree", "cuMemFree_v2"};
  Entry<Result(std::size_t* free, std::size_t* total)> memory_left{"cuMemGetInfo", "cuMemGetInfo_v2"};
  Entry<Result(DevicePointer to, DevicePointer from, std::size_t, StreamHandle)> copy{"cuMemcpyAsync",
                                                                                      "cuMemcpyAsync"};
  Entry<Result(DevicePointer, unsigned char, std::size_t, StreamHandle)> fill8{"cuMemsetD8Async",
                                                                               "cuMemsetD8Async"};
  Entry<Result(DevicePointer, unsigned, std::size_t, StreamHandle)> fill32{"cuMemsetD32Async",
                                                                           "cuMemsetD32Async"};

  Entry<Result(StreamHandle*, unsigned flags)> create_stream{"cuStreamCreate", "cuStreamCreate"};
  Entry<Result(StreamHandle)> destroy_stream{"cuStreamDestroy", "cuStreamDestroy_v2"};
  Entry<Result(StreamHandle)> synchronize{"cuStreamSynchronize", "cuStreamSynchronize"};
  Entry<Result(StreamHandle, EventHandle, unsigned)> wait_event{"cuStreamWaitEvent", "cuStreamWaitEvent"};
  Entry<Result(StreamHandle, int mode)> begin_capture{"cuStreamBeginCapture", "cuStreamBeginCapture_v2"};
  Entry<Result(StreamHandle, GraphHandle*)> end_capture{"cuStreamEndCapture", "cuStreamEndCapture"};

  Entry<Result(EventHandle*, unsigned flags)> create_event{"cuEventCreate", "cuEventCreate"};
  Entry<Result(EventHandle)> destroy_event{"cuEventDestroy", "cuEventDestroy_v2"};
  Entry<Result(EventHandle, StreamHandle)> record_event{"cuEventRecord", "cuEventRecord"};
  Entry<Result(EventHandle)> synchronize_event{"cuEventSynchronize", "cuEventSynchronize"};
  Entry<Result(float* ms, EventHandle, EventHandle)> elapsed{"cuEventElapsedTime", "cuEventElapsedTime"};

  Entry<Result(GraphExecHandle*, GraphHandle, unsigned long long flags)> instantiate{
      "cuGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags"};
  Entry<Result(GraphExecHandle, StreamHandle)> launch_graph{"cuGraphLaunch", "cuGraphLaunch"};
  Entry<Result(GraphHandle)> destroy_graph{"cuGraphDestroy", "cuGraphDestroy"};
  Entry<Result(GraphExecHandle)> destroy_graph_exec{"cuGraphExecDestroy", "cuGraphExecDestroy"};

  Entry<Result(TensorMap*, TensorMapType, unsigned rank, void* address, const std::uint64_t* sizes,
               const std::uint64_t* strides, const unsigned* box, const unsigned* element_strides,
               int interleave, TensorMapSwizzle, TensorMapPromotion, int fill)>
      encode_tiled{"cuTensorMapEncodeTiled", "cuTensorMapEncodeTiled"};
};

/// Calls visit(entry) for every entry of a table.
template <class Table, class Visit>
void for_each_entry(Table& t, Visit&& visit) {
  const auto all = [&](auto&... entry) { (visit(entry), ...); };
  all(t.init, t.driver_version, t.error_name, t.error_string);
  all(t.device_count, t.device_get, t.device_name, t.device_attribute, t.device_memory);
  all(t.retain_context, t.release_context, t.push_context, t.pop_context);
  all(t.load_module, t.unload_module, t.get_function, t.function_attribute, t.set_function_attribute,
      t.occupancy);
  all(t.launch, t.allocate, t.free, t.memory_left, t.copy, t.fill8, t.fill32);
  all(t.create_stream, t.destroy_stream, t.synchronize, t.wait_event, t.begin_capture, t.end_capture);
  all(t.create_event, t.destroy_event, t.record_event, t.synchronize_event, t.elapsed);
  all(t.instantiate, t.launch_graph, t.destroy_graph, t.destroy_graph_exec, t.encode_tiled);
}

/// Immutable and thread-safe.
class Driver {
 public:
  /// The machine's driver, opened and initialised once for the process. Throws Error{device} that says what
  /// is missing; why_no_cuda() is its sentence without the throw.
  static std::shared_ptr<const Driver> open();

  /// A driver of any entries, already initialised. The observer (may be empty) is told the name of every call
  /// before it is made, from whatever thread makes it: that is how tests count allocations and
  /// synchronisations.
  using Observer = std::function<void(const char* name)>;
  explicit Driver(const DriverTable& entries, Observer observer = {});
  /// The same driver under observation.
  std::shared_ptr<const Driver> observed_by(Observer observer) const;

  const DriverTable& entries() const { return entries_; }
  int version() const { return version_; }  ///< 13000 for CUDA 13.0
  int major() const { return version_ / 1000; }

  /// Calls an entry; `device` (an ordinal, -1 if none) is for the sentence. Throws Error{device}: call,
  /// device, the driver's own words.
  template <class... Parameters, class... Arguments>
  void call(const Entry<Result(Parameters...)>& entry, int device, Arguments... arguments) const {
    const Result result = attempt(entry, arguments...);
    if (result != kSuccess) fail(entry.name, device, result);
  }
  /// The same, giving the driver's answer instead of throwing.
  template <class... Parameters, class... Arguments>
  Result attempt(const Entry<Result(Parameters...)>& entry, Arguments... arguments) const {
    if (observer_) observer_(entry.name);
    return entry.function(arguments...);
  }
  /// "CUDA_ERROR_OUT_OF_MEMORY (2): out of memory".
  std::string describe(Result result) const;
  [[noreturn]] void fail(const char* call, int device, Result result, const std::string& more = "") const;

 private:
  DriverTable entries_;
  Observer observer_;
  int version_ = 0;
};

/// Empty if at least one CUDA device can be used, else a sentence on why not. Never throws.
std::string why_no_cuda();

}  // namespace bolide::cuda
