// Sizes of tensors with checked arithmetic, and their elements in row-major order.
#include "files/elements.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>

namespace bolide::files {

std::optional<std::uint64_t> checked_bytes(std::span<const std::int64_t> shape,
                                           std::uint64_t bits_per_element) {
  std::uint64_t bits = bits_per_element;
  bool is_empty = false;
  for (std::int64_t size : shape) {
    is_empty |= size == 0;
    if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1)), &bits))
      return {};
  }
  if (is_empty) return 0;
  if (bits % 8 != 0) return {};
  return bits / 8;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::int64_t size : shape) text += fmt::format("{}{}", text.size() > 1 ? ", " : "", size);
  return text + "]";
}

std::uint64_t require_writable(const std::string& path, const std::string& what, const Tensor& tensor) {
  const auto refuse = [&](const std::string& sentence) {
    throw Error(Code::invalid_argument, fmt::format("'{}': {} {}", printable(path, 1000), what, sentence));
  };
  if (!tensor) refuse("is absent; only tensors that are present can be written");
  if (tensor.device.kind != Device::Kind::cpu)
    refuse("lies on a CUDA device; copy it to the host before writing");
  const std::span<const std::int64_t> shape(tensor.shape.begin(), tensor.shape.end());
  const bool is_negative =
      std::any_of(shape.begin(), shape.end(), [](std::int64_t size) { return size < 0; });
  const auto bytes = is_negative ? std::nullopt : checked_bytes(shape, 8u * size_of(tensor.dtype));
  if (!bytes)
    refuse(fmt::format("has shape {}; sizes must be at least 0 and their product below 2^60",
                       shape_text(shape)));
  if (*bytes > 0 && tensor.data == nullptr) refuse(fmt::format("has {} bytes at a null address", *bytes));
  return *bytes;
}

namespace {

// Writes `count` elements that lie `stride` elements apart.
void write_run(OutputFile& file, const std::byte* first, std::int64_t count, std::int64_t stride,
               DType dtype) {
  const int element_bytes = size_of(dtype);
  if (dtype == DType::boolean) {  // a bool byte other than 0 and 1 would make a file that nobody may read
    for (std::int64_t i = 0; i < count; ++i) {
      const std::byte value{static_cast<unsigned char>(first[i * stride] != std::byte{0})};
      file.write(std::span(&value, 1));
    }
  } else if (stride == 1) {
    file.write(std::span(first, static_cast<std::size_t>(count * element_bytes)));
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      file.write(std::span(first + i * stride * element_bytes, static_cast<std::size_t>(element_bytes)));
    }
  }
}

}  // namespace

void write_elements(OutputFile& file, const Tensor& tensor) {
  const auto* data = static_cast<const std::byte*>(tensor.data);
  const int rank = tensor.rank();
  if (tensor.count() == 0) return;
  // The trailing axes that lie without gaps are one run; an odometer steps over the others.
  int outer_rank = rank;
  std::int64_t run = 1;
  while (outer_rank > 0 && (tensor.size(outer_rank - 1) == 1 || tensor.strides[outer_rank - 1] == run)) {
    run *= tensor.size(--outer_rank);
  }
  std::int64_t stride = 1;
  if (run == 1 && outer_rank > 0) {  // the last axis has gaps: it becomes the run
    --outer_rank;
    run = tensor.size(outer_rank), stride = tensor.strides[outer_rank];
  }
  std::array<std::int64_t, kMaxRank> index{};
  for (;;) {
    std::int64_t at = 0;
    for (int axis = 0; axis < outer_rank; ++axis) at += index[axis] * tensor.strides[axis];
    write_run(file, data + at * size_of(tensor.dtype), run, stride, tensor.dtype);
    int axis = outer_rank - 1;
    while (axis >= 0 && ++index[axis] == tensor.size(axis)) index[axis--] = 0;
    if (axis < 0) return;
  }
}

}  // namespace bolide::files
