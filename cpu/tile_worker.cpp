// Loading, scoring and masking tiles, and the online softmax over them.
#include "cpu/tile_worker.hpp"

#include <cmath>
#include <cstring>

#include "cpu/elements.hpp"
#include "program/facts.hpp"

namespace bolide::cpu {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// where(m, s, -inf) becomes a mask if what the plan provides for suffices: numbers may have changed since.
std::pair<Mask, Score> programs_of(const ForwardProblem& p, const TiledPlan& plan) {
  if (!p.score) return {p.mask, p.score};
  try {
    const std::pair<Mask, Score> both = program::normalised(p.mask, p.score);
    const auto fits = [&](const auto& x) {
      return !x || program::Evaluator(x.expr()).scratch_bytes() <= plan.scratch_bytes;
    };
    const bool one_mask = plan.heads == 1 || !both.first || !program::facts(both.first.expr()).uses_h;
    if (one_mask && fits(both.first) && fits(both.second)) return both;
  } catch (const Error&) {  // both together are too long for a program
  }
  return {p.mask, p.score};
}

}  // namespace

TileProblem::TileProblem(const ForwardProblem& p, const TiledPlan& plan)
    : TileProblem(p, plan, programs_of(p, plan)) {}

TileProblem::TileProblem(const ForwardProblem& p, const TiledPlan& plan,
                         const std::pair<Mask, Score>& programs)
    : problem(p), plan(plan), sizes(plan.sizes), rows(p, plan.sizes), classes(programs.first, plan.classes) {
  if (programs.first) mask.emplace(programs.first.expr());
  if (programs.second) score.emplace(programs.second.expr());
}

Blocks::Blocks(const TiledPlan& plan) : sizes_(plan.sizes), heads_(plan.heads) {
  q_tiles_ = tiles_of(sizes_.rows_q, kTileQ);
  per_key_head_ = tiles_of(sizes_.group(), heads_);
  lanes_ = sizes_.batch * sizes_.heads_kv * per_key_head_;
  // A row of tiles is classified once for all heads where rows alone keep the threads busy.
  chunk_ = q_tiles_ >= 4 * plan.threads ? std::max<std::int64_t>(lanes_, 1) : 1;
}

std::optional<Block> Blocks::at(const Sequence& seq, std::int64_t b, std::int64_t of_heads,
                                std::int64_t tile) const {
  if (tile * kTileQ >= seq.len_q) return std::nullopt;
  const std::int64_t key_head = of_heads / per_key_head_, first = of_heads % per_key_head_ * heads_;
  return Block{b,
               key_head * sizes_.group() + first,
               tile * kTileQ,
               static_cast<int>(std::min<std::int64_t>(heads_, sizes_.group() - first)),
               static_cast<int>(std::min<std::int64_t>(kTileQ, seq.len_q - tile * kTileQ)),
               seq};
}

template <class T, class P>
TileWorker<T, P>::TileWorker(const TileProblem& problem, void* memory)
    : t(problem),
      m([&] {
        Arena arena(memory);
        return TileMemory<T, P>(arena, problem.plan);
      }()),
      runs(problem.classes, m.runs) {}

template <class T, class P>
bool TileWorker<T, P>::load_queries(const Block& block) {
  const bool finite = load_rows(t.problem.q, block, m.pitch_k, static_cast<int>(t.sizes.head_dim), m.q);
  transpose(m.q, m.pitch_k, t.sizes.head_dim, m.q_columns);
  return finite;
}

template <class T, class P>
bool TileWorker<T, P>::load_rows(const Tensor& x, const Block& block, std::int64_t pitch, int columns,
                                 float* to) const {
  bool finite = true;
  for (int r = 0; r < block.size(); ++r) {
    const std::int64_t at = row_offset(x, t.rows.query(block.b, block.row_of(r)), block.head_of(r));
    finite &= load_floats(x.dtype, static_cast<std::byte*>(x.data) + at * size_of(x.dtype), columns,
                          to + r * pitch);
  }
  std::fill(to + block.size() * pitch, to + m.pitch * pitch, 0.f);
  return finite;
}

template <class T, class P>
bool TileWorker<T, P>::load_keys(const Tensor& x, const Block& block, std::int64_t first, int keys,
                                 std::int64_t pitch, float* to) const {
  const std::int64_t key_head = block.head / t.sizes.group();
  const int columns = static_cast<int>(x.size(x.rank() - 1));
  bool finite = true;
  for (int j = 0; j < keys; ++j) {
    const std::int64_t at = row_offset(x, t.rows.key(block.b, first + j), key_head);
    finite &= load_floats(x.dtype, static_cast<std::byte*>(x.data) + at * size_of(x.dtype), columns,
                          to + j * pitch);
  }
  return finite;
}

template <class T, class P>
void TileWorker<T, P>::store(const Tensor& x, Slot slot, std::int64_t head, const P* row,
                             double factor) const {
  const std::int64_t columns = x.size(x.rank() - 1);
  for (std::int64_t c = 0; c < padded(columns); ++c) m.row[c] = static_cast<float>(row[c] * factor);
  store_floats(x.dtype, m.row, static_cast<int>(columns),
               static_cast<std::byte*>(x.data) + row_offset(x, slot, head) * size_of(x.dtype));
}

template <class T, class P>
void TileWorker<T, P>::transpose(const float* rows, std::int64_t pitch, std::int64_t columns,
                                 float* to) const {
  for (std::int64_t r = 0; r < m.pitch; r += kPad)
    for (std::int64_t c = 0; c < columns; ++c)
      for (std::int64_t i = r; i < r + kPad; ++i) to[c * m.pitch + i] = rows[i * pitch + c];
}

template <class T, class P>
TileClass TileWorker<T, P>::look(const Block& block, std::int64_t first, int keys, bool all) {
  if (all) return TileClass::all;
  const Sequence& seq = block.seq;
  bool shown = false, hidden = false;
  for (int i = 0; i < block.rows; ++i) {
    std::uint8_t* row = m.visible + i * kTileKv;
    if (!t.mask) {
      std::fill_n(row, keys, std::uint8_t{1});
      continue;
    }
    const program::Row at{.b = block.b,
                          .h = block.head,
                          .q = seq.query_start + block.row + i,
                          .len_q = seq.len_q,
                          .len_kv = seq.len_kv};
    t.mask->mask(at, seq.key_start + first, keys, row, m.scratch);
    shown = shown || std::memchr(row, 1, static_cast<std::size_t>(keys));
    hidden = hidden || std::memchr(row, 0, static_cast<std::size_t>(keys));
  }
  if (t.classes.classes() == Classes::partial || (shown && hidden)) return TileClass::some;
  return shown ? TileClass::all : TileClass::none;
}

template <class T, class P>
bool TileWorker<T, P>::count(const Block& block, TileClass c) {
  (c == TileClass::none   ? counts.skipped
   : c == TileClass::some ? counts.masked
                          : counts.unmasked) += block.heads;
  return c != TileClass::none;
}

template <class T, class P>
void TileWorker<T, P>::add_counts(TileCounts& all) const {
  all.masked += counts.masked, all.unmasked += counts.unmasked, all.skipped += counts.skipped;
  all.interval_evaluations += runs.interval_evaluations();
}

template <class T, class P>
void TileWorker<T, P>::score(const Block& block, std::int64_t first, int keys, TileClass c, bool slopes,
                             T* raw) {
  multiply(Product<float, T>{.a = m.k,
                             .a_row = m.pitch_k,
                             .a_column = 1,
                             .b = m.q_columns,
                             .b_row = m.pitch,
                             .c = m.s,
                             .c_row = m.pitch,
                             .m = keys,
                             .n = static_cast<int>(m.pitch),
                             .k = static_cast<int>(t.sizes.head_dim),
                             .add = false,
                             .factor = static_cast<T>(t.sizes.scale)});
  if (raw) std::copy_n(m.s, keys * m.pitch, raw);
  if (t.score) apply_score(block, first, keys, slopes);
  if (c == TileClass::some) hide(block, keys);
}

template <class T, class P>
program::Row TileWorker<T, P>::position(const Block& block, int r) const {
  return {.b = block.b,
          .h = block.head_of(r),
          .q = block.seq.query_start + block.row_of(r),
          .len_q = block.seq.len_q,
          .len_kv = block.seq.len_kv};
}

template <class T, class P>
void TileWorker<T, P>::apply_score(const Block& block, std::int64_t first, int keys, bool slopes) {
  for (int r = 0; r < block.size(); ++r) {
    for (int j = 0; j < keys; ++j) m.line[j] = m.s[j * m.pitch + r];
    t.score->score(position(block, r), block.seq.key_start + first, keys, m.line,
                   slopes ? m.line_slope : nullptr, m.scratch);
    for (int j = 0; j < keys; ++j) m.s[j * m.pitch + r] = static_cast<T>(m.line[j]);
    for (int j = 0; slopes && j < keys; ++j) m.slope[j * m.pitch + r] = static_cast<T>(m.line_slope[j]);
  }
}

template <class T, class P>
void TileWorker<T, P>::hide(const Block& block, int keys) {
  for (int j = 0; j < keys; ++j)
    for (int g = 0; g < block.heads; ++g) {
      T* s = m.s + j * m.pitch + g * block.rows;
      for (int i = 0; i < block.rows; ++i)
        if (!m.visible[i * kTileKv + j]) s[i] = static_cast<T>(-kInf);
    }
}

template <class T, class P>
void TileWorker<T, P>::reset() {
  std::fill_n(m.max, m.pitch, static_cast<T>(-kInf));
  std::fill_n(m.poison, m.pitch, T(0));
  std::fill_n(m.sum, m.pitch, 0.0);
  if (t.plan.backward) std::fill_n(m.delta, m.pitch, 0.0);
}

template <class T, class P>
void TileWorker<T, P>::take_scores(const Block& block, int keys, bool d_p) {
  const int pitch = static_cast<int>(m.pitch);
  const Tile<T> scores{m.s, keys, pitch};
  std::copy_n(m.max, m.pitch, m.base);
  find_maxima(scores, m.max, m.poison);
  for (int r = 0; r < block.size(); ++r) {
    const double keep = m.base[r] == m.max[r] ? 1 : std::exp(static_cast<double>(m.base[r] - m.max[r]));
    m.keep[r] = static_cast<P>(keep);
    m.sum[r] *= keep;
    if (d_p) m.delta[r] *= keep;
  }
  for (int r = 0; r < m.pitch; ++r) m.base[r] = m.max[r] == -kInf ? 0 : m.max[r];
  exponentiate(scores, m.base, m.p, m.tile_sum);
  for (int r = 0; r < block.size(); ++r) m.sum[r] += static_cast<double>(m.tile_sum[r]);
  if constexpr (std::is_same_v<T, P>) {
    if (!d_p) return;
    weigh(Tile<T>{m.p, keys, pitch}, m.d_p, m.tile_sum);
    for (int r = 0; r < block.size(); ++r) m.delta[r] += static_cast<double>(m.tile_sum[r]);
  }
}

template <class T, class P>
const std::uint8_t* TileWorker<T, P>::shown(int keys) {
  for (std::int64_t i = 0; i < keys * m.pitch; ++i) m.where[i] = !(m.s[i] == static_cast<T>(-kInf));
  return m.where;
}

template class TileWorker<float, float>;
template class TileWorker<double, float>;
template class TileWorker<double, double>;

}  // namespace bolide::cpu
