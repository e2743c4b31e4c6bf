// Contexts: validate, ask the device's back end, and hold a call to its plan.
#include <bolide/context.hpp>

#include <fmt/core.h>

#include "cpu/backend.hpp"
#include "cuda/backend.hpp"
#include "plan/signature.hpp"

namespace bolide {

struct Plan::Impl {
  KnownPrograms programs;
  Signature signature;
  Device device;
  std::shared_ptr<const BackendPlan> backend;
};

struct Context::Impl {
  Device device;
  std::unique_ptr<const Backend> backend;
};

namespace {

std::unique_ptr<const Backend> backend_for(Device device, const ContextOptions& options) {
  if (device.kind == Device::Kind::cpu) {
    if (!options.packs.empty())
      throw Error(Code::invalid_argument,
                  fmt::format("{} is a pack of kernels for GPUs; a context of the CPU has no use for it",
                              options.packs.front()));
    if (device.ordinal != 0)
      throw Error(Code::invalid_argument,
                  fmt::format("there is one CPU device, 0; {} was asked for", device.ordinal));
    return cpu::make_backend(options.kernels);
  }
  if (options.kernels == Kernels::definition)
    throw Error(Code::refused,
                "the definition runs on the CPU only; take Device::cpu() for it, or Kernels::fastest here");
  return cuda::make_backend(device.ordinal, options.packs);
}

const ForwardProblem& forward_of(const ForwardProblem& p) { return p; }
const ForwardProblem& forward_of(const BackwardProblem& p) { return p.forward; }

void check_device(const Tensor& q, Device device) {
  if (q.device != device)
    throw Error(Code::invalid_problem,
                "the problem's tensors lie on another device than the context's; bring them together");
}

template <class Problem>
std::shared_ptr<const BackendPlan> decide(const Backend& backend, Device device, const Problem& p) {
  const Sizes sizes = validate(p);
  check_device(forward_of(p).q, device);
  return backend.plan(p, sizes);
}

template <class Problem>
Plan make_plan(const Backend& backend, Device device, const Problem& p) {
  KnownPrograms programs(forward_of(p));
  const Signature s = signature(p, programs);
  return Plan(std::make_shared<Plan::Impl>(std::move(programs), s, device, decide(backend, device, p)));
}

// A call may only run what was planned, in memory that is large enough.
template <class Problem>
const BackendPlan& checked(const Plan& plan, const Problem& p, Device device, Workspace workspace,
                           Stream stream) {
  const Plan::Impl& planned = plan.impl();
  if (planned.device != device)
    throw Error(Code::invalid_argument, "the plan was made by a context of another device");
  if (!(signature(p, planned.programs) == planned.signature))
    throw Error(Code::invalid_argument,
                "the problem does not match the plan: shapes, strides, types, alignment, layouts or programs "
                "differ; plan it anew");
  const std::size_t needed = planned.backend->workspace_bytes;
  if (workspace.bytes < needed || (needed && !workspace.data))
    throw Error(Code::invalid_argument, fmt::format("the workspace has {} bytes, the plan needs {}",
                                                    workspace.data ? workspace.bytes : 0, needed));
  if (reinterpret_cast<std::uintptr_t>(workspace.data) % 256 != 0 && needed)
    throw Error(Code::invalid_argument, "the workspace must be aligned to 256 bytes");
  if (stream.handle && device.kind == Device::Kind::cpu)
    throw Error(Code::invalid_argument,
                "a stream was given, but the context's device is the CPU, which has none");
  return *planned.backend;
}

template <class Problem>
Explanation explain_on(const Backend& backend, Device device, const Problem& p) {
  Explanation e;
  try {
    const auto plan = decide(backend, device, p);
    e.served = true;
    e.path = plan->path;
    e.workspace_bytes = plan->workspace_bytes;
    e.details = plan->details;
  } catch (const Error& error) {
    e.refusal = error.what();
    e.code = error.code();
  }
  return e;
}

}  // namespace

std::size_t Plan::workspace_bytes() const { return impl_->backend->workspace_bytes; }
const std::string& Plan::path() const { return impl_->backend->path; }

std::string Explanation::text() const {
  if (!served) return fmt::format("refused: {}\n", refusal);
  std::string text = fmt::format("path: {}\nworkspace: {} bytes\n", path, workspace_bytes);
  for (const auto& [name, value] : details) text += fmt::format("{}: {}\n", name, value);
  return text;
}

Context::Context(Device device, const ContextOptions& options)
    : impl_(std::make_shared<Impl>(device, backend_for(device, options))) {}
Device Context::device() const { return impl_->device; }

Plan Context::plan(const ForwardProblem& p) const { return make_plan(*impl_->backend, impl_->device, p); }
Plan Context::plan(const BackwardProblem& p) const { return make_plan(*impl_->backend, impl_->device, p); }

void Context::forward(const Plan& plan, const ForwardProblem& p, Workspace workspace, Stream stream) const {
  impl_->backend->forward(checked(plan, p, impl_->device, workspace, stream), p, workspace, stream);
}
void Context::backward(const Plan& plan, const BackwardProblem& p, Workspace workspace, Stream stream) const {
  impl_->backend->backward(checked(plan, p, impl_->device, workspace, stream), p, workspace, stream);
}

void Context::merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out,
                    const Tensor& lse, Stream stream) const {
  validate_merge(outs, lses, out, lse, impl_->device);
  impl_->backend->merge(outs, lses, out, lse, stream);
}

Explanation Context::explain(const ForwardProblem& p) const {
  return explain_on(*impl_->backend, impl_->device, p);
}
Explanation Context::explain(const BackwardProblem& p) const {
  return explain_on(*impl_->backend, impl_->device, p);
}

}  // namespace bolide
