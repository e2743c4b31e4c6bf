// The text form: a recursive-descent parser whose errors point at the place and name the fix.
#include <algorithm>
#include <numeric>

#include "program/lexer.hpp"
#include "program/names.hpp"
#include "program/node.hpp"

namespace bolide::program {

namespace {

// Functions that abbreviate others.
struct Abbreviation {
  const char* name;
  std::size_t arity;
  Expr (*build)(const std::vector<Expr>&);
};
const Abbreviation kAbbreviations[] = {
    {"clamp", 3,
     [](const std::vector<Expr>& x) {
       return bolide::detail::call("min", {bolide::detail::call("max", {x[0], x[1]}), x[2]});
     }},
    {"relu", 1,
     [](const std::vector<Expr>& x) {
       return bolide::detail::call("max", {x[0], FloatExpr(0.0)});
     }},
    {"silu", 1,
     [](const std::vector<Expr>& x) {
       return bolide::detail::call("*", {x[0], bolide::detail::call("sigmoid", {x[0]})});
     }},
    {"gelu", 1,
     [](const std::vector<Expr>& x) -> Expr {
       const FloatExpr a(bolide::detail::call("*", {x[0], FloatExpr(1.0)}));
       return 0.5 * a * (1 + erf(a * 0.70710678118654752));
     }},
    {"softplus", 1,
     [](const std::vector<Expr>& x) -> Expr {
       const FloatExpr a(bolide::detail::call("*", {x[0], FloatExpr(1.0)}));
       return log1p(exp(-abs(a))) + max(a, 0.0);
     }},
    {"tan", 1,
     [](const std::vector<Expr>& x) {
       return bolide::detail::call(
           "/", {bolide::detail::call("sin", {x[0]}), bolide::detail::call("cos", {x[0]})});
     }},
};
constexpr std::string_view kWords[] = {"true", "false", "inf", "nan"};
struct Advice {
  std::string_view word, fix;
};
constexpr Advice kAdvice[] = {{"and", "write && between conditions"},
                              {"or", "write || between conditions"},
                              {"not", "write ! before a condition"},
                              {"if", "write where(condition, a, b)"},
                              {"else", "write where(condition, a, b)"},
                              {"maximum", "write max(a, b)"},
                              {"minimum", "write min(a, b)"},
                              {"k", "the key position is called kv"},
                              {"kv_idx", "the key position is called kv"},
                              {"q_idx", "the query position is called q"},
                              {"s", "the score is called score"}};

struct Parsed {
  NodePointer node;
  std::size_t begin, end;
};

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

class Parser {
 public:
  Parser(std::string_view text, const Bindings& bindings)
      : text_(text), bindings_(bindings), tokens_(tokens_of(text)) {}

  NodePointer run() {
    if (peek().kind == Token::Kind::end) fail(text_, 0, 1, "the expression is empty");
    const Parsed all = binary(1);
    const Token& t = peek();
    if (t.kind != Token::Kind::end) {
      if (is("=")) fail(text_, t.begin, t.end, "= is not an operator: write == to compare");
      if (is("?")) fail(text_, t.begin, t.end, "? : is not known: write where(condition, a, b)");
      if (is("**")) fail(text_, t.begin, t.end, "** is not known: write pow(x, y), or sqr(x) for a square");
      for (const Advice& a : kAdvice) {
        if (word(t) == a.word) fail(text_, t.begin, t.end, std::string(a.fix));
      }
      fail(text_, t.begin, t.end, "an operator is expected here");
    }
    return all.node;
  }

 private:
  // One more level of parentheses, prefix operators or arguments.
  struct Nested {
    Parser& parser;
    explicit Nested(Parser& p) : parser(p) {
      if (++parser.depth_ > kMaxNesting) {
        const Token& t = parser.peek();
        fail(parser.text_, t.begin, t.end,
             "the text is nested deeper than " + std::to_string(kMaxNesting) + " levels");
      }
    }
    ~Nested() { --parser.depth_; }
  };

  const Token& peek() const { return tokens_[at_]; }
  std::string_view word(const Token& t) const { return text_.substr(t.begin, t.end - t.begin); }
  std::string words(const Parsed& p) const { return std::string(text_.substr(p.begin, p.end - p.begin)); }
  bool is(std::string_view symbol) const {
    return peek().kind == Token::Kind::symbol && word(peek()) == symbol;
  }
  void expect(std::string_view symbol, const char* why) {
    if (!is(symbol)) fail(text_, peek().begin, peek().end, std::string(symbol) + " is expected here, " + why);
    ++at_;
  }

  Parsed apply(Op op, std::vector<Parsed> args, const Token& at, std::size_t begin, std::size_t end) {
    std::vector<NodePointer> nodes;
    for (const Parsed& p : args) nodes.push_back(p.node);
    if (nodes.size() == 2 && nodes[0]->type == Type::boolean && nodes[1]->type == Type::boolean) {
      if (op == op_of<op::BitAnd>) op = op_of<op::And>;
      if (op == op_of<op::BitOr>) op = op_of<op::Or>;
      if (op == op_of<op::BitXor>) op = op_of<op::NotEqual>;
    }
    if (const std::string sentence = mismatch(op, nodes); !sentence.empty()) {
      fail(text_, at.begin, at.end, sentence);
    }
    return {make(op, std::move(nodes)), begin, end};
  }

  // Binary operators of at least this precedence; comparisons do not chain.
  Parsed binary(int least) {
    Parsed left = prefix(least);
    bool compared = false;
    Token first_comparison;
    Parsed middle{};
    while (peek().kind == Token::Kind::symbol) {
      const Token t = peek();
      std::string_view symbol = word(t);
      const bool swapped = symbol == ">" || symbol == ">=";
      if (swapped) symbol = symbol == ">" ? "<" : "<=";
      const Op op = find_operator(symbol, 2);
      if (op == Op::constant) break;
      const int precedence = spec_of(op).precedence;
      if (precedence < least) break;
      const bool comparison = precedence == spec_of(op_of<op::Less>).precedence;
      ++at_;
      const Parsed right = binary(precedence + 1);
      if (comparison && compared) {
        const std::size_t first_end = first_comparison.end;
        fail(text_, t.begin, t.end,
             "chained comparison: write " + std::string(text_.substr(left.begin, first_end - left.begin)) +
                 " " + words(middle) + " && " + words(middle) + " " + std::string(word(t)) + " " +
                 words(right));
      }
      if (comparison) compared = true, first_comparison = t, middle = right;
      const std::size_t begin = left.begin;
      left = swapped ? apply(op, {right, left}, t, begin, right.end)
                     : apply(op, {left, right}, t, begin, right.end);
    }
    return left;
  }

  // `!` stands between && and the comparisons; unary - and ~ bind tightest.
  Parsed prefix(int least) {
    const Token t = peek();
    const bool negation = is("!"), tight = is("-") || is("~");
    if (!negation && !tight && !is("+")) return primary();
    const Nested nested(*this);
    ++at_;
    if (negation) {
      const int precedence = spec_of(op_of<op::Not>).precedence;
      if (least > precedence)
        fail(text_, t.begin, t.end, "! needs parentheses here: it binds looser than comparisons");
      const Parsed operand = binary(precedence);
      return apply(op_of<op::Not>, {operand}, t, t.begin, operand.end);
    }
    if (word(t) == "+") fail(text_, t.begin, t.end, "a number is expected here; unary + is not known");
    if (word(t) == "-" && peek().kind == Token::Kind::integer && peek().integer == std::uint64_t{1} << 63) {
      const Parsed least_int{make_constant(std::numeric_limits<std::int64_t>::min()), t.begin, peek().end};
      ++at_;
      return least_int;
    }
    const Parsed operand = prefix(spec_of(op_of<op::Neg>).precedence);
    return apply(find_operator(word(t), 1), {operand}, t, t.begin, operand.end);
  }

  Parsed primary() {
    const Token t = peek();
    if (t.kind == Token::Kind::integer) {
      if (t.integer > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        fail(text_, t.begin, t.end, "a number is out of range; Int is 64-bit");
      }
      ++at_;
      return {make_constant(static_cast<std::int64_t>(t.integer)), t.begin, t.end};
    }
    if (t.kind == Token::Kind::floating) {
      ++at_;
      return {make_constant(t.floating), t.begin, t.end};
    }
    if (t.kind == Token::Kind::name) return named();
    if (is("(")) {
      const Nested nested(*this);
      ++at_;
      Parsed inside = binary(1);
      expect(")", "to close the parenthesis");
      return {inside.node, t.begin, tokens_[at_ - 1].end};
    }
    fail(text_, t.begin, t.end,
         t.kind == Token::Kind::end ? "the expression ends too early"
                                    : "a value is expected here: a name, a number or (");
  }

  std::vector<Parsed> arguments(std::string_view close) {
    const Nested nested(*this);
    ++at_;
    std::vector<Parsed> args;
    if (!is(close)) {
      do {
        if (!args.empty()) ++at_;
        args.push_back(binary(1));
      } while (is(","));
    }
    expect(close, "or a comma before another argument");
    return args;
  }

  Parsed named() {
    const Token t = peek();
    const std::string_view name = word(t);
    ++at_;
    if (is("(")) return function(t);
    if (const auto bound = bindings_.values.find(name); bound != bindings_.values.end()) {
      return bound_value(t, bound->second);
    }
    if (is("[")) unknown(t, "captured tensor");
    for (std::size_t i = 0; i < kLeafNames.size(); ++i) {
      if (name == kLeafNames[i]) return {make_leaf(static_cast<Op>(i)), t.begin, t.end};
    }
    if (name == "true" || name == "false") return {make_constant(name == "true"), t.begin, t.end};
    if (name == "inf") return {make_constant(std::numeric_limits<double>::infinity()), t.begin, t.end};
    if (name == "nan") return {make_constant(std::numeric_limits<double>::quiet_NaN()), t.begin, t.end};
    unknown(t, "name");
  }

  Parsed bound_value(const Token& t, const Bindings::Value& value) {
    if (const auto* i = std::get_if<std::int64_t>(&value)) return {make_constant(*i), t.begin, t.end};
    if (const auto* d = std::get_if<double>(&value)) return {make_constant(*d), t.begin, t.end};
    const Tensor& tensor = std::get<Tensor>(value);
    std::vector<NodePointer> indices;
    if (is("[")) {
      for (const Parsed& p : arguments("]")) indices.push_back(p.node);
    }
    try {
      return {make_gather({tensor, std::string(word(t))}, std::move(indices)), t.begin, tokens_[at_ - 1].end};
    } catch (const Error& e) {
      fail(text_, t.begin, t.end, e.what());
    }
  }

  Parsed function(const Token& t) {
    const std::string_view name = word(t);
    const std::vector<Parsed> args = arguments(")");
    const std::size_t end = tokens_[at_ - 1].end;
    for (const Abbreviation& a : kAbbreviations) {
      if (name != a.name || args.size() != a.arity) continue;
      std::vector<Expr> values;
      for (const Parsed& p : args) values.emplace_back(p.node);
      try {
        return {a.build(values).node(), t.begin, end};
      } catch (const Error& e) {
        fail(text_, t.begin, t.end, e.what());
      }
    }
    const Op op = find_operator(name, args.size());
    if (op != Op::constant && spec_of(op).precedence == 0) {
      const bool already =
          args.size() == 1 && std::string_view(name_of(args[0].node->type)) == (name == "int"     ? "Int"
                                                                                : name == "float" ? "Float"
                                                                                : name == "bool"  ? "Bool"
                                                                                                  : "");
      return already ? Parsed{args[0].node, t.begin, end} : apply(op, args, t, t.begin, end);
    }
    for (const std::string& known : function_names()) {
      if (known == name)
        fail(text_, t.begin, t.end,
             std::string(name) + " does not take " + std::to_string(args.size()) + " arguments");
    }
    unknown(t, "function");
  }

  [[noreturn]] void unknown(const Token& t, const std::string& kind) const {
    const std::string name(word(t));
    for (const Advice& a : kAdvice) {
      if (name == a.word)
        fail(text_, t.begin, t.end, "unknown " + kind + " " + name + ": " + std::string(a.fix));
    }
    std::vector<std::string> known;
    if (kind == "function") known = function_names();
    if (kind == "name") known.assign(kLeafNames.begin(), kLeafNames.end());
    if (kind != "function") {
      for (const auto& [bound, value] : bindings_.values) known.push_back(bound);
    }
    std::string nearest, list;
    std::size_t best = 3;
    for (const std::string& k : known) {
      if (const std::size_t d = distance(name, k); d < best && d < std::max(k.size(), name.size()))
        best = d, nearest = k;
      if (list.size() < 400) list += (list.empty() ? "" : ", ") + k;
    }
    fail(text_, t.begin, t.end,
         "unknown " + kind + " " + name.substr(0, 64) +
             (nearest.empty() ? "" : "; did you mean " + nearest + "?") +
             "; known: " + (list.empty() ? "none" : list));
  }

  std::string_view text_;
  const Bindings& bindings_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

NodePointer parse(std::string_view text, const Bindings& bindings) {
  if (text.size() > static_cast<std::size_t>(kMaxTextBytes)) {
    throw Error(Code::expression, "the text has " + std::to_string(text.size()) + " bytes, the limit is " +
                                      std::to_string(kMaxTextBytes) +
                                      "; capture a table or build the program in C++");
  }
  for (const auto& [name, value] : bindings.values) {
    if (is_reserved(name)) {
      throw Error(Code::expression, "the binding " + name +
                                        " has the name of a leaf, function or word of the "
                                        "language; give it another");
    }
  }
  return Parser(text, bindings).run();
}

}  // namespace

std::vector<std::string> function_names() {
  std::vector<std::string> names;
  for (const op::Spec* spec : Operators::specs) {
    if (spec->precedence == 0) names.emplace_back(spec->symbol);
  }
  for (const Abbreviation& a : kAbbreviations) names.emplace_back(a.name);
  return names;
}

bool is_reserved(std::string_view name) {
  const auto names = function_names();
  return std::find(kLeafNames.begin(), kLeafNames.end(), name) != kLeafNames.end() ||
         std::find(names.begin(), names.end(), name) != names.end() ||
         std::find(std::begin(kWords), std::end(kWords), name) != std::end(kWords);
}

}  // namespace bolide::program

namespace bolide {

Mask Mask::parse(std::string_view text, const Bindings& bindings) {
  const Expr e(program::parse(text, bindings));
  if (e.type() != Type::boolean) {
    throw Error(Code::expression, std::string("a mask is Bool and this is ") + program::name_of(e.type()) +
                                      "; write a comparison such as x != 0\n  " + std::string(text));
  }
  return BoolExpr(e);
}

Score Score::parse(std::string_view text, const Bindings& bindings) {
  const Expr e(program::parse(text, bindings));
  if (e.type() == Type::boolean) {
    throw Error(
        Code::expression,
        "a score is Float and this is Bool; write where(condition, score, -inf)\n  " + std::string(text));
  }
  return e.type() == Type::integer ? FloatExpr(IntExpr(e)) : FloatExpr(e);
}

}  // namespace bolide
