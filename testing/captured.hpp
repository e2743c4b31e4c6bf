// Captured tensors of a case: `let doc=runs(skv)` says shape, type and contents.
#pragma once
#include <bolide/tensor.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace bolide::testing {

/// The sizes that shapes may name: b, h (query heads), hkv, sq, skv, d, and n, the larger of sq and skv.
struct ShapeNames {
  std::int64_t b, h, hkv, sq, skv, d;
};

/// What stands right of `let name=`, understood.
struct Generator {
  enum Kind : std::uint8_t {
    integer,
    floating,
    runs,
    randint,
    randn,
    uniform,
    randbool,
    arange,
    steps,
    slopes,
    file
  } kind = integer;
  double low = 0, high = 0;        ///< bounds, or the number itself
  std::vector<std::string> shape;  ///< as written: "skv+1"
  DType dtype = DType::i32;
  std::string path;

  bool is_tensor() const { return kind != integer && kind != floating; }
  Dims dims(const ShapeNames&) const;
  /// Writes the elements of a host tensor of shape dims().
  void fill(const Tensor&, std::uint64_t seed) const;
};

/// Throws Error{invalid_argument} that names the let, the text and what is allowed.
Generator parse_generator(std::string_view name, std::string_view text);

}  // namespace bolide::testing
