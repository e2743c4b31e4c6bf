// Facts, structure hash, and the score that is really a mask.
#include "program/facts.hpp"

#include <cmath>
#include <string_view>

#include "program/graph.hpp"

namespace bolide::program {

namespace {

// tanh(x) and its like: of floats, and nothing else.
bool is_function(Op op) {
  if (!is_operator(op)) return false;
  const std::string_view signature = spec_of(op).signature;
  return spec_of(op).precedence == 0 && (signature == "f>f" || signature == "ff>f");
}

}  // namespace

Facts facts(const Expr& e) {
  const Graph graph(e);
  Facts f;
  f.nodes = static_cast<int>(graph.values.size());
  f.depth = e.node()->depth;
  std::vector<bool> on_q(graph.values.size()), on_kv(graph.values.size());
  for (std::size_t i = 0; i < graph.values.size(); ++i) {
    const Graph::Value& v = graph.values[i];
    f.divisions += v.op == op_of<op::FloorDiv> || v.op == op_of<op::Mod>;
    f.functions += is_function(v.op);
    f.uses_b |= v.op == Op::b;
    f.uses_h |= v.op == Op::h;
    f.uses_q |= v.op == Op::q;
    f.uses_kv |= v.op == Op::kv;
    f.uses_len_q |= v.op == Op::len_q;
    f.uses_len_kv |= v.op == Op::len_kv;
    f.uses_score |= v.op == Op::score;
    on_q[i] = v.op == Op::q;
    on_kv[i] = v.op == Op::kv;
    for (int a : v.args) {
      if (on_q[a]) on_q[i] = true;
      if (on_kv[a]) on_kv[i] = true;
    }
    f.gathers += v.op == Op::gather;
    for (int a : v.args) f.computes_index |= v.op == Op::gather && on_kv[a] && graph.values[a].op != Op::kv;
    f.gathers_by_q |= v.op == Op::gather && on_q[i];
    f.gathers_by_kv |= v.op == Op::gather && on_kv[i];
  }
  for (const Captured& c : graph.tables) f.captured.push_back(c.tensor);
  return f;
}

std::uint64_t structure_hash(const Expr& e) {
  const Graph graph(e);
  std::uint64_t h = 0;
  for (const Graph::Value& v : graph.values) {
    h = (h ^ v.structure) * 0x9e3779b97f4a7c15u;
    h ^= h >> 31;
    for (int a : v.args) h = (h ^ static_cast<std::uint64_t>(a)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ static_cast<std::uint64_t>(v.table)) * 0x94d049bb133111ebu;
  }
  return h ^ (h >> 32);
}

namespace {

bool is_minus_infinity(const Node& n) { return is_constant(n) && std::isinf(n.floating) && n.floating < 0; }
bool depends_on_score(const Node& n) {
  if (n.op == Op::score) return true;
  for (const NodePointer& a : n.args) {
    if (depends_on_score(*a)) return true;
  }
  return false;
}
// A mask computes in float32, a score in float64 on the CPU: a condition that uses floats must not move.
bool uses_floats(const Node& n) {
  if (n.type == Type::floating) return true;
  for (const NodePointer& a : n.args) {
    if (uses_floats(*a)) return true;
  }
  return false;
}

}  // namespace

std::pair<Mask, Score> normalised(const Mask& mask, const Score& score) {
  if (!score) return {mask, score};
  Mask visible = mask;
  Expr kept = score.expr();
  while (kept.node()->op == op_of<op::Where>) {
    const Node& n = *kept.node();
    const bool if_true = is_minus_infinity(*n.args[2]), if_false = is_minus_infinity(*n.args[1]);
    if (if_true == if_false || depends_on_score(*n.args[0]) || uses_floats(*n.args[0])) break;
    const BoolExpr condition(Expr(n.args[0]));
    const BoolExpr also = if_true ? condition : !condition;
    visible = visible ? Mask(BoolExpr(visible.expr()) && also) : Mask(also);
    kept = Expr(NodePointer(if_true ? n.args[1] : n.args[2]));
  }
  const bool identity = kept.node()->op == Op::score;
  return {visible, identity ? Score() : Score(FloatExpr(kept))};
}

}  // namespace bolide::program
