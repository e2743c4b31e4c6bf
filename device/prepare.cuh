// What must be known before a forward kernel runs and only the device can tell: fwd_prepare counts the query
// tiles of packed sequences and zeroes the work counter (prepare_ranges.cuh: and finds the extremes of
// captured tensors). It sits before the kernel by programmatic dependent launch.
#pragma once
#include "schedule.cuh"

namespace bolide::device {

// tile_offsets[b] = query tiles before sequence b, for b = 0 .. batch + 1 (number batch is the rows behind
// the last sequence), by prefix sums of 1024 sequences at a time.
BOLIDE_DEVICE void count_query_tiles(const PrepareParams& p) {
  __shared__ u32 warp_sums[32];
  __shared__ u32 before;  // at most most_tiles, which no sum of 1024 sequences takes beyond 32 bits
  const int thread = threadIdx.x, lane = thread % 32;
  if (thread == 0) before = 0;
  __syncthreads();
  for (int first = 0; first <= p.batch; first += 1024) {
    const int b = first + thread;
    u32 sum = b <= p.batch ? ceil_div(packed_rows(p.query, p.batch, b).rows, p.tile_q) : 0;
    const u32 own = sum;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const u32 left = __shfl_up_sync(~0u, sum, step);
      if (lane >= step) sum += left;
    }
    if (lane == 31) warp_sums[thread / 32] = sum;
    __syncthreads();
    u32 offset = before;
    for (int i = 0; i < thread / 32; ++i) offset += warp_sums[i];
    if (b <= p.batch) {
      p.tile_offsets[b] = min(offset + sum - own, p.most_tiles);
      if (b == p.batch) p.tile_offsets[b + 1] = min(offset + sum, p.most_tiles);
    }
    __syncthreads();
    if (thread == 1023) before = min(offset + sum, p.most_tiles);
    __syncthreads();
  }
}

BOLIDE_DEVICE void prepare_work(const PrepareParams& p) {
  if (threadIdx.x == 0 && p.next_work) *p.next_work = 0;
  if (p.tile_offsets) count_query_tiles(p);
}

// One block of 1024 threads, or of a warp without tile_offsets.
__global__ void __launch_bounds__(1024, 1) fwd_prepare(const __grid_constant__ PrepareParams p) {
  ptx::griddepcontrol_launch_dependents();
  ptx::griddepcontrol_wait();
  prepare_work(p);
}

}  // namespace bolide::device
