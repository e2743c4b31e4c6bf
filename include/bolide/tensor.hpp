// A tensor is a view: where the elements are, their type, shape and strides. It owns nothing.
#pragma once
#include <array>
#include <bolide/dtype.hpp>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>

namespace bolide {

/// Where memory lives and work runs.
struct Device {
  enum class Kind : std::uint8_t { cpu, cuda };
  Kind kind = Kind::cpu;
  int ordinal = 0;  ///< the CUDA device's number; 0 for the CPU

  static constexpr Device cpu() { return {}; }
  static constexpr Device cuda(int ordinal) { return {Kind::cuda, ordinal}; }
  friend constexpr bool operator==(const Device&, const Device&) = default;
};

inline constexpr int kMaxRank = 8;

/// Sizes or strides, at most kMaxRank of them, in elements.
class Dims {
 public:
  constexpr Dims() = default;
  constexpr Dims(std::initializer_list<std::int64_t> values)
      : Dims(std::span(values.begin(), values.size())) {}
  /// Throws Error{invalid_argument} for more than kMaxRank values.
  constexpr explicit Dims(std::span<const std::int64_t> values) {
    if (values.size() > kMaxRank) refuse_rank(values.size());
    for (std::int64_t v : values) values_[rank_++] = v;
  }
  constexpr int rank() const { return rank_; }
  constexpr std::int64_t& operator[](int i) { return values_[i]; }
  constexpr std::int64_t operator[](int i) const { return values_[i]; }
  constexpr const std::int64_t* begin() const { return values_.data(); }
  constexpr const std::int64_t* end() const { return values_.data() + rank_; }
  friend constexpr bool operator==(const Dims&, const Dims&) = default;

 private:
  [[noreturn]] static void refuse_rank(std::size_t rank);
  std::array<std::int64_t, kMaxRank> values_{};
  int rank_ = 0;
};

/// The strides of a row-major tensor without gaps.
constexpr Dims contiguous_strides(const Dims& shape) {
  Dims strides = shape;
  std::int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) strides[i] = step, step *= shape[i];
  return strides;
}

/// A view of elements that the caller owns. A default-constructed Tensor is absent: optional arguments test
/// it with `if (t)`. Inputs are never written through the view, whatever the constness of the pointer it was
/// made from.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  Dims shape, strides;  ///< in elements; strides may be 0 or negative in inputs (contract C16)
  Device device;
  bool present = false;

  constexpr Tensor() = default;
  Tensor(const void* data, DType dtype, const Dims& shape, const Dims& strides, Device device = {})
      : data(const_cast<void*>(data)),
        dtype(dtype),
        shape(shape),
        strides(strides),
        device(device),
        present(true) {}
  /// A row-major tensor without gaps.
  Tensor(const void* data, DType dtype, const Dims& shape, Device device = {})
      : Tensor(data, dtype, shape, contiguous_strides(shape), device) {}
  /// The element type from the pointer: Tensor(q.data(), {batch, rows, heads, head_dim}).
  template <class T>
  requires(!std::is_void_v<T> && dtype_of<T> >= DType::f64)
      Tensor(const T* data, const Dims& shape, Device device = {})
      : Tensor(data, dtype_of<T>, shape, device) {}

  explicit operator bool() const { return present; }
  int rank() const { return shape.rank(); }
  std::int64_t size(int i) const { return shape[i]; }
  /// Number of elements.
  std::int64_t count() const {
    std::int64_t n = 1;
    for (std::int64_t s : shape) n *= s;
    return n;
  }
  /// The element's address in elements from data. Ranks must agree; indices are the caller's promise.
  template <class... Index>
  std::int64_t offset(Index... index) const {
    std::int64_t at = 0;
    int axis = 0;
    ((at += static_cast<std::int64_t>(index) * strides[axis++]), ...);
    return at;
  }
  /// The same elements with two axes exchanged: a [batch, heads, rows, dim] tensor from a [batch, rows,
  /// heads, dim] one.
  Tensor transposed(int a, int b) const {
    Tensor t = *this;
    std::swap(t.shape[a], t.shape[b]);
    std::swap(t.strides[a], t.strides[b]);
    return t;
  }
};

}  // namespace bolide
