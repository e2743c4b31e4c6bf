// From shared nodes to a list of distinct values.
#include "program/graph.hpp"

#include <algorithm>
#include <bit>
#include <tuple>
#include <unordered_map>

namespace bolide::program {

namespace {

std::uint64_t mix(std::uint64_t h, std::uint64_t v) {
  h = (h ^ v) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

class Builder {
 public:
  explicit Builder(Graph& g) : graph_(g) {}

  int add(const Node& n) {
    if (const auto at = seen_.find(&n); at != seen_.end()) return at->second;
    Graph::Value v{n.op, n.type, {}, n.integer, n.floating};
    for (const NodePointer& a : n.args) v.args.push_back(add(*a));
    if (n.op == Op::gather) v.table = table(n.captured);
    canonicalise(v);
    const int index = insert(std::move(v));
    seen_.emplace(&n, index);
    return index;
  }

 private:
  int table(const Captured& c) {
    for (std::size_t i = 0; i < graph_.tables.size(); ++i) {
      if (same_view(graph_.tables[i].tensor, c.tensor)) return static_cast<int>(i);
    }
    graph_.tables.push_back(c);
    return static_cast<int>(graph_.tables.size()) - 1;
  }

  void canonicalise(Graph::Value& v) {
    if (v.op == op_of<op::Mul> && v.args[0] == v.args[1]) v.op = op_of<op::Sqr>, v.args.pop_back();
    const auto structure = [&](int i) { return graph_.values[i].structure; };
    if (is_operator(v.op) && spec_of(v.op).commutative && structure(v.args[1]) < structure(v.args[0])) {
      std::swap(v.args[0], v.args[1]);
    }
    v.along_keys = v.op == Op::kv || v.op == Op::score;
    v.uses_score = v.op == Op::score;
    v.structure = mix(static_cast<std::uint64_t>(v.op) * 4 + static_cast<std::uint64_t>(v.type), 0x51ed270b);
    if (v.table >= 0) {
      const Tensor& t = graph_.tables[v.table].tensor;
      v.structure = mix(v.structure, static_cast<std::uint64_t>(t.dtype) * 16 + t.rank());
    }
    for (int a : v.args) {
      v.along_keys |= graph_.values[a].along_keys;
      v.uses_score |= graph_.values[a].uses_score;
      v.structure = mix(v.structure, graph_.values[a].structure);
    }
  }

  int insert(Graph::Value v) {
    for (auto [at, last] = index_.equal_range(key(v)); at != last; ++at) {
      const Graph::Value& w = graph_.values[at->second];
      if (v.op == w.op && v.type == w.type && v.args == w.args && v.table == w.table &&
          v.integer == w.integer &&
          std::bit_cast<std::uint64_t>(v.floating) == std::bit_cast<std::uint64_t>(w.floating)) {
        return at->second;
      }
    }
    const int at = static_cast<int>(graph_.values.size());
    index_.emplace(key(v), at);
    graph_.values.push_back(std::move(v));
    return at;
  }
  static std::uint64_t key(const Graph::Value& v) {
    std::uint64_t h = mix(v.structure, static_cast<std::uint64_t>(v.integer));
    h = mix(h, std::bit_cast<std::uint64_t>(v.floating));
    for (int a : v.args) h = mix(h, static_cast<std::uint64_t>(a));
    return mix(h, static_cast<std::uint64_t>(v.table));
  }

  Graph& graph_;
  std::unordered_map<const Node*, int> seen_;
  std::unordered_multimap<std::uint64_t, int> index_;
};

}  // namespace

Graph::Graph(std::span<const Expr> expressions) {
  Builder builder(*this);
  for (const Expr& e : expressions) roots.push_back(builder.add(*e.node()));
  renumber();
}

// Numbers values and tables by depth-first order from the roots, operands in canonical order, so that a && b
// and b && a become the same list.
void Graph::renumber() {
  std::vector<Value> ordered;
  std::vector<Captured> ordered_tables;
  std::vector<int> place(values.size(), -1), table_place(tables.size(), -1);
  const auto visit = [&](const auto& self, int i) -> int {
    if (place[i] >= 0) return place[i];
    Value v = values[i];
    for (int& a : v.args) a = self(self, a);
    if (v.table >= 0) {
      int& t = table_place[v.table];
      if (t < 0) t = static_cast<int>(ordered_tables.size()), ordered_tables.push_back(tables[v.table]);
      v.table = t;
    }
    place[i] = static_cast<int>(ordered.size());
    ordered.push_back(std::move(v));
    return place[i];
  };
  for (int& r : roots) r = visit(visit, r);
  values = std::move(ordered);
  tables = std::move(ordered_tables);
}

std::vector<bool> Graph::reachable(const std::vector<int>& from) const {
  std::vector<bool> reached(values.size());
  for (const int i : from) reached[i] = true;
  for (std::size_t i = values.size(); i-- > 0;)
    if (reached[i])
      for (const int a : values[i].args) reached[a] = true;
  return reached;
}

}  // namespace bolide::program
