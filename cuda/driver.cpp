// Opening libcuda, and the sentences of its failures.
#include "cuda/driver.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <bolide/error.hpp>
#include <mutex>

namespace bolide::cuda {
namespace {

// libcuda.so.1 belongs to the kernel module's driver and stands where the loader looks; WSL keeps it
// elsewhere.
constexpr const char* kLibraries[] = {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"};

std::shared_ptr<const Driver> load() {
  void* library = nullptr;  // never closed: the driver's threads outlive any scope
  std::string reason;
  for (const char* name : kLibraries)
    if (!library && !(library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) && reason.empty()) reason = dlerror();
  if (!library)
    throw Error(Code::device, fmt::format("there is no NVIDIA driver here ({}); the CPU serves", reason));
  DriverTable table;
  std::string missing;
  for_each_entry(table, [&](auto& entry) {
    entry.function = reinterpret_cast<decltype(entry.function)>(dlsym(library, entry.symbol));
    if (!entry.function) missing += missing.empty() ? entry.symbol : fmt::format(", {}", entry.symbol);
  });
  if (!missing.empty())
    throw Error(
        Code::device,
        fmt::format("the NVIDIA driver is too old: it has no {}; a driver of CUDA 12.0 (525) or newer "
                    "is needed, or the CPU serves",
                    missing));
  auto driver = std::make_shared<Driver>(table);
  if (const Result result = driver->attempt(driver->entries().init, 0u); result != kSuccess)
    driver->fail("cuInit", -1, result, "; without a usable NVIDIA driver the CPU serves");
  return driver;
}

}  // namespace

std::shared_ptr<const Driver> Driver::open() {
  static std::mutex mutex;
  static std::shared_ptr<const Driver> opened;  // a failure is not kept: a driver may be installed meanwhile
  std::lock_guard lock(mutex);
  if (!opened) opened = load();
  return opened;
}

Driver::Driver(const DriverTable& entries, Observer observer)
    : entries_(entries), observer_(std::move(observer)) {
  entries_.driver_version.function(&version_);
}

std::shared_ptr<const Driver> Driver::observed_by(Observer observer) const {
  return std::make_shared<Driver>(entries_, std::move(observer));
}

std::string Driver::describe(Result result) const {
  const char *name = nullptr, *words = nullptr;
  entries_.error_name.function(result, &name), entries_.error_string.function(result, &words);
  return fmt::format("{} ({}): {}", name ? name : "an error without a name", result,
                     words ? words : "no description");
}

void Driver::fail(const char* call, int device, Result result, const std::string& more) const {
  const std::string where = device < 0 ? "" : fmt::format(" on cuda:{}", device);
  throw Error(Code::device, fmt::format("{}{} failed: {}{}", call, where, describe(result), more));
}

std::string why_no_cuda() {
  try {
    const auto driver = Driver::open();
    int count = 0;
    driver->call(driver->entries().device_count, -1, &count);
    return count > 0
               ? ""
               : "the NVIDIA driver shows no device (CUDA_VISIBLE_DEVICES may hide them); the CPU serves";
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace bolide::cuda
