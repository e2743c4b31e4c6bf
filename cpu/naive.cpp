// Attention as mathematics, in float64: one query row at a time, one loop for each formula.
//
//   s_j   = score(scale * q . k_j)             over the visible keys j
//   lse   = log sum_j exp(s_j)
//   out   = sum_j p_j v_j                      with p_j = exp(s_j - lse)
//   ds_j  = p_j (dout . v_j - dout . out + dlse)
//   dq    = scale sum_j ds_j score'_j k_j,     dk_j += scale ds_j score'_j q,     dv_j += p_j dout
//   dt[x] = sum over the pairs that read t[x] of ds_j d score_j / d t[x], for a captured tensor t
#include "cpu/naive.hpp"

#include <omp.h>

#include <cmath>

#include "cpu/captured_sums.hpp"
#include "cpu/naive_memory.hpp"

namespace bolide::cpu {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
void add_scaled(std::span<double> y, double a, std::span<const double> x) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += a * x[i];
}

// A problem ready to be computed row by row: programs compiled, lengths checked.
struct Naive {
  const ForwardProblem& problem;
  Sizes sizes;
  Rows rows;
  std::optional<program::Evaluator> mask, score;

  Naive(const ForwardProblem& p, const Sizes& s) : problem(p), sizes(s), rows(p, s) {
    if (p.mask) mask.emplace(p.mask.expr());
    if (p.score) score.emplace(p.score.expr());
  }

  program::Row row(const Sequence& seq, std::int64_t b, std::int64_t h, std::int64_t i) const {
    return {.b = b, .h = h, .q = seq.query_start + i, .len_q = seq.len_q, .len_kv = seq.len_kv};
  }

  // Fills r.q, r.raw, r.p with the probabilities of query row i, r.slope with the score program's derivatives
  // and r.visible with what may count: masked keys and scores of -inf (contract C13) do not. Returns lse.
  double probabilities(const Sequence& seq, std::int64_t b, std::int64_t h, std::int64_t i,
                       RowBuffers& r) const {
    const program::Row at = row(seq, b, h, i);
    const int n = static_cast<int>(seq.len_kv);
    const std::int64_t key_head = h / sizes.group();
    load_row(problem.q, row_offset(problem.q, rows.query(b, i), h), r.q);

    if (mask) mask->mask(at, seq.key_start, n, r.visible.data(), r.scratch);
    else std::fill_n(r.visible.data(), n, std::uint8_t{1});
    for (int j = 0; j < n; ++j) {
      r.p[j] = 0;
      if (!r.visible[j]) continue;
      load_row(problem.k, row_offset(problem.k, rows.key(b, j), key_head), r.key);
      r.p[j] = sizes.scale * dot(r.q, r.key);
    }
    std::copy_n(r.p.data(), n, r.raw.data());
    if (score) score->score(at, seq.key_start, n, r.p.data(), r.slope.data(), r.scratch);
    else std::fill_n(r.slope.data(), n, 1.0);

    double max = -kInf;
    bool defined = true;  // a NaN or +inf score makes the row NaN (contract C13)
    for (int j = 0; j < n; ++j) {
      if (r.p[j] == -kInf) r.visible[j] = 0;
      if (!r.visible[j]) continue;
      defined &= r.p[j] < kInf;
      max = std::max(max, r.p[j]);
    }
    double sum = 0;
    for (int j = 0; j < n; ++j)
      if (r.visible[j]) sum += std::exp(r.p[j] - max);
    const double lse = defined ? max + std::log(sum) : std::nan("");
    // Not exp(s - lse): beside scores of 1e38, lse has no room for log(sum) (contract C14).
    for (int j = 0; j < n; ++j) r.p[j] = r.visible[j] ? std::exp(r.p[j] - max) / sum : 0;
    return sum == 0 && defined ? -kInf : lse;  // nothing visible (contract C8)
  }

  // r.out = sum_j p_j v_j.
  void weigh_values(const Sequence& seq, std::int64_t b, std::int64_t h, RowBuffers& r) const {
    std::fill(r.out.begin(), r.out.end(), 0.0);
    for (std::int64_t j = 0; j < seq.len_kv; ++j) {
      if (!r.visible[j]) continue;
      load_row(problem.v, row_offset(problem.v, rows.key(b, j), h / sizes.group()), r.value);
      add_scaled(r.out, r.p[j], r.value);
    }
  }
};

// Adds query row i's share to the gradients and writes its dq.
void differentiate_row(const Naive& naive, const BackwardProblem& p, const Sequence& seq, std::int64_t b,
                       std::int64_t h, std::int64_t i, const KeyGradients& sums, CapturedSums::Part& captured,
                       RowBuffers& r) {
  const Slot slot = naive.rows.query(b, i);
  const std::int64_t key_head = h / naive.sizes.group();
  naive.probabilities(seq, b, h, i, r);
  naive.weigh_values(seq, b, h, r);
  load_row(p.dout, row_offset(p.dout, slot, h), r.dout);
  const double dlse = p.dlse ? number_at(p.dlse, number_offset(p.dlse, slot, h)) : 0;
  const double delta = dot(r.dout, r.out);
  std::fill(r.dq.begin(), r.dq.end(), 0.0);
  for (std::int64_t j = 0; j < seq.len_kv; ++j) {
    if (!r.visible[j]) continue;
    const Slot key = naive.rows.key(b, j);
    load_row(p.forward.k, row_offset(p.forward.k, key, key_head), r.key);
    load_row(p.forward.v, row_offset(p.forward.v, key, key_head), r.value);
    r.d_s[j] = r.p[j] * (dot(r.dout, r.value) - delta + dlse);
    const double d_qk = r.d_s[j] * r.slope[j] * naive.sizes.scale;
    add_scaled(r.dq, d_qk, r.key);
    add_scaled(sums.key(key), d_qk, r.q);
    add_scaled(sums.value(key), r.p[j], r.dout);
  }
  store_row(p.dq, row_offset(p.dq, slot, h), r.dq);
  captured.add(naive.row(seq, b, h, i), seq.key_start, static_cast<int>(seq.len_kv), r.visible.data(),
               r.raw.data(), r.d_s.data());
}

}  // namespace

void naive_forward(const NaivePlan& plan, const ForwardProblem& p, Workspace workspace) {
  const Naive naive(p, plan.sizes);
  fill(p.out, 0.0);  // rows that no sequence uses (contract C11)
  if (p.lse) fill(p.lse, -kInf);
#pragma omp parallel num_threads(plan.threads)
  {
    RowBuffers r(static_cast<std::byte*>(workspace.data) + omp_get_thread_num() * plan.thread_bytes,
                 plan.sizes);
    for (std::int64_t b = 0; b < plan.sizes.batch; ++b) {
      const Sequence seq = naive.rows.sequence(b);
#pragma omp for collapse(2) nowait schedule(dynamic, 8)
      for (std::int64_t h = 0; h < plan.sizes.heads_q; ++h)
        for (std::int64_t i = 0; i < seq.len_q; ++i) {
          const double lse = naive.probabilities(seq, b, h, i, r);
          naive.weigh_values(seq, b, h, r);
          const Slot slot = naive.rows.query(b, i);
          store_row(p.out, row_offset(p.out, slot, h), r.out);
          if (p.lse) number_at(p.lse, number_offset(p.lse, slot, h)) = static_cast<float>(lse);
        }
    }
  }
}

// A key head's gradients are one thread's: each is summed in one order, whatever the number of threads
// (contract D1).
void naive_backward(const NaivePlan& plan, const BackwardProblem& p, Workspace workspace) {
  const Sizes& s = plan.sizes;
  const Naive naive(p.forward, s);
  fill(p.dq, 0.0);
  fill(p.dk, 0.0);
  fill(p.dv, 0.0);
  const CapturedSums captured(p, s, s.rows_kv);
  auto* const totals = static_cast<double*>(workspace.data);
  captured.clear(totals);
#pragma omp parallel for num_threads(plan.threads) schedule(dynamic) ordered
  for (std::int64_t key_head = 0; key_head < s.heads_kv; ++key_head) {
    std::byte* memory = static_cast<std::byte*>(workspace.data) + plan.shared_bytes +
                        omp_get_thread_num() * plan.thread_bytes;
    const KeyGradients sums(reinterpret_cast<double*>(memory), p.forward.k, s);
    CapturedSums::Part part(captured, totals, memory + gradient_bytes(p.forward, s));
    RowBuffers r(memory + gradient_bytes(p.forward, s) + captured.thread_bytes(), s);
    for (std::int64_t b = 0; b < s.batch; ++b) {
      const Sequence seq = naive.rows.sequence(b);
      for (std::int64_t h = key_head * s.group(); h < (key_head + 1) * s.group(); ++h)
        for (std::int64_t i = 0; i < seq.len_q; ++i) differentiate_row(naive, p, seq, b, h, i, sums, part, r);
    }
    sums.store(p, key_head);
#pragma omp ordered
    part.add_to(totals);
  }
  captured.store(totals);
}

}  // namespace bolide::cpu
