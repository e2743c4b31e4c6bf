// Device memory, streams, events and graphs that free themselves: for tests, the command and benchmarks. The
// library's own calls take the caller's memory and streams, and make none.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda/device.hpp"

namespace bolide::cuda {

using SharedContext = std::shared_ptr<const DeviceContext>;

/// Bytes on a device, aligned to 256. Not initialised. Size 0 is allowed and gives a null pointer.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Throws Error{device} that names the bytes wanted and those free.
  DeviceBuffer(SharedContext context, std::size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept { return swap(other), *this; }

  void* data() const { return reinterpret_cast<void*>(pointer_); }
  std::size_t bytes() const { return bytes_; }

  /// Copies and fills are ordered on the stream (null: the default stream) and not waited for. A copy from
  /// pageable memory may return before it is done only once the source has been read. Ranges are checked:
  /// Error{invalid_argument}.
  void upload(const void* from, std::size_t bytes, std::size_t offset = 0, StreamHandle stream = nullptr);
  void download(void* to, std::size_t bytes, std::size_t offset = 0, StreamHandle stream = nullptr) const;
  void fill(unsigned char byte, StreamHandle stream = nullptr);
  /// The whole buffer as 32-bit words; its size must be a multiple of 4.
  void fill_words(std::uint32_t word, StreamHandle stream = nullptr);

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(context_, other.context_), std::swap(pointer_, other.pointer_), std::swap(bytes_, other.bytes_);
  }
  void check_range(const char* what, std::size_t bytes, std::size_t offset) const;
  SharedContext context_;
  DevicePointer pointer_ = 0;
  std::size_t bytes_ = 0;
};

/// A stream that does not wait for the default stream.
class Stream {
 public:
  explicit Stream(SharedContext context);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  StreamHandle handle() const { return handle_; }
  const SharedContext& context() const { return context_; }
  /// Blocks until all work of the stream is done. Throws what that work failed with.
  void synchronize() const;

 private:
  SharedContext context_;
  StreamHandle handle_ = nullptr;
};

/// Blocks until a stream of the caller's is idle (null: the default stream).
void synchronize(const DeviceContext& context, StreamHandle stream);

class Event {
 public:
  explicit Event(SharedContext context);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(StreamHandle stream) const;
  void synchronize() const;
  /// Milliseconds from an earlier event of the same device to this one, both reached.
  float milliseconds_since(const Event& earlier) const;

 private:
  SharedContext context_;
  EventHandle handle_ = nullptr;
};

/// Work recorded once from a stream, launched many times.
class Graph {
 public:
  /// Runs `work` with the stream capturing; nothing is executed. If `work` throws, the capture is ended and
  /// dropped.
  Graph(const Stream& stream, const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void launch(StreamHandle stream) const;

 private:
  SharedContext context_;
  GraphExecHandle handle_ = nullptr;
};

}  // namespace bolide::cuda
