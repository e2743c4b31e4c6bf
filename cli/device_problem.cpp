// Copies a problem to a GPU and its results back.
#include "cli/device_problem.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <new>

#include "testing/device_memory.hpp"

namespace bolide::cli {
namespace {

// From the first to the last element of a tensor without negative strides; a reader of its memory as bytes.
std::span<std::byte> bytes_of(const Tensor& t) {
  std::int64_t last = t.count() > 0 ? 1 : 0;
  for (int i = 0; i < t.rank() && last > 0; ++i) last += (t.shape[i] - 1) * t.strides[i];
  return {static_cast<std::byte*>(t.data), static_cast<std::size_t>(last) * size_of(t.dtype)};
}

}  // namespace

DeviceProblem::DeviceProblem(const FileProblem& problem, Device device, Purpose purpose)
    : problem_(problem), purpose_(purpose) {
  if (device.kind == Device::Kind::cpu) {
    placed_ = problem.backward();
    return;
  }
  if (purpose == Purpose::run) memory_ = testing::memory_for(device);
  else memory_ = std::make_unique<testing::NoMemory>(device);
  placed_ = problem.placed([this](const Tensor& t) { return place(t); });
}

DeviceProblem::~DeviceProblem() {
  for (const Copy& copy : copies_) memory_->release(copy.place);
  if (device_workspace_) memory_->release(device_workspace_);
}

Tensor DeviceProblem::place(const Tensor& t) {
  const std::span<std::byte> bytes = bytes_of(t);
  void* const place = memory_->allocate(bytes.size());
  if (!place)
    throw Error(Code::device, fmt::format("there is no room on the device for a tensor of {} bytes; take a "
                                          "smaller problem, or --device cpu",
                                          bytes.size()));
  copies_.push_back({place, t, bytes.size()});
  if (purpose_ == Purpose::run) memory_->upload(place, bytes);
  return Tensor(place, t.dtype, t.shape, t.strides, memory_->device());
}

Workspace DeviceProblem::workspace(std::size_t bytes) {
  constexpr std::size_t kAlignment = 256;
  if (bytes == 0) return {};
  if (!memory_) {
    host_workspace_.reset(std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment));
    if (!host_workspace_) throw std::bad_alloc();
    return {host_workspace_.get(), bytes};
  }
  if (device_workspace_) memory_->release(device_workspace_);
  device_workspace_ = memory_->allocate(bytes);
  if (!device_workspace_)
    throw Error(Code::device,
                fmt::format("there is no room on the device for a workspace of {} bytes", bytes));
  return {device_workspace_, bytes};
}

void DeviceProblem::wait() {
  if (memory_ && !copies_.empty()) memory_->download({}, copies_.front().place);
}

void DeviceProblem::fetch_results() {
  for (const Result& r : problem_.results())
    for (const Copy& copy : copies_)
      if (copy.host.data == r.memory.get())
        memory_->download({static_cast<std::byte*>(r.memory.get()), copy.bytes}, copy.place);
}

}  // namespace bolide::cli
