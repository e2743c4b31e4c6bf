// How far a result is from the values expected of it.
#pragma once
#include <bolide/tensor.hpp>

namespace bolide::cli {

struct Comparison {
  std::int64_t elements = 0;
  std::int64_t mismatched_nonfinite = 0;  ///< NaN or infinity on one side, something else on the other
  double max_abs = 0;                     ///< largest difference; infinite if anything mismatched
  double rmse = 0;            ///< root mean square difference of the elements finite on both sides
  double rounding_floor = 0;  ///< the RMSE that rounding exact values to the coarser of the two types makes
  Dims worst;                 ///< index of the largest difference
  double got = 0, expected = 0;  ///< there

  double floors() const { return rounding_floor > 0 ? rmse / rounding_floor : 0; }
};

/// Throws Error{invalid_problem} if the shapes differ.
Comparison compare(const Tensor& got, const Tensor& expected);

}  // namespace bolide::cli
