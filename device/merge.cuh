// Merges results over disjoint sets of keys of the same queries, of any types and strides: Context::merge.
#pragma once
#include "softmax.cuh"

namespace bolide::device {

BOLIDE_DEVICE float load_element(const void* data, Element type, i64 at) {
  if (type == Element::f32) return static_cast<const float*>(data)[at];
  const u16 x = static_cast<const u16*>(data)[at];
  return type == Element::f16 ? Type16<Element::f16>::to_float(x) : Type16<Element::bf16>::to_float(x);
}
BOLIDE_DEVICE void store_element(void* data, Element type, i64 at, float x) {
  if (type == Element::f32) static_cast<float*>(data)[at] = x;
  else
    static_cast<u16*>(data)[at] = static_cast<u16>(
        type == Element::f16 ? Type16<Element::f16>::pack(x, 0.f) : Type16<Element::bf16>::pack(x, 0.f));
}

// A warp a row. out may be a part's out, and lse its lse: each lane reads what it overwrites, and all lanes
// have read the lses before one writes. One part that is not empty has weight 1, so that its bits come back
// (contract C9): sums start with -0, which adds to nothing.
__global__ void __launch_bounds__(128) merge(const __grid_constant__ MergeParams p) {
  const int lane = threadIdx.x % 32;
  const i64 rows = static_cast<i64>(p.batch) * p.rows * p.heads;
  for (i64 index = static_cast<i64>(blockIdx.x) * 4 + threadIdx.x / 32; index < rows;
       index += gridDim.x * 4ll) {
    const int head = index % p.heads, row = index / p.heads % p.rows, batch = index / p.heads / p.rows;
    const auto lse_of = [&](const MergePart& part) {
      return part
          .lse[batch * part.lse_batch_stride + head * part.lse_head_stride + row * part.lse_row_stride];
    };
    const auto at = [&](const View& v) {
      return batch * v.batch_stride + row * v.row_stride + head * v.head_stride;
    };
    float top = kNegInf, sum = 0.f;
    for (int i = 0; i < p.num_parts; ++i) {
      const float l = lse_of(p.parts[i]);
      if (!(l <= top)) top = l;  // a NaN stays
      if (top != top) break;
    }
    for (int i = 0; i < p.num_parts; ++i) {
      const float l = lse_of(p.parts[i]);
      if (l != kNegInf) sum += expf(l - top);
    }
    const float lse = sum == 0.f ? kNegInf : sum == 1.f ? top : top + logf(sum);
    for (int col = lane; col < p.head_dim_v; col += 32) {
      float x = -0.f;
      for (int i = 0; i < p.num_parts; ++i) {
        const MergePart& part = p.parts[i];
        const float l = lse_of(part);
        if (l != kNegInf) x += expf(l - top) * load_element(part.out.data, part.type, at(part.out) + col);
      }
      store_element(p.out.out.data, p.out.type, at(p.out.out) + col, sum == 0.f ? 0.f : x / sum);
    }
    __syncwarp();
    if (lane == 0)
      p.out.lse[batch * p.out.lse_batch_stride + head * p.out.lse_head_stride + row * p.out.lse_row_stride] =
          lse;
  }
}

}  // namespace bolide::device
