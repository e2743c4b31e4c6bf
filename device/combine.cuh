// The small kernels around a forward kernel: fwd_prepare counts the query tiles of packed sequences before
// it, fwd_combine merges the partial results of splits after it. Both sit next to it by programmatic
// dependent launch.
#pragma once
#include "epilogue.cuh"

namespace bolide::device {

// One block of 1024 threads: tile_offsets[b] = query tiles before sequence b, for b = 0 .. batch + 1 (number
// batch is the rows behind the last sequence), by prefix sums of 1024 sequences at a time.
__global__ void __launch_bounds__(1024, 1) fwd_prepare(const __grid_constant__ PrepareParams p) {
  __shared__ int warp_sums[32];
  __shared__ int before;
  const int thread = threadIdx.x, lane = thread % 32;
  if (thread == 0) {
    before = 0;
    if (p.next_work) *p.next_work = 0;
  }
  __syncthreads();
  ptx::griddepcontrol_launch_dependents();
  if (!p.tile_offsets) return;
  for (int first = 0; first <= p.batch; first += 1024) {
    const int b = first + thread;
    int sum = b <= p.batch ? ceil_div(packed_rows(p.query, p.batch, b).rows, p.tile_q) : 0;
    const int own = sum;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int left = __shfl_up_sync(~0u, sum, step);
      if (lane >= step) sum += left;
    }
    if (lane == 31) warp_sums[thread / 32] = sum;
    __syncthreads();
    int offset = before;
    for (int i = 0; i < thread / 32; ++i) offset += warp_sums[i];
    if (b <= p.batch) {
      p.tile_offsets[b] = offset + sum - own;
      if (b == p.batch) p.tile_offsets[b + 1] = offset + sum;
    }
    __syncthreads();
    if (thread == 1023) before = offset + sum;
    __syncthreads();
  }
}

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

  const float* lses = p.partial_lse + (static_cast<i64>(batch) * p.heads + head) * p.rows + row;
  const i64 lse_step = static_cast<i64>(p.batch) * p.heads * p.rows, out_step = rows * p.head_dim_v;
  float top = kNegInf, sum = 0.f;
  bool nan = false;
  for (int s = lane; s < p.num_splits; s += 32) {
    const float x = lses[s * lse_step];
    top = fmaxf(top, x), nan |= x != x;
  }
#pragma unroll
  for (int step = 16; step; step /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, step));
  const float base = top == kNegInf ? 0.f : top;
  for (int s = 0; s < p.num_splits; ++s)
    sum += expf(lses[s * lse_step] - base);  // in order, by every lane alike
  float lse = sum == 0.f ? kNegInf : base + logf(sum), norm = sum == 0.f ? 0.f : 1.f / sum;
  if (__any_sync(~0u, nan)) lse = norm = __int_as_float(0x7fffffff);
  const bool in_use = top != kOutOfUse;
  if (!in_use) lse = kNegInf, norm = 0.f;
  else if (p.sinks) norm *= join_sink(lse, p.sinks[head]);

  const float* parts = p.partial_out + index * p.head_dim_v;
  const i64 out = batch * p.out.batch_stride + row * p.out.row_stride + head * p.out.head_stride;
  for (int col = lane; col < p.head_dim_v; col += 32) {
    float x = 0.f;
    for (int s = 0; s < p.num_splits; ++s) {
      const float part = lses[s * lse_step];
      if (part != kNegInf) x += expf(part - base) * parts[s * out_step + col];
    }
    x = in_use ? x * norm : 0.f;
    if constexpr (out_type == Element::f32) static_cast<float*>(p.out.data)[out + col] = x;
    else static_cast<u16*>(p.out.data)[out + col] = static_cast<u16>(Type16<out_type>::pack(x, 0.f));
  }
  if (lane == 0 && p.lse)
    p.lse[batch * p.lse_batch_stride + head * p.lse_head_stride + row * p.lse_row_stride] = lse;
}

}  // namespace bolide::device
