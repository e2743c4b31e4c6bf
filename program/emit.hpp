// CUDA text of a mask and a score: the point functions and the tile classifier, numbers left as parameters.
#pragma once
#include <cstddef>

#include "program/node.hpp"

namespace bolide::program {

/// A translation unit's `struct Program`, standing on device/program.cuh (which it includes), with static
/// functions mask, score and classify. `text` is the same for all numbers and tensor contents, so that
/// changing one recompiles nothing; `hash` is of the text.
struct Emitted {
  std::string text;
  std::uint64_t hash = 0;
  std::vector<std::int64_t> ints;
  std::vector<float> floats;
  std::vector<Tensor> tensors;
};

/// Integer values are 32-bit where that provably gives what 64 bits would, for positions and lengths within
/// +-2^29, batch below 2^29, heads below 2^20, and numbers of up to 2^20 (larger ones are a different text).
/// Throws Error{refused} for a captured tensor with an axis of 2^31 or more.
Emitted emit(const Mask& mask, const Score& score);

/// The bytes of Program::Params.
std::vector<std::byte> pack_params(const Emitted& e);

}  // namespace bolide::program
