// Rows of any floating type as doubles, and back with one rounding (contract C1).
#pragma once
#include <bolide/tensor.hpp>

#include <algorithm>

namespace bolide::cpu {

/// Calls f with a pointer of t's element type: with_elements(t, [&](auto* x) { ... }). t is f32, f16 or bf16.
template <class F>
void with_elements(const Tensor& t, F&& f) {
  switch (t.dtype) {
    case DType::f16: return f(static_cast<f16*>(t.data));
    case DType::bf16: return f(static_cast<bf16*>(t.data));
    default: return f(static_cast<float*>(t.data));
  }
}

/// row[i] = element `offset + i` of t, whose last dimension is contiguous.
inline void load_row(const Tensor& t, std::int64_t offset, std::span<double> row) {
  with_elements(t, [&](auto* x) {
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(x[offset + i]);
  });
}

/// The reverse; rounded to nearest, ties to even.
inline void store_row(const Tensor& t, std::int64_t offset, std::span<const double> row) {
  with_elements(t, [&](auto* x) {
    using T = std::remove_pointer_t<decltype(x)>;
    for (std::size_t i = 0; i < row.size(); ++i) x[offset + i] = T(row[i]);
  });
}

inline float& number_at(const Tensor& t, std::int64_t offset) { return static_cast<float*>(t.data)[offset]; }

/// Writes one value to every element of t, whatever its strides.
inline void fill(const Tensor& t, double value) {
  const int last = t.rank() - 1;
  const std::int64_t columns = last < 0 ? 1 : t.shape[last], step = last < 0 ? 1 : t.strides[last];
  with_elements(t, [&](auto* x) {
    const std::remove_pointer_t<decltype(x)> element(value);
    std::int64_t index[kMaxRank] = {}, offset = 0;
    for (std::int64_t n = t.count(); n > 0; n -= columns) {
      if (step == 1) std::fill_n(x + offset, columns, element);
      else
        for (std::int64_t i = 0; i < columns; ++i) x[offset + i * step] = element;
      for (int axis = last - 1; axis >= 0; --axis) {  // an odometer: the last dimension but one turns fastest
        offset += t.strides[axis];
        if (++index[axis] < t.shape[axis]) break;
        offset -= t.strides[axis] * t.shape[axis];
        index[axis] = 0;
      }
    }
  });
}

}  // namespace bolide::cpu
