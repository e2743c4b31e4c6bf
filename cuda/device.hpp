// A CUDA device: what it is, and its primary context, current only while a call is made.
#pragma once
#include <cstdint>
#include <memory>
#include <new>
#include <string>

#include "cuda/driver.hpp"

namespace bolide::cuda {

/// What plans and `bolide info` need to know of a device. Sizes in bytes.
struct DeviceFacts {
  int ordinal = 0;
  std::string name;
  int capability_major = 0, capability_minor = 0;
  int multiprocessors = 0;
  std::int64_t shared_bytes_per_block = 0;  ///< the most one block can have, static and dynamic together
  std::int64_t shared_bytes_per_multiprocessor = 0;
  std::int64_t reserved_shared_bytes_per_block = 0;  ///< taken by the driver from the multiprocessor's
  std::int64_t l2_bytes = 0, memory_bytes = 0;
  int clock_khz = 0, memory_clock_khz = 0, memory_bus_bits = 0;

  /// As the compiler names it, with the features of this very architecture where there are such: "sm_90a".
  std::string architecture() const;
};

/// Throw Error{device}; an ordinal that does not exist is named together with the count.
int device_count(const Driver& driver);
DeviceFacts device_facts(const Driver& driver, int ordinal);

/// A device's primary context, which the process shares with the runtime API and with frameworks: pointers,
/// streams and events of theirs are ours. Held until the last owner lets go. Thread-safe; nothing here is
/// made current beyond a call, so the caller's own current context stays as it was.
class DeviceContext {
 public:
  /// Throws Error{device}.
  static std::shared_ptr<const DeviceContext> open(std::shared_ptr<const Driver> driver, int ordinal);
  ~DeviceContext();
  DeviceContext(const DeviceContext&) = delete;
  DeviceContext& operator=(const DeviceContext&) = delete;

  const DeviceFacts& facts() const { return facts_; }
  int ordinal() const { return facts_.ordinal; }
  const Driver& driver() const { return *driver_; }
  const DriverTable& entries() const { return driver_->entries(); }

  /// Makes the context current for its own lifetime, on this thread.
  class Current {
   public:
    explicit Current(const DeviceContext& context);
    ~Current();
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;

   private:
    const Driver& driver_;
    bool pushed_ = false;
    friend class DeviceContext;
    Current(const DeviceContext& context, std::nothrow_t) noexcept;
  };

  /// A driver call with the context current. Throws Error{device}.
  template <class... Parameters, class... Arguments>
  void call(const Entry<Result(Parameters...)>& entry, Arguments... arguments) const {
    const Current current(*this);
    driver_->call(entry, ordinal(), arguments...);
  }
  /// For destructors: the same, and whatever goes wrong is let be. (At the process's end the driver may be
  /// gone.)
  template <class... Parameters, class... Arguments>
  void call_quietly(const Entry<Result(Parameters...)>& entry, Arguments... arguments) const noexcept {
    const Current current(*this, std::nothrow);
    if (current.pushed_) driver_->attempt(entry, arguments...);
  }

 private:
  DeviceContext(std::shared_ptr<const Driver> driver, DeviceFacts facts, DeviceId id, ContextHandle handle)
      : driver_(std::move(driver)), facts_(std::move(facts)), id_(id), handle_(handle) {}
  const std::shared_ptr<const Driver> driver_;
  const DeviceFacts facts_;
  const DeviceId id_;
  const ContextHandle handle_;
};

}  // namespace bolide::cuda
