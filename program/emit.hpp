// CUDA text of a mask and a score: the point functions and the tile classifier, numbers left as parameters.
#pragma once
#include <cstddef>
#include <span>

#include "program/classes.hpp"
#include "program/node.hpp"

namespace bolide {
struct TensorArg;
}

namespace bolide::program {

/// A captured tensor read by indices of which one or two move within a tile (device/table_ranges.cuh).
struct RangedTable {
  int tensor = 0;                       ///< in Emitted::tensors
  int row_axis = -1, column_axis = -1;  ///< those that move; row_axis -1: only one does
  friend bool operator==(const RangedTable&, const RangedTable&) = default;
};

/// A translation unit's `struct Program`, standing on device/program.cuh (which it includes), with static
/// functions mask, score, its faster forms (kForm; along; before, core and after) and classify. `text` is the
/// same for all tensor contents and, but for the few that emit() names, for all numbers, so that changing one
/// recompiles nothing; `hash` is of the text.
struct Emitted {
  std::string text;
  std::uint64_t hash = 0;
  std::vector<std::int64_t> ints;
  std::vector<float> floats;
  std::vector<Tensor> tensors;
  std::vector<RangedTable> ranges;  ///< what the classifier asks for ranges
  std::vector<int> unranged;        ///< in tensors: what it reads by more than two indices that move
};

/// Integer values are 32-bit where that provably gives what 64 bits would, for positions and lengths within
/// +-2^29, batch below 2^29, heads below 2^20, and numbers of up to 2^20 (larger ones are a different text,
/// as are factors around a score beyond 2^-40 to 2^40, or behind all of it below 0). Throws Error{refused}
/// for a captured tensor with an axis of 2^31 or more.
Emitted emit(const Mask& mask, const Score& score, const TileOptions& tiles = {});

/// The bytes of Program::Params. The classifier knows nothing of the tables whose ranges are null here; they
/// begin with Program::Params, in the order of Emitted::ranges.
std::vector<std::byte> pack_params(const Emitted& e, std::span<const void* const> ranges = {});

/// A captured tensor as kernels take it.
TensorArg tensor_arg(const Tensor& t);
/// Bytes that the ranges of a table take.
std::size_t range_bytes(const Tensor& tensor, const RangedTable& table);
/// Blocks of threads that find them.
int range_units(const Tensor& tensor, const RangedTable& table);
/// Where the ranges of each table begin when they lie together, and, last, where they end. The classifier
/// does without those of more than kMostRangedTables tables, and of one whose ranges exceed 2^30 entries.
std::vector<std::size_t> range_offsets(const Emitted& e);
inline constexpr int kMostRangedTables = 8;

}  // namespace bolide::program
