// Ready-made masks and scores.
#include <bolide/masks.hpp>
#include <cmath>
#include <unordered_map>

#include "program/node.hpp"

namespace bolide {

using namespace leaf;
using program::Node;
using program::NodePointer;

namespace {

void check_rank(const Tensor& t, const char* what, int least, int most) {
  if (t.rank() < least || t.rank() > most) {
    throw Error(Code::invalid_argument, std::string(what) + " has " + std::to_string(t.rank()) +
                                            " axes; it takes " + std::to_string(least) + " to " +
                                            std::to_string(most));
  }
}

// Reads [.., q, kv], [heads, q, kv] or [batch, heads, q, kv] at the given row and column.
Expr at(const Tensor& t, const char* name, const IntExpr& row, const IntExpr& column) {
  check_rank(t, name, 2, 4);
  if (t.rank() == 2) return detail::gather(t, name, {row, column});
  if (t.rank() == 3) return detail::gather(t, name, {h, row, column});
  return detail::gather(t, name, {b, h, row, column});
}

// [positions] or [batch, positions]; [batch] or [batch, heads].
Expr by_last(const Tensor& t, const char* name, const IntExpr& last) {
  check_rank(t, name, 1, 2);
  return t.rank() == 1 ? detail::gather(t, name, {last}) : detail::gather(t, name, {b, last});
}

BoolExpr truth(const Expr& e) { return e.type() == Type::boolean ? BoolExpr(e) : to_bool(IntExpr(e)); }

NodePointer substitute(const NodePointer& n, const NodePointer& score,
                       std::unordered_map<const Node*, NodePointer>& memo) {
  if (n->op == program::Op::score) return score;
  if (n->args.empty()) return n;
  if (const auto found = memo.find(n.get()); found != memo.end()) return found->second;
  std::vector<NodePointer> args;
  bool changed = false;
  for (const NodePointer& a : n->args) {
    args.push_back(substitute(a, score, memo));
    changed |= args.back() != a;
  }
  const NodePointer result = !changed ? n
                             : n->op == program::Op::gather
                                 ? program::make_gather(n->captured, std::move(args))
                                 : program::make(n->op, std::move(args));
  memo.emplace(n.get(), result);
  return result;
}

}  // namespace

Mask causal() { return kv <= q; }

Mask sliding_window(std::int64_t left, std::int64_t right) {
  if (left < 0 && right < 0) return {};
  if (left < 0) return kv - q <= right;
  if (right < 0) return q - kv <= left;
  return q - kv <= left && kv - q <= right;
}

Mask document(const Tensor& ids) {
  return IntExpr(by_last(ids, "doc", q)) == IntExpr(by_last(ids, "doc", kv));
}

Mask prefix_lm(std::int64_t prefix) { return kv < prefix || kv <= q; }
Mask prefix_lm(const Tensor& prefix) { return kv < ints(prefix, "prefix")(b) || kv <= q; }
Mask key_length(const Tensor& lengths) { return kv < ints(lengths, "length")(b); }
Mask dense_mask(const Tensor& visible) { return truth(at(visible, "visible", q, kv)); }

Mask bit_mask(const Tensor& words) {
  if (words.dtype != DType::u32) {
    throw Error(Code::invalid_argument, std::string("a bit mask has elements of type u32, not ") +
                                            name_of(words.dtype) +
                                            "; for one element per key use dense_mask");
  }
  return (IntExpr(at(words, "bits", q, kv >> 5)) >> (kv & 31) & 1) != 0;
}

Mask block_map(const Tensor& visible, std::int64_t rows_per_block, std::int64_t keys_per_block) {
  if (rows_per_block <= 0 || keys_per_block <= 0) {
    throw Error(Code::invalid_argument, "a block map has blocks of " + std::to_string(rows_per_block) +
                                            " rows and " + std::to_string(keys_per_block) +
                                            " keys; both must be positive");
  }
  return truth(at(visible, "blocks", floor_div(q, rows_per_block), floor_div(kv, keys_per_block)));
}

Score softcap(double cap, bool fast) {
  if (!(cap > 0) || std::isinf(cap)) {
    throw Error(Code::invalid_argument,
                "softcap is " + std::to_string(cap) + "; it must be positive and finite");
  }
  return FloatExpr(cap * (fast ? tanh_fast(score / cap) : tanh(score / cap)));
}
Score alibi(const Tensor& slopes) {
  return score - FloatExpr(by_last(slopes, "slopes", h)) * FloatExpr(abs(q - kv));
}
Score alibi(std::int64_t heads) {
  if (heads <= 0) {
    throw Error(Code::invalid_argument,
                "alibi got " + std::to_string(heads) + " heads; at least 1 is needed");
  }
  return score - exp2(-8.0 * FloatExpr(h + 1) / FloatExpr(IntExpr(heads))) * FloatExpr(abs(q - kv));
}
Score bias(const Tensor& bias) { return score + FloatExpr(at(bias, "bias", q, kv)); }

Mask both(const Mask& a, const Mask& b) {
  if (!a || !b) return a ? a : b;
  return BoolExpr(a.expr()) && BoolExpr(b.expr());
}
Mask either(const Mask& a, const Mask& b) {
  if (!a || !b) return {};
  return BoolExpr(a.expr()) || BoolExpr(b.expr());
}
Mask inverted(const Mask& a) { return a ? Mask(!BoolExpr(a.expr())) : Mask(BoolExpr(false)); }

Score compose(const Score& first, const Score& second) {
  if (!first || !second) return first ? first : second;
  std::unordered_map<const Node*, NodePointer> memo;
  return FloatExpr(Expr(substitute(second.expr().node(), first.expr().node(), memo)));
}

}  // namespace bolide
