// Integers with the language's meaning and no library behind them: a lambda of the catalogue over these is
// the reference that its program is compared with.
#pragma once
#include <algorithm>
#include <bolide/expr.hpp>

namespace bolide::testing {

struct Plain {
  std::int64_t v;
  Plain(std::int64_t value) : v(value) {}
  Plain(int value) : v(value) {}
  operator IntExpr() const { return IntExpr(v); }  ///< beside leaves such as len_q

  friend Plain operator+(Plain a, Plain b) { return a.v + b.v; }
  friend Plain operator-(Plain a, Plain b) { return a.v - b.v; }
  friend Plain operator*(Plain a, Plain b) { return a.v * b.v; }
  friend Plain floor_div(Plain a, Plain b) { return a.v >= 0 ? a.v / b.v : -((b.v - 1 - a.v) / b.v); }
  friend Plain operator%(Plain a, Plain b) { return (a.v % b.v + b.v) % b.v; }
  friend Plain operator&(Plain a, Plain b) { return a.v & b.v; }
  friend Plain operator|(Plain a, Plain b) { return a.v | b.v; }
  friend Plain operator^(Plain a, Plain b) { return a.v ^ b.v; }
  friend Plain operator>>(Plain a, Plain b) { return a.v >> b.v; }
  friend Plain abs(Plain a) { return a.v < 0 ? -a.v : a.v; }
  friend Plain clamp(Plain a, Plain low, Plain high) { return std::clamp(a.v, low.v, high.v); }
  friend bool operator==(Plain a, Plain b) { return a.v == b.v; }
  friend bool operator!=(Plain a, Plain b) { return a.v != b.v; }
  friend bool operator<(Plain a, Plain b) { return a.v < b.v; }
  friend bool operator<=(Plain a, Plain b) { return a.v <= b.v; }
  friend bool operator>(Plain a, Plain b) { return a.v > b.v; }
  friend bool operator>=(Plain a, Plain b) { return a.v >= b.v; }
};

/// A contiguous captured table that expressions gather from and plain integers read.
template <class Expressions>
class PlainTable {
 public:
  PlainTable(const Tensor& tensor, const Expressions& expressions)
      : tensor_(tensor), expressions_(expressions) {}
  template <class... Index>
  auto operator()(const Index&... indices) const {
    if constexpr ((std::same_as<Index, Plain> || ...)) return read({Plain(indices).v...});
    else return expressions_(indices...);
  }
  template <class Index>
  auto operator[](const Index& index) const {
    return (*this)(index);
  }

 private:
  auto read(std::initializer_list<std::int64_t> indices) const {
    std::int64_t at = 0;
    int axis = 0;
    for (const std::int64_t i : indices) {
      const std::int64_t size = tensor_.shape[axis++];
      at = at * size + std::max<std::int64_t>(0, std::min(i, size - 1));
    }
    if constexpr (std::same_as<Expressions, BoolTable>)
      return static_cast<const std::uint8_t*>(tensor_.data)[at] != 0;
    else if (tensor_.dtype == DType::u32)
      return Plain(std::int64_t{static_cast<const std::uint32_t*>(tensor_.data)[at]});
    else return Plain(std::int64_t{static_cast<const std::int32_t*>(tensor_.data)[at]});
  }

  Tensor tensor_;
  Expressions expressions_;
};

}  // namespace bolide::testing
