// Sizes of tensors with checked arithmetic, and their elements in row-major order.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "files/output_file.hpp"

namespace bolide::files {

/// The bytes of a tensor of this shape, or nothing when they, or the strides of the shape (which do not
/// vanish with a size of 0), do not fit in 63 bits, or when they are no whole number of bytes.
std::optional<std::uint64_t> checked_bytes(std::span<const std::int64_t> shape,
                                           std::uint64_t bits_per_element);

/// "[2, 3]"
std::string shape_text(std::span<const std::int64_t> shape);

/// Throws Error{invalid_argument} unless the tensor is present, on the host and of a possible shape. `what`
/// names it in the message. Returns its size in bytes.
std::uint64_t require_writable(const std::string& path, const std::string& what, const Tensor& tensor);

/// Writes the elements row-major; bool elements as 0 or 1.
void write_elements(OutputFile& file, const Tensor& tensor);

}  // namespace bolide::files
