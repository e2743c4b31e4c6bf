// A driver in host memory for machines without one: two devices, contexts that must be current, calls that
// can be told to fail. Streams run at once; kernels are the names of functions that were asked for.
#pragma once
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cuda/driver.hpp"

namespace bolide::cuda::testing {

struct FakeState {
  std::mutex mutex;
  std::map<std::string, Result> failures;  // by call; the call then does nothing
  int devices = 2, retained = 0;
  std::set<DevicePointer> memory;
  std::set<void*> objects;  // modules, streams, events, graphs alive
  LaunchConfig last;
  std::vector<LaunchAttribute> last_attributes;
  int last_parameter = 0;
};
inline FakeState& fake() {
  static FakeState state;
  return state;
}
inline thread_local std::vector<ContextHandle> current_contexts;

// The answer of a call that needs a current context (CUDA_ERROR_INVALID_CONTEXT is 201), or the failure it
// was told.
inline Result answer(const char* name, bool needs_context = true) {
  const auto told = fake().failures.find(name);
  if (told != fake().failures.end()) return told->second;
  return needs_context && current_contexts.empty() ? 201 : kSuccess;
}

template <class Handle>
Result create(const char* name, Handle* handle) {
  std::lock_guard lock(fake().mutex);
  if (const Result r = answer(name)) return r;
  *handle = reinterpret_cast<Handle>(std::malloc(1));
  fake().objects.insert(*handle);
  return kSuccess;
}
template <class Handle>
Result destroy(const char* name, Handle handle) {
  std::lock_guard lock(fake().mutex);
  if (const Result r = answer(name)) return r;
  if (fake().objects.erase(handle) == 0) return 400;
  std::free(handle);
  return kSuccess;
}

inline int fake_attribute(DeviceAttribute which) {
  switch (which) {
    case DeviceAttribute::capability_major: return 9;
    case DeviceAttribute::multiprocessors: return 132;
    case DeviceAttribute::shared_bytes_per_block: return 232448;
    case DeviceAttribute::shared_bytes_per_multiprocessor: return 233472;
    default: return 0;
  }
}

inline void add_devices(DriverTable& t) {
  t.init.function = [](unsigned) { return answer("cuInit", false); };
  t.driver_version.function = [](int* v) { return *v = 13000, kSuccess; };
  t.error_name.function = [](Result r, const char** s) {
    return *s = r == kOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OTHER", kSuccess;
  };
  t.error_string.function = [](Result, const char** s) { return *s = "the driver's own words", kSuccess; };
  t.device_count.function = [](int* n) { return *n = fake().devices, answer("cuDeviceGetCount", false); };
  t.device_get.function = [](DeviceId* id, int ordinal) {
    return *id = 10 + ordinal, answer("cuDeviceGet", false);
  };
  t.device_name.function = [](char* name, int, DeviceId) {
    return std::strcpy(name, "Fake GPU"), answer("cuDeviceGetName", false);
  };
  t.device_attribute.function = [](int* value, DeviceAttribute which, DeviceId) {
    return *value = fake_attribute(which), answer("cuDeviceGetAttribute", false);
  };
  t.device_memory.function = [](std::size_t* bytes, DeviceId) {
    return *bytes = 1000, answer("cuDeviceTotalMem", false);
  };
  t.retain_context.function = [](ContextHandle* c, DeviceId id) {
    if (const Result r = answer("cuDevicePrimaryCtxRetain", false)) return r;
    return ++fake().retained, *c = reinterpret_cast<ContextHandle>(static_cast<std::uintptr_t>(id)), kSuccess;
  };
  t.release_context.function = [](DeviceId) { return --fake().retained, kSuccess; };
  t.push_context.function = [](ContextHandle c) {
    if (const Result r = answer("cuCtxPushCurrent", false)) return r;
    return current_contexts.push_back(c), kSuccess;
  };
  t.pop_context.function = [](ContextHandle* c) {
    if (current_contexts.empty()) return 201;
    return *c = current_contexts.back(), current_contexts.pop_back(), kSuccess;
  };
}

inline void add_memory(DriverTable& t) {
  t.allocate.function = [](DevicePointer* p, std::size_t bytes) {
    std::lock_guard lock(fake().mutex);
    if (const Result r = answer("cuMemAlloc")) return r;
    *p = reinterpret_cast<DevicePointer>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
    return fake().memory.insert(*p), kSuccess;
  };
  t.free.function = [](DevicePointer p) {
    std::lock_guard lock(fake().mutex);
    if (const Result r = answer("cuMemFree")) return r;
    if (fake().memory.erase(p) == 0) return 1;
    return std::free(reinterpret_cast<void*>(p)), kSuccess;
  };
  t.memory_left.function = [](std::size_t* left, std::size_t* total) {
    return *left = 77, *total = 1000, kSuccess;
  };
  t.copy.function = [](DevicePointer to, DevicePointer from, std::size_t n, StreamHandle) {
    if (const Result r = answer("cuMemcpyAsync")) return r;
    return std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), n), kSuccess;
  };
  t.fill8.function = [](DevicePointer p, unsigned char byte, std::size_t n, StreamHandle) {
    if (const Result r = answer("cuMemsetD8Async")) return r;
    return std::memset(reinterpret_cast<void*>(p), byte, n), kSuccess;
  };
  t.fill32.function = [](DevicePointer p, unsigned word, std::size_t n, StreamHandle) {
    if (const Result r = answer("cuMemsetD32Async")) return r;
    for (std::size_t i = 0; i < n; ++i) reinterpret_cast<unsigned*>(p)[i] = word;
    return kSuccess;
  };
}

inline void add_kernels(DriverTable& t) {
  t.load_module.function = [](ModuleHandle* m, const void*) { return create("cuModuleLoadData", m); };
  t.unload_module.function = [](ModuleHandle m) { return destroy("cuModuleUnload", m); };
  t.get_function.function = [](FunctionHandle* f, ModuleHandle m, const char*) {
    return *f = reinterpret_cast<FunctionHandle>(m), answer("cuModuleGetFunction");
  };
  t.function_attribute.function = [](int* value, FunctionAttribute, FunctionHandle) {
    return *value = 64, answer("cuFuncGetAttribute");
  };
  t.set_function_attribute.function = [](FunctionHandle, FunctionAttribute, int) {
    return answer("cuFuncSetAttribute");
  };
  t.occupancy.function = [](int* blocks, FunctionHandle, int, std::size_t) {
    return *blocks = 2, answer("occupancy");
  };
  t.launch.function = [](const LaunchConfig* config, FunctionHandle, void** parameters, void**) {
    if (const Result r = answer("cuLaunchKernelEx")) return r;
    fake().last = *config;
    fake().last_attributes.assign(config->attributes, config->attributes + config->num_attributes);
    fake().last_parameter = *static_cast<int*>(parameters[0]);
    return kSuccess;
  };
}

inline void add_streams(DriverTable& t) {
  t.create_stream.function = [](StreamHandle* s, unsigned) { return create("cuStreamCreate", s); };
  t.destroy_stream.function = [](StreamHandle s) { return destroy("cuStreamDestroy", s); };
  t.synchronize.function = [](StreamHandle) { return answer("cuStreamSynchronize"); };
  t.wait_event.function = [](StreamHandle, EventHandle, unsigned) { return answer("cuStreamWaitEvent"); };
  t.begin_capture.function = [](StreamHandle, int) { return answer("cuStreamBeginCapture"); };
  t.end_capture.function = [](StreamHandle, GraphHandle* g) { return create("cuStreamEndCapture", g); };
  t.create_event.function = [](EventHandle* e, unsigned) { return create("cuEventCreate", e); };
  t.destroy_event.function = [](EventHandle e) { return destroy("cuEventDestroy", e); };
  t.record_event.function = [](EventHandle, StreamHandle) { return answer("cuEventRecord"); };
  t.synchronize_event.function = [](EventHandle) { return answer("cuEventSynchronize"); };
  t.elapsed.function = [](float* ms, EventHandle, EventHandle) {
    return *ms = 1.5f, answer("cuEventElapsedTime");
  };
  t.instantiate.function = [](GraphExecHandle* g, GraphHandle, unsigned long long) {
    return create("cuGraphInstantiateWithFlags", g);
  };
  t.launch_graph.function = [](GraphExecHandle, StreamHandle) { return answer("cuGraphLaunch"); };
  t.destroy_graph.function = [](GraphHandle g) { return destroy("cuGraphDestroy", g); };
  t.destroy_graph_exec.function = [](GraphExecHandle g) { return destroy("cuGraphExecDestroy", g); };
  t.encode_tiled.function = [](TensorMap* map, TensorMapType, unsigned rank, void*, const std::uint64_t*,
                               const std::uint64_t*, const unsigned*, const unsigned*, int, TensorMapSwizzle,
                               TensorMapPromotion,
                               int) { return map->opaque[0] = rank, answer("cuTensorMapEncodeTiled"); };
}

inline DriverTable fake_table() {
  DriverTable table;
  add_devices(table), add_memory(table), add_kernels(table), add_streams(table);
  return table;
}

}  // namespace bolide::cuda::testing
