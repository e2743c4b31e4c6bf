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

/// A problem's programs and their structure's hashes: expressions are immutable, so a call with the same
/// nodes need not walk them again (a window's walk is 0.6 us).
struct KnownPrograms {
  Mask mask;
  Score score;
  std::uint64_t mask_hash = 0, score_hash = 0;

  KnownPrograms() = default;
  explicit KnownPrograms(const ForwardProblem&);
};
Signature signature(const ForwardProblem&, const KnownPrograms& known = {});
Signature signature(const BackwardProblem&, const KnownPrograms& known = {});

}  // namespace bolide
