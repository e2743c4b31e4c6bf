// Partial results over disjoint sets of keys, combined.
#pragma once
#include <bolide/tensor.hpp>
#include <span>

namespace bolide::cpu {

/// Contract C9; shapes as Context::merge describes, already validated.
void merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out, const Tensor& lse);

}  // namespace bolide::cpu
