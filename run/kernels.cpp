// The kernel cache and packs, for those who look after them.
#include <bolide/kernels.hpp>

#include <bolide/error.hpp>

#include <fmt/core.h>

#include <filesystem>
#include <unordered_set>

#include "cuda/forward_kernels.hpp"
#include "jit/kernel_store.hpp"

namespace bolide {
namespace {

// The cache of the default folder, on, or the reason why there is none.
struct OpenCache {
  jit::Problems problems;
  jit::DiskCache cache;

  static std::string folder() {
    std::string why, folder = jit::DiskCache::default_folder(why);
    if (folder.empty()) throw Error(Code::file, why);
    return folder;
  }
  OpenCache() : cache(folder(), jit::KernelStoreOptions().cache_bytes, problems) {
    if (cache.is_on()) return;
    const std::vector<std::string> all = problems.list();
    throw Error(Code::file, all.empty() ? "the kernel cache is off" : all.front());
  }
};

}  // namespace

std::vector<CachedKernelInfo> cached_kernels() {
  OpenCache open;
  std::vector<CachedKernelInfo> all;
  for (const jit::CachedKernel& entry : jit::list_cache(open.cache)) {
    CachedKernelInfo info{.file = entry.file,
                          .bytes = static_cast<std::int64_t>(entry.bytes),
                          .used = entry.used,
                          .fault = entry.fault};
    if (entry.kernel)
      info.name = entry.kernel->name, info.architecture = entry.kernel->architecture,
      info.toolchain = entry.kernel->toolchain.text();
    all.push_back(std::move(info));
  }
  return all;
}

int clear_kernel_cache() { return OpenCache().cache.clear(); }

PackSummary write_kernel_pack(const std::string& path, std::span<const ForwardProblem> problems,
                              const PackOptions& options) {
  if (options.architecture != "sm_90a")
    throw Error(Code::refused,
                fmt::format("kernels exist for sm_90a so far, not for \"{}\"", options.architecture));
  if (options.multiprocessors < 1)
    throw Error(Code::invalid_argument,
                fmt::format("a device has at least one multiprocessor, not {}", options.multiprocessors));
  std::vector<jit::KernelSpec> specs{cuda::merge_spec()};
  std::unordered_set<std::string> known;
  for (const ForwardProblem& p : problems) {
    const Sizes sizes = validate(p);
    const KernelPrograms programs = kernel_programs(p, sizes);
    const ForwardChoice choice = choose_forward(p, sizes, {.multiprocessors = options.multiprocessors});
    for (jit::KernelSpec& spec :
         cuda::specs_of(choice, program::emit(programs.mask, programs.score), p.out.dtype))
      if (known.insert(spec.key()).second) specs.push_back(std::move(spec));
  }
  jit::KernelStore store;
  PackSummary summary{.kernels = static_cast<std::int64_t>(specs.size())};
  std::size_t ready = 0;
  const auto outcomes =
      store.prepare(specs, options.threads, [&](std::size_t, const jit::KernelStore::Outcome& outcome) {
        ++ready;
        summary.spilled += outcome.kernel && outcome.kernel->report.spill_store_bytes > 0;
        if (options.progress)
          options.progress(static_cast<double>(ready) / static_cast<double>(specs.size()));
      });
  for (const auto& outcome : outcomes)
    if (!outcome.kernel) throw Error(Code::device, outcome.error);
  summary.compiled = static_cast<std::int64_t>(store.statistics().compiled);
  store.write_pack(path, specs, options.threads);
  summary.bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  return summary;
}

}  // namespace bolide
