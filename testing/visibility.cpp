// What the mask lets queries see: of every row, or of a sample of the rows of a long problem.
#include <algorithm>

#include "program/evaluator.hpp"
#include "program/facts.hpp"
#include "program/point.hpp"
#include "testing/random.hpp"
#include "testing/reference.hpp"

namespace bolide::testing {
namespace {

constexpr std::int64_t kLeastRows = 96, kRowsOfAHead = 16;
constexpr double kMostMaskPoints = 1 << 28;  // that decide exactly which keys nobody sees

double all_points(const std::vector<Sequence>& all, std::int64_t heads) {
  double points = 0;
  for (const Sequence& s : all) points += static_cast<double>(s.len_q()) * static_cast<double>(s.len_kv());
  return points * static_cast<double>(heads);
}

std::vector<std::int64_t> every_row(const Sequence& s) {
  std::vector<std::int64_t> rows(s.queries.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  return rows;
}

// The same rows whenever the lengths are the same. The first and the last (sequence, head) are among those
// that are sampled.
void sample_rows(Visibility& v, const std::vector<Sequence>& all, std::int64_t heads, double products_a_row,
                 double most_products) {
  const auto entries = static_cast<std::int64_t>(all.size()) * heads;
  const std::int64_t wanted =
      std::max(kLeastRows, static_cast<std::int64_t>(most_products / std::max(products_a_row, 1.0)));
  const std::int64_t some = std::clamp<std::int64_t>(wanted / kRowsOfAHead, 1, entries);
  for (std::int64_t n = 0; n < some; ++n) {
    const std::int64_t entry = some == 1 ? 0 : n * (entries - 1) / (some - 1);
    const Sequence& s = all[static_cast<std::size_t>(entry / heads)];
    std::vector<std::int64_t>& rows = v.rows[static_cast<std::size_t>(entry)];
    if (s.len_q() == 0) continue;
    rows = {0, s.len_q() - 1};
    Random random(scramble(static_cast<std::uint64_t>(entry), static_cast<std::uint64_t>(s.len_q())));
    for (std::int64_t i = 2; i < wanted / some; ++i) rows.push_back(random.between(0, s.len_q() - 1));
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  }
}

std::vector<std::uint8_t> seen_by(const ForwardProblem& p, const Sequence& s, std::int64_t b, std::int64_t h,
                                  const std::vector<std::int64_t>& rows) {
  std::vector<std::uint8_t> seen(rows.size() * s.keys.size(), 1);
  for (std::size_t at = 0; p.mask && at < seen.size(); ++at) {
    const auto j = static_cast<std::int64_t>(at % s.keys.size());
    const program::Row row{.b = b,
                           .h = h,
                           .q = s.query_start + rows[at / s.keys.size()],
                           .len_q = s.len_q(),
                           .len_kv = s.len_kv()};
    seen[at] = program::eval_mask_point(p.mask.expr(), row, s.key_start + j);
  }
  return seen;
}

// Keys that some row sees, by the library's own evaluator: it decides what is poisoned, not what is right.
std::vector<std::uint8_t> keys_seen(const ForwardProblem& p, const Sequence& s, std::int64_t b,
                                    std::int64_t h) {
  const program::Evaluator evaluator(p.mask.expr());
  std::vector<std::byte> scratch(evaluator.scratch_bytes() + 64);
  void* const place =
      reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(scratch.data()) + 63) / 64 * 64);
  std::vector<std::uint8_t> any(s.keys.size()), row(s.keys.size());
  for (std::int64_t i = 0; i < s.len_q(); ++i) {
    evaluator.mask({.b = b, .h = h, .q = s.query_start + i, .len_q = s.len_q(), .len_kv = s.len_kv()},
                   s.key_start, static_cast<int>(s.len_kv()), row.data(), place);
    for (std::size_t j = 0; j < any.size(); ++j) any[j] |= row[j];
  }
  return any;
}

}  // namespace

Visibility visibility(const ForwardProblem& p, const std::vector<Sequence>& all, bool may_sample,
                      double most_products) {
  const std::int64_t heads = p.q.size(p.q.rank() - 2),
                     columns = p.q.size(p.q.rank() - 1) + p.out.size(p.out.rank() - 1);
  const double points = all_points(all, heads);
  const std::size_t entries = all.size() * static_cast<std::size_t>(heads);
  Visibility v;
  v.rows.resize(entries), v.seen.resize(entries), v.keys.resize(entries);
  v.sampled = may_sample && points * static_cast<double>(columns) > most_products;
  if (v.sampled) {
    std::int64_t longest = 0;
    for (const Sequence& s : all) longest = std::max(longest, s.len_kv());
    sample_rows(v, all, heads, static_cast<double>(longest * columns), most_products);
  }
  const bool exact = !v.sampled || points <= kMostMaskPoints,
             by_head = p.mask && program::facts(p.mask.expr()).uses_h;
  for (std::size_t entry = 0; entry < entries; ++entry) {
    const std::size_t b = entry / static_cast<std::size_t>(heads),
                      h = entry % static_cast<std::size_t>(heads);
    const Sequence& s = all[b];
    if (!v.sampled) v.rows[entry] = every_row(s);
    v.seen[entry] = seen_by(p, s, static_cast<std::int64_t>(b), static_cast<std::int64_t>(h), v.rows[entry]);
    std::vector<std::uint8_t>& keys = v.keys[entry];
    keys.assign(s.keys.size(), s.len_q() > 0);
    if (!p.mask || !exact) continue;
    if (!v.sampled) {
      std::fill(keys.begin(), keys.end(), std::uint8_t{0});
      for (std::size_t at = 0; at < v.seen[entry].size(); ++at) keys[at % keys.size()] |= v.seen[entry][at];
    } else if (h > 0 && !by_head) {
      keys = v.keys[entry - 1];
    } else {
      keys = keys_seen(p, s, static_cast<std::int64_t>(b), static_cast<std::int64_t>(h));
    }
  }
  return v;
}

}  // namespace bolide::testing
