// Loading machine code and launching it.
#include "cuda/kernel.hpp"

#include <fmt/format.h>

#include <bolide/error.hpp>

namespace bolide::cuda {
namespace {

bool is_empty(const Launch& shape) { return shape.grid[0] == 0 || shape.grid[1] == 0 || shape.grid[2] == 0; }

}  // namespace

Kernel::Kernel(std::shared_ptr<const DeviceContext> context, const jit::CompiledKernel& code,
               int max_dynamic_shared_bytes)
    : context_(std::move(context)), name_(code.name) {
  const Driver& driver = context_->driver();
  const DriverTable& entries = driver.entries();
  const DeviceContext::Current current(*context_);
  const auto check = [&](const char* call, Result result) {
    if (result == kSuccess) return;
    if (module_) driver.attempt(entries.unload_module, module_);
    driver.fail(call, context_->ordinal(), result,
                fmt::format(", for the kernel `{}` ({}, {}; the driver serves CUDA {}, the device is {})",
                            code.name, code.architecture, code.toolchain.text(), driver.version() / 1000.0,
                            context_->facts().architecture()));
  };
  check(entries.load_module.name, driver.attempt(entries.load_module, &module_, code.cubin.data()));
  check(entries.get_function.name,
        driver.attempt(entries.get_function, &function_, module_, code.lowered_name.c_str()));
  int fixed = 0;
  check(entries.function_attribute.name, driver.attempt(entries.function_attribute, &fixed,
                                                        FunctionAttribute::static_shared_bytes, function_));
  const std::int64_t wanted = std::int64_t{fixed} + max_dynamic_shared_bytes;
  if (wanted > context_->facts().shared_bytes_per_block) {
    driver.attempt(entries.unload_module, module_);
    throw Error(Code::refused,
                fmt::format("the kernel `{}` needs {} bytes of shared memory a block; {} (cuda:{}) has {}",
                            code.name, wanted, context_->facts().name, context_->ordinal(),
                            context_->facts().shared_bytes_per_block));
  }
  check(entries.set_function_attribute.name,
        driver.attempt(entries.set_function_attribute, function_, FunctionAttribute::max_dynamic_shared_bytes,
                       max_dynamic_shared_bytes));
}

Kernel::~Kernel() { context_->call_quietly(context_->entries().unload_module, module_); }

int Kernel::attribute(FunctionAttribute which) const {
  int value = 0;
  context_->call(context_->entries().function_attribute, &value, which, function_);
  return value;
}

int Kernel::blocks_per_multiprocessor(int threads, int dynamic_shared_bytes) const {
  int blocks = 0;
  context_->call(context_->entries().occupancy, &blocks, function_, threads,
                 static_cast<std::size_t>(dynamic_shared_bytes));
  return blocks;
}

void Kernel::launch(const Launch& shape, StreamHandle stream, void** parameters) const {
  if (!is_empty(shape)) launch(shape, stream, parameters, DeviceContext::Current(*context_));
}

void Kernel::launch(const Launch& shape, StreamHandle stream, void** parameters,
                    const DeviceContext::Current&) const {
  if (is_empty(shape)) return;
  LaunchAttribute attributes[2];
  LaunchConfig config;
  for (int i = 0; i < 3; ++i) config.grid[i] = shape.grid[i], config.block[i] = shape.block[i];
  config.dynamic_shared_bytes = shape.dynamic_shared_bytes;
  config.stream = stream;
  config.attributes = attributes;
  if (shape.overlaps_previous) {
    LaunchAttribute& a = attributes[config.num_attributes++];
    a.id = LaunchAttributeId::programmatic_serialization, a.programmatic_serialization = 1;
  }
  if (shape.cluster > 1) {
    LaunchAttribute& a = attributes[config.num_attributes++];
    a.id = LaunchAttributeId::cluster;
    a.cluster[0] = shape.cluster, a.cluster[1] = a.cluster[2] = 1;
  }
  const Driver& driver = context_->driver();
  const Result result = driver.attempt(driver.entries().launch, &config, function_, parameters, nullptr);
  if (result != kSuccess)
    driver.fail(
        "cuLaunchKernelEx", context_->ordinal(), result,
        fmt::format(", for the kernel `{}` with a grid of {} x {} x {}, blocks of {} x {} x {}, {} bytes of "
                    "dynamic shared memory, clusters of {}",
                    name_, shape.grid[0], shape.grid[1], shape.grid[2], shape.block[0], shape.block[1],
                    shape.block[2], shape.dynamic_shared_bytes, shape.cluster));
}

std::shared_ptr<const Kernel> LoadedKernels::get(const std::shared_ptr<const jit::CompiledKernel>& code,
                                                 int max_dynamic_shared_bytes) {
  std::lock_guard lock(mutex_);
  Loaded& loaded = kernels_[code.get()][max_dynamic_shared_bytes];
  if (!loaded.kernel) {
    loaded.kernel = std::make_shared<const Kernel>(context_, *code, max_dynamic_shared_bytes);
    loaded.code = code;
  }
  return loaded.kernel;
}

}  // namespace bolide::cuda
