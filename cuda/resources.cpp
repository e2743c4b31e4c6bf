// Owners of device memory, streams, events and graphs.
#include "cuda/resources.hpp"

#include <fmt/format.h>

#include <bolide/error.hpp>

namespace bolide::cuda {
namespace {

DevicePointer address(const void* p) {
  return static_cast<DevicePointer>(reinterpret_cast<std::uintptr_t>(p));
}

}  // namespace

DeviceBuffer::DeviceBuffer(SharedContext context, std::size_t bytes)
    : context_(std::move(context)), bytes_(bytes) {
  if (bytes == 0) return;
  const DeviceContext::Current current(*context_);
  const Driver& driver = context_->driver();
  const Result result = driver.attempt(driver.entries().allocate, &pointer_, bytes);
  if (result == kSuccess) return;
  std::size_t left = 0, total = 0;
  driver.attempt(driver.entries().memory_left, &left, &total);
  driver.fail("cuMemAlloc", context_->ordinal(), result,
              fmt::format("; {} bytes were asked for, {} of {} are free", bytes, left, total));
}

DeviceBuffer::~DeviceBuffer() {
  if (pointer_) context_->call_quietly(context_->entries().free, pointer_);
}

void DeviceBuffer::check_range(const char* what, std::size_t bytes, std::size_t offset) const {
  if (offset > bytes_ || bytes > bytes_ - offset)
    throw Error(Code::invalid_argument,
                fmt::format("{} of {} bytes at offset {} does not fit a device buffer of {} bytes", what,
                            bytes, offset, bytes_));
}

void DeviceBuffer::upload(const void* from, std::size_t bytes, std::size_t offset, StreamHandle stream) {
  check_range("an upload", bytes, offset);
  if (bytes > 0) context_->call(context_->entries().copy, pointer_ + offset, address(from), bytes, stream);
}

void DeviceBuffer::download(void* to, std::size_t bytes, std::size_t offset, StreamHandle stream) const {
  check_range("a download", bytes, offset);
  if (bytes > 0) context_->call(context_->entries().copy, address(to), pointer_ + offset, bytes, stream);
}

void DeviceBuffer::fill(unsigned char byte, StreamHandle stream) {
  if (bytes_ > 0) context_->call(context_->entries().fill8, pointer_, byte, bytes_, stream);
}

void DeviceBuffer::fill_words(std::uint32_t word, StreamHandle stream) {
  if (bytes_ % 4 != 0)
    throw Error(Code::invalid_argument,
                fmt::format("a buffer of {} bytes cannot be filled with words of 4", bytes_));
  if (bytes_ > 0) context_->call(context_->entries().fill32, pointer_, word, bytes_ / 4, stream);
}

Stream::Stream(SharedContext context) : context_(std::move(context)) {
  context_->call(context_->entries().create_stream, &handle_, kStreamNonBlocking);
}
Stream::~Stream() { context_->call_quietly(context_->entries().destroy_stream, handle_); }
void Stream::synchronize() const { cuda::synchronize(*context_, handle_); }

void synchronize(const DeviceContext& context, StreamHandle stream) {
  context.call(context.entries().synchronize, stream);
}

Event::Event(SharedContext context) : context_(std::move(context)) {
  context_->call(context_->entries().create_event, &handle_, 0u);
}
Event::~Event() { context_->call_quietly(context_->entries().destroy_event, handle_); }
void Event::record(StreamHandle stream) const {
  context_->call(context_->entries().record_event, handle_, stream);
}
void Event::synchronize() const { context_->call(context_->entries().synchronize_event, handle_); }
float Event::milliseconds_since(const Event& earlier) const {
  float milliseconds = 0;
  context_->call(context_->entries().elapsed, &milliseconds, earlier.handle_, handle_);
  return milliseconds;
}

Graph::Graph(const Stream& stream, const std::function<void()>& work) : context_(stream.context()) {
  const DriverTable& entries = context_->entries();
  GraphHandle graph = nullptr;
  context_->call(entries.begin_capture, stream.handle(), kCaptureThreadLocal);
  try {
    work();
  } catch (...) {
    context_->call_quietly(entries.end_capture, stream.handle(), &graph);
    if (graph) context_->call_quietly(entries.destroy_graph, graph);
    throw;
  }
  context_->call(entries.end_capture, stream.handle(), &graph);
  const DeviceContext::Current current(*context_);
  const Result result = context_->driver().attempt(entries.instantiate, &handle_, graph, 0ull);
  context_->driver().attempt(entries.destroy_graph, graph);
  if (result != kSuccess) context_->driver().fail(entries.instantiate.name, context_->ordinal(), result);
}
Graph::~Graph() { context_->call_quietly(context_->entries().destroy_graph_exec, handle_); }
void Graph::launch(StreamHandle stream) const {
  context_->call(context_->entries().launch_graph, handle_, stream);
}

}  // namespace bolide::cuda
