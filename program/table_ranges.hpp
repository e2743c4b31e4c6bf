// Least and greatest elements of captured tensors over boxes of indices: what gathers contribute to bounds.
#pragma once
#include <memory>
#include <mutex>
#include <unordered_map>

#include "program/bounds.hpp"

namespace bolide::program {

/// Answers for one CPU tensor. Slices are summarised when first asked for: once per contents, so a tensor
/// that is edited in place needs a new object. Thread-safe.
class TableRanges {
 public:
  explicit TableRanges(const Tensor& table);
  ~TableRanges();
  /// The range of the elements that indices in these ranges can reach, each clamped into its axis. Exact
  /// where at most two axes vary; anything that the type can hold otherwise.
  AnyRange operator()(const IntRange* indices) const;

 private:
  struct Slice;
  AnyRange element_at(std::int64_t offset) const;
  const Slice& slice(int row_axis, int column_axis, std::int64_t offset) const;

  Tensor table_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::int64_t, std::unique_ptr<Slice>> slices_[kMaxRank][kMaxRank];
};

}  // namespace bolide::program
