// The budgets, and the sentences that say which one was exceeded where.
#include "testing/compare.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "testing/elements.hpp"

namespace bolide::testing {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kFloatBudget = 2e-6;

std::string index_text(const Dims& shape, std::int64_t flat) {
  std::vector<std::int64_t> index(static_cast<std::size_t>(shape.rank()));
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index[static_cast<std::size_t>(axis)] = flat % shape[axis];
    flat /= shape[axis];
  }
  return fmt::format("[{}]", fmt::join(index, ", "));
}

std::vector<double> elements(const Tensor& t) {
  std::vector<double> out;
  out.reserve(static_cast<std::size_t>(t.count()));
  for_each_offset(t, [&](std::int64_t at) { out.push_back(load(t, at)); });
  return out;
}

bool same_pattern(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return true;
}

std::string at_element(const char* name, const Tensor& t, std::int64_t i, double got, double want) {
  return fmt::format("{}{} is {:.9g}, the reference has {:.9g}", name, index_text(t.shape, i), got, want);
}

// Rows that the reference did not look at, by their place in a tensor; none if empty.
using Skipped = std::vector<std::uint8_t>;
bool is_skipped(const Skipped& skipped, const Tensor& t, std::size_t element, bool rows) {
  return !skipped.empty() &&
         skipped[rows ? element / static_cast<std::size_t>(t.shape[t.rank() - 1]) : element];
}

// The first element whose kind (finite, +inf, -inf, NaN) is not the reference's, rounded to the tensor's
// type.
std::string compare_pattern(const char* name, const Tensor& t, const std::vector<double>& got,
                            const std::vector<double>& want, const Skipped& skipped = {}, bool rows = true) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (!is_skipped(skipped, t, i, rows) && !same_pattern(got[i], rounded(t.dtype, want[i])))
      return at_element(name, t, static_cast<std::int64_t>(i), got[i], want[i]) +
             ": one of them is not finite";
  return {};
}

struct Errors {
  Distance distance;
  double norm2 = 0;         // of the reference
  double worst_in_ulp = 0;  // of the row's maximum
  std::int64_t worst = 0;   // element
};

// Errors beyond `slack` (null: none), element by element, rows along the last axis. The maximum of a row of
// few columns may be far below what was added up: there `reach` (null: want) is what errors compare with.
Errors measure(const Tensor& t, const std::vector<double>& got, const std::vector<double>& want,
               const double* slack, const double* reach, const Skipped& skipped = {}) {
  constexpr std::int64_t kFewColumns = 8;
  Errors e;
  const std::int64_t columns = t.rank() ? t.shape[t.rank() - 1] : 1;
  const double* sizes = reach && columns < kFewColumns ? reach : want.data();
  for (std::size_t i = 0; i < got.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(columns) * static_cast<std::size_t>(columns);
    static thread_local double most;
    if (i == row) {
      most = 0;
      for (std::size_t c = row; c < row + static_cast<std::size_t>(columns); ++c)
        if (std::isfinite(want[c])) most = std::max(most, std::abs(sizes[c]));
    }
    const double target = rounded(t.dtype, want[i]);
    if (!std::isfinite(target) || is_skipped(skipped, t, i, true)) continue;
    const double error = std::max(0.0, std::abs(got[i] - want[i]) - (slack ? slack[i] : 0));
    e.distance.error2 += error * error;
    e.distance.floor2 += (target - want[i]) * (target - want[i]);
    ++e.distance.count;
    e.norm2 += want[i] * want[i];
    const double in_ulp = error / ulp(t.dtype, most);
    if (in_ulp > e.worst_in_ulp) e.worst_in_ulp = in_ulp, e.worst = static_cast<std::int64_t>(i);
  }
  return e;
}

// `factor` times out's budgets.
std::string judge(const char* name, const Tensor& t, const Errors& e, const std::vector<double>& got,
                  const std::vector<double>& want, double factor) {
  if (e.worst_in_ulp <= 2 * factor) return {};
  const auto i = static_cast<std::size_t>(e.worst);
  if (t.dtype == DType::f32) {
    const double relative = std::sqrt(e.distance.error2 / e.norm2);
    if (relative <= factor * kFloatBudget) return {};
    return fmt::format(
        "{}: relative L2 error {:.3g} of {} (budget {:.3g}); the worst is {:.3g} ulp of its row's maximum "
        "away",
        at_element(name, t, e.worst, got[i], want[i]), relative, name, factor * kFloatBudget, e.worst_in_ulp);
  }
  const double ratio = e.distance.ratio();
  if (ratio <= factor * kProblemRatio) return {};
  return fmt::format(
      "{}: RMSE of {} is {:.3g} times the rounding floor (budget {:.3g}); the worst is {:.3g} ulp of its "
      "row's "
      "maximum away",
      at_element(name, t, e.worst, got[i], want[i]), name, ratio, factor * kProblemRatio, e.worst_in_ulp);
}

// Rows that see nothing, and rows that no sequence uses (contract C8, C11): +0, every bit.
std::string compare_empty_rows(const Tensor& out, const Reference& r) {
  const int rank = out.rank();
  const std::int64_t heads = out.shape[rank - 2], inner = out.shape[rank == 4 ? 1 : 0],
                     outer = rank == 4 ? out.shape[0] : 1;
  Values lse = r.lse;
  for (std::int64_t b = 0; b < outer; ++b)
    for (std::int64_t s = 0; s < inner; ++s)
      for (std::int64_t h = 0; h < heads; ++h) {
        if (lse.number({b, s}, h) != -kInf) continue;
        for (std::int64_t c = 0; c < out.shape[rank - 1]; ++c) {
          const double x = load(out, row_at(out, b, s, h) + c);
          if (x != 0 || std::signbit(x))
            return fmt::format(
                "out of batch entry {} row {} head {} column {} is {}; nothing is visible there, so it must "
                "be +0",
                b, s, h, c, x);
        }
      }
  return {};
}

}  // namespace

Distance& Distance::operator+=(const Distance& other) {
  error2 += other.error2, floor2 += other.floor2, count += other.count;
  return *this;
}
double Distance::ratio() const { return error2 == 0 ? 0 : floor2 == 0 ? kInf : std::sqrt(error2 / floor2); }

Comparison compare_out(const Tensor& out, const Reference& r, DType inputs) {
  const std::vector<double> got = elements(out);
  Comparison c;
  c.failure = compare_pattern("out", out, got, r.out.data, r.skipped_out);
  if (c.failure.empty()) c.failure = compare_empty_rows(out, r);
  if (!c.failure.empty()) return c;
  Tensor precision = out;
  if (out.dtype == DType::f32) precision.dtype = inputs;
  const double* slack = r.declares ? r.out_slack.data.data() : nullptr;
  const Errors e = measure(precision, got, r.out.data, slack, r.out_reach.data.data(), r.skipped_out);
  c.distance = e.distance;
  c.failure = judge("out", precision, e, got, r.out.data, 1);
  return c;
}

Comparison compare_lse(const Tensor& lse, const Reference& r, Sums sums, std::int64_t head_dim) {
  // 26 bits of each of 17 terms, then 24 of the sum: up to 2.6 units of 2^-22 a step of 16 products, 0.4
  // seen.
  const double steps = sums == Sums::truncated ? 1 + static_cast<double>(head_dim) / 32 : 1;
  const std::vector<double> got = elements(lse);
  Comparison c;
  c.failure = compare_pattern("lse", lse, got, r.lse.data, r.skipped_lse, false);
  double worst = 1;
  for (std::size_t i = 0; i < got.size() && (c.failure.empty() || worst > 1); ++i) {
    const double want = r.lse.data[i];
    if (!std::isfinite(want)) continue;
    const double budget =
        std::max({kFloatBudget, 4 * ulp(DType::f32, want), steps * 0x1p-22 * r.lse_reach.data[i]});
    const double error = std::max(0.0, std::abs(got[i] - want) - (r.declares ? r.lse_slack.data[i] : 0));
    if (error <= worst * budget) continue;
    worst = error / budget;
    c.failure =
        fmt::format("{}: error {:.3g}, budget {:.3g}",
                    at_element("lse", lse, static_cast<std::int64_t>(i), got[i], want), error, budget);
  }
  return c;
}

Comparison compare_gradient(const char* name, const Tensor& t, const Values& want, const Values& slack) {
  const std::vector<double> got = elements(t);
  Comparison c;
  c.failure = compare_pattern(name, t, got, want.data);
  if (!c.failure.empty()) return c;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == 0 || want.data[i] != 0 || slack.data[i] != 0) continue;
    c.failure = at_element(name, t, static_cast<std::int64_t>(i), got[i], 0) +
                ": nothing contributes to it, so it must be 0";
    return c;
  }
  Tensor precision = t;
  if (t.dtype == DType::f64) precision.dtype = DType::f32;  // no back end promises more
  const Errors e = measure(precision, got, want.data, slack.data.data(), nullptr);
  c.distance = e.distance;
  c.failure = judge(name, precision, e, got, want.data, 2);
  return c;
}

std::string compare_counts(const Tensor& out, const Tensor& lse, const Reference& r,
                           const std::vector<testing::Sequence>& all, const Visibility& visible) {
  const std::int64_t heads = out.shape[out.rank() - 2];
  Values want = r.out;
  for (std::size_t b = 0; b < all.size(); ++b)
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::size_t entry = b * static_cast<std::size_t>(heads) + static_cast<std::size_t>(h);
      const std::int64_t len_kv = all[b].len_kv();
      for (std::size_t n = 0; n < visible.rows[entry].size(); ++n) {
        const std::int64_t i = visible.rows[entry][n];
        const auto begin = visible.seen[entry].begin() + static_cast<std::int64_t>(n) * len_kv;
        const auto count = static_cast<double>(std::count(begin, begin + len_kv, 1));
        const Place at = all[b].queries[static_cast<std::size_t>(i)];
        const double got = load(lse, number_at(lse, at.outer, at.inner, h)),
                     ln = count == 0 ? -kInf : std::log(count);
        if (!(got == ln || std::abs(got - ln) <= ulp(DType::f32, ln) + 1e-6))
          return fmt::format(
              "count test: sequence {} query {} head {} sees exp(lse) = {:.9g} keys, the mask shows it "
              "{:.0f}",
              b, i, h, std::exp(got), count);
        for (std::int64_t c = 0; count > 0 && c < out.shape[out.rank() - 1]; ++c) {
          const double keys = load(out, row_at(out, at.outer, at.inner, h) + c) * count,
                       expected = want.row(at, h)[c] * count;
          // Beyond 2^18 keys an f32 average cannot tell a key: a few roundings of 2^-24 of the count each.
          if (!(std::abs(keys - expected) < std::max(0.25, count * 0x1p-20)))
            return fmt::format(
                "count test: sequence {} query {} head {} column {} collects {:.3f} keys, the mask shows it "
                "{:.0f}",
                b, i, h, c, keys, expected);
        }
      }
    }
  return {};
}

std::string compare_bits(const char* name, const Tensor& a, const Tensor& b, const char* why) {
  const auto size = static_cast<std::int64_t>(size_of(a.dtype));
  std::int64_t i = 0, found = -1, found_at = 0;
  for_each_offset(a, [&](std::int64_t at) {
    if (found < 0 &&
        std::memcmp(static_cast<const std::byte*>(a.data) + at * size,
                    static_cast<const std::byte*>(b.data) + at * size, static_cast<std::size_t>(size)) != 0)
      found = i, found_at = at;
    ++i;
  });
  if (found < 0) return {};
  return fmt::format("{}{} is {:.9g} in one run and {:.9g} in another: {}", name, index_text(a.shape, found),
                     load(a, found_at), load(b, found_at), why);
}

}  // namespace bolide::testing
