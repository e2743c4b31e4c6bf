// The part of the CUDA driver's binary interface that is used, declared here so that building needs no
// toolkit. The tests compare it with cuda.h where there is one.
#pragma once
#include <cstddef>
#include <cstdint>

// The driver's own tags: a cudaStream_t or CUstream of the caller's is a StreamHandle without a cast.
struct CUctx_st;
struct CUmod_st;
struct CUfunc_st;
struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;

namespace bolide::cuda {

using Result = int;
using DeviceId = int;
using DevicePointer = unsigned long long;
using ContextHandle = CUctx_st*;
using ModuleHandle = CUmod_st*;
using FunctionHandle = CUfunc_st*;
using StreamHandle = CUstream_st*;
using EventHandle = CUevent_st*;
using GraphHandle = CUgraph_st*;
using GraphExecHandle = CUgraphExec_st*;

inline constexpr Result kSuccess = 0, kOutOfMemory = 2, kDeinitialized = 4, kStubLibrary = 34,
                        kNoDevice = 100, kInvalidDevice = 101, kNotFound = 500, kNotReady = 600;

enum class DeviceAttribute : int {
  clock_khz = 13,
  multiprocessors = 16,
  memory_clock_khz = 36,
  memory_bus_bits = 37,
  l2_bytes = 38,
  capability_major = 75,
  capability_minor = 76,
  shared_bytes_per_multiprocessor = 81,
  shared_bytes_per_block = 97,  ///< the most a kernel can ask for ("opt-in")
  reserved_shared_bytes_per_block = 111,
};

enum class FunctionAttribute : int {
  max_threads = 0,
  static_shared_bytes = 1,
  local_bytes = 3,
  registers = 4,
  max_dynamic_shared_bytes = 8,
};

enum class LaunchAttributeId : int { cluster = 4, programmatic_serialization = 6 };

struct LaunchAttribute {
  LaunchAttributeId id{};
  char padding[4] = {};
  union alignas(8) {
    char bytes[64] = {};
    unsigned cluster[3];
    int programmatic_serialization;
  };
};

struct LaunchConfig {
  unsigned grid[3] = {1, 1, 1}, block[3] = {1, 1, 1};
  unsigned dynamic_shared_bytes = 0;
  StreamHandle stream = nullptr;
  const LaunchAttribute* attributes = nullptr;
  unsigned num_attributes = 0;
};

/// What TMA reads: passed to a kernel as a __grid_constant__ parameter.
struct alignas(128) TensorMap {
  std::uint64_t opaque[16];
};

enum class TensorMapType : int { u8 = 0, i32 = 3, f16 = 6, f32 = 7, bf16 = 9 };
enum class TensorMapSwizzle : int { none = 0, bytes32 = 1, bytes64 = 2, bytes128 = 3 };
enum class TensorMapPromotion : int { none = 0, bytes64 = 1, bytes128 = 2, bytes256 = 3 };

inline constexpr unsigned kStreamNonBlocking = 1, kEventDisableTiming = 2;
inline constexpr int kCaptureThreadLocal = 1;

}  // namespace bolide::cuda
