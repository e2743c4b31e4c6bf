// The definition of attention in bolide: every other path is compared with this one.
#pragma once
#include "plan/backend.hpp"

namespace bolide::cpu {

/// Bytes that one thread needs beside the programs' own scratch; see naive.cpp.
struct NaivePlan : BackendPlan {
  int threads = 1;
  std::size_t thread_bytes = 0, shared_bytes = 0;
};

/// out and lse of the problem in float64, rounded once (contract C1). Threads share the rows; each writes its
/// own.
void naive_forward(const NaivePlan&, const ForwardProblem&, Workspace);
/// dq, dk, dv and dcaptured in float64, rounded once. Recomputes what it needs: of forward.out and
/// forward.lse it reads nothing.
void naive_backward(const NaivePlan&, const BackwardProblem&, Workspace);

/// What the two need; throws nothing but what programs that the CPU cannot evaluate make it throw.
std::shared_ptr<const NaivePlan> plan_naive(const ForwardProblem&, const Sizes&);
std::shared_ptr<const NaivePlan> plan_naive(const BackwardProblem&, const Sizes&);

}  // namespace bolide::cpu
