// Compares two tensors element by element.
#include "cli/compare.hpp"

#include <fmt/core.h>
#include <bolide/error.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "cli/elements.hpp"
#include "testing/elements.hpp"

namespace bolide::cli {

Comparison compare(const Tensor& got, const Tensor& expected) {
  if (got.shape != expected.shape)
    throw Error(Code::invalid_problem,
                fmt::format("the result has shape {}, the expected tensor {}; they must be equal",
                            shape_text(got.shape), shape_text(expected.shape)));
  Comparison c;
  double squares = 0, floor_squares = 0;
  std::int64_t finite = 0;
  for_each_element(got.shape, [&](const Index& at) {
    const double a = number_at(got, at), b = number_at(expected, at);
    ++c.elements;
    double difference = std::fabs(a - b);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      const bool same = (std::isnan(a) && std::isnan(b)) || a == b;
      c.mismatched_nonfinite += !same;
      difference = same ? 0 : std::numeric_limits<double>::infinity();
    } else {
      ++finite;
      squares += difference * difference;
      // An error uniform within half a spacing has the variance spacing^2 / 12.
      const double step = std::max(testing::ulp(got.dtype, b), testing::ulp(expected.dtype, b));
      floor_squares += step * step / 12;
    }
    if (difference > c.max_abs || c.elements == 1)
      c.max_abs = difference, c.worst = at, c.got = a, c.expected = b;
  });
  if (finite > 0) c.rmse = std::sqrt(squares / finite), c.rounding_floor = std::sqrt(floor_squares / finite);
  return c;
}

}  // namespace bolide::cli
