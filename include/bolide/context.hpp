// A context runs problems on one device: plan once, run as often as you like.
#pragma once
#include <bolide/error.hpp>
#include <bolide/problem.hpp>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace bolide {

/// Memory a call may scribble in, on the context's device; Plan::workspace_bytes() of it, aligned to 256
/// bytes. Two calls that may run at the same time need two.
struct Workspace {
  void* data = nullptr;
  std::size_t bytes = 0;
};

/// The caller's stream (a CUstream on a CUDA device). Order on it is all a caller needs to know. The CPU
/// ignores none: a stream handle given to a CPU context is an error.
struct Stream {
  void* handle = nullptr;
};

/// What explain() says: which path serves the problem and how, or which rule refuses it and what to change.
struct Explanation {
  bool served = false;
  std::string path;           ///< e.g. "cpu/tiled"; empty if refused
  std::string refusal;        ///< the sentence; empty if served
  Code code = Code::refused;  ///< of the refusal
  std::size_t workspace_bytes = 0;
  std::vector<std::pair<std::string, std::string>>
      details;               ///< name and value of each decision, in reading order
  std::string text() const;  ///< all of it, for people
};

/// How a problem will be run. Immutable, cheap to copy, safe to share between threads. It holds for every
/// problem with the same shapes, strides, types, alignment, layouts, scale and programs; lengths, tables
/// and the numbers in programs may differ; a GPU refuses the few numbers that ask for another kernel.
class Plan {
 public:
  std::size_t workspace_bytes() const;
  const std::string& path() const;
  struct Impl;  // run/
  explicit Plan(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// Which of a device's paths serve. The definition computes in float64, one row at a time: slow, obvious, and
/// what the others are compared with. Only the CPU has it.
enum class Kernels : std::uint8_t { fastest, definition };

struct ContextOptions {
  /// CUDA: packs of kernels (kernels.hpp) that are looked through before the cache and the compiler, beside
  /// those that $BOLIDE_PACK lists, separated by colons. A pack is code: load only what you trust.
  std::vector<std::string> packs;
  Kernels kernels = Kernels::fastest;
};

/// Runs problems whose tensors lie on one device. Cheap to copy, safe to share between threads.
class Context {
 public:
  /// Throws Error{device} where the device does not exist or cannot be used, with the reason, Error{file} for
  /// a pack that cannot be loaded, and Error{refused} for the definition on another device than the CPU.
  explicit Context(Device device, const ContextOptions& options = {});
  Device device() const;

  /// Validates the problem and decides how to run it. Throws Error{invalid_problem} for contradictions,
  /// {refused} for combinations that no path serves. Nothing is allocated on the device.
  Plan plan(const ForwardProblem&) const;
  Plan plan(const BackwardProblem&) const;

  /// Writes out (and lse). Never allocates, never synchronises. Throws Error{invalid_argument} if the problem
  /// or the workspace does not match the plan; on the CPU also Error{invalid_problem} for lengths or tables
  /// that leave their tensors (contract C19).
  void forward(const Plan&, const ForwardProblem&, Workspace, Stream = {}) const;
  /// Writes dq, dk, dv. Otherwise as forward.
  void backward(const Plan&, const BackwardProblem&, Workspace, Stream = {}) const;

  /// Combines partial results over disjoint sets of keys of the same queries: outs[i] [..., heads,
  /// head_dim_v] with lses[i] as forward wrote them. An empty part (lse -inf) changes no bit of the others
  /// (contract C9). out may be outs[0], and lse lses[0]. A CUDA context merges at most 32 parts, and loads
  /// its kernel in the first call.
  void merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out, const Tensor& lse,
             Stream = {}) const;

  Explanation explain(const ForwardProblem&) const;
  Explanation explain(const BackwardProblem&) const;

 private:
  struct Impl;  // run/
  std::shared_ptr<const Impl> impl_;
};

}  // namespace bolide
