// Interval evaluation of programs.
#include "program/bounds.hpp"

#include <algorithm>
#include <map>

#include "program/linear.hpp"
#include "program/signature.hpp"

namespace bolide::program {

namespace {

template <char C>
auto get(const AnyRange& r) {
  if constexpr (C == 'b') return r.boolean;
  else if constexpr (C == 'i') return r.integer;
  else return r.floating;
}
AnyRange wrap(Range<bool> r) { return {.boolean = r}; }
AnyRange wrap(IntRange r) { return {.integer = r}; }
AnyRange wrap(Range<float> r) { return {.floating = r}; }

template <class O, char R, char... A, std::size_t... I>
AnyRange bound(Signature<R, A...>, const AnyRange* values, const int* args, std::index_sequence<I...>) {
  if constexpr (sizeof...(A) == 1 && R != 'b' && ((A != R) && ...)) {
    return wrap(O::template bounds<CppType<float, R>>(get<A>(values[args[I]])...));
  } else {
    return wrap(O::bounds(get<A>(values[args[I]])...));
  }
}

auto bound_of(Op op, std::span<const Type> types) {
  return visit(op, [&]<class O>(O) {
    AnyRange (*apply)(const AnyRange*, const int*) = nullptr;
    for_each_signature([&]<char R, char... A>(Signature<R, A...> signature) {
      if constexpr (contains(O::spec.signature, Signature<R, A...>::text)) {
        if (!signature.fits(types)) return;
        apply = [](const AnyRange* values, const int* args) {
          return bound<O>(Signature<R, A...>{}, values, args, std::make_index_sequence<sizeof...(A)>());
        };
      }
    });
    return apply;
  });
}

bool is_comparison(Op op) {
  return op == op_of<op::Less> || op == op_of<op::LessEqual> || op == op_of<op::Equal> ||
         op == op_of<op::NotEqual>;
}

}  // namespace

AnyRange range_of(DType t) {
  const auto ints = [](std::int64_t lo, std::int64_t hi) { return AnyRange{.integer = {lo, hi}}; };
  switch (t) {
    case DType::i32:
      return ints(std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max());
    case DType::i16: return ints(-32768, 32767);
    case DType::i8: return ints(-128, 127);
    case DType::u32: return ints(0, std::numeric_limits<std::uint32_t>::max());
    case DType::u8: return ints(0, 255);
    default: return {};
  }
}

BoundsProgram::BoundsProgram(const Graph& graph) : graph_(&graph) {
  for (const Graph::Value& v : graph.values) {
    Step s;
    s.op = v.op;
    s.arity = static_cast<int>(v.args.size());
    std::copy(v.args.begin(), v.args.end(), s.args);
    if (v.op == Op::constant) {
      const float f = static_cast<float>(v.floating);
      s.constant = {{v.integer != 0, v.integer != 0}, {v.integer, v.integer}, {f, f, f != f}};
      if (f != f) s.constant.floating = op::anything<float>();
    }
    if (is_operator(v.op)) {
      std::vector<Type> types;
      for (int a : v.args) types.push_back(graph.values[a].type);
      s.apply = bound_of(v.op, types);
    }
    steps_.push_back(s);
    const int index = static_cast<int>(steps_.size()) - 1;
    Linear linear;
    if (linear_form(graph, index, linear) && linear.cancels) add_linear(index, std::move(linear));
    if (v.op == op_of<op::And> || v.op == op_of<op::Or>) decide_together(graph, index);
  }
}

// A comparison as a sum against 0. Values that occur on both sides cancel (kv + (q - kv) >= kv); that is
// valid while nothing wraps, so coefficients and constants are kept small here, and decide() looks at the
// values.
bool BoundsProgram::linear_form(const Graph& graph, int index, Linear& linear) {
  constexpr std::int64_t kSmall = std::int64_t{1} << 20, kConstant = std::int64_t{1} << 32;
  constexpr int kMostTerms = 64;
  const Graph::Value& comparison = graph.values[index];
  if (!is_comparison(comparison.op) || graph.arg(comparison, 0).type != Type::integer) return false;
  std::map<int, std::int64_t> terms;
  int leaves = 0, constants = 0;
  bool fits = true;
  const auto add = [&](const auto& self, int i, std::int64_t factor) -> void {
    const Graph::Value& v = graph.values[i];
    fits = fits && leaves < kMostTerms && constants < kMostTerms && factor > -kSmall && factor < kSmall;
    if (!fits) return;
    if (v.op == Op::constant) {
      ++constants;
      fits = v.integer > -kConstant && v.integer < kConstant;
      if (fits) linear.constant += factor * v.integer;
    } else if (v.op == op_of<op::Add> || v.op == op_of<op::Sub>) {
      self(self, v.args[0], factor);
      self(self, v.args[1], v.op == op_of<op::Add> ? factor : -factor);
    } else if (v.op == op_of<op::Neg>) {
      self(self, v.args[0], -factor);
    } else if (v.op == op_of<op::Mul> &&
               (graph.arg(v, 0).op == Op::constant || graph.arg(v, 1).op == Op::constant)) {
      const int number = graph.arg(v, 0).op == Op::constant ? 0 : 1;
      const std::int64_t c = graph.arg(v, number).integer;
      fits = c > -kSmall && c < kSmall;
      if (fits) self(self, v.args[1 - number], factor * c);
    } else {
      ++leaves;
      terms[i] += factor;
    }
  };
  linear.op = comparison.op;
  add(add, comparison.args[0], 1);
  add(add, comparison.args[1], -1);
  linear.cancels = static_cast<int>(terms.size()) < leaves;
  for (const auto& [value, factor] : terms) {
    if (factor != 0) linear.terms.emplace_back(value, factor);
    else if (comparison.args[0] != comparison.args[1]) linear.cancelled.push_back(value);  // x <= x: any x
  }
  return fits;
}

void BoundsProgram::add_linear(int index, Linear linear) {
  steps_[index].linear = static_cast<int>(linear_.size());
  linear_.push_back(std::move(linear));
}

// Comparisons of one sum joined by && may exclude each other (q - kv >= 40 && q - kv <= 20), joined by ||
// they may leave nothing out (q < kv || kv <= q).
void BoundsProgram::decide_together(const Graph& graph, int index) {
  const Op joined = graph.values[index].op;
  struct Sides {
    std::int64_t least = op::Limits<std::int64_t>::kLeast, most = op::Limits<std::int64_t>::kMost;
    std::vector<int> cancelled;
  };
  std::map<std::vector<std::pair<int, std::int64_t>>, Sides> sums;
  each_joined_comparison(graph, index, [&](int i, bool positive) {
    Linear linear;
    if (!linear_form(graph, i, linear) || linear.terms.empty()) return;
    // sum + constant < 0 is sum <= bound; negated, or with the opposite sum, it bounds from below.
    std::int64_t bound = -linear.constant - (linear.op == op_of<op::Less> ? 1 : 0);
    bool upper = true;
    if (!positive) upper = false, bound += 1;
    if (linear.terms.front().second < 0) {
      for (auto& term : linear.terms) term.second = -term.second;
      upper = !upper, bound = -bound;
    }
    // Under || what matters is what is left out: its bounds are those of the opposite condition.
    if (joined == op_of<op::Or>) bound += upper ? 1 : -1, upper = !upper;
    Sides& sides = sums[linear.terms];
    sides.cancelled.insert(sides.cancelled.end(), linear.cancelled.begin(), linear.cancelled.end());
    if (upper) sides.most = std::min(sides.most, bound);
    else sides.least = std::max(sides.least, bound);
  });
  for (const auto& [terms, sides] : sums) {
    if (sides.least <= sides.most) continue;
    Linear linear;
    linear.terms = terms;
    linear.cancelled = sides.cancelled;
    linear.verdict = joined == op_of<op::Or>;
    return add_linear(index, std::move(linear));
  }
}

Range<bool> BoundsProgram::decide(const Linear& linear, const AnyRange* values) {
  constexpr std::int64_t kSmall = std::int64_t{1} << 32;
  const auto is_small = [&](int value) {
    return values[value].integer.lo >= -kSmall && values[value].integer.hi <= kSmall;
  };
  for (const int value : linear.cancelled)
    if (!is_small(value)) return {false, true};
  IntRange sum{linear.constant, linear.constant};
  for (const auto& [value, factor] : linear.terms) {
    if (!is_small(value)) return {false, true};
    sum = op::range_add(sum, op::range_mul(values[value].integer, IntRange{factor, factor}));
  }
  const IntRange zero{0, 0};
  if (linear.op == Op::constant) return {linear.verdict, linear.verdict};
  if (linear.op == op_of<op::Less>) return op::range_less(sum, zero);
  if (linear.op == op_of<op::LessEqual>) return op::range_less_equal(sum, zero);
  const Range<bool> equal = op::range_equal(sum, zero);
  return linear.op == op_of<op::Equal> ? equal : op::Not::bounds(equal);
}

Range<bool> BoundsProgram::meet(Range<bool> a, Range<bool> b) { return {a.lo || b.lo, a.hi && b.hi}; }

AnyRange BoundsProgram::leaf(const Step& s, const LeafRanges& leaves) {
  switch (s.op) {
    case Op::b: return {.integer = leaves.b};
    case Op::h: return {.integer = leaves.h};
    case Op::q: return {.integer = leaves.q};
    case Op::kv: return {.integer = leaves.kv};
    case Op::len_q: return {.integer = leaves.len_q};
    case Op::len_kv: return {.integer = leaves.len_kv};
    case Op::constant: return s.constant;
    default: return {};
  }
}

}  // namespace bolide::program
