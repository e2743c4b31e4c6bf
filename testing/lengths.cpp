// How long each sequence is: lists as they stand, ranges drawn from the seed.
#include <fmt/core.h>

#include <algorithm>

#include "testing/random.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

// One number for each sequence. Numbers and ranges are cut to `limit`; a list beyond it is an error.
std::vector<std::int64_t> draw(const Case& c, const char* key, const Spread& s, std::int64_t fallback,
                               const std::vector<std::int64_t>* limit, std::uint64_t stream) {
  std::vector<std::int64_t> out;
  Random random(scramble(c.seed, stream));
  for (std::int64_t b = 0; b < c.batch; ++b) {
    const auto i = static_cast<std::size_t>(b);
    const std::int64_t most = limit ? (*limit)[i] : INT64_MAX;
    if (!s) {
      out.push_back(std::min(fallback, most));
    } else if (s.range) {
      out.push_back(random.between(std::min(s.values[0], most), std::min(s.values[1], most)));
    } else if (s.values.size() == 1) {
      out.push_back(std::min(s.values[0], most));
    } else {
      out.push_back(s.values[i]);
      if (s.values[i] > most)
        throw Error(Code::invalid_argument,
                    fmt::format("key {} lists {} for sequence {}, which has {} rows; list at most that many",
                                key, s.values[i], b, most));
    }
  }
  return out;
}

std::int64_t largest(const std::vector<std::int64_t>& v) {
  return v.empty() ? 0 : *std::max_element(v.begin(), v.end());
}

}  // namespace

Lengths draw_lengths(const Case& c) {
  Lengths l;
  l.rows_q = draw(c, "sq", c.rows_q, 1, nullptr, 1);
  l.rows_kv = draw(c, "skv", c.rows_kv, 1, nullptr, 2);
  l.used_q = draw(c, "seqused_q", c.seqused_q, INT64_MAX, &l.rows_q, 3);
  l.used_kv = draw(c, "seqused_kv", c.seqused_kv, INT64_MAX, &l.rows_kv, 4);
  l.leftpad = draw(c, "leftpad", c.leftpad, 0, &l.used_kv, 5);
  l.query_start = draw(c, "start", c.query_start.value, 0, nullptr, 6);
  l.key_start = draw(c, "key_start", c.key_start.value, 0, nullptr, 7);
  // Dense rows keep their capacity even when there is no sequence to draw it for.
  l.most_rows_q = c.queries == Rows::dense ? c.rows_q.largest() : largest(l.rows_q);
  l.most_rows_kv = c.keys == Keys::dense ? c.rows_kv.largest() : largest(l.rows_kv);
  return l;
}

}  // namespace bolide::testing
