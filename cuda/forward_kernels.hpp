// What is compiled for a forward call: the translation unit and the name of each kernel.
#pragma once
#include <vector>

#include "device/work.hpp"
#include "jit/kernel.hpp"
#include "program/emit.hpp"

namespace bolide::cuda {

/// The attention kernel of a configuration, with the mask and score compiled in.
jit::KernelSpec forward_spec(const device::FwdConfig& config, const program::Emitted& program);
/// Counts the tiles of packed queries.
jit::KernelSpec prepare_spec();
/// Merges the partial results of splits into out of this type.
jit::KernelSpec combine_spec(device::Element out);

/// Every kernel that a forward call with this program may use: generated from what plans can choose, so that
/// nothing explain() names is left out.
std::vector<jit::KernelSpec> every_configuration(const program::Emitted& program);

}  // namespace bolide::cuda
