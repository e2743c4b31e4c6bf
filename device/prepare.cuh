// What must be known before a forward kernel runs and only the device can tell: fwd_prepare counts the query
// tiles of packed sequences, zeroes the work counter, and finds the extremes of captured tensors. It sits
// before the kernel by programmatic dependent launch.
#pragma once
#include "schedule.cuh"
#include "table_ranges.cuh"

namespace bolide::device {

// tile_offsets[b] = query tiles before sequence b, for b = 0 .. batch + 1 (number batch is the rows behind
// the last sequence), by prefix sums of 1024 sequences at a time.
BOLIDE_DEVICE void count_query_tiles(const PrepareParams& p) {
  __shared__ int warp_sums[32];
  __shared__ int before;
  const int thread = threadIdx.x, lane = thread % 32;
  if (thread == 0) before = 0;
  __syncthreads();
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

template <class T>
BOLIDE_DEVICE Extremes<T> join_lanes(Extremes<T> e) {
#pragma unroll
  for (int step = 16; step; step /= 2)
    e = join(e, Extremes<T>{static_cast<T>(__shfl_xor_sync(~0u, e.lo, step)),
                            static_cast<T>(__shfl_xor_sync(~0u, e.hi, step))});
  return e;
}

// One unit of a table: its 64 fine blocks, a warp each, then the coarse one.
template <class Element, class T>
BOLIDE_DEVICE void find_extremes(const RangeTask& task, int unit) {
  constexpr int kFineBlocks = RangeLayout::kCoarse / RangeLayout::kFine;
  __shared__ Extremes<T> fine[kFineBlocks];
  const TensorArg& t = task.tensor;
  const RangeLayout layout = range_layout(t, task.row_axis, task.column_axis);
  const int coarse = static_cast<int>(layout.coarse()), row_blocks = static_cast<int>(layout.row_blocks());
  const int coarse_block = unit % coarse, row_block = unit / coarse % row_blocks;
  int matrix = unit / coarse / row_blocks;
  Extremes<T>* entries =
      static_cast<Extremes<T>*>(task.ranges) +
      (static_cast<i64>(matrix) * row_blocks + row_block) * (layout.fine() + layout.coarse());

  const i64 row_stride = task.row_axis < 0 ? 0 : t.strides[task.row_axis],
            column_stride = t.strides[task.column_axis];
  i64 offset = row_block * i64{RangeLayout::kRows} * row_stride;
  for (int axis = task.rank - 1; axis >= 0; --axis) {
    if (axis == task.row_axis || axis == task.column_axis) continue;
    offset += matrix % t.sizes[axis] * t.strides[axis];
    matrix /= t.sizes[axis];
  }
  const auto* data = static_cast<const Element*>(t.data) + offset;
  const int rows = min(RangeLayout::kRows, layout.rows - row_block * RangeLayout::kRows);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  for (int i = warp; i < kFineBlocks; i += warps) {
    const int block = coarse_block * kFineBlocks + i, column = block * RangeLayout::kFine;
    Extremes<T> e = no_extremes<T>();
    if (column < layout.columns)
      e = join_lanes(extremes_of<Element, T>(data + column * column_stride, row_stride, column_stride, rows,
                                             min(RangeLayout::kFine, layout.columns - column), lane, 32));
    if (lane == 0) {
      fine[i] = e;
      if (column < layout.columns) entries[block] = e;
    }
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  const Extremes<T> e = join_lanes(join(fine[lane], fine[lane + 32]));
  if (lane == 0) entries[layout.fine() + coarse_block] = e;
}

BOLIDE_DEVICE void find_extremes(const RangeTask& task, int unit) {
  switch (task.stored) {
    case Stored::f64: return find_extremes<double, float>(task, unit);
    case Stored::f32: return find_extremes<float, float>(task, unit);
    case Stored::f16: return find_extremes<F16, float>(task, unit);
    case Stored::bf16: return find_extremes<Bf16, float>(task, unit);
    case Stored::i64: return find_extremes<i64, i64>(task, unit);
    case Stored::i32: return find_extremes<int, int>(task, unit);
    case Stored::i16: return find_extremes<short, int>(task, unit);
    case Stored::i8: return find_extremes<signed char, int>(task, unit);
    case Stored::u32: return find_extremes<u32, i64>(task, unit);
    case Stored::u8: return find_extremes<u8, int>(task, unit);
    case Stored::boolean: return find_extremes<Bool8, bool>(task, unit);
  }
}

BOLIDE_DEVICE void prepare_work(const PrepareParams& p) {
  if (threadIdx.x == 0 && p.next_work) *p.next_work = 0;
  if (p.tile_offsets) count_query_tiles(p);
}

// One block of 1024 threads.
__global__ void __launch_bounds__(1024, 1) fwd_prepare(const __grid_constant__ PrepareParams p) {
  ptx::griddepcontrol_launch_dependents();
  prepare_work(p);
}

// The same, and a block for every unit of a table behind the first one. A kernel of its own, since those who
// need no ranges need not wait for its eleven types to compile.
__global__ void __launch_bounds__(1024, 1)
    fwd_prepare_ranges(const __grid_constant__ PrepareParams p, const __grid_constant__ RangeTasks ranges) {
  ptx::griddepcontrol_launch_dependents();
  if (blockIdx.x == 0) return prepare_work(p);
  int unit = blockIdx.x - 1;
  for (int i = 0; i < ranges.count; unit -= ranges.tasks[i++].units)
    if (unit < ranges.tasks[i].units) return find_extremes(ranges.tasks[i], unit);
}

}  // namespace bolide::device
