// fwd_combine merges the partial results of splits after a forward kernel, by programmatic dependent launch.
#pragma once
#include "epilogue.cuh"

namespace bolide::device {

// A warp a row. Splits that saw nothing are stepped over, so that merging with them changes no bit (contract
// C9).
template <Element out_type>
__global__ void __launch_bounds__(128) fwd_combine(const __grid_constant__ CombineParams p) {
  ptx::griddepcontrol_wait();
  const int lane = threadIdx.x % 32;
  const i64 rows = static_cast<i64>(p.batch) * p.rows * p.heads,
            index = static_cast<i64>(blockIdx.x) * 4 + threadIdx.x / 32;
  if (index >= rows) return;
  const int head = index % p.heads, row = index / p.heads % p.rows, batch = index / p.heads / p.rows;

  const i64 lse_step = static_cast<i64>(p.batch) * p.heads * p.rows, out_step = rows * p.head_dim_v;
  const float* tops = p.partial_lse + (static_cast<i64>(batch) * p.heads + head) * p.rows + row;
  const auto top = [&](int split) { return tops[2 * split * lse_step]; };
  const auto log_sum = [&](int split) { return tops[(2 * split + 1) * lse_step]; };
  const bool in_use = log_sum(0) != kOutOfUse;

  // Weights are relative to one split's, the first of those with the greatest lse.
  float most = kNegInf;
  int reference = 0x7fffffff;
  bool nan = false;
  for (int s = lane; s < p.num_splits; s += 32) {
    const float lse = top(s) + log_sum(s);
    nan |= lse != lse;
    if (lse > most) most = lse, reference = s;
  }
#pragma unroll
  for (int step = 16; step; step /= 2) {
    const float other = __shfl_xor_sync(~0u, most, step);
    const int split = __shfl_xor_sync(~0u, reference, step);
    if (other > most || (other == most && split < reference)) most = other, reference = split;
  }
  const bool any = most != kNegInf;
  const float base = any ? top(reference) : 0.f, base_log = any ? log_sum(reference) : 0.f;
  const auto weight = [&](int split) {
    return top(split) == kNegInf ? 0.f : expf((top(split) - base) + (log_sum(split) - base_log));
  };
  float sum = 0.f;
  for (int s = 0; s < p.num_splits; ++s) sum += weight(s);  // in order, by every lane alike
  float lse = sum == 0.f ? kNegInf : base + (base_log + logf(sum)), norm = sum == 0.f ? 0.f : 1.f / sum;
  if (__any_sync(~0u, nan)) lse = norm = __int_as_float(0x7fffffff);
  if (!in_use) lse = kNegInf, norm = 0.f;
  else if (p.sinks) norm *= join_sink(lse, p.sinks[head]);

  const float* parts = p.partial_out + index * p.head_dim_v;
  const i64 out = batch * p.out.batch_stride + row * p.out.row_stride + head * p.out.head_stride;
  for (int col = lane; col < p.head_dim_v; col += 32) {
    float x = 0.f;
    for (int s = 0; s < p.num_splits; ++s)
      if (top(s) != kNegInf) x += weight(s) * parts[s * out_step + col];
    x = in_use ? x * norm : 0.f;
    if constexpr (out_type == Element::f32) static_cast<float*>(p.out.data)[out + col] = x;
    else static_cast<u16*>(p.out.data)[out + col] = static_cast<u16>(Type16<out_type>::pack(x, 0.f));
  }
  if (lane == 0 && p.lse)
    p.lse[batch * p.lse_batch_stride + head * p.lse_head_stride + row * p.lse_row_stride] = lse;
}

}  // namespace bolide::device
