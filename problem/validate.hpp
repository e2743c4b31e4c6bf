// Every rule a problem must obey, and every sentence that says it does not. Runs before anything is
// allocated, and reads shapes only: lengths and tables may lie on a device.
#pragma once
#include <bolide/problem.hpp>
#include <span>

namespace bolide {

/// A validated problem's sizes. Rows are capacities: the lengths themselves may lie on a device.
struct Sizes {
  std::int64_t batch, heads_q, heads_kv, head_dim, head_dim_v;
  std::int64_t rows_q, rows_kv;  ///< no sequence has more
  std::int64_t page_rows = 0;    ///< rows of a page; 0 if keys are not paged
  double scale;

  std::int64_t group() const {
    return heads_kv ? heads_q / heads_kv : 1;
  }  ///< query heads that share a key head
};

/// Throws Error{invalid_problem} for contradictions, Error{invalid_argument} for values no call can take and
/// Error{refused} for programs whose meaning would depend on an unstated query start (contract C3).
Sizes validate(const ForwardProblem&);
Sizes validate(const BackwardProblem&);

/// The same for Context::merge.
void validate_merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out,
                    const Tensor& lse, Device device);

/// "[2, 5, 8, 64]".
std::string shape_text(const Dims&);

/// True if the problem's queries or keys have that layout.
inline bool is_packed(const QueryLayout& l) { return std::holds_alternative<Packed>(l); }
inline bool is_packed(const KeyLayout& l) { return std::holds_alternative<Packed>(l); }
inline bool is_paged(const KeyLayout& l) { return std::holds_alternative<Paged>(l); }

}  // namespace bolide
