// Gradients of captured tensors for the definition: which element each pair reads, and how sums come
// together.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "problem/validate.hpp"
#include "program/derive.hpp"
#include "program/evaluator.hpp"

namespace bolide::cpu {

/// The gathers of a score program whose tables want gradients, and their sums in float64. A key head adds up
/// its rows in order, then the heads' sums are added in order: the bits do not depend on the threads
/// (contract D1). Where the index names h, no two heads share an element, and the second step falls away.
class CapturedSums {
 public:
  /// Compiles the slopes; throws what derivatives_by_tables does. No call of add() is given more keys.
  CapturedSums(const BackwardProblem&, const Sizes&, std::int64_t most_keys);
  bool wanted() const { return !tables_.empty(); }
  std::int64_t totals() const { return total_; }  ///< numbers that the threads share
  std::size_t thread_bytes() const;
  /// The tensor and how its gradient comes about, of each: for explain.
  std::vector<std::pair<std::string, std::string>> details() const;

  /// One key head's sums, in a thread's memory and, where no other head's meet them, in the shared totals.
  class Part {
   public:
    Part(const CapturedSums& sums, double* totals, std::byte* memory);
    /// Adds what one row of queries gives with n keys from position kv_begin on: of key i, if visible, raw[i]
    /// is the score before the program and d_s[i] the gradient of the score after it.
    void add(const program::Row& row, std::int64_t kv_begin, int n, const std::uint8_t* visible,
             const double* raw, const double* d_s);
    void add_to(double* totals) const;

   private:
    double* sums_of(std::size_t table) const;
    const CapturedSums& all_;
    double* totals_;
    double* own_;
    double* slope_;
    std::int64_t* element_;
    void* scratch_;
  };
  void clear(double* totals) const { std::fill_n(totals, total_, 0.0); }
  /// Rounds each total once.
  void store(const double* totals) const;

 private:
  struct Gather {
    program::SlopeEvaluator slope;
    program::Reduction reduction;
  };
  struct Table {
    CapturedGradient tensors;
    std::string name;
    std::vector<Gather> gathers;
    bool by_head = true;                       ///< no two heads read the same element
    std::int64_t count, total_at, own_at = 0;  ///< elements; where its sums begin
  };
  std::vector<Table> tables_;
  std::int64_t total_ = 0, own_ = 0, most_keys_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace bolide::cpu
