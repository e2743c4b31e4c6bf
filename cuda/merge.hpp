// Merging results on a GPU.
#pragma once
#include <bolide/tensor.hpp>
#include <span>

#include "cuda/kernel.hpp"
#include "device/work.hpp"

namespace bolide::cuda {

/// The parameters of a merge that was validated. Throws Error{refused} for more than kMostMergeParts parts.
device::MergeParams merge_params(std::span<const Tensor> outs, std::span<const Tensor> lses,
                                 const Tensor& out, const Tensor& lse);
/// Puts the merge on the stream; nothing if there are no rows.
void launch_merge(const Kernel& kernel, const device::MergeParams& params, StreamHandle stream);

}  // namespace bolide::cuda
