// What counts as an option, and the count of pairs.
#include "testing/coverage.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <climits>

#include "testing/random_program.hpp"

namespace bolide::testing {
namespace {

// A number by its range: "1", "2..31". Values are the same texts.
std::string bucket(std::int64_t n, const std::vector<std::string>& values) {
  for (const std::string& v : values) {
    const std::size_t dots = v.find("..");
    const std::int64_t low = std::stoll(v), high = dots == std::string::npos
                                                       ? (v.back() == '+' ? INT64_MAX : low)
                                                       : std::stoll(v.substr(dots + 2));
    if (n >= low && n <= high) return v;
  }
  return {};
}

Option number(const char* name, std::vector<std::string> values,
              std::function<std::int64_t(const Case&)> get) {
  return {name, values, [=](const Case& c) { return bucket(get(c), values); }};
}

// A key of the case's language by its printed value, where that is one of `values`; the first when it is at
// its default.
Option yes_no(const char* name, std::function<bool(const Case&)> get,
              std::function<bool(const Case&)> arises) {
  return {name, {"no", "yes"}, [=](const Case& c) -> std::string {
            return !arises(c) ? "" : get(c) ? "yes" : "no";
          }};
}

template <class E>
Option choice(const char* name, std::vector<std::string> values, E Case::*field) {
  return {name, values, [=](const Case& c) { return values.at(static_cast<std::size_t>(c.*field)); }};
}

std::string heads(const Case& c) {
  if (c.heads_q == 0) return "none";
  if (c.heads_q == c.heads_kv) return c.heads_q == 1 ? "1" : "mha";
  return c.heads_kv == 1 ? "mqa" : "gqa";
}

std::string program_kind(const std::string& text) {
  if (text.empty()) return "none";
  if (text.find('[') == std::string::npos) return "positions";
  return gathers_by_q(text) ? "table_by_q" : "table";
}

std::string scale_kind(const Case& c) {
  if (c.scale.empty()) return "default";
  const double x = std::stod(c.scale);
  return x == 0 ? "zero" : x < 0 ? "negative" : "positive";
}

std::string position_kind(const Position& p) {
  static constexpr const char* kNames[] = {"bottom_right", "top_left", "number", "per"};
  return kNames[p.kind];
}

std::vector<Option> make_options() {
  const auto always = [](const Case&) { return true; };
  const auto backward = [](const Case& c) { return c.backward(); };
  const auto packed = [](const Case& c) { return c.packed(); };
  return {
      choice("op", {"fwd", "varlen_fwd", "bwd", "varlen_bwd", "fwd_kvcache"}, &Case::operation),
      {"type", {"f32", "f16", "bf16"}, [](const Case& c) { return std::string(name_of(c.dtype)); }},
      number("b", {"0", "1", "2", "3+"}, [](const Case& c) { return c.batch; }),
      {"heads", {"none", "1", "mha", "mqa", "gqa"}, heads},
      number("sq", {"0", "1", "2..7", "8..63", "64+"}, [](const Case& c) { return c.rows_q.largest(); }),
      number("skv", {"0", "1", "2..15", "16..63", "64..127", "128+"},
             [](const Case& c) { return c.rows_kv.largest(); }),
      number("d", {"1", "2..31", "32..63", "64", "65..127", "128", "129..256", "257+"},
             [](const Case& c) { return c.head_dim; }),
      {"dv",
       {"equal", "smaller", "larger"},
       [](const Case& c) -> std::string {
         return c.head_dim_v == c.head_dim ? "equal" : c.head_dim_v < c.head_dim ? "smaller" : "larger";
       }},
      choice("q", {"dense", "packed"}, &Case::queries),
      choice("kv", {"dense", "packed", "paged", "pagelist"}, &Case::keys),
      number("page", {"1", "2..15", "16", "17..63", "64", "65+"},
             [](const Case& c) { return c.paged() ? c.page_rows : -1; }),
      {"pages",
       {"shuffled", "ordered", "shared"},
       [](const Case& c) -> std::string {
         static constexpr const char* kNames[] = {"shuffled", "ordered", "shared"};
         return c.paged() ? kNames[static_cast<int>(c.pages)] : "";
       }},
      yes_no(
          "sq_varies", [](const Case& c) { return c.rows_q.varies(); },
          [](const Case& c) { return c.queries == Rows::packed; }),
      yes_no(
          "skv_varies", [](const Case& c) { return c.rows_kv.varies(); },
          [](const Case& c) { return c.keys != Keys::dense; }),
      yes_no(
          "seqused_q", [](const Case& c) { return static_cast<bool>(c.seqused_q); }, always),
      yes_no(
          "seqused_kv", [](const Case& c) { return static_cast<bool>(c.seqused_kv); }, always),
      yes_no(
          "leftpad", [](const Case& c) { return static_cast<bool>(c.leftpad); }, always),
      {"start",
       {"bottom_right", "top_left", "number", "per"},
       [](const Case& c) { return position_kind(c.query_start); }},
      {"key_start",
       {"0", "number", "per"},
       [](const Case& c) { return c.key_start == Case{}.key_start ? "0" : position_kind(c.key_start); }},
      {"scale", {"default", "positive", "zero", "negative"}, scale_kind},
      {"mask",
       {"none", "positions", "table", "table_by_q"},
       [](const Case& c) { return program_kind(c.mask); }},
      {"score",
       {"none", "positions", "table", "table_by_q"},
       [](const Case& c) { return program_kind(c.score); }},
      choice("out_f32", {"no", "yes"}, &Case::out_f32),
      yes_no(
          "lse", [](const Case& c) { return c.lse; }, always),
      yes_no(
          "dlse", [](const Case& c) { return c.dlse; }, backward),
      yes_no(
          "dout_f32", [](const Case& c) { return c.dout_f32; }, backward),
      yes_no(
          "grad_f32", [](const Case& c) { return c.grad_f32; }, backward),
      yes_no(
          "dcaptured", [](const Case& c) { return !c.dcaptured.empty(); },
          [](const Case& c) {
            return c.backward() && std::any_of(c.lets.begin(), c.lets.end(),
                                               [&](const Let& let) { return has_gradient(c, let); });
          }),
      yes_no(
          "cu_i64", [](const Case& c) { return c.cu_i64; }, packed),
      yes_no(
          "max_seqlen", [](const Case& c) { return c.max_seqlen; }, packed),
      yes_no(
          "tail", [](const Case& c) { return c.tail > 0; }, packed),
      choice("layout", {"bshd", "bhsd", "mixed"}, &Case::layout),
      choice("strides", {"none", "gaps", "odd", "expand", "reverse"}, &Case::strides),
      yes_no(
          "offset", [](const Case& c) { return c.offset > 0; }, always),
      choice("data", {"normal", "uniform", "outliers", "large", "tiny", "ties", "zeroq", "nan"}, &Case::data),
  };
}

// Rules of the language, of the sizes, and of contract C3, as "option=value option=value"; * is any value.
struct Rule {
  const char *option_a, *a, *option_b, *b;
};
constexpr Rule kContradictions[] = {
    {"op", "fwd", "dlse", "*"},
    {"op", "varlen_fwd", "dlse", "*"},
    {"op", "fwd_kvcache", "dlse", "*"},
    {"op", "fwd", "dout_f32", "*"},
    {"op", "varlen_fwd", "dout_f32", "*"},
    {"op", "fwd_kvcache", "dout_f32", "*"},
    {"op", "fwd", "grad_f32", "*"},
    {"op", "varlen_fwd", "grad_f32", "*"},
    {"op", "fwd_kvcache", "grad_f32", "*"},
    {"op", "fwd", "dcaptured", "*"},
    {"op", "varlen_fwd", "dcaptured", "*"},
    {"op", "fwd_kvcache", "dcaptured", "*"},
    {"op", "bwd", "lse", "no"},
    {"op", "varlen_bwd", "lse", "no"},
    {"op", "bwd", "data", "nan"},
    {"op", "varlen_bwd", "data", "nan"},
    {"dlse", "*", "lse", "no"},
    {"dout_f32", "*", "lse", "no"},
    {"grad_f32", "*", "lse", "no"},
    {"dcaptured", "*", "lse", "no"},
    {"score", "none", "dcaptured", "*"},
    {"dlse", "*", "data", "nan"},
    {"dout_f32", "*", "data", "nan"},
    {"grad_f32", "*", "data", "nan"},
    {"dcaptured", "*", "data", "nan"},
    {"op", "varlen_fwd", "q", "dense"},
    {"op", "varlen_bwd", "q", "dense"},
    {"kv", "dense", "page", "*"},
    {"kv", "packed", "page", "*"},
    {"kv", "dense", "pages", "*"},
    {"kv", "packed", "pages", "*"},
    {"q", "dense", "sq_varies", "*"},
    {"kv", "dense", "skv_varies", "*"},
    {"sq", "0", "sq_varies", "yes"},
    {"skv", "0", "skv_varies", "yes"},
    {"d", "1", "dv", "smaller"},
    {"start", "bottom_right", "mask", "table_by_q"},
    {"start", "bottom_right", "score", "table_by_q"},
};

bool fits(const char* rule, const std::string& value) { return *rule == '*' || value == rule; }

}  // namespace

const std::vector<Option>& options() {
  static const std::vector<Option> all = make_options();
  return all;
}

bool contradict(const std::string& option_a, const std::string& a, const std::string& option_b,
                const std::string& b) {
  return std::any_of(std::begin(kContradictions), std::end(kContradictions), [&](const Rule& r) {
    return (option_a == r.option_a && fits(r.a, a) && option_b == r.option_b && fits(r.b, b)) ||
           (option_b == r.option_a && fits(r.a, b) && option_a == r.option_b && fits(r.b, a));
  });
}

Coverage::Coverage() {
  for (std::size_t o = 0; o < options().size(); ++o)
    for (const std::string& v : options()[o].values) values_.push_back({o, v});
  counts_.assign(values_.size() * values_.size(), 0);
}

void Coverage::add(const Case& c) {
  std::vector<std::size_t> present;
  std::size_t first = 0;
  for (const Option& option : options()) {
    const std::string label = option.label(c);
    for (std::size_t v = 0; v < option.values.size(); ++v)
      if (option.values[v] == label) present.push_back(first + v);
    first += option.values.size();
  }
  for (const std::size_t a : present)
    for (const std::size_t b : present)
      if (a <= b) ++counts_[a * values_.size() + b];
  ++cases_;
}

bool Coverage::possible(std::size_t a, std::size_t b) const {
  if (values_[a].option == values_[b].option) return a == b;
  return !contradict(options()[values_[a].option].name, values_[a].value, options()[values_[b].option].name,
                     values_[b].value);
}

int Coverage::least_pair() const {
  int least = INT_MAX;
  for (std::size_t a = 0; a < values_.size(); ++a)
    for (std::size_t b = a; b < values_.size(); ++b)
      if (possible(a, b)) least = std::min(least, counts_[a * values_.size() + b]);
  return least;
}

std::string Coverage::table() const {
  const std::size_t n = values_.size();
  const auto name = [&](std::size_t v) { return options()[values_[v].option].name + "=" + values_[v].value; };
  std::string out = fmt::format("{} cases\n", cases_);
  std::size_t last = options().size();
  for (std::size_t v = 0; v < n; ++v) {
    if (values_[v].option != last)
      out += fmt::format("{}{}:", v ? "\n" : "", options()[values_[v].option].name);
    last = values_[v].option;
    out += fmt::format(" {} {}", values_[v].value, counts_[v * n + v]);
  }
  struct Pair {
    int count;
    std::size_t a, b;
  };
  std::vector<Pair> pairs;
  for (std::size_t a = 0; a < n; ++a)
    for (std::size_t b = a + 1; b < n; ++b)
      if (possible(a, b)) pairs.push_back({counts_[a * n + b], a, b});
  std::sort(pairs.begin(), pairs.end(), [](const Pair& x, const Pair& y) { return x.count < y.count; });
  out += fmt::format("\n{} pairs; drawn least:\n", pairs.size());
  for (std::size_t i = 0; i < std::min<std::size_t>(20, pairs.size()); ++i)
    out += fmt::format("{:6} {} with {}\n", pairs[i].count, name(pairs[i].a), name(pairs[i].b));
  return out;
}

}  // namespace bolide::testing
