// out = sum_i w_i out_i / sum_i w_i with w_i = exp(lse_i), in float64.
#include "cpu/merge.hpp"

#include <cmath>
#include <limits>

#include "cpu/elements.hpp"
#include "cpu/rows.hpp"

namespace bolide::cpu {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// One part that is not empty has weight exp(0) = 1 exactly, so that its bits come back (contract C9).
void merge_row(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out,
               const Tensor& lse, Slot slot, std::int64_t head) {
  double max = -kInf;
  for (const Tensor& part : lses) {
    const double l = number_at(part, number_offset(part, slot, head));
    if (!(l <= max)) max = l;  // a NaN stays
    if (std::isnan(max)) break;
  }
  const std::int64_t head_dim_v = out.size(out.rank() - 1);
  double weights = 0;
  for (const Tensor& part : lses) {
    const double l = number_at(part, number_offset(part, slot, head));
    if (l != -kInf) weights += std::exp(l - max);
  }
  for (std::int64_t d = 0; d < head_dim_v; ++d) {
    double sum = -0.0, x;  // adds to nothing, not even to a -0
    for (std::size_t i = 0; i < outs.size(); ++i) {
      const double l = number_at(lses[i], number_offset(lses[i], slot, head));
      if (l == -kInf) continue;
      load_row(outs[i], row_offset(outs[i], slot, head) + d, {&x, 1});
      sum += std::exp(l - max) * x;
    }
    x = weights == 0 ? 0 : sum / weights;
    store_row(out, row_offset(out, slot, head) + d, {&x, 1});
  }
  number_at(lse, number_offset(lse, slot, head)) =
      static_cast<float>(weights == 0   ? -kInf
                         : weights == 1 ? max
                                        : max + std::log(weights));
}

}  // namespace

void merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out, const Tensor& lse) {
  const bool packed = out.rank() == 3;
  const std::int64_t outer = packed ? 1 : out.size(0), inner = out.size(out.rank() - 3),
                     heads = out.size(out.rank() - 2);
#pragma omp parallel for collapse(3)
  for (std::int64_t b = 0; b < outer; ++b)
    for (std::int64_t i = 0; i < inner; ++i)
      for (std::int64_t h = 0; h < heads; ++h) merge_row(outs, lses, out, lse, {b, i}, h);
}

}  // namespace bolide::cpu
