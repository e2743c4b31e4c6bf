// Images copied to a CUDA device before a run and back after it.
#include "testing/device_memory.hpp"

#include <bolide/error.hpp>

#include <bit>
#include <map>

#include "cuda/resources.hpp"

namespace bolide::testing {
namespace {

// With a stream of its own, so that several checks can share a device. Blocks are powers of two and stay
// allocated: a check makes and drops dozens of small ones for every case.
class CudaMemory final : public Memory {
 public:
  explicit CudaMemory(int ordinal)
      : context_(cuda::DeviceContext::open(cuda::Driver::open(), ordinal)), stream_(context_) {}
  Device device() const override { return Device::cuda(context_->ordinal()); }
  Stream stream() const override { return {stream_.handle()}; }

  void* allocate(std::size_t bytes) override {
    const std::size_t size = std::bit_ceil(std::max<std::size_t>(bytes, 512));
    auto found = free_.find(size);
    if (found == free_.end()) {
      try {
        found = free_.emplace(size, cuda::DeviceBuffer(context_, size));
      } catch (const Error&) {  // perhaps blocks of other sizes are in the way
        free_.clear();
        return allocate_last(bytes);
      }
    }
    return take(found);
  }
  void release(void* place) noexcept override {
    const auto found = used_.find(place);
    if (found == used_.end()) return;
    const std::size_t size = found->second.bytes();
    free_.emplace(size, std::move(found->second));
    used_.erase(found);
  }
  void upload(void* place, std::span<const std::byte> bytes) override {
    used_.at(place).upload(bytes.data(), bytes.size(), 0, stream_.handle());
  }
  void download(std::span<std::byte> bytes, const void* place) override {
    used_.at(const_cast<void*>(place)).download(bytes.data(), bytes.size(), 0, stream_.handle());
    stream_.synchronize();
  }

 private:
  using Blocks = std::multimap<std::size_t, cuda::DeviceBuffer>;
  void* take(Blocks::iterator block) {
    cuda::DeviceBuffer buffer = std::move(block->second);
    free_.erase(block);
    void* const place = buffer.data();
    used_.emplace(place, std::move(buffer));
    return place;
  }
  void* allocate_last(std::size_t bytes) {
    try {
      return take(free_.emplace(bytes, cuda::DeviceBuffer(context_, bytes)));
    } catch (const Error&) {
      return nullptr;
    }
  }

  const cuda::SharedContext context_;
  const cuda::Stream stream_;
  Blocks free_;
  std::map<void*, cuda::DeviceBuffer> used_;
};

}  // namespace

std::unique_ptr<Memory> memory_for(Device device) {
  if (device.kind == Device::Kind::cuda) return std::make_unique<CudaMemory>(device.ordinal);
  return std::make_unique<HostMemory>();
}

int multiprocessors(Device device) {
  return cuda::device_facts(*cuda::Driver::open(), device.ordinal).multiprocessors;
}

}  // namespace bolide::testing
