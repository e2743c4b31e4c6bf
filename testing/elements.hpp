// Elements of host tensors of any type and stride, one at a time.
#pragma once
#include <bolide/tensor.hpp>
#include <cstddef>

namespace bolide::testing {

/// The element at `at` (in elements from data) as a double; exact but for integers beyond 2^53.
double load(const Tensor& t, std::int64_t at);
/// The reverse, rounded once to nearest, ties to even.
void store(const Tensor& t, std::int64_t at, double value);
/// The element of a tensor of integers.
std::int64_t load_integer(const Tensor& t, std::int64_t at);
/// x rounded to the type.
double rounded(DType t, double x);
/// Distance of neighbouring values of the type at x.
double ulp(DType t, double x);

/// Calls visit(offset) for each element, row-major; offset in elements from data.
template <class Visit>
void for_each_offset(const Tensor& t, Visit visit) {
  std::int64_t index[kMaxRank] = {}, at = 0;
  for (std::int64_t left = t.count(); left > 0; --left) {
    visit(at);
    for (int axis = t.rank() - 1; axis >= 0; --axis) {
      at += t.strides[axis];
      if (++index[axis] < t.shape[axis]) break;
      at -= t.strides[axis] * t.shape[axis];
      index[axis] = 0;
    }
  }
}

/// Elements from data to row (outer, inner) of `head` of a row tensor: q, k, v, out and their gradients.
inline std::int64_t row_at(const Tensor& t, std::int64_t outer, std::int64_t inner, std::int64_t head) {
  return t.rank() == 4 ? t.offset(outer, inner, head) : t.offset(inner, head);
}
/// The same for lse and dlse.
inline std::int64_t number_at(const Tensor& t, std::int64_t outer, std::int64_t inner, std::int64_t head) {
  return t.rank() == 3 ? t.offset(outer, head, inner) : t.offset(head, inner);
}

}  // namespace bolide::testing
