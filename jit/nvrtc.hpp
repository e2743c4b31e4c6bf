// NVRTC, NVIDIA's run-time compiler, opened when it is there: where it is looked for and the entries that are
// used.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "jit/kernel.hpp"

namespace bolide::jit {

/// The compiler library in this process. Immutable; one object may serve any number of threads.
class Nvrtc {
 public:
  using Program = void*;
  using Result = int;
  static constexpr Result kSuccess = 0, kCompilationError = 6, kCancelled = 16;
  static constexpr int kOldestMajor = 12, kNewestMajor = 13;  ///< without a driver, the majors that are tried

  /// Looks for NVRTC: in the process, under the environment's BOLIDE_NVRTC (the library or its folder; "none"
  /// ends the search there), in the folders of Python packages, then where the system keeps libraries.
  /// driver_major is the CUDA major version that the driver serves, 0 if there is no driver; a newer compiler
  /// is passed over. Throws Error{device} that lists what was searched and says how to install it.
  static std::shared_ptr<const Nvrtc> open(int driver_major = 0);
  /// That library and no other, by the path() of an open one. Throws Error{device} with the reason.
  static std::shared_ptr<const Nvrtc> open_file(const std::string& path);

  const Toolchain& toolchain() const { return toolchain_; }
  const std::string& path() const { return path_; }  ///< absolute, where the loader knows the file

  // The entries, as nvrtc.h names them.
  Result (*version)(int* major, int* minor) = nullptr;
  const char* (*error_string)(Result) = nullptr;
  Result (*create_program)(Program*, const char* source, const char* name, int num_headers,
                           const char* const* headers, const char* const* header_names) = nullptr;
  Result (*destroy_program)(Program*) = nullptr;
  Result (*add_name_expression)(Program, const char* name) = nullptr;
  Result (*compile_program)(Program, int num_options, const char* const* options) = nullptr;
  Result (*log_size)(Program, std::size_t*) = nullptr;
  Result (*log)(Program, char*) = nullptr;
  Result (*cubin_size)(Program, std::size_t*) = nullptr;
  Result (*cubin)(Program, char*) = nullptr;
  Result (*lowered_name)(Program, const char* name, const char** lowered) = nullptr;
  /// Asks now and then whether to go on; absent (null) before CUDA 12.8.
  Result (*set_flow_callback)(Program, int (*cancel)(void*, void*), void* payload) = nullptr;

 private:
  Nvrtc() = default;
  friend struct NvrtcLoader;
  Toolchain toolchain_;
  std::string path_;
};

}  // namespace bolide::jit
