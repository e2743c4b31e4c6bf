// Gradients of captured tensors for the definition: which element each pair reads, and how sums come
// together.
#pragma once
#include <string>

#include "cpu/naive_memory.hpp"
#include "program/derive.hpp"
#include "program/evaluator.hpp"

namespace bolide::cpu {

/// The gathers of a score program whose tables want gradients, and their sums in float64. A key head adds up
/// its rows in order, then the heads' sums are added in order: the bits do not depend on the threads
/// (contract D1). Where the index names h, no two heads share an element, and the second step falls away.
class CapturedSums {
 public:
  /// Compiles the slopes; throws what derivatives_by_tables does.
  CapturedSums(const BackwardProblem&, const Sizes&);
  std::size_t shared_bytes() const { return total_ * sizeof(double); }
  std::size_t thread_bytes() const;
  /// The tensor and how its gradient comes about, of each: for explain.
  std::vector<std::pair<std::string, std::string>> details() const;

  /// One key head's sums, in a thread's memory and, where no other head's meet them, in the shared totals.
  class Part {
   public:
    Part(const CapturedSums& sums, double* totals, std::byte* memory);
    /// Adds what one row of queries gives: r.d_s of the visible keys, whose scores before the program were
    /// r.raw.
    void add(const program::Row& row, std::int64_t key_start, const RowBuffers& r);
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
  std::int64_t total_ = 0, own_ = 0, rows_kv_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace bolide::cpu
