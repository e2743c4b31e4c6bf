// Draws each option, then makes sizes small enough for the oracle.
#include "testing/random_case.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "testing/coverage.hpp"
#include "testing/random.hpp"
#include "testing/random_program.hpp"

namespace bolide::testing {
namespace {

// What one draw may cost: products of q.k and p.v, points of programs, and elements of q, out, k and v.
constexpr std::int64_t kMostProducts = 600'000, kMostPoints = 12'000, kMostElements = 250'000;

// A number whose logarithm is uniform; now and then the edge of a tile, or one off.
std::int64_t size_in(Random& r, std::int64_t low, std::int64_t high) {
  if (r.chance(0.3)) {
    static constexpr std::int64_t kEdges[] = {8, 16, 32, 48, 64, 96, 128, 192, 256};
    const std::int64_t n = kEdges[r.between(0, 8)] + r.between(-1, 1);
    if (n >= low && n <= high) return n;
  }
  return r.log_between(low, high);
}

std::int64_t draw_rows_q(Random& r) {
  const double u = r.uniform();
  if (u < 0.07) return 0;
  if (u < 0.25) return 1;
  if (u < 0.48) return size_in(r, 2, 7);
  return u < 0.78 ? size_in(r, 8, 63) : size_in(r, 64, 140);
}
std::int64_t draw_rows_kv(Random& r) {
  const double u = r.uniform();
  if (u < 0.07) return 0;
  if (u < 0.17) return 1;
  if (u < 0.35) return size_in(r, 2, 15);
  if (u < 0.55) return size_in(r, 16, 63);
  return u < 0.75 ? size_in(r, 64, 127) : size_in(r, 128, 300);
}
std::int64_t draw_head_dim(Random& r) {
  switch (r.between(0, 7)) {
    case 0: return 1;
    case 1: return r.between(2, 31);
    case 2: return r.between(32, 63);
    case 3: return 64;
    case 4: return r.between(65, 127);
    case 5: return 128;
    case 6: return r.chance(0.3) ? 256 : r.between(129, 256);
    default: return r.chance(0.3) ? 512 : r.between(257, 512);
  }
}
std::int64_t draw_page_rows(Random& r) {
  switch (r.between(0, 5)) {
    case 0: return 1;
    case 1: return r.between(2, 15);
    case 2: return 16;
    case 3: return r.between(17, 63);
    case 4: return 64;
    default: return r.chance(0.3) ? 256 : r.between(65, 256);
  }
}

void draw_layouts(Case& c, Random& r) {
  c.operation = static_cast<Operation>(r.between(0, 4));
  c.dtype = static_cast<DType>(r.between(1, 3));
  const bool varlen = c.operation == Operation::varlen_fwd || c.operation == Operation::varlen_bwd;
  c.queries = varlen || r.chance(0.4) ? Rows::packed : Rows::dense;
  c.keys = static_cast<Keys>(r.between(0, 3));
  if (c.paged()) c.page_rows = draw_page_rows(r), c.pages = static_cast<PageOrder>(r.between(0, 2));
  c.layout = static_cast<MemoryOrder>(r.between(0, 2));
  c.strides = static_cast<Strides>(r.between(0, 4));
  if (r.chance(0.5)) c.offset = r.between(1, 17);
  if (c.packed())
    c.cu_i64 = r.chance(0.5), c.max_seqlen = r.chance(0.5), c.tail = r.chance(0.4) ? r.between(1, 9) : 0;
}

// Halves a random factor of what is too much, but leaves at least 1.
void halve(std::int64_t& n) { n = std::max<std::int64_t>(1, n / 2); }

void draw_sizes(Case& c, Random& r) {
  static constexpr std::int64_t kGroups[] = {1, 1, 2, 3, 4, 5, 7, 8, 12};
  std::int64_t b = r.chance(0.06) ? 0 : r.chance(0.3) ? 1 : r.chance(0.45) ? 2 : r.between(3, 5);
  std::int64_t hkv = r.between(1, 3), group = kGroups[r.between(0, 8)];
  if (r.chance(0.1)) hkv = group = 1;
  std::int64_t sq = draw_rows_q(r), skv = draw_rows_kv(r), d = draw_head_dim(r), dv = d;
  if (r.chance(0.25)) dv = r.between(1, std::max<std::int64_t>(1, d - 1));
  else if (r.chance(0.33)) dv = std::min<std::int64_t>(512, d + r.log_between(1, 200));
  const bool none = r.chance(0.05);
  const auto points = [&] { return b * hkv * group * sq * skv; };
  const auto stored = [&] {
    return (b * skv + (c.paged() ? (b + 2) * c.page_rows : 0)) * hkv * (d + dv) +
           b * sq * hkv * group * (d + dv);
  };
  while (points() > kMostPoints || points() * (d + dv) > kMostProducts || stored() > kMostElements) {
    const bool rows_matter = points() > kMostPoints || points() * (d + dv) > kMostProducts;
    switch (r.between(0, 6)) {
      case 0: halve(b); break;
      case 1: halve(hkv); break;
      case 2: halve(skv); break;
      case 3: {
        const std::int64_t most = std::max(d, dv);
        if (most == 1) break;
        d = std::max<std::int64_t>(1, d / 2), dv = std::max<std::int64_t>(1, dv / 2);
        break;
      }
      case 4: rows_matter || !c.paged() ? halve(group) : halve(c.page_rows); break;
      case 5: halve(sq); break;
      default: halve(group); break;
    }
  }
  c.batch = b, c.heads_kv = hkv, c.heads_q = none ? 0 : hkv * group;
  c.rows_q = sq, c.rows_kv = skv, c.head_dim = d, c.head_dim_v = dv;
}

void draw_lengths_of(Case& c, Random& r) {
  const std::int64_t sq = c.rows_q.largest(), skv = c.rows_kv.largest();
  if (c.queries == Rows::packed && sq > 0 && r.chance(0.6))
    c.rows_q = Spread(r.chance(0.5) ? 0 : r.between(0, sq), sq);
  if (c.keys != Keys::dense && skv > 0 && r.chance(0.6))
    c.rows_kv = Spread(r.chance(0.5) ? 0 : r.between(0, skv), skv);
  if (r.chance(0.35)) c.seqused_q = Spread(0, sq);
  if (r.chance(0.4)) c.seqused_kv = r.chance(0.3) ? Spread(r.between(0, skv)) : Spread(0, skv);
  if (r.chance(0.35)) c.leftpad = Spread(0, skv / 2 + 1);
  switch (r.between(0, 3)) {
    case 0: break;
    case 1: c.query_start.kind = Position::top_left; break;
    case 2: c.query_start = {Position::number, r.between(-3, skv)}; break;
    default: c.query_start = {Position::per_sequence, Spread(-3, skv)}; break;
  }
  if (r.chance(0.5)) {
    if (r.chance(0.5)) c.key_start = {Position::number, r.chance(0.5) ? r.between(1, 20) : -r.between(1, 5)};
    else c.key_start = {Position::per_sequence, Spread(-5, 20)};
  }
}

void draw_meaning(Case& c, Random& r) {
  const bool may_gather_by_q = c.query_start.kind != Position::bottom_right;
  draw_mask(c, r, may_gather_by_q);
  draw_score(c, r, may_gather_by_q);
  if (r.chance(0.45)) {
    const double natural = 1 / std::sqrt(static_cast<double>(c.head_dim));
    const double factor = r.chance(0.33) ? 0 : (r.chance(0.5) ? 1 : -1) * (0.25 + 1.75 * r.uniform());
    c.scale = fmt::format("{:.5g}", factor * natural);
  }
  if (r.chance(0.6)) c.data = static_cast<Data>(r.between(1, c.backward() ? 6 : 7));
  c.out_f32 = r.chance(0.35);
  if (c.backward()) c.dlse = r.chance(0.5), c.dout_f32 = r.chance(0.4), c.grad_f32 = r.chance(0.4);
  else c.lse = r.chance(0.8);
}

Case draw_once(Random r) {
  Case c;
  draw_layouts(c, r);
  draw_sizes(c, r);
  draw_lengths_of(c, r);
  draw_meaning(c, r);
  c.seed = r.bits() % 1'000'000'000;
  if (c.backward() && r.chance(0.75))
    for (const Let& let : c.lets)
      if (has_gradient(c, let) && r.chance(0.85)) c.dcaptured.push_back(let.name);
  return c;
}

}  // namespace

Filter Filter::parse(std::string_view text) {
  Filter f;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    text = space == std::string_view::npos ? "" : text.substr(space + 1);
    if (word.empty()) continue;
    const std::string name(word.substr(0, word.find('=')));
    const auto& all = options();
    const auto found = std::find_if(all.begin(), all.end(), [&](const Option& o) { return o.name == name; });
    if (found == all.end() || word.size() == name.size()) {
      std::string names;
      for (const Option& o : all) names += (names.empty() ? "" : ", ") + o.name;
      throw Error(Code::invalid_argument,
                  fmt::format("filter '{}' is not option=value; the options are {}", word, names));
    }
    std::vector<std::string> values;
    for (std::string_view rest = word.substr(name.size() + 1);;) {
      const std::size_t comma = rest.find(',');
      values.emplace_back(rest.substr(0, comma));
      if (std::find(found->values.begin(), found->values.end(), values.back()) == found->values.end())
        throw Error(Code::invalid_argument, fmt::format("filter option {} has value '{}'; allowed: {}", name,
                                                        values.back(), fmt::join(found->values, ", ")));
      if (comma == std::string_view::npos) break;
      rest = rest.substr(comma + 1);
    }
    f.wanted_.emplace_back(static_cast<std::size_t>(found - all.begin()), std::move(values));
  }
  return f;
}

bool Filter::matches(const Case& c) const {
  return std::all_of(wanted_.begin(), wanted_.end(), [&](const auto& w) {
    return std::find(w.second.begin(), w.second.end(), options()[w.first].label(c)) != w.second.end();
  });
}

Case draw(std::uint64_t seed, std::uint64_t index, const Filter& filter) {
  for (std::uint64_t attempt = 0; attempt < 100'000; ++attempt) {
    Case c = draw_once(Random(scramble(scramble(seed, index), attempt)));
    if (filter.matches(c)) return c;
  }
  throw Error(
      Code::invalid_argument,
      "no case among 100000 draws matches the filter; ask for less, or for values that can stand together");
}

}  // namespace bolide::testing
