// A result against the reference: first the pattern of what is not finite, then values within the contract's
// budgets.
#pragma once
#include <string>
#include <vector>

#include "testing/reference.hpp"

namespace bolide::testing {

/// How far one tensor is from the float64 result, and how far that result rounded to its type is: the floor.
struct Distance {
  double error2 = 0, floor2 = 0;  ///< sums of squares
  std::int64_t count = 0;         ///< elements
  Distance& operator+=(const Distance& other);
  /// Root mean square error over that of the floor; 0 when both vanish, infinity when only the floor does.
  double ratio() const;
};

/// Empty sentences mean agreement. Each names the tensor, the worst element's index, both values and the
/// budget.
struct Comparison {
  std::string failure;
  Distance distance;
};

/// Who added the products of a score up. Tensor cores truncate: adding 16 products to a sum keeps 26 bits
/// of each term, counted from the largest one's first, and 24 of the result.
enum class Sums { rounded, truncated };

/// out: f32 by relative L2 error, 16-bit by RMSE over floor for one problem, else 2 ulp of each row's
/// maximum. Rows whose lse is -inf must be +0, every bit. An f32 out of 16-bit inputs has the 16-bit budget:
/// matrix units take probabilities rounded to the type of v.
Comparison compare_out(const Tensor& out, const Reference&, DType inputs = DType::f32);
/// The contract's budget; where sums are truncated, its term in q and k 1 + head_dim / 32 times.
Comparison compare_lse(const Tensor& lse, const Reference&, Sums sums = Sums::rounded,
                       std::int64_t head_dim = 0);
/// dq, dk or dv: twice out's budgets beyond `slack`, what the rounding of the stored out and lse explains.
/// Zero where the reference has no term at all.
Comparison compare_gradient(const char* name, const Tensor& gradient, const Values& want,
                            const Values& slack);
/// The count test's run (contract C17): q = 0, v one-hot. `counts` are sums of v over visible keys.
std::string compare_counts(const Tensor& out, const Tensor& lse, const Reference&,
                           const std::vector<testing::Sequence>&, const Visibility&);
/// Two results that must have the same bits.
std::string compare_bits(const char* name, const Tensor& a, const Tensor& b, const char* why);

/// Distances of one kind of problem pooled over many, for the budget of large samples (contract, budgets).
/// The elements of a row share the rounding of its probabilities: 16,384 are but 128 rows of 128, and scatter
/// by 2 %.
inline constexpr double kPooledRatio = 1.45, kProblemRatio = 2.5;
inline constexpr std::int64_t kPooledElements = 65536;

}  // namespace bolide::testing
