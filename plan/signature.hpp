// What a plan depends on, as one number: shapes, strides, types, alignment, layouts, scale, programs'
// structure. Lengths, tables' contents, captured contents and numbers are not part of it.
#pragma once
#include <bolide/problem.hpp>

namespace bolide {

/// 128 bits; equal for problems that one plan serves. No allocation.
struct Signature {
  std::uint64_t lo = 0x243f6a8885a308d3, hi = 0x13198a2e03707344;
  friend bool operator==(const Signature&, const Signature&) = default;
};
Signature signature(const ForwardProblem&);
Signature signature(const BackwardProblem&);

}  // namespace bolide
