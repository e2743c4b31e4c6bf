// CUDA text of programs: one line per value, operators by the name of their struct.
#include "program/emit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "device/program.cuh"
#include "program/bounds.hpp"
#include "program/graph.hpp"
#include "program/linear.hpp"
#include "program/score_form.hpp"

static_assert(bolide::program::kMostRangedTables == bolide::RangeTasks::kMost);

namespace bolide::program {

namespace {

constexpr std::int64_t kPositions = std::int64_t{1} << 29, kHeads = 1 << 20, kSmallNumber = 1 << 20;

bool fits_int(const IntRange& r) {
  return r.lo >= std::numeric_limits<int>::min() && r.hi <= std::numeric_limits<int>::max();
}

const char* stored_name(DType t) {
  constexpr const char* kNames[] = {"double",      "float",      "bolide::F16",  "bolide::Bf16",
                                    "long long",   "int",        "short",        "signed char",
                                    "bolide::u32", "bolide::u8", "bolide::Bool8"};
  return kNames[static_cast<int>(t)];
}

class Emitter {
 public:
  explicit Emitter(const Graph& graph)
      : graph_(graph), ranges_(graph.values.size()), asked_(graph.values.size()) {
    infer_ranges();
    for (std::size_t i = 0; i < graph.values.size(); ++i) {
      const Graph::Value& v = graph.values[i];
      bool by_q = v.op == Op::q, by_kv = v.op == Op::kv;
      for (int a : v.args) by_q |= by_q_[a], by_kv |= by_kv_[a];
      by_q_.push_back(by_q), by_kv_.push_back(by_kv);
      moves_.push_back(by_q || v.along_keys);
      steps_.push_back(step_of(static_cast<int>(i)));
      multiples_.push_back(is_multiple(v));
      number(v);
    }
  }

  // What of `root` a row of queries (or nothing that moves) or a column of keys decides alone: values that
  // the lines which mix the two start from. Read once a row or column, they need not be computed, or
  // gathered, for every pair.
  struct Side {
    std::string fields, body;  // of a struct, and of the function that fills it in
    std::vector<int> values, distances;
  };
  // With `distances`, a distance is a row's: found from that to its first key (see Distance).
  Side side(int root, bool of_rows, bool distances) const {
    const std::size_t size = graph_.values.size();
    std::vector<bool> needed(size);
    std::vector<int> wanted, roots;
    needed[root] = true;
    for (int i = root; i >= 0; --i) {
      if (!needed[i]) continue;
      const bool is_distance = distances && distance(i), own = !is_distance && is_side(i, of_rows);
      if (own || (is_distance && of_rows)) wanted.push_back(i);
      if (!own && !is_distance)
        for (int a : graph_.values[i].args) needed[a] = true;
    }
    std::reverse(wanted.begin(), wanted.end());
    Side s;
    std::string list;
    for (int i : wanted) {
      const std::optional<Distance> d = distances ? distance(i) : std::nullopt;
      (d ? s.distances : s.values).push_back(i);
      roots.push_back(d ? d->keys : i);
      const std::string value = fmt::format("v{}", roots.back());
      s.fields += fmt::format(" {} v{};", d ? "bolide::Near" : type_name(i), i);
      list += (list.empty() ? "" : ", ") + (d ? "bolide::near(" + value + ")" : value);
    }
    s.body = point_lines(roots) + fmt::format("    return {{{}}};\n", list);
    return s;
  }

  // The lines that compute `root` from what its row and its column know; `score`: see ScoreCore.
  std::string mixed(int root, const Side& row, const Side& column, int score = -1) const {
    std::vector<bool> needed(graph_.values.size()), given(graph_.values.size());
    std::vector<std::string> lines(graph_.values.size());
    for (const auto& [side, name] : {std::pair{&row, "row"}, {&column, "column"}})
      for (int i : side->values)
        given[i] = true, lines[i] = fmt::format("    const {} v{} = {}.v{};\n", type_name(i), i, name, i);
    for (int i : row.distances)
      given[i] = true,
      lines[i] = fmt::format("    const float v{} = {};\n", i, distance_text(i, *distance(i)));
    needed[root] = true;
    std::string text;
    for (int i = root; i >= 0; --i) {
      if (!needed[i]) continue;
      if (!given[i]) {
        lines[i] = i == score ? fmt::format("    const float v{} = s;\n", i) : point_line(i);
        if (i != score)
          for (int a : graph_.values[i].args) needed[a] = true;
      }
      text = lines[i] + text;
    }
    return text + fmt::format("    return v{};\n", root);
  }

  std::optional<ScoreAlongRow> along_row(int root, int mask) const {
    return score_along_row(graph_, steps_, root, mask);
  }
  // The lines of Program::along(), if there is one.
  std::string along(const std::optional<ScoreAlongRow>& a) const {
    if (!a) return "    return {};\n";
    const bool falls = steps_[a->keys] < 0;  // from key to key, and so does the factor's sign change
    std::vector<int> roots{a->keys};
    if (a->factor >= 0) roots.push_back(a->factor);
    std::string rest = "0.0f";
    for (const ScoreAlongRow::Term& t : a->rest) {
      roots.push_back(t.value);
      rest += fmt::format(" {} v{}", t.negative ? "-" : "+", t.value);
    }
    return point_lines(roots) +
           fmt::format("    return {{{}, {}{}, {}v{}}};\n", rest, a->negative != falls ? "-" : "",
                       a->factor < 0 ? "1.0f" : fmt::format("v{}", a->factor), falls ? "-" : "", a->keys);
  }
  // A factor of a score, of Params.
  std::string factor(const ScoreCore::Factor& f) const {
    if (f.number < 0) return "1.0f";
    return fmt::format("1.0f {} p.floats[{}]", f.divides ? "/" : "*", places_[f.number]);
  }

  // The lines that bound `root` over a tile; what does not move within the tile is computed as at a point.
  std::string classes(int root) {
    asked_.assign(asked_.size(), false);
    std::string lines;
    const std::string result = range(root, "bool");
    for (int i = root; i >= 0; --i)  // a line asks for earlier values when it is made
      if (asked_[i]) lines = (moves_[i] ? range_line(i) : point_line(i)) + lines;
    return "    if (t.q_begin >= t.q_end || t.kv_begin >= t.kv_end) return bolide::TileClass::none;\n"
           "    [[maybe_unused]] const bolide::Point at{t.b, t.h, t.q_begin, t.kv_begin, t.len_q, "
           "t.len_kv};\n" +
           lines + "    return bolide::class_of(" + result + ");\n";
  }

  std::vector<std::int64_t> ints;
  std::vector<float> floats;
  std::vector<RangedTable> ranges;
  std::vector<int> unranged;

 private:
  // Ranges that hold for every problem, so that they decide widths without depending on small numbers'
  // values.
  void infer_ranges() {
    const BoundsProgram program(graph_);
    const LeafRanges leaves{{0, kPositions},           {0, kHeads},     {-kPositions, kPositions},
                            {-kPositions, kPositions}, {0, kPositions}, {0, kPositions}};
    const auto table = [&](const Graph::Value& v, const IntRange*) {
      return range_of(graph_.tables[v.table].tensor.dtype);
    };
    program.run(leaves, ranges_.data(), table, [&](std::size_t i, AnyRange& r) {
      const Graph::Value& v = graph_.values[i];
      if (v.op != Op::constant) return;
      const bool small = v.integer >= -kSmallNumber && v.integer <= kSmallNumber;
      r = AnyRange{};  // any number: changing it must change no text
      if (v.type == Type::boolean) r.boolean = {v.integer != 0, v.integer != 0};
      if (v.type == Type::integer && small) r.integer = {-kSmallNumber, kSmallNumber};
    });
  }

  void number(const Graph::Value& v) {
    int place = -1;
    if (v.op == Op::constant && v.type == Type::integer) {
      place = static_cast<int>(ints.size());
      ints.push_back(v.integer);
    } else if (v.op == Op::constant && v.type == Type::floating) {
      place = static_cast<int>(floats.size());
      floats.push_back(static_cast<float>(v.floating));
    }
    places_.push_back(place);
    inverses_.push_back(-1);
    if (v.op != op_of<op::Div> || !multiples_.back()) return;
    const int divisor = v.args[1];
    if (places_[divisor] < 0 || inverses_[divisor] >= 0) return;
    inverses_[divisor] = static_cast<int>(floats.size());
    floats.push_back(1.0f / floats[places_[divisor]]);
  }

  // How an integer changes from one key to the next, where that is by 1 or -1 everywhere; else 0.
  int step_of(int i) const {
    const Graph::Value& v = graph_.values[i];
    if (v.type != Type::integer || !is_int32(i) || graph_.values[i].uses_score) return 0;
    if (v.op == Op::kv) return 1;
    if (v.op == op_of<op::Neg>) return -steps_[v.args[0]];
    const bool add = v.op == op_of<op::Add>;
    if (!add && v.op != op_of<op::Sub>) return 0;
    if (!by_kv_[v.args[1]]) return steps_[v.args[0]];
    return by_kv_[v.args[0]] ? 0 : add ? steps_[v.args[1]] : -steps_[v.args[1]];
  }
  std::optional<Distance> distance(int i) const { return distance_of(graph_, steps_, i); }
  std::string distance_text(int i, const Distance& d) const {
    const std::string text = fmt::format("row.v{}.at({}offset)", i, steps_[d.keys] < 0 ? "-" : "");
    return d.magnitude ? "bolide::op::magnitude(" + text + ")" : text;
  }
  bool is_side(int i, bool of_rows) const {
    const Op op = graph_.values[i].op;
    if (is_leaf(op) || op == Op::constant || graph_.values[i].uses_score) return false;
    return of_rows ? !by_kv_[i] : by_kv_[i] && !by_q_[i];
  }

  // The score times what all scores share: its relative error is the score's.
  bool is_multiple(const Graph::Value& v) const {
    if (v.op == Op::score) return true;
    if (v.op == op_of<op::Neg>) return multiples_[v.args[0]];
    const bool first = v.args.size() == 2 && multiples_[v.args[0]] && !moves_[v.args[1]],
               second = v.args.size() == 2 && multiples_[v.args[1]] && !moves_[v.args[0]];
    return v.op == op_of<op::Mul> ? first || second : v.op == op_of<op::Div> && first;
  }
  std::string inverse(int i) const {
    return inverses_[i] >= 0 ? fmt::format("p.floats[{}]", inverses_[i])
                             : fmt::format("bolide::op::divide(1.0f, v{})", i);
  }

  // The axes of a table whose indices move within a tile, if there are one or two.
  std::optional<RangedTable> ranged(const Graph::Value& v) const {
    std::vector<int> moving;
    for (std::size_t axis = 0; axis < v.args.size(); ++axis)
      if (moves_[v.args[axis]]) moving.push_back(static_cast<int>(axis));
    if (moving.empty() || moving.size() > 2) return {};
    return RangedTable{v.table, moving.size() == 2 ? moving[0] : -1, moving.back()};
  }

  bool is_int32(int i) const { return fits_int(ranges_[i].integer); }
  std::string type_name(int i) const {
    const Type t = graph_.values[i].type;
    return t == Type::boolean ? "bool" : t == Type::floating ? "float" : is_int32(i) ? "int" : "long long";
  }
  // The type an operator computes in: the wider of its integer operands and its integer result.
  std::string working_type(int i, const std::string& own) const {
    if (own != "int" && own != "long long") return own;
    const Graph::Value& v = graph_.values[i];
    if (v.op == op_of<op::ShiftLeft>) return "long long";  // bounds of a 32-bit shift would need a check
    bool narrow = v.type != Type::integer || is_int32(i);
    for (int a : v.args) narrow = narrow && (graph_.values[a].type != Type::integer || is_int32(a));
    return narrow ? "int" : "long long";
  }
  std::string value(int i, const std::string& type) const {
    asked_[i] = true;
    return type == type_name(i) ? fmt::format("v{}", i) : fmt::format("static_cast<{}>(v{})", type, i);
  }
  std::string range(int i, const std::string& type) const {
    if (!moves_[i]) return fmt::format("bolide::only<{}>({})", type, value(i, type));
    asked_[i] = true;
    return type == type_name(i) ? fmt::format("r{}", i) : fmt::format("bolide::as<{}>(r{})", type, i);
  }

  static bool converts(const Graph::Value& v) {
    return v.op == op_of<op::ToFloat> || v.op == op_of<op::ToInt>;
  }

  std::string leaf(const Graph::Value& v, int i) const {
    if (v.op == Op::score) return "s";
    if (is_leaf(v.op)) return std::string("at.") + kLeafNames[static_cast<int>(v.op)];
    if (v.type == Type::boolean) return v.integer ? "true" : "false";
    if (v.type == Type::floating) return fmt::format("p.floats[{}]", places_[i]);
    return fmt::format("static_cast<{}>(p.ints[{}])", type_name(i), places_[i]);
  }

  // bolide::op::<struct>::<function>(operands), in the working types; narrowed by `narrow` where the result
  // is.
  template <class Operand>
  std::string call(int i, const char* function, const char* narrow, Operand&& operand) const {
    const Graph::Value& v = graph_.values[i];
    const std::string type = type_name(i), working = working_type(i, type);
    std::string text = fmt::format("bolide::op::{}::{}", spec_of(v.op).struct_name, function);
    if (converts(v)) text += fmt::format("<{}>", working);
    for (std::size_t a = 0; a < v.args.size(); ++a) {
      text += a ? ", " : "(";
      text += operand(v.args[a], working_type(i, type_name(v.args[a])));
    }
    text += ")";
    return v.type == Type::integer && working != type ? fmt::format("{}<{}>({})", narrow, type, text) : text;
  }

  // Of what `roots` are computed from, and of them.
  std::string point_lines(const std::vector<int>& roots) const {
    const std::vector<bool> needed = graph_.reachable(roots);
    std::string text;
    for (std::size_t i = 0; i < needed.size(); ++i)
      if (needed[i]) text += point_line(static_cast<int>(i));
    return text;
  }
  std::string point_line(int i) const {
    const Graph::Value& v = graph_.values[i];
    std::string text;
    if (v.op == Op::gather) {
      const char* stored = stored_name(graph_.tables[v.table].tensor.dtype);
      text = fmt::format("bolide::gather<{}, {}>(p.tensors[{}]", stored, type_name(i), v.table);
      for (int a : v.args) text += ", " + value(a, type_name(a));
      text += ")";
    } else if (v.op == op_of<op::Div> && multiples_[i]) {
      const int divisor = v.args[1];
      text = fmt::format("bolide::op::divide_score(v{}, v{}, {})", v.args[0], divisor, inverse(divisor));
    } else if (is_operator(v.op)) {
      text = call(i, "eval", "static_cast", [&](int a, const std::string& t) { return value(a, t); });
    } else {
      text = leaf(v, i);
    }
    return fmt::format("    const {} v{} = {};\n", type_name(i), i, text);
  }

  // An && (or ||) that not only another one reads, which sees its comparisons too.
  bool is_outermost(int i) const {
    bool inner = false, other = false;
    for (const Graph::Value& user : graph_.values)
      if (std::find(user.args.begin(), user.args.end(), i) != user.args.end())
        (user.op == graph_.values[i].op ? inner : other) = true;
    return other || !inner;
  }

  // What a gather may give: by the table's blocks, else by its type alone. Never more than the widths were
  // chosen with: a larger range could overflow 32 bits unseen.
  std::string table_range(const Graph::Value& v, const std::string& type) {
    const DType t = graph_.tables[v.table].tensor.dtype;
    const IntRange r = range_of(t).integer;
    const bool bounded = is_integer(t) && t != DType::i64 && t != DType::i32;
    const std::string any = bounded ? fmt::format("bolide::Range<{}>{{{}, {}}}", type, r.lo, r.hi)
                                    : fmt::format("bolide::op::anything<{}>()", type);
    const std::optional<RangedTable> table = ranged(v);
    if (!table) {
      if (std::find(unranged.begin(), unranged.end(), v.table) == unranged.end()) unranged.push_back(v.table);
      return any;
    }
    const auto known = std::find(ranges.begin(), ranges.end(), *table);
    const auto place = known - ranges.begin();
    if (known == ranges.end()) ranges.push_back(*table);
    std::string text =
        fmt::format("bolide::table_range<{}, {}, {}, {}>({}, p.tensors[{}], p.ranges[{}]", stored_name(t),
                    type, table->row_axis, table->column_axis, any, v.table, place);
    for (int a : v.args) text += ", " + range(a, type_name(a));
    return text + ")";
  }

  // The type that holds a sum of values and every part of it, a little more included; "" if they may be so
  // large that the sum means something else.
  std::string sum_type(const LinearAtom::Terms& terms, const std::vector<int>& others) const {
    constexpr std::int64_t kSmall = std::int64_t{1} << 32;
    const auto most = [&](int i) {
      const IntRange r = ranges_[i].integer;
      return r.lo < -kSmall || r.hi > kSmall ? kSmall + 1 : std::max(-r.lo, r.hi);
    };
    std::int64_t sum = 2;
    for (const int i : others)
      if (most(i) > kSmall) return "";
    for (const auto& [term, factor] : terms) {
      if (most(term.value) > kSmall) return "";
      sum += std::abs(factor) * most(term.value) * (term.number < 0 ? 1 : kSmallNumber);
    }
    return sum <= std::numeric_limits<int>::max() ? "int" : "long long";
  }
  // A sum of values that do not move, and a number.
  std::string fixed_sum(const LinearAtom::Terms& terms, std::int64_t number, const std::string& type) const {
    std::string text = fmt::format("{}", number);
    for (const auto& [term, factor] : terms) {
      text += fmt::format(" {} {}", factor < 0 ? "-" : "+", value(term.value, type));
      if (std::abs(factor) != 1) text += fmt::format(" * {}", std::abs(factor));
      if (term.number >= 0) text += " * " + value(term.number, type);
    }
    return text;
  }

  // What the sum says about a comparison in which a value occurs twice, and which thereby says more than its
  // two sides; "" for others.
  std::string linear_decision(int i) const {
    const std::optional<LinearAtom> atom = linear_atom(graph_, i, moves_);
    if (!atom || !atom->cancels) return "";
    LinearAtom::Terms all = atom->moving;
    all.insert(all.end(), atom->fixed.begin(), atom->fixed.end());
    const std::string type = sum_type(all, atom->cancelled);
    if (type.empty()) return "";
    std::string sum = fmt::format("bolide::only<{}>({})", type, fixed_sum(atom->fixed, 0, type));
    for (auto at = atom->moving.begin(); at != atom->moving.end();) {
      const int value = at->first.value;
      LinearAtom::Terms numbers;  // with `alone`, how often the value is there
      std::int64_t alone = 0;
      for (; at != atom->moving.end() && at->first.value == value; ++at) {
        if (at->first.number < 0) alone = at->second;
        else numbers.push_back({{at->first.number}, at->second});
      }
      std::string term = range(value, type);
      if (!numbers.empty() || alone != 1)
        term = fmt::format("bolide::op::range_mul({}, bolide::only<{}>({}))", term, type,
                           fixed_sum(numbers, alone, type));
      sum = fmt::format("bolide::op::range_add({}, {})", sum, term);
    }
    return fmt::format("bolide::op::{}::bounds({}, bolide::only<{}>(0))", spec_of(atom->op).struct_name, sum,
                       type);
  }

  // Whether comparisons of one sum that are joined here exclude each other: a condition, or "".
  std::string joint_decision(int i) const {
    const Op op = graph_.values[i].op;
    if ((op != op_of<op::And> && op != op_of<op::Or>) || !is_outermost(i)) return "";
    std::string text;
    for (const JointBounds& sum : joint_bounds(graph_, i, moves_)) {
      std::string type = "int", least, most;
      for (const JointBounds::Bound& b : sum.bounds)
        if (const std::string own = sum_type(b.fixed, sum.values); own != "int" && !type.empty()) type = own;
      if (type.empty()) continue;
      for (const JointBounds::Bound& b : sum.bounds) {
        const std::string bound =
            fmt::format("static_cast<{}>({})", type, fixed_sum(b.fixed, b.number, type));
        std::string& all = b.upper ? most : least;
        all = all.empty() ? bound
                          : fmt::format("bolide::op::{}({}, {})", b.upper ? "lesser" : "greater", all, bound);
      }
      text += fmt::format("{}{} > {}", text.empty() ? "" : " || ", least, most);
    }
    return text;
  }

  std::string range_line(int i) {
    const Graph::Value& v = graph_.values[i];
    const std::string type = type_name(i);
    std::string text;
    if (v.op == Op::q) text = "{t.q_begin, t.q_end - 1}";
    else if (v.op == Op::kv) text = "{t.kv_begin, t.kv_end - 1}";
    else if (v.op == Op::gather) text = table_range(v, type);
    else text = linear_decision(i);
    if (text.empty())
      text = call(i, "bounds", "bolide::as", [&](int a, const std::string& t) { return range(a, t); });
    if (const std::string excluded = joint_decision(i); !excluded.empty())
      text =
          fmt::format("bolide::op::{}({}, {})", v.op == op_of<op::And> ? "unless" : "or_if", text, excluded);
    return fmt::format("    const bolide::Range<{}> r{} = {};\n", type, i, text);
  }

  const Graph& graph_;
  std::vector<AnyRange> ranges_;
  std::vector<bool> by_q_, by_kv_;
  std::vector<int> steps_;              // see step_of
  std::vector<bool> moves_;             // changes within a tile
  std::vector<bool> multiples_;         // the score times what all scores share
  std::vector<int> places_, inverses_;  // of constants and their reciprocals, in Params
  mutable std::vector<bool> asked_;     // by the lines made so far
};

constexpr const char* kProgram = R"(#include "program.cuh"
struct Program {{
  struct Params {{
    const void* ranges[{}];
    long long ints[{}];
    float floats[{}];
    bolide::TensorArg tensors[{}];
  }};
  static constexpr bool kHasMask = {}, kHasScore = {}, kClassifies = {}, kCounts = {};
  struct Row {{{} }};
  struct Column {{{} }};
  BOLIDE_DEVICE static Row row([[maybe_unused]] const Params& p, [[maybe_unused]] const bolide::Point& at) {{
{}  }}
  BOLIDE_DEVICE static Column column([[maybe_unused]] const Params& p,
                                     [[maybe_unused]] const bolide::Point& at) {{
{}  }}
  BOLIDE_DEVICE static bool mask([[maybe_unused]] const Params& p, [[maybe_unused]] const Row& row,
                                 [[maybe_unused]] const Column& column,
                                 [[maybe_unused]] const bolide::Point& at) {{
{}  }}
  BOLIDE_DEVICE static bool mask(const Params& p, const bolide::Point& at) {{
    return mask(p, row(p, at), column(p, at), at);
  }}
  struct ScoreRow {{{} }};
  struct ScoreColumn {{{} }};
  static constexpr bool kScoreColumns = {};
  BOLIDE_DEVICE static ScoreRow score_row([[maybe_unused]] const Params& p,
                                          [[maybe_unused]] const bolide::Point& at) {{
{}  }}
  BOLIDE_DEVICE static ScoreColumn score_column([[maybe_unused]] const Params& p,
                                                [[maybe_unused]] const bolide::Point& at) {{
{}  }}
  BOLIDE_DEVICE static float score([[maybe_unused]] const Params& p, [[maybe_unused]] float s,
                                   [[maybe_unused]] const ScoreRow& row,
                                   [[maybe_unused]] const ScoreColumn& column,
                                   [[maybe_unused]] const bolide::Point& at, [[maybe_unused]] float offset) {{
{}  }}
  BOLIDE_DEVICE static float before([[maybe_unused]] const Params& p) {{ return {}; }}
  BOLIDE_DEVICE static float after([[maybe_unused]] const Params& p) {{ return {}; }}
  BOLIDE_DEVICE static float core([[maybe_unused]] const Params& p, [[maybe_unused]] float s,
                                  [[maybe_unused]] const ScoreRow& row,
                                  [[maybe_unused]] const ScoreColumn& column,
                                  [[maybe_unused]] const bolide::Point& at, [[maybe_unused]] float offset) {{
{}  }}
  static constexpr bolide::ScoreForm kForm = bolide::ScoreForm::{};
  BOLIDE_DEVICE static bolide::Along along([[maybe_unused]] const Params& p,
                                           [[maybe_unused]] const bolide::Point& at) {{
{}  }}
  BOLIDE_DEVICE static float score(const Params& p, float s, const bolide::Point& at) {{
    return score(p, s, score_row(p, at), score_column(p, at), at, 0.0f);
  }}
  BOLIDE_DEVICE static bolide::TileClass classify([[maybe_unused]] const Params& p,
                                                  [[maybe_unused]] const bolide::Tile& t) {{
{}  }}
}};
)";

std::uint64_t hash_of(const std::string& text) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001b3u;
  return h ^ (h >> 29);
}

void check_tensor(const Captured& c) {
  for (std::int64_t size : c.tensor.shape) {
    if (size > std::numeric_limits<int>::max()) {
      throw Error(Code::refused, "the captured tensor " + c.name + " has an axis of " + std::to_string(size) +
                                     " elements; on a CUDA device an axis has fewer than 2^31");
    }
  }
}

}  // namespace

Emitted emit(const Mask& mask, const Score& score, const TileOptions& tiles) {
  std::vector<Expr> roots;
  if (mask) roots.push_back(mask.expr());
  if (score) roots.push_back(score.expr());
  const Graph graph{std::span<const Expr>(roots)};
  Emitter emitter(graph);
  Emitted e{{}, 0, emitter.ints, emitter.floats, {}, {}};
  for (const Captured& c : graph.tables) {
    check_tensor(c);
    e.tensors.push_back(c.tensor);
  }
  Emitter::Side row{{}, "    return {};\n", {}, {}}, column = row;
  std::string mask_body = "    return true;\n";
  if (mask) {
    const int root = graph.roots.front();
    row = emitter.side(root, true, false), column = emitter.side(root, false, false);
    mask_body = emitter.mixed(root, row, column);
  }
  Emitter::Side score_row{{}, "    return {};\n", {}, {}}, score_column = score_row;
  std::string score_body = "    return s;\n";
  std::optional<ScoreAlongRow> along_row;
  ScoreCore core;
  std::string core_body = score_body;
  ScoreForm form = ScoreForm::any;
  if (score) {
    const int root = graph.roots.back();
    along_row = emitter.along_row(root, mask ? graph.roots.front() : -1);
    score_row = emitter.side(root, true, true), score_column = emitter.side(root, false, true);
    score_body = emitter.mixed(root, score_row, score_column);
    core = score_core(graph, root);
    core_body = emitter.mixed(core.root, score_row, score_column, core.score);
    form = along_row ? ScoreForm::along : form_of(graph, core);
  }
  const std::string class_body = !mask ? "    return bolide::TileClass::all;\n"
                                 : tiles.classes == Classes::on
                                     ? emitter.classes(graph.roots.front())
                                     : "    return bolide::class_by_points<Program>(p, t);\n";
  const bool masks = mask || tiles.classes == Classes::partial;
  constexpr const char* kForms[] = {"any", "along", "cap", "fast_cap"};
  e.ranges = emitter.ranges, e.unranged = emitter.unranged;
  const auto count = [](const auto& list) { return std::max<std::size_t>(list.size(), 1); };
  e.text = fmt::format(kProgram, count(e.ranges), count(e.ints), count(e.floats), count(e.tensors), masks,
                       bool(score), mask && tiles.classes != Classes::partial, tiles.counts, row.fields,
                       column.fields, row.body, column.body, mask_body, score_row.fields, score_column.fields,
                       !score_column.values.empty(), score_row.body, score_column.body, score_body,
                       emitter.factor(core.before), emitter.factor(core.after), core_body,
                       kForms[static_cast<int>(form)], emitter.along(along_row), class_body);
  e.hash = hash_of(e.text);
  return e;
}

}  // namespace bolide::program
