// Softmax attention and its gradients as matrices: S, P, dP, dS are all there, one (sequence, head) at a
// time.
#include "testing/reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "program/point.hpp"
#include "testing/elements.hpp"

namespace bolide::testing {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::int64_t entry(const Tensor& t, std::int64_t i) { return load_integer(t, t.offset(i)); }

std::int64_t batch_of(const ForwardProblem& p) {
  if (const auto* packed = std::get_if<Packed>(&p.queries)) return packed->cu_seqlens.size(0) - 1;
  return p.q.size(0);
}

// The rows of sequence b's keys that exist, before seqused and leftpad.
std::vector<Place> stored_keys(const ForwardProblem& p, std::int64_t b) {
  std::vector<Place> rows;
  if (const auto* packed = std::get_if<Packed>(&p.keys)) {
    for (std::int64_t r = entry(packed->cu_seqlens, b); r < entry(packed->cu_seqlens, b + 1); ++r)
      rows.push_back({0, r});
    return rows;
  }
  const auto* paged = std::get_if<Paged>(&p.keys);
  if (!paged) {
    for (std::int64_t r = 0; r < p.k.size(1); ++r) rows.push_back({b, r});
    return rows;
  }
  const std::int64_t page_rows = p.k.size(1);
  std::vector<std::int64_t> pages;
  if (paged->table)
    for (std::int64_t i = 0; i < paged->table.size(1); ++i)
      pages.push_back(load_integer(paged->table, paged->table.offset(b, i)));
  else
    for (std::int64_t i = entry(paged->indptr, b); i < entry(paged->indptr, b + 1); ++i)
      pages.push_back(entry(paged->indices, i));
  for (const std::int64_t page : pages)
    for (std::int64_t r = 0; r < page_rows; ++r) rows.push_back({page, r});
  if (!paged->table && !p.seqused_kv && !pages.empty())
    rows.resize(rows.size() - static_cast<std::size_t>(page_rows - entry(paged->last_page_len, b)));
  return rows;
}

std::int64_t start_of(const Start& s, std::int64_t b) {
  return s.per_sequence ? entry(s.per_sequence, b) : s.value;
}

// A dense matrix of doubles.
struct Matrix {
  std::int64_t rows, columns;
  std::vector<double> data;
  Matrix(std::int64_t r, std::int64_t c) : rows(r), columns(c), data(static_cast<std::size_t>(r * c)) {}
  double* operator[](std::int64_t r) { return data.data() + r * columns; }
  const double* operator[](std::int64_t r) const { return data.data() + r * columns; }
};

std::vector<Place> places_of(const std::vector<std::int64_t>& rows, const std::vector<Place>& all) {
  std::vector<Place> places;
  for (const std::int64_t i : rows) places.push_back(all[static_cast<std::size_t>(i)]);
  return places;
}

Matrix gather(const Tensor& t, const std::vector<Place>& places, std::int64_t head) {
  Matrix m(static_cast<std::int64_t>(places.size()), t.shape[t.rank() - 1]);
  for (std::int64_t r = 0; r < m.rows; ++r) {
    const Place& at = places[static_cast<std::size_t>(r)];
    const std::int64_t offset = row_at(t, at.outer, at.inner, head);
    for (std::int64_t c = 0; c < m.columns; ++c) m[r][c] = load(t, offset + c);
  }
  return m;
}

double inner_product(const double* a, const double* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}
double absolute_product(const double* a, const double* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::abs(a[i] * b[i]);
  return sum;
}

// One (sequence, query head): its matrices and where its results go.
struct Head {
  const BackwardProblem& problem;
  const Sequence& seq;
  std::int64_t b, h, key_head;
  double scale;
  const std::vector<std::int64_t>& rows;  // of the sequence's queries: those that are looked at
  const std::vector<Place> places;        // of the same rows
  const std::uint8_t* seen;
  Reference& result;
  // raw: scores before the program; p: scores, then probabilities; slope: d score program / d score
  // error: what its operators declare, of a score; no columns without any
  Matrix q, k, v, raw, p, slope, error;
  const std::vector<Expr> inexact;
  std::vector<double> lse;

  Head(const BackwardProblem& bp, const Sequence& s, std::int64_t b, std::int64_t h, std::int64_t group,
       double scale, const std::vector<std::int64_t>& rows, const std::uint8_t* seen, Reference& r)
      : problem(bp),
        seq(s),
        b(b),
        h(h),
        key_head(h / group),
        scale(scale),
        rows(rows),
        places(places_of(rows, s.queries)),
        seen(seen),
        result(r),
        q(gather(bp.forward.q, places, h)),
        k(gather(bp.forward.k, s.keys, h / group)),
        v(gather(bp.forward.v, s.keys, h / group)),
        raw(q.rows, s.len_kv()),
        p(q.rows, s.len_kv()),
        slope(q.rows, s.len_kv()),
        error(q.rows, r.declares ? s.len_kv() : 0),
        inexact(error.columns ? inexact_operators(bp.forward.score.expr()) : std::vector<Expr>()),
        lse(rows.size()) {}

  bool sees(std::int64_t i, std::int64_t j) const { return seen[i * p.columns + j] && p[i][j] != -kInf; }

  program::Row position(std::int64_t i) const {
    return {.b = b,
            .h = h,
            .q = seq.query_start + rows[static_cast<std::size_t>(i)],
            .len_q = seq.len_q(),
            .len_kv = seq.len_kv()};
  }

  // What a program in float32 adds to a score; 0 where that is not a number.
  static double float32_error(const Expr& program, const program::Row& row, std::int64_t kv, double score) {
    const auto rounded = static_cast<float>(score);
    const double error = static_cast<double>(program::eval_score_point_f32(program, row, kv, rounded)) -
                         program::eval_score_point(program, row, kv, rounded);
    return std::isfinite(error) ? error : 0;
  }

  void scores(std::int64_t i) {
    double reach = 0;
    const Score& program = problem.forward.score;
    for (std::int64_t j = 0; j < p.columns; ++j) {
      p[i][j] = -kInf;
      if (!seen[i * p.columns + j]) continue;
      double s = scale * inner_product(q[i], k[j], k.columns);
      raw[i][j] = s, slope[i][j] = 1;
      if (program) {
        const program::Row row = position(i);
        const std::int64_t kv = seq.key_start + j;
        slope[i][j] = score_derivative(program.expr(), b, h, row.q, kv, row.len_q, row.len_kv, s);
        const double exact = program::eval_score_point(program.expr(), row, kv, s);
        if (error.columns) error[i][j] = declared_error(program.expr(), inexact, row, kv, s);
        if (result.programs == Programs::float64) s = exact;
        else if (problem.forward.q.dtype != DType::f32) s = exact + float32_error(program.expr(), row, kv, s);
        else s = program::eval_score_point_f32(program.expr(), row, kv, static_cast<float>(s));
      }
      p[i][j] = s;
      const double steepness = std::isfinite(slope[i][j]) ? std::max(1.0, std::abs(slope[i][j])) : 1;
      reach = std::max(reach, steepness * std::abs(scale) * absolute_product(q[i], k[j], k.columns));
    }
    result.lse_reach.number(places[static_cast<std::size_t>(i)], h) = reach;
  }

  void softmax(std::int64_t i) {
    double most = -kInf, sum = 0;
    bool any = false, undefined = false;
    for (std::int64_t j = 0; j < p.columns; ++j) {
      if (!sees(i, j)) continue;
      any = true;
      undefined |= !(p[i][j] < kInf);  // NaN, or +inf (contract C13)
      most = std::max(most, p[i][j]);
    }
    for (std::int64_t j = 0; j < p.columns; ++j)
      if (sees(i, j)) sum += std::exp(p[i][j] - most);
    double& l = lse[static_cast<std::size_t>(i)];
    l = !any ? -kInf : undefined ? std::nan("") : most + std::log(sum);
    for (std::int64_t j = 0; j < p.columns; ++j)
      if (sees(i, j)) p[i][j] = undefined ? std::nan("") : std::exp(p[i][j] - most) / sum;
    result.lse.number(places[static_cast<std::size_t>(i)], h) = l;
  }

  void forward() {
    for (std::int64_t i = 0; i < p.rows; ++i) {
      scores(i);
      softmax(i);
      double* out = result.out.row(places[static_cast<std::size_t>(i)], h);
      double* reach = result.out_reach.row(places[static_cast<std::size_t>(i)], h);
      for (std::int64_t j = 0; j < p.columns; ++j)
        if (sees(i, j))
          for (std::int64_t c = 0; c < v.columns; ++c) {
            out[c] += p[i][j] * v[j][c];
            reach[c] += std::abs(p[i][j] * v[j][c]);
          }
      if (error.columns) declare(i, out);
    }
  }

  // lse moves by the mean of the scores' errors, weighed by the probabilities; out by that of each times how
  // far its v is from out; both, as errors are finite, by a share of that more.
  void declare(std::int64_t i, const double* out) {
    const Place at = places[static_cast<std::size_t>(i)];
    double* slack = result.out_slack.row(at, h);
    double& lse_slack = result.lse_slack.number(at, h);
    for (std::int64_t j = 0; j < p.columns; ++j) {
      if (!sees(i, j)) continue;
      const double moved = p[i][j] * error[i][j] * (1 + 2 * error[i][j]);
      lse_slack += moved;
      for (std::int64_t c = 0; c < v.columns; ++c) slack[c] += moved * (std::abs(v[j][c]) + std::abs(out[c]));
    }
  }

  // dS = P * (dP - rowsum(P * dP) + dlse) * slope, and the products with Q, K, dO.
  void backward() {
    const Matrix d_out = gather(problem.dout, places, h);
    const double out_step = ulp(problem.forward.out.dtype, 1) / 2;
    for (std::int64_t i = 0; i < p.rows; ++i) {
      const Place at = places[static_cast<std::size_t>(i)];
      const double* out = result.out.row(at, h);
      const double delta = inner_product(d_out[i], out, v.columns);
      const double delta_slack = out_step * absolute_product(d_out[i], out, v.columns);
      const double lse_slack = ulp(DType::f32, lse[static_cast<std::size_t>(i)]) / 2;
      const double d_lse =
          problem.dlse ? load(problem.dlse, number_at(problem.dlse, at.outer, at.inner, h)) : 0;
      for (std::int64_t j = 0; j < p.columns; ++j) {
        if (!sees(i, j)) continue;
        const double d_p = inner_product(d_out[i], v[j], v.columns) - delta + d_lse;
        const double d_s = scale * slope[i][j] * p[i][j] * d_p;
        const double d_p_slack = delta_slack + lse_slack * std::abs(d_p);
        const double slack = std::abs(scale * slope[i][j] * p[i][j]) * d_p_slack;
        const Place key = seq.keys[static_cast<std::size_t>(j)];
        add(result.dq.row(at, h), d_s, k[j], k.columns);
        add(result.dk.row(key, key_head), d_s, q[i], q.columns);
        add(result.dv.row(key, key_head), p[i][j], d_out[i], v.columns);
        add_absolute(result.dq_slack.row(at, h), slack, k[j], k.columns);
        add_absolute(result.dk_slack.row(key, key_head), slack, q[i], q.columns);
        add_absolute(result.dv_slack.row(key, key_head), lse_slack * p[i][j], d_out[i], v.columns);
        captured(i, j, d_p, d_p_slack);
      }
    }
  }

  // The pairs' terms of each captured tensor's gradient: dS before the program's slope, times d program /
  // d element.
  void captured(std::int64_t i, std::int64_t j, double d_p, double slack) {
    for (std::size_t t = 0; t < problem.dcaptured.size(); ++t) {
      if (result.dcaptured[t].data.empty()) continue;
      const Expr& program = problem.forward.score.expr();
      for (const Expr& read : gathers(program, problem.dcaptured[t].captured)) {
        const GatherSlope g = gather_slope(program, read, position(i), seq.key_start + j, raw[i][j]);
        const auto element = static_cast<std::size_t>(g.element);
        result.dcaptured[t].data[element] += p[i][j] * d_p * g.slope;
        // A slope may cancel to nothing, as 1 - tanh^2 does: float64 leaves that much of its terms.
        const double noise = 0x1p-50 * (1 + std::abs(raw[i][j])) * std::abs(p[i][j] * d_p);
        result.dcaptured_slack[t].data[element] +=
            std::abs(p[i][j] * g.slope) * slack + (std::isfinite(noise) ? noise : 0);
      }
    }
  }

  static void add(double* y, double a, const double* x, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) y[i] += a * x[i];
  }
  static void add_absolute(double* y, double a, const double* x, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) y[i] += std::abs(a * x[i]);
  }
};

}  // namespace

Values::Values(const Dims& s, double fill) : shape(s) {
  std::int64_t n = 1;
  for (const std::int64_t size : s) n *= size;
  data.assign(static_cast<std::size_t>(n), fill);
}

double* Values::row(Place at, std::int64_t head) {
  const std::int64_t rows = shape.rank() == 4 ? at.outer * shape[1] + at.inner : at.inner;
  const int r = shape.rank();
  return data.data() + (rows * shape[r - 2] + head) * shape[r - 1];
}

double& Values::number(Place at, std::int64_t head) {
  const std::int64_t heads = shape.rank() == 3 ? at.outer * shape[1] + head : head;
  return data[static_cast<std::size_t>(heads * shape[shape.rank() - 1] + at.inner)];
}

std::vector<Sequence> sequences(const ForwardProblem& p) {
  std::vector<Sequence> all(static_cast<std::size_t>(batch_of(p)));
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto b = static_cast<std::int64_t>(i);
    Sequence& s = all[i];
    if (const auto* packed = std::get_if<Packed>(&p.queries))
      for (std::int64_t r = entry(packed->cu_seqlens, b); r < entry(packed->cu_seqlens, b + 1); ++r)
        s.queries.push_back({0, r});
    else
      for (std::int64_t r = 0; r < p.q.size(1); ++r) s.queries.push_back({b, r});
    s.keys = stored_keys(p, b);
    if (p.seqused_q) s.queries.resize(static_cast<std::size_t>(entry(p.seqused_q, b)));
    if (p.seqused_kv) s.keys.resize(static_cast<std::size_t>(entry(p.seqused_kv, b)));
    if (p.leftpad) s.keys.erase(s.keys.begin(), s.keys.begin() + entry(p.leftpad, b));
    s.key_start = start_of(p.key_start, b);
    if (std::holds_alternative<BottomRight>(p.query_start))
      s.query_start = s.key_start + s.len_kv() - s.len_q();
    else if (const auto* given = std::get_if<Start>(&p.query_start)) s.query_start = start_of(*given, b);
  }
  return all;
}

namespace {
// Marks the rows of sequences that were not looked at; rows behind the sequences are known to be empty.
void mark_skipped(Reference& r, const std::vector<Sequence>& all, const Visibility& v, std::int64_t heads) {
  const std::int64_t columns = std::max<std::int64_t>(1, r.out.shape[r.out.shape.rank() - 1]);
  r.skipped_out.resize(r.out.data.size() / static_cast<std::size_t>(columns));
  r.skipped_lse.resize(r.lse.data.size());
  for (std::size_t b = 0; b < all.size(); ++b)
    for (std::int64_t h = 0; h < heads; ++h) {
      const auto& rows = v.rows[b * static_cast<std::size_t>(heads) + static_cast<std::size_t>(h)];
      for (std::size_t i = 0, n = 0; i < all[b].queries.size(); ++i) {
        if (n < rows.size() && rows[n] == static_cast<std::int64_t>(i)) {
          ++n;
          continue;
        }
        double& lse = r.lse.number(all[b].queries[i], h);
        lse = std::nan("");  // neither empty nor compared
        r.skipped_lse[static_cast<std::size_t>(&lse - r.lse.data.data())] = 1;
        r.skipped_out[static_cast<std::size_t>((r.out.row(all[b].queries[i], h) - r.out.data.data()) /
                                               columns)] = 1;
      }
    }
}
}  // namespace

Reference reference(const BackwardProblem& bp, bool backward, const std::vector<Sequence>& all,
                    const Visibility& v, Programs programs) {
  const ForwardProblem& p = bp.forward;
  const std::int64_t heads = p.q.size(p.q.rank() - 2), key_heads = p.k.size(p.k.rank() - 2);
  Reference r;
  r.programs = programs;
  r.out = r.out_reach = Values(p.out.shape);
  const Dims lse = p.q.rank() == 3 ? Dims{heads, p.q.size(0)} : Dims{p.q.size(0), heads, p.q.size(1)};
  r.lse = Values(lse, -kInf), r.lse_reach = Values(lse);
  if (programs == Programs::float32 && p.score && !inexact_operators(p.score.expr()).empty())
    r.declares = true, r.out_slack = Values(p.out.shape), r.lse_slack = Values(lse);
  if (backward) {
    r.dq = r.dq_slack = Values(p.q.shape), r.dk = r.dk_slack = Values(p.k.shape),
    r.dv = r.dv_slack = Values(p.v.shape);
    for (const CapturedGradient& g : bp.dcaptured)
      r.dcaptured.emplace_back(g.captured.shape), r.dcaptured_slack.emplace_back(g.captured.shape);
  }
  const double scale = p.scale ? *p.scale : 1 / std::sqrt(static_cast<double>(p.q.shape[p.q.rank() - 1]));
  for (std::size_t b = 0; b < all.size(); ++b)
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::size_t entry = b * static_cast<std::size_t>(heads) + static_cast<std::size_t>(h);
      if (v.rows[entry].empty()) continue;
      Head head(bp, all[b], static_cast<std::int64_t>(b), h, heads / key_heads, scale, v.rows[entry],
                v.seen[entry].data(), r);
      head.forward();
      if (backward) head.backward();
    }
  if (v.sampled) mark_skipped(r, all, v, heads);
  return r;
}

}  // namespace bolide::testing
