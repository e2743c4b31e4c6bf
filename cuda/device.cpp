// Facts of a device from its attributes, and the holding of its primary context.
#include "cuda/device.hpp"

#include <fmt/format.h>

#include <bolide/error.hpp>

namespace bolide::cuda {
namespace {

DeviceId device_id(const Driver& driver, int ordinal) {
  DeviceId id = 0;
  const int count = device_count(driver);
  if (ordinal < 0 || ordinal >= count)
    throw Error(Code::device,
                fmt::format("there is no device cuda:{}; the driver shows {} (cuda:0 to cuda:{})", ordinal,
                            count, count - 1));
  driver.call(driver.entries().device_get, ordinal, &id, ordinal);
  return id;
}

}  // namespace

// From 9.0 on, instructions of one architecture only (wgmma, tcgen05) need the letter.
std::string DeviceFacts::architecture() const {
  return fmt::format("sm_{}{}{}", capability_major, capability_minor, capability_major >= 9 ? "a" : "");
}

int device_count(const Driver& driver) {
  int count = 0;
  driver.call(driver.entries().device_count, -1, &count);
  if (count == 0)
    throw Error(Code::device,
                "the NVIDIA driver shows no device (CUDA_VISIBLE_DEVICES may hide them); the CPU serves");
  return count;
}

DeviceFacts device_facts(const Driver& driver, int ordinal) {
  const DeviceId id = device_id(driver, ordinal);
  const auto attribute = [&](DeviceAttribute which) {
    int value = 0;
    driver.call(driver.entries().device_attribute, ordinal, &value, which, id);
    return value;
  };
  char name[256] = {};
  driver.call(driver.entries().device_name, ordinal, name, static_cast<int>(sizeof name) - 1, id);
  std::size_t memory = 0;
  driver.call(driver.entries().device_memory, ordinal, &memory, id);
  using A = DeviceAttribute;
  return {.ordinal = ordinal,
          .name = name,
          .capability_major = attribute(A::capability_major),
          .capability_minor = attribute(A::capability_minor),
          .multiprocessors = attribute(A::multiprocessors),
          .shared_bytes_per_block = attribute(A::shared_bytes_per_block),
          .shared_bytes_per_multiprocessor = attribute(A::shared_bytes_per_multiprocessor),
          .reserved_shared_bytes_per_block = attribute(A::reserved_shared_bytes_per_block),
          .l2_bytes = attribute(A::l2_bytes),
          .memory_bytes = static_cast<std::int64_t>(memory),
          .clock_khz = attribute(A::clock_khz),
          .memory_clock_khz = attribute(A::memory_clock_khz),
          .memory_bus_bits = attribute(A::memory_bus_bits)};
}

std::shared_ptr<const DeviceContext> DeviceContext::open(std::shared_ptr<const Driver> driver, int ordinal) {
  DeviceFacts facts = device_facts(*driver, ordinal);
  const DeviceId id = device_id(*driver, ordinal);
  ContextHandle handle = nullptr;
  driver->call(driver->entries().retain_context, ordinal, &handle, id);
  return std::shared_ptr<const DeviceContext>(
      new DeviceContext(std::move(driver), std::move(facts), id, handle));
}

DeviceContext::~DeviceContext() { driver_->attempt(entries().release_context, id_); }

DeviceContext::Current::Current(const DeviceContext& context) : driver_(context.driver()) {
  driver_.call(driver_.entries().push_context, context.ordinal(), context.handle_);
  pushed_ = true;
}

DeviceContext::Current::Current(const DeviceContext& context, std::nothrow_t) noexcept
    : driver_(context.driver()),
      pushed_(driver_.attempt(driver_.entries().push_context, context.handle_) == kSuccess) {}

DeviceContext::Current::~Current() {
  ContextHandle popped = nullptr;
  if (pushed_) driver_.attempt(driver_.entries().pop_context, &popped);
}

}  // namespace bolide::cuda
