// What a launch carries for an emitted program: its parameters as bytes, and room for the ranges of its
// tables.
#include <algorithm>
#include <cstring>

#include "device/program.cuh"
#include "program/emit.hpp"

namespace bolide::program {

TensorArg tensor_arg(const Tensor& t) {
  TensorArg arg{t.count() > 0 ? t.data : nullptr, {}, {}};
  for (int axis = 0; axis < t.rank(); ++axis) {
    arg.strides[axis] = t.strides[axis];
    arg.sizes[axis] = static_cast<int>(t.shape[axis]);
  }
  return arg;
}

namespace {
std::int64_t matrices_of(const Tensor& t, const RangedTable& table) {
  std::int64_t matrices = 1;
  for (int axis = 0; axis < t.rank(); ++axis)
    if (axis != table.row_axis && axis != table.column_axis) matrices *= t.shape[axis];
  return matrices;
}
}  // namespace

std::size_t range_bytes(const Tensor& t, const RangedTable& table) {
  const RangeLayout layout = range_layout(tensor_arg(t), table.row_axis, table.column_axis);
  const bool wide = t.dtype == DType::i64 || t.dtype == DType::u32;
  const std::size_t entry = t.dtype == DType::boolean ? sizeof(Extremes<bool>)
                            : wide                    ? sizeof(Extremes<long long>)
                                                      : sizeof(Extremes<int>);
  return static_cast<std::size_t>(matrices_of(t, table) * layout.entries()) * entry;
}

int range_units(const Tensor& t, const RangedTable& table) {
  const RangeLayout layout = range_layout(tensor_arg(t), table.row_axis, table.column_axis);
  return static_cast<int>(matrices_of(t, table) * layout.row_blocks() * layout.coarse());
}

std::vector<std::size_t> range_offsets(const Emitted& e) {
  constexpr std::size_t kAlignment = 256, kMostBytes = std::size_t{1} << 31;
  std::vector<std::size_t> offsets{0};
  for (const RangedTable& table : e.ranges) {
    std::size_t bytes = range_bytes(e.tensors[table.tensor], table);
    if (offsets.size() > kMostRangedTables || bytes > kMostBytes) bytes = 0;
    offsets.push_back(offsets.back() + (bytes + kAlignment - 1) / kAlignment * kAlignment);
  }
  return offsets;
}

std::vector<std::byte> pack_params(const Emitted& e, std::span<const void* const> ranges) {
  std::vector<std::byte> bytes;
  const auto append = [&bytes](const void* data, std::size_t size, std::size_t at_least) {
    const std::size_t at = (bytes.size() + 7) / 8 * 8;
    bytes.resize(at + std::max(size, at_least));
    if (size) std::memcpy(bytes.data() + at, data, size);
  };
  std::vector<TensorArg> tensors;
  for (const Tensor& t : e.tensors) tensors.push_back(tensor_arg(t));
  append(ranges.data(), ranges.size_bytes(), std::max<std::size_t>(e.ranges.size(), 1) * sizeof(void*));
  append(e.ints.data(), e.ints.size() * sizeof(long long), sizeof(long long));
  append(e.floats.data(), e.floats.size() * sizeof(float), sizeof(float));
  append(tensors.data(), tensors.size() * sizeof(TensorArg), sizeof(TensorArg));
  return bytes;
}

}  // namespace bolide::program
