// What the threads of a backward call share: the statistics of query rows, and the sums of paged keys.
#pragma once
#include "cpu/rows.hpp"
#include "cpu/tile_memory.hpp"

namespace bolide::cpu {

/// Lives in the workspace. Rows are those of q's and of k's storage, so that packed and shared ones have one
/// place each.
template <class T>
class Shared {
 public:
  Shared(Arena& arena, const ForwardProblem& p, const Sizes& s)
      : sizes_(s), inner_q_(p.q.size(p.q.rank() - 3)), inner_k_(p.k.size(p.k.rank() - 3)) {
    const std::int64_t rows = storage_rows(p.q) * s.heads_q;
    base_ = arena.take<T>(rows), weight_ = arena.take<T>(rows), shift_ = arena.take<T>(rows);
    if (!is_paged(p.keys)) return;
    slots_ = storage_rows(p.k);
    dk_ = arena.take<T>(slots_ * s.heads_kv * padded(s.head_dim));
    dv_ = arena.take<T>(slots_ * s.heads_kv * padded(s.head_dim_v));
    sums_keys_ = true;
  }

  void keep(Slot slot, std::int64_t head, T base, T weight, T shift) const {
    const std::int64_t i = (slot.outer * inner_q_ + slot.inner) * sizes_.heads_q + head;
    base_[i] = base, weight_[i] = weight, shift_[i] = shift;
  }
  void recall(Slot slot, std::int64_t head, T& base, T& weight, T& shift) const {
    const std::int64_t i = (slot.outer * inner_q_ + slot.inner) * sizes_.heads_q + head;
    base = base_[i], weight = weight_[i], shift = shift_[i];
  }

  /// Whether rows of keys may be several sequences', so that add() collects them; else each is written once.
  bool sums_keys() const { return sums_keys_; }
  void clear(std::int64_t key_head) const {
    std::fill_n(dk_row(key_head, 0), slots_ * padded(sizes_.head_dim), T(0));
    std::fill_n(dv_row(key_head, 0), slots_ * padded(sizes_.head_dim_v), T(0));
  }
  void add(Slot slot, std::int64_t key_head, const T* dk, const T* dv) const {
    const std::int64_t row = slot.outer * inner_k_ + slot.inner;
    for (std::int64_t c = 0; c < sizes_.head_dim; ++c) dk_row(key_head, row)[c] += dk[c];
    for (std::int64_t c = 0; c < sizes_.head_dim_v; ++c) dv_row(key_head, row)[c] += dv[c];
  }
  /// Calls store(slot, dk row, dv row) for every row of k's storage.
  template <class F>
  void each_row(std::int64_t key_head, F&& store) const {
    for (std::int64_t row = 0; row < slots_; ++row)
      store(Slot{row / inner_k_, row % inner_k_}, dk_row(key_head, row), dv_row(key_head, row));
  }

 private:
  static std::int64_t storage_rows(const Tensor& t) {
    return t.rank() == 3 ? t.size(0) : t.size(0) * t.size(1);
  }
  T* dk_row(std::int64_t key_head, std::int64_t row) const {
    return dk_ + (key_head * slots_ + row) * padded(sizes_.head_dim);
  }
  T* dv_row(std::int64_t key_head, std::int64_t row) const {
    return dv_ + (key_head * slots_ + row) * padded(sizes_.head_dim_v);
  }

  const Sizes sizes_;
  std::int64_t inner_q_, inner_k_, slots_ = 0;
  T *base_, *weight_, *shift_;  ///< [rows of q's storage, heads_q]
  T *dk_ = nullptr, *dv_ = nullptr;
  bool sums_keys_ = false;
};

}  // namespace bolide::cpu
