// A problem over tensors of files on the device it runs on.
#pragma once
#include <memory>
#include <vector>

#include "cli/problem_options.hpp"
#include "testing/memory.hpp"

namespace bolide::cli {

/// The problem's tensors where a context of `device` reads and writes them: on the CPU they are the files'
/// and results' own, on a GPU copies.
class DeviceProblem {
 public:
  enum class Purpose : std::uint8_t {
    run,   ///< copies; throws Error{device} where there is no room
    plan,  ///< addresses on a GPU that hold nothing
  };
  DeviceProblem(const FileProblem& problem, Device device, Purpose purpose);
  ~DeviceProblem();
  DeviceProblem(const DeviceProblem&) = delete;
  DeviceProblem& operator=(const DeviceProblem&) = delete;

  const ForwardProblem& forward() const { return placed_.forward; }
  const BackwardProblem& backward() const { return placed_; }
  Stream stream() const { return memory_ ? memory_->stream() : Stream{}; }
  /// A call's workspace on the device; kept until the next is asked for.
  Workspace workspace(std::size_t bytes);
  /// Waits for what runs on the stream.
  void wait();
  /// Brings results back into the FileProblem's.
  void fetch_results();

 private:
  struct Copy {
    void* place;
    Tensor host;
    std::size_t bytes;
  };
  Tensor place(const Tensor& t);

  const FileProblem& problem_;
  std::unique_ptr<testing::Memory> memory_;  // none: the CPU
  const Purpose purpose_;
  std::vector<Copy> copies_;
  std::unique_ptr<void, decltype(&std::free)> host_workspace_{nullptr, &std::free};
  void* device_workspace_ = nullptr;
  BackwardProblem placed_;
};

}  // namespace bolide::cli
