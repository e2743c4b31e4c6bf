// From logical rows to memory: where row i of sequence b lies in any layout. Reads and checks the lengths and
// tables of a problem whose tensors lie on the host (contract C19: the CPU throws).
#pragma once
#include <memory>

#include "problem/validate.hpp"

namespace bolide::cpu {

/// A row's first two coordinates in a tensor seen as [outer, inner, heads, dim]. A packed tensor has one
/// outer.
struct Slot {
  std::int64_t outer, inner;
};

/// Elements from a row tensor's data to the row in `slot` of `head`: q, k, v, out, dout, dq, dk, dv.
inline std::int64_t row_offset(const Tensor& t, Slot slot, std::int64_t head) {
  return t.rank() == 3 ? t.offset(slot.inner, head) : t.offset(slot.outer, slot.inner, head);
}
/// The same for a tensor of one number a row: lse, dlse.
inline std::int64_t number_offset(const Tensor& t, Slot slot, std::int64_t head) {
  return t.rank() == 2 ? t.offset(head, slot.inner) : t.offset(slot.outer, head, slot.inner);
}

/// One sequence of a problem: how many rows it uses and where its positions begin (contract C3).
struct Sequence {
  std::int64_t len_q, len_kv;           ///< used rows; leftpad is not counted
  std::int64_t query_start, key_start;  ///< position of row 0 of the queries, of the keys
};

/// The rows of one problem. Constructing it throws Error{invalid_problem} for lengths or tables that leave
/// their tensors.
class Rows {
 public:
  Rows(const ForwardProblem&, const Sizes&);
  Sequence sequence(std::int64_t b) const;
  Slot query(std::int64_t b, std::int64_t i) const;
  Slot key(std::int64_t b, std::int64_t j) const;  ///< j counts from the first row after leftpad

 private:
  struct Span {
    std::int64_t begin, rows;
  };
  Span query_span(std::int64_t b) const;
  Span key_span(std::int64_t b) const;
  std::int64_t key_capacity(std::int64_t b) const;
  std::int64_t listed_rows(std::int64_t b) const;
  std::int64_t page(std::int64_t b, std::int64_t i) const;
  void check(std::int64_t b) const;

  const ForwardProblem& p_;
  Sizes sizes_;
};

}  // namespace bolide::cpu
