// What is compiled for a forward call: the translation unit and the name of each kernel.
#pragma once
#include <vector>

#include "jit/kernel.hpp"
#include "plan/forward_gpu.hpp"
#include "program/emit.hpp"

namespace bolide::cuda {

/// The attention kernel of a configuration, with the mask and score compiled in.
jit::KernelSpec forward_spec(const device::FwdConfig& config, const program::Emitted& program);
/// The same in float32 without tensor cores; pieces is head_dim_v / 32, rounded up to a power
/// of two.
jit::KernelSpec plain_spec(int pieces, const program::Emitted& program);
/// The one of the two that a plan chose.
jit::KernelSpec main_spec(const ForwardChoice& choice, const program::Emitted& program);
/// Counts the tiles of packed queries and zeroes the work counter; with ranges it finds those of captured
/// tensors too.
jit::KernelSpec prepare_spec(bool ranges);
/// Merges the partial results of splits into out of this type.
jit::KernelSpec combine_spec(device::Element out);

/// Merges results of any types and strides: Context::merge.
jit::KernelSpec merge_spec();
/// All kernels of a plan, in this order: the attention kernel, fwd_prepare where something must be known
/// first, fwd_combine where keys are split.
std::vector<jit::KernelSpec> specs_of(const ForwardChoice& choice, const program::Emitted& program,
                                      DType out);

/// Every kernel that a forward call with this program may use: generated from what plans can choose, so that
/// nothing explain() names is left out.
std::vector<jit::KernelSpec> every_configuration(const program::Emitted& program);

}  // namespace bolide::cuda
