// Where the definition keeps its rows: everything lives in the caller's workspace.
#pragma once
#include <algorithm>

#include "cpu/elements.hpp"
#include "cpu/rows.hpp"

namespace bolide::cpu {

// One thread's rows in the workspace.
struct RowBuffers {
  std::span<double> q, out, dout, dq, key, value, p, slope;
  std::span<double> raw;  // scores before the program
  std::span<double> d_s;  // gradients of the scores after it
  std::span<std::uint8_t> visible;
  void* scratch;  // for the programs, aligned to 64 bytes

  static std::size_t bytes(const Sizes& s) {
    return (3 * s.head_dim + 3 * s.head_dim_v + 4 * s.rows_kv) * sizeof(double) + s.rows_kv + 128;
  }
  RowBuffers(std::byte* memory, const Sizes& s) {
    auto take = [&memory](std::int64_t n) {
      std::span<double> row(reinterpret_cast<double*>(memory), n);
      memory += n * sizeof(double);
      return row;
    };
    q = take(s.head_dim), dq = take(s.head_dim), key = take(s.head_dim);
    out = take(s.head_dim_v), dout = take(s.head_dim_v), value = take(s.head_dim_v);
    p = take(s.rows_kv), slope = take(s.rows_kv), raw = take(s.rows_kv), d_s = take(s.rows_kv);
    visible = {reinterpret_cast<std::uint8_t*>(memory), static_cast<std::size_t>(s.rows_kv)};
    const auto end = reinterpret_cast<std::uintptr_t>(memory + s.rows_kv);
    scratch = reinterpret_cast<void*>((end + 63) / 64 * 64);
  }
};

// Gradients of one key head's rows in float64: [slots, dim], a slot for each row of k's storage, so that rows
// of shared pages collect from every sequence that shares them.
struct KeyGradients {
  std::span<double> dk, dv;
  std::int64_t inner;  // rows of k in one outer
  std::int64_t slots;
  const Sizes& sizes;

  static std::int64_t slots_of(const Tensor& k) { return k.rank() == 3 ? k.size(0) : k.size(0) * k.size(1); }
  KeyGradients(double* memory, const Tensor& k, const Sizes& s)
      : inner(k.size(k.rank() - 3)), slots(slots_of(k)), sizes(s) {
    dk = {memory, static_cast<std::size_t>(slots * s.head_dim)};
    dv = {memory + slots * s.head_dim, static_cast<std::size_t>(slots * s.head_dim_v)};
    std::fill(memory, memory + slots * (s.head_dim + s.head_dim_v), 0.0);
  }
  std::span<double> key(Slot s) const {
    return dk.subspan((s.outer * inner + s.inner) * sizes.head_dim, sizes.head_dim);
  }
  std::span<double> value(Slot s) const {
    return dv.subspan((s.outer * inner + s.inner) * sizes.head_dim_v, sizes.head_dim_v);
  }
  void store(const BackwardProblem& p, std::int64_t key_head) const {
    for (std::int64_t i = 0; i < slots; ++i) {
      const Slot slot{inner ? i / inner : 0, inner ? i % inner : 0};
      store_row(p.dk, row_offset(p.dk, slot, key_head), key(slot));
      store_row(p.dv, row_offset(p.dv, slot, key_head), value(slot));
    }
  }
};

inline std::size_t gradient_bytes(const ForwardProblem& p, const Sizes& s) {
  const std::size_t bytes = KeyGradients::slots_of(p.k) * (s.head_dim + s.head_dim_v) * sizeof(double);
  return (bytes + 63) / 64 * 64;
}

}  // namespace bolide::cpu
