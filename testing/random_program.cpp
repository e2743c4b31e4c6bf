// The list of texts and the grammar's generator.
#include "testing/random_program.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "testing/captured.hpp"

namespace bolide::testing {
namespace {

// A text and its lets, separated by semicolons. Each # becomes a small number, the same within one text.
constexpr const char* kMasks[] = {
    "kv <= q",
    "kv <= q && q - kv < #",
    "q - kv <= # && kv - q <= #",
    "kv < #",
    "kv >= #",
    "q % # == kv % #",
    "(q + kv) % 2 == 0",
    "kv // # == q // #",
    "kv // # <= q // #",
    "kv <= q || kv < #",
    "kv < 4 || kv <= q && q - kv < #",
    "h % 2 == 0 || kv <= q",
    "kv <= q + h",
    "kv < len_kv - #",
    "q >= len_q // 2 || kv <= q",
    "kv < -1000000",
    "abs(q - kv) <= #",
    "(kv ^ q) & # == 0",
    "q >> 2 == kv >> 2 || kv << 1 < q",
    "where(h % 2 == 0, kv <= q, kv >= q)",
    "b % 2 == 0 && kv <= q || b % 2 == 1",
    "!(kv > q)",
    "(q - kv) % # == 0 && kv <= q",
    "min(q, kv) < #",
    "sqr(q - kv) <= # * # + 1",
    "kv <= q + n;n=#",
    "0.5 * kv <= q + x;x=1.25",
    "keep[kv];keep=randbool(0.7,skv)",
    "kv < pad[b];pad=randint(0,40,b)",
    "kv <= q && kv >= low[b];low=randint(0,9,b):i16",
    "kv <= q && keep[b, kv];keep=randbool(0.8,b,skv)",
    "q - kv < window[h];window=randint(1,30,h):i64",
    "gate[kv] > 0.25;gate=uniform(0,1,skv)",
    "gate[h, kv] > 0.25;gate=randn(h,skv):bf16",
    "doc[kv] == 0;doc=runs(skv)",
    "bits[kv // 8] >> kv % 8 & 1 == 1;bits=randint(0,256,skv):u8",
    "kv <= q && level[kv] <= 3;level=randint(-2,9,skv):i8",
    "first[kv] <= q && q < last[kv];first=randint(-5,20,skv);last=randint(10,90,skv)",
    "kv <= q || keep[kv + 1] == 1;keep=randint(0,2,skv):u32",
};
constexpr const char* kMasksByQ[] = {
    "doc[q] == doc[kv];doc=runs(n)",
    "kv <= q && doc[q] == doc[kv];doc=runs(n)",
    "seen[q, kv];seen=randbool(0.6,sq,skv)",
    "seen[b, h, q, kv];seen=randbool(0.6,b,h,sq,skv)",
    "kv < bound[q];bound=randint(0,60,sq)",
    "blocks[q // 8, kv // 8];blocks=randbool(0.5,sq,skv)",
    "place[q] >= place[kv] - 1.5;place=uniform(0,50,n):f16",
    "team[b, q] == team[b, kv];team=randint(0,3,b,n):u8",
    "kv <= q && weight[q, kv] > -1.0;weight=randn(sq,skv):f64",
};
constexpr const char* kScores[] = {
    "score * 0.5 + 1",
    "score - 0.1 * abs(q - kv)",
    "20 * tanh(score / 20)",
    "20 * tanh_fast(score / 20)",
    "score - abs(q - kv) * exp2(-0.5 * (h + 1))",
    "where(kv <= q, score, score - 2)",
    "score + 0.01 * (kv % #)",
    "clamp(score, -3.5, 2.25)",
    "score * sigmoid(score)",
    "0.5 * score * (1 + erf(0.7 * score))",
    "max(score, 0.1 * score - 0.01)",
    "log1p(exp(min(score - 2, 30.0)))",
    "score + sin(0.3 * q) * cos(0.2 * kv)",
    "sqrt(sqr(score) + 1)",
    "score / (1 + 0.1 * abs(q - kv))",
    "where((q + kv) % 5 == 3, log(0.0), score)",
    "score * rsqrt(1 + 0.01 * sqr(score))",
    "abs(score - 0.37)",
    "score - 3e38",
    "exp(min(score, 2.5)) + log2(2 + pow(sqr(score) + 1, 0.25))",
    "cap * tanh(score / cap);cap=15.0",
};
constexpr const char* kScoreTables[] = {
    "score + bias[kv];bias=randn(skv)",
    "score + bias[h, kv];bias=randn(h,skv):bf16",
    "score * gain[h];gain=uniform(0.5,1.5,h)",
    "score - slope[h] * abs(q - kv);slope=slopes(h)",
    "score + 0.1 * pad[b];pad=randint(0,9,b)",
    "score + where(keep[kv], 0.0, -5.0);keep=randbool(0.7,skv)",
    "score + bias[b, h, kv];bias=randn(b,h,skv):f16",
    "score + shift[0];shift=uniform(-1,1,1)",
    "score + shift;shift=uniform(-1,1)",
};
constexpr const char* kScoresByQ[] = {
    "score + bias[q, kv];bias=randn(sq,skv)",
    "score + bias[b, h, q, kv];bias=randn(b,h,sq,skv)",
    "score * heat[q];heat=uniform(0.5,1.5,sq)",
    "score + near[q - kv + 8];near=randn(17)",
    "score - 0.01 * sqr(place[q] - place[kv]);place=uniform(-9,9,n):f64",
};

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// The name bound in c to this generator; a mask and a score of one case may share a tensor.
std::string bind_let(Case& c, const std::string& name, const std::string& generator) {
  std::string fresh = name;
  for (int i = 2;; ++i) {
    const auto same =
        std::find_if(c.lets.begin(), c.lets.end(), [&](const Let& l) { return l.name == fresh; });
    if (same == c.lets.end()) return c.lets.push_back({fresh, generator}), fresh;
    if (same->text == generator) return fresh;
    fresh = fmt::format("{}{}", name, i);
  }
}

// Renames whole identifiers only.
std::string rename(const std::string& text, const std::string& from, const std::string& to) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_'))
      ++end;
    if (end == i) {
      out += text[i++];
    } else {
      const std::string word = text.substr(i, end - i);
      out += word == from ? to : word;
      i = end;
    }
  }
  return out;
}

std::string from_template(Case& c, Random& r, std::string_view form) {
  static constexpr int kNumbers[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 64};
  std::string all = replace_all(std::string(form), "#", std::to_string(kNumbers[r.between(0, 11)]));
  std::string text = all.substr(0, all.find(';'));
  for (std::size_t at = all.find(';'); at != std::string::npos;) {
    const std::size_t next = all.find(';', at + 1);
    const std::string let = all.substr(at + 1, next == std::string::npos ? next : next - at - 1);
    const std::size_t equals = let.find('=');
    const std::string name = let.substr(0, equals);
    text = rename(text, name, bind_let(c, name, let.substr(equals + 1)));
    at = next;
  }
  return text;
}

// Programs from the grammar. Depth bounds the tree; tables are read at any index, gathers clamp.
class Grammar {
 public:
  Grammar(Case& c, Random& r, bool by_q) : c_(c), r_(r), by_q_(by_q) {}

  std::string boolean(int depth) {
    switch (depth <= 0 ? r_.between(0, 2) : r_.between(0, 7)) {
      case 0: return fmt::format("{} {} {}", integer(depth - 1), comparison(), integer(depth - 1));
      case 1: return fmt::format("kv {} q + {}", comparison(), r_.between(-4, 9));
      case 2: return fmt::format("{}[{}]", bind_let(c_, "flag", "randbool(0.6,skv)"), index(depth - 1));
      case 3: return fmt::format("({}) && ({})", boolean(depth - 1), boolean(depth - 1));
      case 4: return fmt::format("({}) || ({})", boolean(depth - 1), boolean(depth - 1));
      case 5: return fmt::format("!({})", boolean(depth - 1));
      case 6:
        return fmt::format("where({}, {}, {})", boolean(depth - 1), boolean(depth - 1), boolean(depth - 1));
      default:
        return fmt::format("{}[{}] {} {:.2f}", bind_let(c_, "level", "randn(skv)"), index(depth - 1),
                           r_.chance(0.5) ? "<" : ">=", r_.uniform());
    }
  }
  std::string integer(int depth) {
    static constexpr const char* kLeaves[] = {"b", "h", "q", "kv", "q", "kv", "len_q", "len_kv"};
    static constexpr const char* kOperators[] = {"+", "-", "*", "//", "%", "&", "|", "^", ">>", "<<"};
    if (depth <= 0)
      return r_.chance(0.3) ? std::to_string(r_.between(0, 20)) : leaf(kLeaves[r_.between(0, 7)]);
    switch (r_.between(0, 5)) {
      case 0: return fmt::format("min({}, {})", integer(depth - 1), integer(depth - 1));
      case 1: return fmt::format("abs({})", integer(depth - 1));
      case 2:
        return fmt::format("where({}, {}, {})", boolean(depth - 1), integer(depth - 1), integer(depth - 1));
      case 3: return fmt::format("{}[{}]", bind_let(c_, "rank", "randint(-3,9,skv)"), index(depth - 1));
      default:
        return fmt::format("({} {} {})", integer(depth - 1), kOperators[r_.between(0, 9)],
                           integer(depth - 1));
    }
  }
  // Stays within [-1, 1].
  std::string small(int depth) {
    switch (r_.between(0, 3)) {
      case 0: return fmt::format("sin(0.1 * ({}))", integer(depth - 1));
      case 1: return fmt::format("tanh(0.05 * {})", integer(depth - 1));
      case 2:
        return fmt::format("where({}, {:.2f}, -{:.2f})", boolean(depth - 1), r_.uniform(), r_.uniform());
      default:
        return fmt::format("tanh({}[{}] + 0.3 * score)", bind_let(c_, "level", "randn(skv)"),
                           index(depth - 1));
    }
  }
  std::string score() {
    switch (r_.between(0, 2)) {
      case 0: return fmt::format("score + {}", small(2));
      case 1: return fmt::format("score * (1.5 + {})", small(2));
      default: return fmt::format("where({}, score, 0.5 * score + {})", boolean(2), small(1));
    }
  }

 private:
  const char* comparison() {
    static constexpr const char* kAll[] = {"<", "<=", "==", "!=", ">", ">="};
    return kAll[r_.between(0, 5)];
  }
  // Within a table's index q is a matter of permission.
  std::string leaf(const std::string& name) { return inside_ && !by_q_ && name == "q" ? "kv" : name; }
  std::string index(int depth) {
    const bool outer = std::exchange(inside_, true);
    std::string text = r_.chance(0.4) ? "kv" : integer(std::min(depth, 1));
    if (!by_q_) text = rename(text, "q", "kv");
    inside_ = outer;
    return text;
  }

  Case& c_;
  Random& r_;
  bool by_q_, inside_ = false;
};

template <std::size_t N>
const char* pick(const char* const (&list)[N], Random& r) {
  return list[r.between(0, static_cast<std::int64_t>(N) - 1)];
}

}  // namespace

bool has_gradient(const Case& c, const Let& let) {
  const Generator g = parse_generator(let.name, let.text);
  return g.is_tensor() && is_floating(g.dtype) && mentions(c.score, let.name);
}

bool gathers_by_q(std::string_view program) {
  int depth = 0;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const char ch = program[i];
    depth += ch == '[' ? 1 : ch == ']' ? -1 : 0;
    const auto word = [&](std::size_t at) {
      return at < program.size() &&
             (std::isalnum(static_cast<unsigned char>(program[at])) || program[at] == '_');
    };
    if (depth > 0 && ch == 'q' && !word(i + 1) && (i == 0 || !word(i - 1))) return true;
  }
  return false;
}

void draw_mask(Case& c, Random& r, bool may_gather_by_q) {
  const double u = r.uniform();
  if (u < 0.2) return;
  if (u < 0.4 && may_gather_by_q) c.mask = from_template(c, r, pick(kMasksByQ, r));
  else if (u < 0.85) c.mask = from_template(c, r, pick(kMasks, r));
  else c.mask = Grammar(c, r, may_gather_by_q).boolean(3);
}

void draw_score(Case& c, Random& r, bool may_gather_by_q) {
  const double u = r.uniform();
  if (u < 0.35) return;
  if (u < 0.5 && may_gather_by_q) c.score = from_template(c, r, pick(kScoresByQ, r));
  else if (u < 0.65) c.score = from_template(c, r, pick(kScoreTables, r));
  else if (u < 0.9) c.score = from_template(c, r, pick(kScores, r));
  else c.score = Grammar(c, r, may_gather_by_q).score();
}

}  // namespace bolide::testing
