// The order of sources of a kernel, and the promise that each is compiled once.
#include "jit/kernel_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bolide/error.hpp>
#include <system_error>
#include <thread>

#include "jit/bytes.hpp"
#include "jit/compile.hpp"
#include "jit/nvrtc.hpp"

namespace bolide::jit {
namespace {

std::string folder_for(const KernelStoreOptions& options, Problems& problems) {
  if (!options.use_disk) return "";
  if (!options.cache_folder.empty()) return options.cache_folder;
  std::string why, folder = DiskCache::default_folder(why);
  if (folder.empty()) problems.add(why);
  return folder;
}

// On disk the compiler is part of the key; a pack serves whatever compiler made it.
std::string disk_key(const std::string& key, const Toolchain& toolchain) {
  ByteWriter out;
  out.string(key), out.string(toolchain.text());
  return out.take();
}

// A thread the system refuses is one fewer, not a failure.
template <class Work>
void start(std::vector<std::thread>& pool, const Work& work) {
  try {
    pool.emplace_back(work);
  } catch (const std::system_error&) {}
}

KernelStore::Kernel kernel_or_null(const std::shared_future<KernelStore::Kernel>& kernel) {
  try {
    return kernel.get();
  } catch (...) {
    return nullptr;
  }
}

}  // namespace

KernelStore::KernelStore(KernelStoreOptions options)
    : options_(std::move(options)),
      program_(CompilerProgram::find(options_.compiler_program)),
      disk_(folder_for(options_, problems_), options_.cache_bytes, problems_) {}

KernelStore::~KernelStore() = default;

KernelStore::Kernel KernelStore::get(const KernelSpec& spec) {
  if (!spec.sources) throw Error(Code::invalid_argument, "a kernel's request has no sources");
  const std::string key = spec.key();
  std::promise<Kernel> promise;
  std::shared_future<Kernel> kernel;
  bool first = false;
  {
    std::lock_guard lock(mutex_);
    auto& slot = kernels_[key];
    first = !slot.valid();
    if (first) slot = promise.get_future().share();
    kernel = slot;
  }
  if (!first) {
    kernel.wait();
    const bool failed = !kernel_or_null(kernel);
    std::lock_guard lock(mutex_);
    ++(failed ? counts_.failed : counts_.from_memory);
    return kernel.get();
  }
  try {
    promise.set_value(make(spec, key));
  } catch (...) {
    promise.set_exception(std::current_exception());
    std::lock_guard lock(mutex_);
    kernels_.erase(key), ++counts_.failed;
  }
  return kernel.get();
}

KernelStore::Kernel KernelStore::make(const KernelSpec& spec, const std::string& key) {
  std::vector<std::shared_ptr<const Pack>> packs;
  {
    std::lock_guard lock(mutex_);
    packs = packs_;
  }
  for (const auto& pack : packs)
    if (Kernel kernel = pack->find(key, options_.driver_major)) {
      std::lock_guard lock(mutex_);
      return ++counts_.from_pack, kernel;
    }
  const std::shared_ptr<const Nvrtc> nvrtc = compiler(spec);
  if (Kernel kernel = from_disk(spec, key, *nvrtc)) return kernel;
  auto kernel = std::make_shared<const CompiledKernel>(compiled(nvrtc, spec));
  const bool stored = disk_.store(disk_key(key, nvrtc->toolchain()), to_bytes(*kernel));
  std::lock_guard lock(mutex_);
  ++counts_.compiled, counts_.stored += stored;
  return kernel;
}

// In a process of its own wherever bolide-compile is there: that costs a kernel 20 to 30 ms (the program,
// NVRTC opened and set up once more) of the two seconds that one of attention takes, and nothing when it
// comes from the cache or a pack; for it a server outlives a crash of the compiler and gets the threads and
// the memory of a hanging one back.
CompiledKernel KernelStore::compiled(const std::shared_ptr<const Nvrtc>& nvrtc, const KernelSpec& spec) {
  std::string why = program_.why_none;
  if (!program_.path.empty()) {
    if (auto kernel = compile_apart(program_.path, *nvrtc, spec, options_.compile_timeout, why))
      return *std::move(kernel);
    if (program_.asked_for) throw Error(Code::device, why);
  }
  if (!why.empty())
    problems_.add(why + "; kernels are compiled in this process, which a crash of the compiler would end");
  return compile(nvrtc, spec, options_.compile_timeout);
}

KernelStore::Kernel KernelStore::from_disk(const KernelSpec& spec, const std::string& key,
                                           const Nvrtc& nvrtc) {
  const std::optional<std::string> payload = disk_.load(disk_key(key, nvrtc.toolchain()));
  if (!payload) return nullptr;
  std::optional<CompiledKernel> kernel = kernel_from_bytes(*payload);
  const bool ours = kernel && kernel->name == spec.name && kernel->architecture == spec.architecture &&
                    kernel->sources_digest == spec.sources->digest() &&
                    kernel->toolchain == nvrtc.toolchain();
  std::lock_guard lock(mutex_);
  if (!ours) {
    ++counts_.rejected;
    problems_.add(fmt::format("an entry of {} does not hold the kernel its key names; it is compiled again",
                              disk_.folder()));
    return nullptr;
  }
  ++counts_.from_disk;
  return std::make_shared<const CompiledKernel>(std::move(*kernel));
}

std::shared_ptr<const Nvrtc> KernelStore::compiler(const KernelSpec& spec) {
  std::lock_guard lock(mutex_);
  if (nvrtc_) return nvrtc_;
  try {
    return nvrtc_ = Nvrtc::open(options_.driver_major);
  } catch (const Error& error) {
    std::string sentence = error.what();
    for (const auto& pack : packs_)
      if (pack->has_outdated(spec))
        sentence +=
            fmt::format(". {} holds `{}` made from the device sources of another version of the library",
                        pack->path(), spec.name);
    throw Error(error.code(), fmt::format("`{}` is in none of the {} packs loaded, and there is {}",
                                          spec.name, packs_.size(), sentence));
  }
}

std::vector<KernelStore::Outcome> KernelStore::prepare(
    std::span<const KernelSpec> specs, int threads,
    const std::function<void(std::size_t, const Outcome&)>& done) {
  std::vector<Outcome> outcomes(specs.size());
  std::atomic<std::size_t> next{0};
  std::mutex telling;
  const auto work = [&] {
    for (std::size_t i; (i = next++) < specs.size();) {
      try {
        outcomes[i].kernel = get(specs[i]);
      } catch (const std::exception& error) {
        outcomes[i].error = error.what();
      }
      std::lock_guard lock(telling);
      if (done) done(i, outcomes[i]);
    }
  };
  const std::size_t wanted =
      threads > 0 ? static_cast<std::size_t>(threads) : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> pool;
  for (std::size_t t = 1; t < std::min(wanted, specs.size()); ++t) start(pool, work);
  work();
  for (std::thread& t : pool) t.join();
  return outcomes;
}

void KernelStore::load_pack(const std::string& path) {
  auto pack = std::make_shared<const Pack>(Pack::read(path));
  std::lock_guard lock(mutex_);
  packs_.push_back(std::move(pack));
}

void KernelStore::write_pack(const std::string& path, std::span<const KernelSpec> specs, int threads) {
  std::vector<Pack::Item> items;
  const std::vector<Outcome> outcomes = prepare(specs, threads);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (!outcomes[i].kernel) throw Error(Code::device, outcomes[i].error);
    const std::string key = specs[i].key();
    const auto same = [&](const Pack::Item& item) { return item.key == key; };
    if (std::none_of(items.begin(), items.end(), same)) items.push_back({key, outcomes[i].kernel});
  }
  Pack::write(path, items);
}

KernelStoreStatistics KernelStore::statistics() const {
  std::lock_guard lock(mutex_);
  KernelStoreStatistics now = counts_;
  now.rejected += disk_.num_rejected(), now.evicted = disk_.num_evicted();
  now.problems = problems_.list();
  return now;
}

std::vector<CachedKernel> list_cache(DiskCache& cache) {
  std::vector<CachedKernel> kernels;
  for (DiskCache::Listed& entry : cache.list()) {
    CachedKernel line{entry.file, entry.bytes, entry.used, entry.fault, std::nullopt};
    if (line.fault.empty()) line.kernel = kernel_from_bytes(entry.payload);
    if (line.fault.empty() && !line.kernel) line.fault = "its payload is not a kernel";
    kernels.push_back(std::move(line));
  }
  return kernels;
}

}  // namespace bolide::jit
