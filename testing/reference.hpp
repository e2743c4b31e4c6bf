// The second opinion: attention with every matrix materialised, in float64, sharing no code with cpu/.
#pragma once
#include <bolide/problem.hpp>
#include <cstdint>
#include <vector>

#include "program/point.hpp"

namespace bolide::testing {

/// A row's place in a row tensor: batch entry or page, and row in it; packed tensors have one outer.
struct Place {
  std::int64_t outer = 0, inner = 0;
};

/// A sequence with its lengths, tables and positions resolved.
struct Sequence {
  std::int64_t query_start = 0, key_start = 0;
  std::vector<Place> queries, keys;  ///< used rows, in order; keys after leftpad
  std::int64_t len_q() const { return static_cast<std::int64_t>(queries.size()); }
  std::int64_t len_kv() const { return static_cast<std::int64_t>(keys.size()); }
};
/// The sequences of a valid problem on the host.
std::vector<Sequence> sequences(const ForwardProblem&);

/// Which keys the mask lets queries see, of each (sequence, query head): entry b * heads + h.
struct Visibility {
  /// The rows of queries that are looked at, in order: all of them, or a sample of a long problem.
  std::vector<std::vector<std::int64_t>> rows;
  std::vector<std::vector<std::uint8_t>> seen;  ///< seen[..][n * len_kv + j]: row rows[..][n] sees key j
  std::vector<std::vector<std::uint8_t>> keys;  ///< keys[..][j]: some row may see key j
  bool sampled = false;
};
/// What one problem may cost before its rows are sampled: products of q.k and p.v.
inline constexpr double kMostComparedProducts = 1 << 29;
/// All rows, or, `may_sample` and beyond `most_products`, first and last rows of some heads and random ones,
/// at least 96 in all.
Visibility visibility(const ForwardProblem&, const std::vector<Sequence>&, bool may_sample = false,
                      double most_products = kMostComparedProducts);

/// One number for each element of a tensor, row-major.
struct Values {
  Dims shape;
  std::vector<double> data;
  explicit Values(const Dims& s = {}, double fill = 0);
  double* row(Place place, std::int64_t head);
  double& number(Place place, std::int64_t head);
};

/// What score programs are evaluated in. A GPU takes float32 (contract C2), where cos(0.2 * 1342) is off by
/// 1e-5 whoever computes it; then the reference does the same to every score, and nothing else in float32
/// but, for float32 inputs, the score that the program is given.
enum class Programs { float64, float32 };

/// Where `slack` is given, it bounds what the rounding of the forward's stored out and lse may add to a
/// gradient that is computed from them.
struct Reference {
  Values out, lse, dq, dk, dv;
  Programs programs = Programs::float64;
  Values out_reach;  ///< sum_j p_j |v_j| of each element: what out would be if nothing cancelled
  /// |scale| max_j sum_d |q_d k_jd| of each row (contract, budgets), each key's times the score program's
  /// slope where that is above 1: what a program does to a score, it does to the score's error.
  Values lse_reach;
  Values dq_slack, dk_slack, dv_slack;
  /// In float32 programs, if some operators of the score program declare errors (op::Spec::relative_error):
  /// what those may make of out and lse.
  bool declares = false;
  Values out_slack, lse_slack;
  std::vector<Values> dcaptured, dcaptured_slack;  ///< in the problem's order
  /// Rows that were not looked at, by their place in out (elements over head_dim_v) and in lse; none if
  /// empty.
  std::vector<std::uint8_t> skipped_out, skipped_lse;
};
/// Tensors on the host. The gradients only if `backward` has them.
Reference reference(const BackwardProblem& problem, bool backward, const std::vector<Sequence>&,
                    const Visibility&, Programs programs = Programs::float64);

/// d program / d score at one point, by the chain rule over the tree.
double score_derivative(const Expr& program, std::int64_t b, std::int64_t h, std::int64_t q, std::int64_t kv,
                        std::int64_t len_q, std::int64_t len_kv, double score);

/// The operators of a program that declare an error, and what theirs come to together at a point, to first
/// order.
std::vector<Expr> inexact_operators(const Expr& program);
double declared_error(const Expr& program, const std::vector<Expr>& inexact, const program::Row&,
                      std::int64_t kv, double score);

/// The places in a program that read a captured tensor.
std::vector<Expr> gathers(const Expr& program, const Tensor& table);
/// d program / d (what one of them reads) at one point, and which element that is, row-major. The table must
/// have elements.
struct GatherSlope {
  double slope;
  std::int64_t element;
};
GatherSlope gather_slope(const Expr& program, const Expr& gather, const program::Row&, std::int64_t kv,
                         double score);

}  // namespace bolide::testing
