// Compiled kernels between processes: the cache on disk, and packs that are made ahead of time.
#pragma once
#include <bolide/problem.hpp>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace bolide {

/// An entry of the kernel cache, read and verified to its last byte.
struct CachedKernelInfo {
  std::string file;  ///< in the cache's folder
  std::int64_t bytes = 0;
  std::int64_t used = 0;                      ///< last loaded or stored, seconds since 1970
  std::string fault;                          ///< why it would be compiled again; empty for a good entry
  std::string name, architecture, toolchain;  ///< of a good entry: the kernel, "sm_90a", its compiler
};
/// Every entry of the folder that kernel_cache() (devices.hpp) names, the most recently used first. Throws
/// Error{file} with the reason where there is no folder to be trusted.
std::vector<CachedKernelInfo> cached_kernels();
/// Removes every entry, good or bad, and what killed writers left; returns how many entries went. Throws as
/// cached_kernels does.
int clear_kernel_cache();

struct PackOptions {
  std::string architecture = "sm_90a";
  int multiprocessors = 132;                   ///< of the device the plans are for; decides about splits
  int threads = 0;                             ///< 0: every core
  std::function<void(double share)> progress;  ///< may be empty; called from any thread, one call at a time
};
struct PackSummary {
  std::int64_t kernels = 0, bytes = 0;
  std::int64_t compiled = 0;  ///< the others came from the cache
  std::int64_t spilled = 0;   ///< kernels that keep registers in local memory
};
/// Compiles every kernel that plans of these problems need on a GPU of that kind, and merge's, into one file,
/// whole or not at all. Addresses are not read; their alignment decides, as in a plan. Needs NVRTC but no
/// GPU. A context that loads the pack (ContextOptions, or $BOLIDE_PACK) runs them without NVRTC. Throws
/// Error{invalid_problem} or {refused} for a problem that has no kernel, {device} without a compiler, {file}.
PackSummary write_kernel_pack(const std::string& path, std::span<const ForwardProblem> problems,
                              const PackOptions& options = {});

}  // namespace bolide
