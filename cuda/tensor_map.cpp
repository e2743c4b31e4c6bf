// The rules of cuTensorMapEncodeTiled (CUDA driver API, "Tensor Map Object Management"), checked before the
// driver is asked.
#include "cuda/tensor_map.hpp"

#include <fmt/format.h>

#include <bolide/error.hpp>

namespace bolide::cuda {
namespace {

unsigned element_bytes(TensorMapType type) {
  switch (type) {
    case TensorMapType::u8: return 1;
    case TensorMapType::f16:
    case TensorMapType::bf16: return 2;
    case TensorMapType::i32:
    case TensorMapType::f32: return 4;
  }
  return 0;
}

}  // namespace

std::string why_no_tensor_map(const TensorMapShape& s) {
  if (s.rank < 1 || s.rank > 5) return fmt::format("a tensor map has 1 to 5 dimensions, not {}", s.rank);
  if (reinterpret_cast<std::uintptr_t>(s.address) % 16 != 0 || !s.address)
    return fmt::format("TMA reads from addresses that are multiples of 16, not from {}", s.address);
  for (int i = 0; i < s.rank; ++i) {
    if (s.sizes[i] < 1 || s.sizes[i] > 1ull << 32)
      return fmt::format("dimension {} has {} elements; TMA takes 1 to 2^32", i, s.sizes[i]);
    if (s.box[i] < 1 || s.box[i] > 256)
      return fmt::format("dimension {} of the box is {}; TMA takes 1 to 256", i, s.box[i]);
  }
  for (int i = 0; i + 1 < s.rank; ++i)
    if (s.strides_bytes[i] % 16 != 0 || s.strides_bytes[i] >= 1ull << 40)
      return fmt::format("dimension {} has a stride of {} bytes; TMA takes multiples of 16 below 2^40", i + 1,
                         s.strides_bytes[i]);
  const unsigned row = s.box[0] * element_bytes(s.type);
  if (row % 16 != 0) return fmt::format("the box's rows have {} bytes; TMA takes multiples of 16", row);
  const unsigned swizzle = s.swizzle == TensorMapSwizzle::none ? 0 : 16u << static_cast<int>(s.swizzle);
  if (swizzle > 0 && row > swizzle)
    return fmt::format("the box's rows have {} bytes; a swizzle of {} bytes takes no more", row, swizzle);
  return "";
}

TensorMap make_tensor_map(const Driver& driver, const TensorMapShape& s) {
  if (const std::string why = why_no_tensor_map(s); !why.empty()) throw Error(Code::refused, why);
  constexpr int kNoInterleave = 0, kFillWithZeros = 0;
  const unsigned ones[5] = {1, 1, 1, 1, 1};
  TensorMap map;
  driver.call(driver.entries().encode_tiled, -1, &map, s.type, static_cast<unsigned>(s.rank),
              const_cast<void*>(s.address), s.sizes.data(), s.strides_bytes.data(), s.box.data(), ones,
              kNoInterleave, s.swizzle, TensorMapPromotion::bytes256, kFillWithZeros);
  return map;
}

}  // namespace bolide::cuda
