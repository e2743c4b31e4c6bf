// SHA-256 (FIPS 180-4): the digests that name and guard cached kernels.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace bolide::jit {

using Digest = std::array<std::uint8_t, 32>;

/// The SHA-256 of any bytes.
Digest sha256(std::string_view bytes);

/// Lower-case hexadecimal, 64 characters.
std::string hex(const Digest& digest);

}  // namespace bolide::jit
