// Adds up, row by row, what each pair gives to the elements that it read.
#include "cpu/captured_sums.hpp"

#include <algorithm>

namespace bolide::cpu {
namespace {

using program::Reduction;

const char* text_of(Reduction r) {
  switch (r) {
    case Reduction::everything: return "a sum over rows and keys";
    case Reduction::along_keys: return "a sum for each row";
    case Reduction::along_rows: return "a sum for each key";
    case Reduction::diagonal: return "a sum for each q - kv";
    case Reduction::dense: return "a term for each pair";
    case Reduction::scatter: return "scattered by the index";
  }
  return "";
}

bool is_constant_along_keys(Reduction r) { return r == Reduction::everything || r == Reduction::along_keys; }

// Some index is h itself, and none is clamped into another's place.
bool names_head(const program::TableSlope& s, std::int64_t heads) {
  for (std::size_t axis = 0; axis < s.indices.size(); ++axis)
    if (s.indices[axis].node()->op == program::Op::h && s.table.tensor.shape[axis] >= heads) return true;
  return false;
}

// Every element of t, row-major.
template <class T>
void store_elements(const Tensor& t, const double* values) {
  const std::int64_t count = t.count();
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t at = 0, rest = i;
    for (int axis = t.rank() - 1; axis >= 0; --axis) {
      at += rest % t.shape[axis] * t.strides[axis];
      rest /= t.shape[axis];
    }
    static_cast<T*>(t.data)[at] = T(values[i]);
  }
}

}  // namespace

CapturedSums::CapturedSums(const BackwardProblem& p, const Sizes& s, std::int64_t most_keys)
    : most_keys_(most_keys) {
  if (p.dcaptured.empty()) return;
  const std::vector<program::TableSlope> slopes = program::derivatives_by_tables(p.forward.score.expr());
  for (const CapturedGradient& g : p.dcaptured) {
    Table t{.tensors = g, .name = {}, .gathers = {}, .count = g.gradient.count(), .total_at = total_};
    total_ += t.count;
    for (const program::TableSlope& slope : slopes) {
      if (!program::same_view(slope.table.tensor, g.captured)) continue;
      t.name = slope.table.name;
      t.by_head = t.by_head && names_head(slope, s.heads_q);
      if (t.count == 0) continue;  // every read of it gives 0
      t.gathers.push_back({program::SlopeEvaluator(slope), slope.reduction});
      scratch_bytes_ = std::max(scratch_bytes_, t.gathers.back().slope.scratch_bytes());
    }
    if (!t.by_head) t.own_at = own_, own_ += t.count;
    tables_.push_back(std::move(t));
  }
}

std::size_t CapturedSums::thread_bytes() const {
  if (tables_.empty()) return 0;
  const std::size_t bytes = (own_ + 2 * most_keys_) * sizeof(double);
  return (bytes + 63) / 64 * 64 + (scratch_bytes_ + 63) / 64 * 64;
}

std::vector<std::pair<std::string, std::string>> CapturedSums::details() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const Table& t : tables_) {
    std::string how;
    for (const Gather& g : t.gathers)
      how += (how.empty() ? "" : ", and ") + std::string(text_of(g.reduction));
    if (how.empty()) how = "0: the score has no slope there";
    all.emplace_back(t.name.empty() ? "gradient" : "gradient of " + t.name, how);
  }
  return all;
}

void CapturedSums::store(const double* totals) const {
  for (const Table& t : tables_) {
    const double* values = totals + t.total_at;
    switch (t.tensors.gradient.dtype) {
      case DType::f64: store_elements<double>(t.tensors.gradient, values); break;
      case DType::f16: store_elements<f16>(t.tensors.gradient, values); break;
      case DType::bf16: store_elements<bf16>(t.tensors.gradient, values); break;
      default: store_elements<float>(t.tensors.gradient, values);
    }
  }
}

CapturedSums::Part::Part(const CapturedSums& sums, double* totals, std::byte* memory)
    : all_(sums), totals_(totals) {
  own_ = reinterpret_cast<double*>(memory);
  slope_ = own_ + sums.own_;
  element_ = reinterpret_cast<std::int64_t*>(slope_ + sums.most_keys_);
  const auto end = reinterpret_cast<std::uintptr_t>(element_ + sums.most_keys_);
  scratch_ = reinterpret_cast<void*>((end + 63) / 64 * 64);
  std::fill_n(own_, sums.own_, 0.0);
}

double* CapturedSums::Part::sums_of(std::size_t table) const {
  const Table& t = all_.tables_[table];
  return t.by_head ? totals_ + t.total_at : own_ + t.own_at;
}

void CapturedSums::Part::add(const program::Row& row, std::int64_t kv_begin, int n,
                             const std::uint8_t* visible, const double* raw, const double* d_s) {
  for (std::size_t t = 0; t < all_.tables_.size(); ++t) {
    double* const sums = sums_of(t);
    for (const Gather& g : all_.tables_[t].gathers) {
      g.slope.run(row, kv_begin, n, raw, slope_, element_, scratch_);
      double row_sum = 0;
      const bool constant = is_constant_along_keys(g.reduction);
      for (int i = 0; i < n; ++i) {
        if (!visible[i]) continue;  // selected, not multiplied by 0: a slope there may be infinite
        const double term = d_s[i] * slope_[i];
        if (constant) row_sum += term;
        else sums[element_[i]] += term;
      }
      if (constant && n > 0) sums[element_[0]] += row_sum;
    }
  }
}

void CapturedSums::Part::add_to(double* totals) const {
  for (const Table& t : all_.tables_)
    if (!t.by_head)
      for (std::int64_t i = 0; i < t.count; ++i) totals[t.total_at + i] += own_[t.own_at + i];
}

}  // namespace bolide::cpu
