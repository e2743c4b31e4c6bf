// Fills q, k, v, dout and dlse: only what some query sees, by the case's distribution.
#include <algorithm>
#include <cmath>

#include "testing/elements.hpp"
#include "testing/random.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {

// Only what some query sees is written; the rest keeps the fill. Aliased elements get the same value from
// every index.
void Setup::write_data() {
  const ForwardProblem& p = host_.forward;
  const std::int64_t heads = case_.heads_q, group = case_.heads_kv ? heads / case_.heads_kv : 1;
  for (std::size_t b = 0; b < sequences_.size(); ++b) {
    const Sequence& s = sequences_[b];
    for (const Place& at : s.queries)
      for (std::int64_t h = 0; h < heads; ++h) {
        write_row(p.q, 0, row_at(p.q, at.outer, at.inner, h), at.inner);
        if (host_.dout) write_row(host_.dout, 3, row_at(host_.dout, at.outer, at.inner, h), at.inner);
        if (!host_.dlse) continue;
        const std::int64_t number = number_at(host_.dlse, at.outer, at.inner, h);
        store(host_.dlse, number,
              normal(scramble(scramble(case_.seed, 34), static_cast<std::uint64_t>(number))));
      }
    const auto keys_of = [&](std::int64_t h) -> const std::vector<std::uint8_t>& {
      return visible_.keys[b * static_cast<std::size_t>(heads) + static_cast<std::size_t>(h)];
    };
    for (std::int64_t first = 0; first < heads; first += group)
      for (std::int64_t j = 0; j < s.len_kv(); ++j) {
        bool any = false;
        for (std::int64_t h = first; h < first + group && !any; ++h)
          any = keys_of(h)[static_cast<std::size_t>(j)] != 0;
        if (!any) continue;
        const Place at = s.keys[static_cast<std::size_t>(j)];
        const std::int64_t row = case_.paged() ? at.outer * case_.page_rows + at.inner : at.inner;
        write_row(p.k, 1, row_at(p.k, at.outer, at.inner, first / group), row);
        write_row(p.v, 2, row_at(p.v, at.outer, at.inner, first / group), row);
      }
  }
}

namespace {

// Contract C17: column c of row `row` of v is 1 where the row's residue is c, modulo m1 in the first columns
// and m2 in the others; m1 and m2 are coprime.
double residue(std::int64_t columns, std::int64_t row, std::int64_t column) {
  const std::int64_t m1 = std::max<std::int64_t>(2, (columns - 1) / 2), m2 = m1 + 1,
                     first = std::min(m1, columns);
  return column < first ? row % m1 == column : row % m2 == column - first;
}

double element(const Case& c, int id, std::uint64_t bits, std::int64_t row, std::int64_t channel,
               std::int64_t columns) {
  constexpr int kQuery = 0, kKey = 1, kValue = 2;
  const double x = normal(bits);
  switch (c.data) {
    case Data::uniform: return unit(bits);
    case Data::outliers: return unit(scramble(bits, 7)) < 0.02 ? 20 * x : x;
    case Data::large: return id <= kKey ? 8 * x : x;
    case Data::tiny: return x * 0x1p-18;
    case Data::ties:
      if (id == kKey) return normal(scramble(c.seed, static_cast<std::uint64_t>(channel)));
      return id == kQuery ? x : 0.5 + unit(bits);
    case Data::zero_q: return id == kQuery ? 0 : x;
    case Data::count: return id == kQuery ? 0 : id == kValue ? residue(columns, row, channel) : x;
    default: return x;
  }
}

}  // namespace

void Setup::write_row(const Tensor& t, int id, std::int64_t at, std::int64_t row) {
  const std::int64_t columns = t.shape[t.rank() - 1];
  const std::uint64_t stream = scramble(case_.seed, 30 + static_cast<std::uint64_t>(id));
  for (std::int64_t c = 0; c < columns; ++c)
    store(t, at + c,
          element(case_, id, scramble(stream, static_cast<std::uint64_t>(at + c)), row, c, columns));
  if (case_.data != Data::nan || id > 2) return;
  static constexpr double kShare[] = {0.12, 0.03, 0.06};  // of rows of q, k, v
  const std::uint64_t bits = scramble(stream, ~static_cast<std::uint64_t>(at));
  if (unit(bits) < kShare[id])
    store(t, at + static_cast<std::int64_t>(bits % static_cast<std::uint64_t>(columns)), std::nan(""));
}

}  // namespace bolide::testing
