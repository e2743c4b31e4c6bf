// Where kernels come from: memory, packs, the disk cache, the compiler, in this order; each compiled once.
#pragma once
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "jit/compiler_process.hpp"
#include "jit/disk_cache.hpp"
#include "jit/kernel.hpp"
#include "jit/pack.hpp"

namespace bolide::jit {

class Nvrtc;

struct KernelStoreOptions {
  /// CUDA major version that the driver serves; 0 without a driver (kernels can be compiled, not run).
  int driver_major = 0;
  bool use_disk = true;
  std::string cache_folder = {};  ///< empty: DiskCache::default_folder()
  std::uint64_t cache_bytes = 512u << 20;
  std::chrono::milliseconds compile_timeout{120'000};
  /// Where the program bolide-compile is, or "none"; empty: CompilerProgram::find looks for it.
  std::string compiler_program = {};
};

/// What has happened so far. Every request ends as one of the first four or as a failure.
struct KernelStoreStatistics {
  std::uint64_t from_memory = 0, from_pack = 0, from_disk = 0, compiled = 0, failed = 0;
  std::uint64_t stored = 0;    ///< kernels written to the disk cache
  std::uint64_t rejected = 0;  ///< entries of the disk cache that were not trusted
  std::uint64_t evicted = 0;
  std::vector<std::string>
      problems;  ///< sentences on what did not stop anybody: a cache that is off, an entry refused
};

/// Thread-safe; meant to live as long as the process, one for all devices of it.
class KernelStore {
 public:
  using Kernel = std::shared_ptr<const CompiledKernel>;

  explicit KernelStore(KernelStoreOptions options = {});
  ~KernelStore();

  /// The kernel of a request. Threads that ask for the same one wait for a single compilation. Throws what
  /// compile() and Nvrtc::open() throw; a failure is not remembered.
  Kernel get(const KernelSpec& spec);

  struct Outcome {
    Kernel kernel;      ///< null if it failed
    std::string error;  ///< the sentence if it failed
  };
  /// All of a list, on `threads` threads (0: every core), in the order of the list. `done` (may be empty) is
  /// told of each as it ends, one call at a time, from any of the threads; it must not throw.
  std::vector<Outcome> prepare(std::span<const KernelSpec> specs, int threads = 0,
                               const std::function<void(std::size_t index, const Outcome&)>& done = {});

  /// Adds the kernels of a pack. Throws Error{file}.
  void load_pack(const std::string& path);

  /// Compiles what is not there yet and writes all of it as a pack. Throws the first failure.
  void write_pack(const std::string& path, std::span<const KernelSpec> specs, int threads = 0);

  KernelStoreStatistics statistics() const;
  DiskCache& disk() { return disk_; }

 private:
  std::shared_ptr<const Nvrtc> compiler(const KernelSpec& spec);
  CompiledKernel compiled(const std::shared_ptr<const Nvrtc>& nvrtc, const KernelSpec& spec);
  Kernel make(const KernelSpec& spec, const std::string& key);
  Kernel from_disk(const KernelSpec& spec, const std::string& key, const Nvrtc& nvrtc);

  const KernelStoreOptions options_;
  const CompilerProgram program_;
  Problems problems_;
  DiskCache disk_;
  mutable std::mutex mutex_;  // of all below
  std::unordered_map<std::string, std::shared_future<Kernel>> kernels_;
  std::vector<std::shared_ptr<const Pack>> packs_;
  std::shared_ptr<const Nvrtc> nvrtc_;
  KernelStoreStatistics counts_;
};

/// One line of `bolide cache list`.
struct CachedKernel {
  std::string file;
  std::uint64_t bytes = 0;
  std::int64_t used = 0;                 ///< seconds since 1970
  std::string fault;                     ///< empty for a good entry
  std::optional<CompiledKernel> kernel;  ///< what it holds; none if there is a fault
};
/// Every entry of a cache, read and verified to the last byte.
std::vector<CachedKernel> list_cache(DiskCache& cache);

}  // namespace bolide::jit
