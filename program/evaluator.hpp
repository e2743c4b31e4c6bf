// An expression compiled to a tape and run over blocks of keys: how the CPU evaluates programs.
#pragma once
#include <memory>

#include "program/point.hpp"

namespace bolide::program {

/// Immutable, thread-safe and cheap to copy. Captured tensors are read at each call and must be on the CPU
/// (Error{refused} otherwise). What does not change along the row is computed once per call.
class Evaluator {
 public:
  explicit Evaluator(const Expr& e);
  /// Bytes that each thread lends to the calls below, aligned to 64; they allocate nothing.
  std::size_t scratch_bytes() const;
  /// Of a mask: visible[i] is 1 or 0 for key kv_begin + i, 0 <= i < n.
  void mask(const Row& row, std::int64_t kv_begin, int n, std::uint8_t* visible, void* scratch) const;
  /// Of an Int expression, such as a gather's index: value[i] for key kv_begin + i.
  void integers(const Row& row, std::int64_t kv_begin, int n, std::int64_t* value, void* scratch) const;
  /// Of a score program, in place: score[i] becomes the program's value, derivative[i] (unless null) its
  /// slope with respect to the score that came in.
  void score(const Row& row, std::int64_t kv_begin, int n, double* score, double* derivative,
             void* scratch) const;

 private:
  struct Tapes;
  std::shared_ptr<const Tapes> tapes_;
};

struct TableSlope;

/// One gather of a score program and its slope, compiled: where along a row of keys which element of the
/// captured tensor is read, and how steeply the program rises with it. Otherwise as Evaluator.
class SlopeEvaluator {
 public:
  explicit SlopeEvaluator(const TableSlope& slope);
  std::size_t scratch_bytes() const;
  /// For key kv_begin + i, whose score before the program is score[i]: slope[i] and element[i], counted
  /// row-major over the table's shape. The table must have elements.
  void run(const Row& row, std::int64_t kv_begin, int n, const double* score, double* slope,
           std::int64_t* element, void* scratch) const;

 private:
  struct Tapes;
  std::shared_ptr<const Tapes> tapes_;
};

}  // namespace bolide::program
