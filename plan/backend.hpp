// What a back end answers: can you serve this problem and how, how much workspace, run it.
#pragma once
#include <bolide/context.hpp>

#include "problem/validate.hpp"

namespace bolide {

/// A back end's decision about one problem: everything that shapes and capacities determine. Immutable.
struct BackendPlan {
  std::string path;  ///< e.g. "cpu/naive"
  std::size_t workspace_bytes = 0;
  std::vector<std::pair<std::string, std::string>> details;  ///< for explain()
  Sizes sizes;
  virtual ~BackendPlan() = default;
};

/// One per device. plan() throws Error{refused} with a sentence for what the back end does not serve; it is
/// never given a problem that did not validate. The run functions get the plan that plan() made for a problem
/// with the same signature.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::shared_ptr<const BackendPlan> plan(const ForwardProblem&, const Sizes&) const = 0;
  virtual std::shared_ptr<const BackendPlan> plan(const BackwardProblem&, const Sizes&) const = 0;
  virtual void forward(const BackendPlan&, const ForwardProblem&, Workspace, Stream) const = 0;
  virtual void backward(const BackendPlan&, const BackwardProblem&, Workspace, Stream) const = 0;
  virtual void merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out,
                     const Tensor& lse, Stream) const = 0;
};

}  // namespace bolide
