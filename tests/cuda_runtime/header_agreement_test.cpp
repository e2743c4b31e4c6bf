// Compares the interface declared in cuda/driver_types.hpp with NVIDIA's own header, where there is one.
#include <cuda.h>
#include <gtest/gtest.h>

#include <type_traits>

#include "cuda/driver.hpp"

namespace bolide::cuda {
namespace {

// Same number of parameters, and each passes in the same way: a pointer for a pointer, equal size, equal
// number class.
template <class A, class B>
constexpr bool same_way =
    sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>&& std::is_floating_point_v<A> ==
                                  std::is_floating_point_v<B>;
template <class... A, class... B>
constexpr bool same_interface(const Entry<Result(A...)>&, CUresult (*)(B...)) {  // by type: nothing is linked
  if constexpr (sizeof...(A) != sizeof...(B)) return false;
  else return (same_way<A, B> && ...);
}

TEST(CudaHeader, EntriesTakeTheSameParameters) {
  const DriverTable t;
  EXPECT_TRUE(same_interface(t.init, decltype(&cuInit){}) &&
              same_interface(t.driver_version, decltype(&cuDriverGetVersion){}));
  EXPECT_TRUE(same_interface(t.error_name, decltype(&cuGetErrorName){}) &&
              same_interface(t.error_string, decltype(&cuGetErrorString){}));
  EXPECT_TRUE(same_interface(t.device_count, decltype(&cuDeviceGetCount){}) &&
              same_interface(t.device_get, decltype(&cuDeviceGet){}));
  EXPECT_TRUE(same_interface(t.device_name, decltype(&cuDeviceGetName){}));
  EXPECT_TRUE(same_interface(t.device_attribute, decltype(&cuDeviceGetAttribute){}));
  EXPECT_TRUE(same_interface(t.device_memory, decltype(&cuDeviceTotalMem){}));
  EXPECT_TRUE(same_interface(t.retain_context, decltype(&cuDevicePrimaryCtxRetain){}));
  EXPECT_TRUE(same_interface(t.release_context, decltype(&cuDevicePrimaryCtxRelease){}));
  EXPECT_TRUE(same_interface(t.push_context, decltype(&cuCtxPushCurrent){}) &&
              same_interface(t.pop_context, decltype(&cuCtxPopCurrent){}));
  EXPECT_TRUE(same_interface(t.load_module, decltype(&cuModuleLoadData){}) &&
              same_interface(t.unload_module, decltype(&cuModuleUnload){}));
  EXPECT_TRUE(same_interface(t.get_function, decltype(&cuModuleGetFunction){}));
  EXPECT_TRUE(same_interface(t.function_attribute, decltype(&cuFuncGetAttribute){}));
  EXPECT_TRUE(same_interface(t.set_function_attribute, decltype(&cuFuncSetAttribute){}));
  EXPECT_TRUE(same_interface(t.occupancy, decltype(&cuOccupancyMaxActiveBlocksPerMultiprocessor){}));
  EXPECT_TRUE(same_interface(t.launch, decltype(&cuLaunchKernelEx){}));
  EXPECT_TRUE(same_interface(t.allocate, decltype(&cuMemAlloc){}) &&
              same_interface(t.free, decltype(&cuMemFree){}));
  EXPECT_TRUE(same_interface(t.memory_left, decltype(&cuMemGetInfo){}) &&
              same_interface(t.copy, decltype(&cuMemcpyAsync){}));
  EXPECT_TRUE(same_interface(t.fill8, decltype(&cuMemsetD8Async){}) &&
              same_interface(t.fill32, decltype(&cuMemsetD32Async){}));
  EXPECT_TRUE(same_interface(t.create_stream, decltype(&cuStreamCreate){}) &&
              same_interface(t.destroy_stream, decltype(&cuStreamDestroy){}));
  EXPECT_TRUE(same_interface(t.synchronize, decltype(&cuStreamSynchronize){}) &&
              same_interface(t.wait_event, decltype(&cuStreamWaitEvent){}));
  EXPECT_TRUE(same_interface(t.begin_capture, decltype(&cuStreamBeginCapture){}));
  EXPECT_TRUE(same_interface(t.end_capture, decltype(&cuStreamEndCapture){}));
  EXPECT_TRUE(same_interface(t.create_event, decltype(&cuEventCreate){}) &&
              same_interface(t.destroy_event, decltype(&cuEventDestroy){}));
  EXPECT_TRUE(same_interface(t.record_event, decltype(&cuEventRecord){}));
  EXPECT_TRUE(same_interface(t.synchronize_event, decltype(&cuEventSynchronize){}));
  EXPECT_TRUE(same_interface(t.elapsed, decltype(&cuEventElapsedTime){}));
  EXPECT_TRUE(same_interface(t.instantiate, decltype(&cuGraphInstantiateWithFlags){}));
  EXPECT_TRUE(same_interface(t.launch_graph, decltype(&cuGraphLaunch){}) &&
              same_interface(t.destroy_graph, decltype(&cuGraphDestroy){}));
  EXPECT_TRUE(same_interface(t.destroy_graph_exec, decltype(&cuGraphExecDestroy){}));
  EXPECT_TRUE(same_interface(t.encode_tiled, decltype(&cuTensorMapEncodeTiled){}));
}

TEST(CudaHeader, StructuresLieTheSameWay) {
  static_assert(sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute));
  static_assert(offsetof(LaunchAttribute, bytes) == offsetof(CUlaunchAttribute, value));
  static_assert(sizeof(LaunchConfig) == sizeof(CUlaunchConfig));
  static_assert(offsetof(LaunchConfig, block) == offsetof(CUlaunchConfig, blockDimX));
  static_assert(offsetof(LaunchConfig, dynamic_shared_bytes) == offsetof(CUlaunchConfig, sharedMemBytes));
  static_assert(offsetof(LaunchConfig, stream) == offsetof(CUlaunchConfig, hStream));
  static_assert(offsetof(LaunchConfig, attributes) == offsetof(CUlaunchConfig, attrs));
  static_assert(offsetof(LaunchConfig, num_attributes) == offsetof(CUlaunchConfig, numAttrs));
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));
  static_assert(std::is_same_v<StreamHandle, CUstream> && std::is_same_v<DevicePointer, CUdeviceptr>);
  CUlaunchAttribute theirs{};
  theirs.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, theirs.value.clusterDim = {2, 3, 4};
  const auto& ours = reinterpret_cast<const LaunchAttribute&>(theirs);
  EXPECT_EQ(ours.id, LaunchAttributeId::cluster);
  EXPECT_EQ(ours.cluster[0], 2u);
  EXPECT_EQ(ours.cluster[2], 4u);
}

TEST(CudaHeader, NumbersMeanTheSame) {
  const auto same = [](auto ours, auto theirs) {
    return static_cast<long>(ours) == static_cast<long>(theirs);
  };
  using D = DeviceAttribute;
  EXPECT_TRUE(same(D::clock_khz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE));
  EXPECT_TRUE(same(D::multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  EXPECT_TRUE(same(D::memory_clock_khz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE));
  EXPECT_TRUE(same(D::memory_bus_bits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH));
  EXPECT_TRUE(same(D::l2_bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE));
  EXPECT_TRUE(same(D::capability_major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
  EXPECT_TRUE(same(D::capability_minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  EXPECT_TRUE(
      same(D::shared_bytes_per_multiprocessor, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR));
  EXPECT_TRUE(same(D::shared_bytes_per_block, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
  EXPECT_TRUE(same(D::reserved_shared_bytes_per_block, CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK));
  using F = FunctionAttribute;
  EXPECT_TRUE(same(F::max_threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK));
  EXPECT_TRUE(same(F::static_shared_bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES));
  EXPECT_TRUE(same(F::local_bytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES));
  EXPECT_TRUE(same(F::registers, CU_FUNC_ATTRIBUTE_NUM_REGS));
  EXPECT_TRUE(same(F::max_dynamic_shared_bytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES));
  EXPECT_TRUE(same(LaunchAttributeId::programmatic_serialization,
                   CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION));
  EXPECT_TRUE(same(TensorMapType::u8, CU_TENSOR_MAP_DATA_TYPE_UINT8));
  EXPECT_TRUE(same(TensorMapType::i32, CU_TENSOR_MAP_DATA_TYPE_INT32));
  EXPECT_TRUE(same(TensorMapType::f16, CU_TENSOR_MAP_DATA_TYPE_FLOAT16));
  EXPECT_TRUE(same(TensorMapType::f32, CU_TENSOR_MAP_DATA_TYPE_FLOAT32));
  EXPECT_TRUE(same(TensorMapType::bf16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16));
  EXPECT_TRUE(same(TensorMapSwizzle::bytes32, CU_TENSOR_MAP_SWIZZLE_32B));
  EXPECT_TRUE(same(TensorMapSwizzle::bytes128, CU_TENSOR_MAP_SWIZZLE_128B));
  EXPECT_TRUE(same(TensorMapPromotion::bytes256, CU_TENSOR_MAP_L2_PROMOTION_L2_256B));
  EXPECT_TRUE(same(kStreamNonBlocking, CU_STREAM_NON_BLOCKING) &&
              same(kEventDisableTiming, CU_EVENT_DISABLE_TIMING));
  EXPECT_TRUE(same(kCaptureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  EXPECT_TRUE(same(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY) && same(kDeinitialized, CUDA_ERROR_DEINITIALIZED));
  EXPECT_TRUE(same(kStubLibrary, CUDA_ERROR_STUB_LIBRARY) && same(kNoDevice, CUDA_ERROR_NO_DEVICE));
  EXPECT_TRUE(same(kInvalidDevice, CUDA_ERROR_INVALID_DEVICE) && same(kNotFound, CUDA_ERROR_NOT_FOUND));
  EXPECT_TRUE(same(kNotReady, CUDA_ERROR_NOT_READY));
}

}  // namespace
}  // namespace bolide::cuda
