// The nodes of an expression: typing, folding, hashing, comparing.
#include "program/node.hpp"

#include <algorithm>
#include <bit>
#include <set>

#include "program/point.hpp"
#include "program/signature.hpp"

namespace bolide::program {

namespace {

std::uint64_t mix(std::uint64_t h, std::uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
  return h ^ (h >> 31);
}

NodePointer finish(Node n) {
  std::uint64_t h = mix(static_cast<std::uint64_t>(n.op), static_cast<std::uint64_t>(n.type));
  h = mix(h, static_cast<std::uint64_t>(n.integer));
  h = mix(h, std::bit_cast<std::uint64_t>(n.floating));
  std::int64_t tree = 1;
  for (const NodePointer& a : n.args) {
    h = mix(h, a->hash);
    n.depth = std::max(n.depth, a->depth + 1);
    tree += a->tree;
  }
  if (n.op == Op::gather) {
    h = mix(h, reinterpret_cast<std::uintptr_t>(n.captured.tensor.data));
    h = mix(h, static_cast<std::uint64_t>(n.captured.tensor.dtype));
    for (std::int64_t s : n.captured.tensor.shape) h = mix(h, static_cast<std::uint64_t>(s));
  }
  if (n.depth > kMaxDepth) {
    throw Error(Code::expression, "the expression is nested deeper than " + std::to_string(kMaxDepth) +
                                      " operators, the limit; combine its parts as a balanced tree");
  }
  n.tree = static_cast<int>(std::min<std::int64_t>(tree, std::numeric_limits<int>::max()));
  n.hash = h;
  return std::make_shared<const Node>(std::move(n));
}

Type result_type(Op op, std::span<const Type> operands, bool& found) {
  Type result = Type::boolean;
  found = false;
  for_each_signature([&]<char R, char... A>(Signature<R, A...> s) {
    if (contains(spec_of(op).signature, s.text) && s.fits(operands)) found = true, result = type_of_letter(R);
  });
  return result;
}

// The operand types after Int has become Float where needed; false if no signature fits even so.
bool convert(Op op, std::vector<Type>& types) {
  bool found = false;
  result_type(op, types, found);
  if (found) return true;
  std::vector<Type> wider = types;
  std::replace(wider.begin(), wider.end(), Type::integer, Type::floating);
  result_type(op, wider, found);
  if (found) types = wider;
  return found;
}

std::vector<Type> types_of(std::span<const NodePointer> args) {
  std::vector<Type> types;
  for (const NodePointer& a : args) types.push_back(a->type);
  return types;
}

bool is_identifier(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (name.empty() || name.size() > 64 || !letter(name[0])) return false;
  for (char c : name) {
    if (!letter(c) && !(c >= '0' && c <= '9')) return false;
  }
  return true;
}

}  // namespace

const char* name_of(Type t) {
  constexpr const char* kNames[] = {"Bool", "Int", "Float"};
  return kNames[static_cast<int>(t)];
}

bool same_view(const Tensor& a, const Tensor& b) {
  return a.data == b.data && a.dtype == b.dtype && a.shape == b.shape && a.strides == b.strides &&
         a.device == b.device;
}

NodePointer make_leaf(Op op) {
  Node n;
  n.op = op;
  n.type = op == Op::score ? Type::floating : Type::integer;
  return finish(std::move(n));
}
NodePointer make_constant(bool value) {
  Node n;
  n.integer = value;
  return finish(std::move(n));
}
NodePointer make_constant(std::int64_t value) {
  Node n;
  n.type = Type::integer;
  n.integer = value;
  return finish(std::move(n));
}
NodePointer make_constant(double value) {
  Node n;
  n.type = Type::floating;
  n.floating = value == value ? value : std::numeric_limits<double>::quiet_NaN();
  return finish(std::move(n));
}

NodePointer make_gather(const Captured& table, std::vector<NodePointer> indices) {
  const Tensor& t = table.tensor;
  if (!is_identifier(table.name)) {
    throw Error(Code::expression, "a captured tensor's name must be an identifier of at most 64 characters");
  }
  if (!t) throw Error(Code::expression, "the captured tensor " + table.name + " is absent");
  if (static_cast<int>(indices.size()) != t.rank()) {
    throw Error(Code::expression, table.name + " has " + std::to_string(t.rank()) +
                                      " axes and is read with " + std::to_string(indices.size()) +
                                      " indices; write one index per axis");
  }
  for (const NodePointer& i : indices) {
    if (i->type != Type::integer) {
      throw Error(Code::expression, "an index of " + table.name + " is " + name_of(i->type) +
                                        "; an index is Int: convert it with int(...)");
    }
  }
  Node n;
  n.op = Op::gather;
  n.type = t.dtype == DType::boolean ? Type::boolean : is_integer(t.dtype) ? Type::integer : Type::floating;
  n.captured = table;
  n.args = std::move(indices);
  return finish(std::move(n));
}

std::string mismatch(Op op, std::span<const NodePointer> args) {
  std::vector<Type> types = types_of(args);
  if (convert(op, types)) return "";
  const op::Spec& spec = spec_of(op);
  const std::string symbol = spec.symbol;
  if (args.size() == 2 && spec.precedence > 0) {
    std::string sentence = symbol + " between " + name_of(types[0]) + " and " + name_of(types[1]) + ": ";
    const bool bits = symbol == "&" || symbol == "|" || symbol == "^";
    const bool mixed = types[0] != types[1] && (types[0] == Type::boolean || types[1] == Type::boolean);
    if (bits && mixed)
      return sentence + symbol + " binds tighter than comparisons; put parentheses around each comparison";
    if (bits) return sentence + symbol + " works on two Int; convert with int(...)";
    if (symbol == "&&" || symbol == "||")
      return sentence + "both sides must be Bool; write a comparison such as x != 0";
    if (types[0] == Type::boolean || types[1] == Type::boolean) {
      return sentence +
             "Bool and numbers never mix; use && || ! and where(c, a, b), or convert with int(...)";
    }
    return sentence + symbol + " works on two Int; convert with int(...)";
  }
  std::string sentence = symbol + " cannot take (";
  for (std::size_t i = 0; i < types.size(); ++i) sentence += std::string(i ? ", " : "") + name_of(types[i]);
  return sentence + "); it takes " + spec.signature + " (b Bool, i Int, f Float)";
}

NodePointer make(Op op, std::vector<NodePointer> args) {
  std::vector<Type> types = types_of(args);
  if (!convert(op, types)) throw Error(Code::expression, mismatch(op, args));
  bool constant = true, found;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (types[i] != args[i]->type) args[i] = make(op_of<op::ToFloat>, {args[i]});
    constant &= is_constant(*args[i]);
  }
  const Type result = result_type(op, types, found);
  if (constant) {
    Value<double> values[3];
    for (std::size_t i = 0; i < args.size(); ++i) {
      values[i] = {args[i]->integer != 0, args[i]->integer, args[i]->floating};
    }
    const Value<double> v = apply<double>(op, types, {values, args.size()});
    if (result == Type::boolean) return make_constant(v.boolean);
    return result == Type::integer ? make_constant(v.integer) : make_constant(v.floating);
  }
  Node n;
  n.op = op;
  n.type = result;
  n.args = std::move(args);
  return finish(std::move(n));
}

Op find_operator(std::string_view symbol, std::size_t operands) {
  for (int i = 0; i < Operators::size; ++i) {
    const op::Spec& spec = *Operators::specs[i];
    std::size_t arity = 0;
    while (spec.signature[arity] != '>') ++arity;
    if (spec.symbol == symbol && arity == operands)
      return static_cast<Op>(static_cast<int>(Op::operators) + i);
  }
  return Op::constant;
}

bool same(const Node& a, const Node& b) {
  if (&a == &b) return true;
  if (a.hash != b.hash || a.op != b.op || a.type != b.type || a.tree != b.tree || a.integer != b.integer ||
      a.args.size() != b.args.size() ||
      std::bit_cast<std::uint64_t>(a.floating) != std::bit_cast<std::uint64_t>(b.floating) ||
      !same_view(a.captured.tensor, b.captured.tensor)) {
    return false;
  }
  for (std::size_t i = 0; i < a.args.size(); ++i) {
    if (!same(*a.args[i], *b.args[i])) return false;
  }
  return true;
}

}  // namespace bolide::program

namespace bolide {

Type Expr::type() const { return node_->type; }
bool Expr::same(const Expr& other) const { return program::same(*node_, *other.node_); }
std::uint64_t Expr::hash() const { return node_->hash; }

namespace detail {

using program::Node, program::Op;

Expr constant(bool value) { return Expr(program::make_constant(value)); }
Expr constant(std::int64_t value) { return Expr(program::make_constant(value)); }
Expr constant(double value) { return Expr(program::make_constant(value)); }

Expr leaf(const char* name) {
  for (std::size_t i = 0; i < program::kLeafNames.size(); ++i) {
    if (std::string_view(program::kLeafNames[i]) == name) return Expr(program::make_leaf(static_cast<Op>(i)));
  }
  throw Error(Code::expression, std::string("there is no leaf ") + name);
}

Expr call(std::string_view name, std::initializer_list<Expr> arguments) {
  const Op op = program::find_operator(name, arguments.size());
  if (op == Op::constant) throw Error(Code::expression, "there is no operator " + std::string(name));
  std::vector<program::NodePointer> args;
  for (const Expr& e : arguments) args.push_back(e.node());
  return Expr(program::make(op, std::move(args)));
}

Expr gather(const Tensor& table, std::string_view name, std::initializer_list<Expr> indices) {
  std::vector<program::NodePointer> args;
  for (const Expr& e : indices) args.push_back(e.node());
  return Expr(program::make_gather({table, std::string(name)}, std::move(args)));
}

const Expr& checked(const Expr& e, Type type) {
  if (e.type() != type) {
    throw Error(Code::expression, std::string("the expression is ") + program::name_of(e.type()) + ", " +
                                      program::name_of(type) + " is wanted here");
  }
  return e;
}

void check_program(const Expr& e, bool is_mask) {
  std::set<const Node*> seen;
  const auto walk = [&](const auto& self, const Node& n) -> void {
    if (!seen.insert(&n).second) return;
    if (is_mask && n.op == Op::score) {
      throw Error(Code::expression,
                  "a mask cannot use score: it decides before scores exist; use a score "
                  "program with where(condition, score, -inf)");
    }
    for (const auto& a : n.args) self(self, *a);
  };
  walk(walk, *e.node());
  if (seen.size() > static_cast<std::size_t>(kMaxNodes)) {
    throw Error(Code::expression, "the program has " + std::to_string(seen.size()) + " nodes, the limit is " +
                                      std::to_string(kMaxNodes) + "; capture a table instead of unrolling");
  }
  if (e.node()->tree > program::kMaxTree) {
    throw Error(Code::expression,
                "the program has more than " + std::to_string(program::kMaxTree) +
                    " operators when repeated parts are counted each time; capture a table of "
                    "the part that repeats");
  }
}

}  // namespace detail

namespace {
void check_table(const Tensor& t, std::string_view name, bool fits, const char* wanted) {
  if (!fits) {
    throw Error(Code::expression, "captured tensor " + std::string(name) + " has elements of type " +
                                      name_of(t.dtype) + "; " + wanted);
  }
}
}  // namespace

BoolTable bools(const Tensor& t, std::string_view name) {
  check_table(t, name, t.dtype == DType::boolean, "bools() takes bool; compare ints(t)(...) != 0 instead");
  return {t, name};
}
IntTable ints(const Tensor& t, std::string_view name) {
  check_table(t, name, is_integer(t.dtype), "ints() takes integers");
  return {t, name};
}
FloatTable floats(const Tensor& t, std::string_view name) {
  check_table(t, name, is_floating(t.dtype), "floats() takes floats");
  return {t, name};
}

}  // namespace bolide
