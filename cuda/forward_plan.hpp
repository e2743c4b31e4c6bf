// A forward call's plan on a GPU: the kernels and all that shapes decide, so that a call only fills in
// parameters.
#pragma once
#include <memory>

#include "cuda/forward_kernels.hpp"
#include "cuda/kernel.hpp"
#include "cuda/tensor_map.hpp"
#include "device/table_ranges.cuh"
#include "plan/backend.hpp"
#include "plan/forward_gpu.hpp"

namespace bolide::cuda {

/// What mask and score carry to the device.
struct ProgramData {
  std::vector<std::byte> params;     ///< Program::Params; pointers to ranges are filled in by each call
  RangeTasks ranges{};               ///< tables whose extremes are found first; `ranges` are offsets
  std::vector<std::size_t> offsets;  ///< of each table's ranges, and their end
  bool gathers = false;              ///< the mask reads captured tensors
  std::uint64_t text = 0;            ///< of the emitted text: what the kernel is compiled from
};
ProgramData program_data(const program::Emitted& emitted);

struct ForwardPlan : BackendPlan {
  ForwardChoice choice;
  std::shared_ptr<const Kernel> main, prepare, combine;  ///< prepare and combine only where they run
  // Of the problem that was planned: a call with the same tensors and programs takes them from here.
  const void* addresses[3] = {};  ///< of q, k, v
  device::TensorMap maps[3]{};    ///< copy engine only
  Mask mask;
  Score score;
  ProgramData program;
  // For tests.
  TileOptions tiles = {};
  device::TileCounts* tile_counts = nullptr;  ///< with tiles.counts: device memory that calls add to
};

/// The parameters of a call; tensor maps are left out. Starts outside the kernels' reach are Error{refused}.
device::FwdParams forward_params(const ForwardProblem&, const Sizes&, const ForwardChoice&, void* workspace);
/// How the copy engine sees q, k or v.
device::TensorMap tensor_map(const DeviceContext&, const ForwardChoice&, const Tensor&, bool is_query);

/// Puts the plan's kernels on the stream. No allocation, no synchronisation.
void launch_forward(const DeviceContext&, const ForwardPlan&, const ForwardProblem&, void* workspace,
                    StreamHandle);

}  // namespace bolide::cuda
