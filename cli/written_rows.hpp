// How much of a running call is done, seen from its results.
#pragma once
#include <bolide/tensor.hpp>
#include <functional>
#include <vector>

namespace bolide::cli {

// Both give the share of rows written so far, of a sample, while another thread computes them. Only for a
// progress bar: the looks are unsynchronised (single aligned words) and decide nothing. The memory must hold
// all bits set before the call.

/// Of lse, among the rows that see a key (row_logs, as VisiblePairs has them): those no longer -inf.
std::function<double()> share_of_lse_written(const Tensor& lse, const std::vector<float>& row_logs);

/// Of a gradient without gaps in memory: those whose first element is no longer 0.
std::function<double()> share_of_gradient_written(const Tensor& gradient);

}  // namespace bolide::cli
