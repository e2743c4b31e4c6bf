// How many (query, key) pairs a problem computes: what its time is to be judged by.
#pragma once
#include <bolide/context.hpp>
#include <vector>

namespace bolide::cli {

struct VisiblePairs {
  std::int64_t pairs = 0;       ///< visible (query, key) pairs, summed over sequences and query heads
  std::vector<float> row_logs;  ///< shape of lse: the logarithm of each row's visible keys, -inf for none
};

/// Counts by attention itself (contract C17): with q = 0, head_dim 1 and no score program, lse is the
/// logarithm of the number of visible keys. Costs about 1 / head_dim of the problem, more where the mask is
/// costly.
VisiblePairs count_visible_pairs(const Context& context, const ForwardProblem& problem);

/// FLOPs by the field's convention: two for each multiplication and addition of the two (backward: five)
/// matrix products over the visible pairs; softmax and programs are not counted.
double forward_flops(const ForwardProblem& problem, std::int64_t pairs);
double backward_flops(const ForwardProblem& problem, std::int64_t pairs);

/// Memory for one call of a plan.
class WorkspaceMemory {
 public:
  explicit WorkspaceMemory(std::size_t bytes);
  ~WorkspaceMemory();
  WorkspaceMemory(const WorkspaceMemory&) = delete;
  WorkspaceMemory& operator=(const WorkspaceMemory&) = delete;
  Workspace get() const { return {data_, bytes_}; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace bolide::cli
