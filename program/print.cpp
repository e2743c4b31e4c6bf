// Canonical text of an expression: as few parentheses as the grammar allows, and it parses back to the same.
#include <charconv>
#include <cmath>

#include "program/names.hpp"
#include "program/node.hpp"

namespace bolide::program {

namespace {

constexpr int kAtom = 12, kPrefix = 11;

std::string number(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), v).ptr;
  std::string text(buffer, end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

struct Printer {
  const TableNames& names;
  std::string out;

  static int precedence(const Node& n) {
    if (n.op == Op::constant) {
      const bool negative =
          n.type == Type::integer ? n.integer < 0 : n.type == Type::floating && std::signbit(n.floating);
      return negative && !(n.floating != n.floating) ? kPrefix : kAtom;
    }
    if (!is_operator(n.op) || spec_of(n.op).precedence == 0) return kAtom;
    return spec_of(n.op).precedence;
  }
  void operand(const Node& n, int least) {
    const bool parentheses = precedence(n) < least;
    if (parentheses) out += '(';
    print(n);
    if (parentheses) out += ')';
  }
  void list(const Node& n, char open, char close) {
    out += open;
    for (std::size_t i = 0; i < n.args.size(); ++i) {
      if (i) out += ", ";
      print(*n.args[i]);
    }
    out += close;
  }
  void constant(const Node& n) {
    if (n.type == Type::boolean) out += n.integer ? "true" : "false";
    else if (n.type == Type::integer) out += std::to_string(n.integer);
    else out += number(n.floating);
  }
  void print(const Node& n) {
    if (is_leaf(n.op)) out += kLeafNames[static_cast<int>(n.op)];
    else if (n.op == Op::constant) constant(n);
    else if (n.op == Op::gather) {
      out += names.of(n);
      if (!n.args.empty()) list(n, '[', ']');
    } else {
      const op::Spec& spec = spec_of(n.op);
      if (spec.precedence == 0) {
        out += spec.symbol;
        list(n, '(', ')');
      } else if (n.args.size() == 1) {
        out += spec.symbol;
        operand(*n.args[0], kPrefix);
      } else {
        const bool comparison = spec.precedence == spec_of(op_of<op::Less>).precedence;
        operand(*n.args[0], spec.precedence + comparison);
        out += std::string(" ") + spec.symbol + " ";
        operand(*n.args[1], spec.precedence + 1);
      }
    }
  }
};

}  // namespace

TableNames::TableNames(const Node& root) { collect(root); }

void TableNames::collect(const Node& n) {
  if (n.op == Op::gather && !find(n.captured.tensor)) {
    std::string name = n.captured.name;
    const auto taken = [&] {
      for (const Captured& c : tables_) {
        if (c.name == name) return true;
      }
      return is_reserved(name);
    };
    for (int i = 2; taken(); ++i) name = n.captured.name + "_" + std::to_string(i);
    tables_.push_back({n.captured.tensor, name});
  }
  for (const NodePointer& a : n.args) collect(*a);
}

const std::string* TableNames::find(const Tensor& t) const {
  for (const Captured& c : tables_) {
    if (same_view(c.tensor, t)) return &c.name;
  }
  return nullptr;
}

}  // namespace bolide::program

namespace bolide {

std::string Expr::to_text() const {
  if (node_->tree > program::kMaxTree) {
    throw Error(Code::expression, "the expression repeats its parts too often to be written as text");
  }
  const program::TableNames names(*node_);
  program::Printer printer{names, {}};
  printer.print(*node_);
  return printer.out;
}

Bindings captured(const Expr& e) {
  Bindings bindings;
  const program::TableNames names(*e.node());
  for (const program::Captured& c : names.tables()) bindings.values.emplace(c.name, c.tensor);
  return bindings;
}

}  // namespace bolide
