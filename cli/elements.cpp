// Reads single elements of tensors, and shows types and shapes.
#include "cli/elements.hpp"

#include <fmt/core.h>

#include "testing/elements.hpp"

namespace bolide::cli {
namespace {

std::int64_t offset_of(const Tensor& tensor, const Index& at) {
  std::int64_t offset = 0;
  for (int i = 0; i < at.rank(); ++i) offset += at[i] * tensor.strides[i];
  return offset;
}

}  // namespace

double number_at(const Tensor& tensor, const Index& at) {
  return testing::load(tensor, offset_of(tensor, at));
}

std::int64_t integer_at(const Tensor& tensor, const Index& at) {
  return testing::load_integer(tensor, offset_of(tensor, at));
}

std::string shape_text(const Dims& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return text + "]";
}

std::string describe(const Tensor& tensor) {
  return fmt::format("{} {}", name_of(tensor.dtype), shape_text(tensor.shape));
}

}  // namespace bolide::cli
