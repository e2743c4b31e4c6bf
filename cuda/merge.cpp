// From tensors to the parameters of a merge.
#include "cuda/merge.hpp"

#include <bolide/error.hpp>

#include <fmt/core.h>

#include <algorithm>

#include "plan/forward_gpu.hpp"

namespace bolide::cuda {
namespace {

device::MergePart part_of(const Tensor& out, const Tensor& lse) {
  const int i = out.rank() - 3, h = lse.rank() - 2;
  return {.out = {out.data, i == 1 ? out.strides[0] : 0, out.strides[i], out.strides[i + 1]},
          .type = element_of(out.dtype),
          .lse = static_cast<float*>(lse.data),
          .lse_batch_stride = h == 1 ? lse.strides[0] : 0,
          .lse_head_stride = lse.strides[h],
          .lse_row_stride = lse.strides[h + 1]};
}

}  // namespace

device::MergeParams merge_params(std::span<const Tensor> outs, std::span<const Tensor> lses,
                                 const Tensor& out, const Tensor& lse) {
  if (outs.size() > device::kMostMergeParts)
    throw Error(Code::refused,
                fmt::format("there are {} parts to merge; a launch serves up to {}: merge them "
                            "in groups, into float32",
                            outs.size(), device::kMostMergeParts));
  device::MergeParams p{};
  p.out = part_of(out, lse);
  p.num_parts = static_cast<int>(outs.size());
  for (std::size_t i = 0; i < outs.size(); ++i) p.parts[i] = part_of(outs[i], lses[i]);
  const int rank = out.rank();
  const std::int64_t sizes[] = {rank == 4 ? out.size(0) : 1, out.size(rank - 2), out.size(rank - 3)};
  for (const std::int64_t n : sizes)
    if (n > INT32_MAX)
      throw Error(Code::refused,
                  fmt::format("out has {} rows, heads or batch entries; a GPU merges up to 2^31 - 1", n));
  p.batch = static_cast<int>(sizes[0]), p.heads = static_cast<int>(sizes[1]),
  p.rows = static_cast<int>(sizes[2]), p.head_dim_v = static_cast<int>(out.size(rank - 1));
  return p;
}

void launch_merge(const Kernel& kernel, const device::MergeParams& p, StreamHandle stream) {
  constexpr std::int64_t kRowsPerBlock = 4, kMostBlocks = 1 << 20;
  const std::int64_t rows = std::int64_t{p.batch} * p.heads * p.rows;
  const std::int64_t blocks = std::min((rows + kRowsPerBlock - 1) / kRowsPerBlock, kMostBlocks);
  kernel({.grid = {static_cast<unsigned>(blocks), 1, 1}, .block = {128, 1, 1}}, stream, p);
}

}  // namespace bolide::cuda
