// Elements and shapes of host tensors, as the command reads and shows them.
#pragma once
#include <bolide/tensor.hpp>
#include <string>

namespace bolide::cli {

/// One index per axis.
using Index = Dims;

/// Calls visit(index) for each element of the shape, row-major.
template <class Visit>
void for_each_element(const Dims& shape, Visit visit) {
  Index at = shape;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] <= 0) return;
    at[i] = 0;
  }
  for (;;) {
    visit(static_cast<const Index&>(at));
    int axis = shape.rank() - 1;
    while (axis >= 0 && ++at[axis] == shape[axis]) at[axis--] = 0;
    if (axis < 0) return;
  }
}

/// The element as a double; exact but for 64-bit integers beyond 2^53.
double number_at(const Tensor& tensor, const Index& at);
/// The element of a tensor of integers or bools.
std::int64_t integer_at(const Tensor& tensor, const Index& at);

/// "[2, 128, 8, 64]"
std::string shape_text(const Dims& shape);
/// "bf16 [2, 128, 8, 64]"
std::string describe(const Tensor& tensor);

}  // namespace bolide::cli
