// fwd_prepare where captured tensors are read too: it finds their extremes beside. In a file of its own,
// since those who need no ranges need not wait for its eleven types to compile.
#pragma once
#include "prepare.cuh"
#include "table_ranges.cuh"

namespace bolide::device {

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

// fwd_prepare, and a block for every unit of a table behind the first one.
__global__ void __launch_bounds__(1024, 1)
    fwd_prepare_ranges(const __grid_constant__ PrepareParams p, const __grid_constant__ RangeTasks ranges) {
  ptx::griddepcontrol_launch_dependents();
  ptx::griddepcontrol_wait();
  if (blockIdx.x == 0) return prepare_work(p);
  int unit = blockIdx.x - 1;
  for (int i = 0; i < ranges.count; unit -= ranges.tasks[i++].units)
    if (unit < ranges.tasks[i].units) return find_extremes(ranges.tasks[i], unit);
}

}  // namespace bolide::device
