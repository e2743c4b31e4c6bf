// Tensor maps: how TMA sees a tensor in global memory, and the rules it sets.
#pragma once
#include <array>
#include <string>

#include "cuda/driver.hpp"

namespace bolide::cuda {

/// A tensor of up to 5 dimensions, innermost first, and the box of it that one copy brings.
struct TensorMapShape {
  const void* address = nullptr;
  TensorMapType type = TensorMapType::bf16;
  int rank = 0;
  std::array<std::uint64_t, 5> sizes{};          ///< elements
  std::array<std::uint64_t, 4> strides_bytes{};  ///< of dimensions 1 to rank - 1; dimension 0 is contiguous
  std::array<unsigned, 5> box{};                 ///< elements
  TensorMapSwizzle swizzle = TensorMapSwizzle::bytes128;
};

/// Empty if TMA can read the tensor so, else the rule that it breaks, as a sentence. What lies outside the
/// tensor is read as zero.
std::string why_no_tensor_map(const TensorMapShape& shape);

/// Throws Error{refused} with why_no_tensor_map's sentence, Error{device} if the driver refuses all the same.
/// Host work only, about a microsecond; a context must be current.
TensorMap make_tensor_map(const Driver& driver, const TensorMapShape& shape);

}  // namespace bolide::cuda
