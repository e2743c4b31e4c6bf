// The rules, in the order a reader would ask them: each tensor by itself, then what it must share with the
// others.
#include "problem/validate.hpp"

#include <bolide/error.hpp>

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "program/facts.hpp"
#include "program/names.hpp"

namespace bolide {
namespace {

[[noreturn]] void contradiction(const std::string& sentence) { throw Error(Code::invalid_problem, sentence); }

enum class Role { input, output };

// A view by itself: rank, sizes, strides, pointer. Offsets must fit 63 bits (contract C16).
void check_view(const Tensor& t, const char* name, Role role) {
  __extension__ using wide = __int128;
  wide count = 1, reach = 0;
  for (int i = 0; i < t.rank(); ++i) {
    if (t.shape[i] < 0)
      contradiction(fmt::format("{} has shape {}: sizes cannot be negative", name, shape_text(t.shape)));
    count *= t.shape[i];
    const wide stride = t.strides[i] < 0 ? -static_cast<wide>(t.strides[i]) : t.strides[i];
    if (t.shape[i] > 1) reach += stride * (t.shape[i] - 1);
    if (count > INT64_MAX || reach > INT64_MAX / 8)
      contradiction(fmt::format("{} has shape {} and strides {}: its extent overflows 64-bit addresses", name,
                                shape_text(t.shape), shape_text(t.strides)));
  }
  if (count == 0) return;
  if (!t.data) contradiction(fmt::format("{} has {} elements but a null pointer", name, t.count()));
  const int bytes = size_of(t.dtype);
  if (reinterpret_cast<std::uintptr_t>(t.data) % bytes != 0)
    contradiction(
        fmt::format("{} points to an address that is not a multiple of {} bytes, the size of its {} elements",
                    name, bytes, name_of(t.dtype)));
  if (role == Role::input) return;
  // Two indices of an output must not name one element. Sorted by stride, each dimension must step over the
  // ones below.
  std::vector<std::pair<std::int64_t, std::int64_t>> steps;
  for (int i = 0; i < t.rank(); ++i)
    if (t.shape[i] > 1) steps.emplace_back(std::abs(t.strides[i]), t.shape[i]);
  std::sort(steps.begin(), steps.end());
  std::int64_t extent = 1;
  for (auto [stride, size] : steps) {
    if (stride < extent)
      contradiction(fmt::format(
          "{} is written, but its shape {} with strides {} names some element twice; give it strides "
          "that keep elements apart",
          name, shape_text(t.shape), shape_text(t.strides)));
    extent = stride * (size - 1) + extent;
  }
}

// A tensor of q's kind: present, of rank, contiguous in its last dimension.
void check_rows(const Tensor& t, const char* name, int rank, const char* shape, Role role) {
  if (!t) contradiction(fmt::format("{} is missing; give a tensor of shape {}", name, shape));
  if (t.rank() != rank)
    contradiction(fmt::format("{} has {} dimensions {}, expected {}: {}", name, t.rank(), shape_text(t.shape),
                              rank, shape));
  check_view(t, name, role);
  if (t.size(rank - 1) > 1 && t.strides[rank - 1] != 1)
    contradiction(fmt::format(
        "{} has stride {} in its last dimension; it must be contiguous there (stride 1): copy it first", name,
        t.strides[rank - 1]));
}

void check_same(std::int64_t a, const char* what_a, std::int64_t b, const char* what_b) {
  if (a != b) contradiction(fmt::format("{} is {}, {} is {}; they must be equal", what_a, a, what_b, b));
}

// A per-sequence vector of integers.
void check_vector(const Tensor& t, const char* name, std::int64_t size, bool may_be_i64, Device device) {
  if (t.dtype != DType::i32 && !(may_be_i64 && t.dtype == DType::i64))
    contradiction(
        fmt::format("{} has type {}; it must be i32{}", name, name_of(t.dtype), may_be_i64 ? " or i64" : ""));
  if (t.rank() != 1 || t.size(0) != size)
    contradiction(fmt::format("{} has shape {}, expected [{}]", name, shape_text(t.shape), size));
  check_view(t, name, Role::input);
  if (t.device != device)
    contradiction(fmt::format("{} lies on another device than q; bring them together", name));
}

struct Checker {
  const ForwardProblem& p;
  Sizes s{};

  bool packed_q() const { return is_packed(p.queries); }
  bool packed_kv() const { return is_packed(p.keys); }
  bool paged() const { return is_paged(p.keys); }

  void tensors() {
    const int rank_q = packed_q() ? 3 : 4, rank_kv = packed_kv() ? 3 : 4;
    check_rows(p.q, "q", rank_q, packed_q() ? "[total_q, heads, head_dim]" : "[batch, rows, heads, head_dim]",
               Role::input);
    const char* kv = packed_kv() ? "[total_kv, heads, head_dim]"
                     : paged()   ? "[pages, page_rows, heads, head_dim]"
                                 : "[batch, rows, heads, head_dim]";
    check_rows(p.k, "k", rank_kv, kv, Role::input);
    check_rows(p.v, "v", rank_kv, kv, Role::input);
    check_rows(p.out, "out", rank_q,
               packed_q() ? "[total_q, heads, head_dim_v]" : "[batch, rows, heads, head_dim_v]",
               Role::output);
    s.heads_q = p.q.size(rank_q - 2), s.heads_kv = p.k.size(rank_kv - 2);
    s.head_dim = p.q.size(rank_q - 1), s.head_dim_v = p.v.size(rank_kv - 1);
    check_same(p.k.size(rank_kv - 1), "k's head_dim", s.head_dim, "q's");
    check_same(p.v.size(rank_kv - 2), "v's number of heads", s.heads_kv, "k's");
    for (int i = 0; i < rank_kv - 2; ++i)
      if (p.v.size(i) != p.k.size(i))
        contradiction(fmt::format("k has shape {}, v {}; all but the last dimension must be equal",
                                  shape_text(p.k.shape), shape_text(p.v.shape)));
    Dims out = p.q.shape;
    out[rank_q - 1] = s.head_dim_v;
    if (p.out.shape != out)
      contradiction(fmt::format("out has shape {}, expected {}", shape_text(p.out.shape), shape_text(out)));
    if (s.head_dim < 1 || s.head_dim_v < 1)
      contradiction(
          fmt::format("head_dim is {} and head_dim_v {}; both must be at least 1", s.head_dim, s.head_dim_v));
    if (s.heads_kv == 0 ? s.heads_q != 0 : s.heads_q % s.heads_kv != 0)
      contradiction(fmt::format("q has {} heads, k {}; the first must be a multiple of the second", s.heads_q,
                                s.heads_kv));
  }

  void types() {
    const DType t = p.q.dtype;
    if (t != DType::f32 && t != DType::f16 && t != DType::bf16)
      contradiction(fmt::format("q has type {}; supported are f32, f16 and bf16", name_of(t)));
    for (auto [x, name] : {std::pair{&p.k, "k"}, {&p.v, "v"}})
      if (x->dtype != t)
        contradiction(
            fmt::format("{} has type {}, q has {}; they must be equal", name, name_of(x->dtype), name_of(t)));
    if (p.out.dtype != t && p.out.dtype != DType::f32)
      contradiction(
          fmt::format("out has type {}; it must be q's, {}, or f32", name_of(p.out.dtype), name_of(t)));
    for (auto [x, name] : {std::pair{&p.k, "k"}, {&p.v, "v"}, {&p.out, "out"}, {&p.lse, "lse"}})
      if (*x && x->device != p.q.device)
        contradiction(fmt::format("{} lies on another device than q; bring them together", name));
  }

  void layouts() {
    if (auto* packed = std::get_if<Packed>(&p.queries)) {
      if (!packed->cu_seqlens)
        contradiction("q is packed but cu_seqlens_q is missing; give [batch + 1] offsets");
      s.batch = cu_seqlens(packed->cu_seqlens, "cu_seqlens_q");
      s.rows_q = capacity(packed->max_seqlen, p.q.size(0), "max_seqlen_q");
    } else {
      s.batch = p.q.size(0), s.rows_q = p.q.size(1);
    }
    if (auto* packed = std::get_if<Packed>(&p.keys)) {
      if (!packed->cu_seqlens)
        contradiction("k is packed but cu_seqlens_kv is missing; give [batch + 1] offsets or a page table");
      check_same(cu_seqlens(packed->cu_seqlens, "cu_seqlens_kv"), "the number of sequences in cu_seqlens_kv",
                 s.batch, "that of q");
      s.rows_kv = capacity(packed->max_seqlen, p.k.size(0), "max_seqlen_kv");
    } else if (auto* pages = std::get_if<Paged>(&p.keys)) {
      s.page_rows = p.k.size(1);
      if (s.page_rows < 1) contradiction("k has pages of 0 rows; a page holds at least 1");
      s.rows_kv = page_capacity(*pages) * s.page_rows;
    } else {
      check_same(p.k.size(0), "k's batch", s.batch, "q's");
      s.rows_kv = p.k.size(1);
    }
  }

  std::int64_t cu_seqlens(const Tensor& t, const char* name) {
    if (t.rank() != 1 || t.size(0) < 1)
      contradiction(fmt::format("{} has shape {}, expected [batch + 1]", name, shape_text(t.shape)));
    check_vector(t, name, t.size(0), true, p.q.device);
    return t.size(0) - 1;
  }

  static std::int64_t capacity(std::int64_t given, std::int64_t total, const char* name) {
    if (given < 0)
      contradiction(fmt::format("{} is {}; it must be 0 (no limit) or the longest length", name, given));
    return given == 0 ? total : std::min(given, total);
  }

  // Most pages a sequence may have.
  std::int64_t page_capacity(const Paged& pages) {
    const bool lists = pages.indptr || pages.indices || pages.last_page_len;
    if (!pages.table == !lists)
      contradiction(
          "keys are paged; give either a page table or the lists indptr, indices and last_page_len");
    if (pages.table) {
      const Tensor& t = pages.table;
      if (t.dtype != DType::i32 || t.rank() != 2 || t.size(0) != s.batch)
        contradiction(fmt::format("the page table is {} {}, expected i32 [{}, max_pages]", name_of(t.dtype),
                                  shape_text(t.shape), s.batch));
      check_view(t, "the page table", Role::input);
      if (t.device != p.q.device)
        contradiction("the page table lies on another device than q; bring them together");
      return t.size(1);
    }
    if (!pages.indptr || !pages.indices || (!pages.last_page_len && !p.seqused_kv))
      contradiction("page lists need indptr, indices, and last_page_len or seqused_kv");
    check_vector(pages.indptr, "indptr", s.batch + 1, false, p.q.device);
    if (pages.indices.rank() != 1)
      contradiction(
          fmt::format("indices has shape {}, expected one dimension", shape_text(pages.indices.shape)));
    check_vector(pages.indices, "indices", pages.indices.size(0), false, p.q.device);
    if (pages.last_page_len) check_vector(pages.last_page_len, "last_page_len", s.batch, false, p.q.device);
    return capacity(pages.max_pages, pages.indices.size(0), "max_pages");
  }

  void lengths() {
    for (auto [t, name] :
         {std::pair{&p.seqused_q, "seqused_q"}, {&p.seqused_kv, "seqused_kv"}, {&p.leftpad, "leftpad"}})
      if (*t) check_vector(*t, name, s.batch, false, p.q.device);
    if (auto* start = std::get_if<Start>(&p.query_start); start && start->per_sequence)
      check_vector(start->per_sequence, "query_start", s.batch, false, p.q.device);
    if (p.key_start.per_sequence)
      check_vector(p.key_start.per_sequence, "key_start", s.batch, false, p.q.device);
    if (!p.lse) return;
    check_view(p.lse, "lse", Role::output);
    const Dims shape = packed_q() ? Dims{s.heads_q, p.q.size(0)} : Dims{s.batch, s.heads_q, s.rows_q};
    if (p.lse.dtype != DType::f32 || p.lse.shape != shape)
      contradiction(fmt::format("lse is {} {}, expected f32 {}", name_of(p.lse.dtype),
                                shape_text(p.lse.shape), shape_text(shape)));
  }

  void programs() {
    const double given = p.scale ? *p.scale : 1 / std::sqrt(static_cast<double>(s.head_dim));
    if (!std::isfinite(given))
      throw Error(Code::invalid_argument, fmt::format("scale is {}; it must be finite", given));
    s.scale = given;
    for (const Expr* e : {p.mask ? &p.mask.expr() : nullptr, p.score ? &p.score.expr() : nullptr}) {
      if (!e) continue;
      const program::Facts facts = program::facts(*e);
      for (const Tensor& t : facts.captured) {
        check_view(t, "a captured tensor", Role::input);
        if (t.device != p.q.device)
          contradiction("a captured tensor lies on another device than q; bring them together");
      }
      if (facts.gathers_by_q && start_may_be_negative())
        throw Error(Code::refused, fmt::format("the program {} gathers by q, but with the default query "
                                               "start (key start + len_kv - len_q) q may be negative: "
                                               "there can be {} queries and {} keys or fewer; state "
                                               "query_start (top_left, a number or a tensor)",
                                               e->to_text(), s.rows_q, s.rows_kv));
    }
  }

  // Bottom-right: a sequence with more queries than keys starts before position 0.
  bool start_may_be_negative() const {
    if (!std::holds_alternative<BottomRight>(p.query_start)) return false;
    const bool lengths_are_shapes = !packed_q() && !packed_kv() && !paged() && !p.seqused_kv && !p.leftpad;
    return !lengths_are_shapes || s.rows_q > s.rows_kv;
  }
};

// The name by which a program's text calls a tensor; "" if it does not capture it.
template <class Program>
std::string captured_name(const Program& program, const Tensor& t) {
  if (!program) return {};
  const program::TableNames names(*program.expr().node());
  for (const program::Captured& c : names.tables())
    if (program::same_view(c.tensor, t)) return c.name;
  return {};
}

void check_captured_gradient(const ForwardProblem& f, const CapturedGradient& g) {
  if (!g.captured)
    contradiction("dcaptured has an entry without a captured tensor; give {captured, gradient}");
  const std::string name = captured_name(f.score, g.captured);
  if (name.empty()) {
    const std::string in_mask = captured_name(f.mask, g.captured);
    if (!in_mask.empty())
      contradiction(
          fmt::format("dcaptured asks for the gradient of {}, which only the mask reads; a mask decides and "
                      "has no slope: "
                      "leave {} out of dcaptured",
                      in_mask, in_mask));
    contradiction(
        fmt::format("dcaptured asks for the gradient of a tensor {} {} that the score program, {}, does not "
                    "capture; give "
                    "the very view that the program was made with",
                    name_of(g.captured.dtype), shape_text(g.captured.shape), f.score.text()));
  }
  if (!is_floating(g.captured.dtype))
    contradiction(
        fmt::format("{} has type {}; only tensors of floats have gradients: leave it out of dcaptured", name,
                    name_of(g.captured.dtype)));
  const std::string gradient = "d" + name;
  if (!g.gradient)
    contradiction(fmt::format("{} is missing; give a tensor of shape {}, as {} has", gradient,
                              shape_text(g.captured.shape), name));
  if (g.gradient.shape != g.captured.shape)
    contradiction(fmt::format("{} has shape {}, {} has {}; they must be equal", gradient,
                              shape_text(g.gradient.shape), name, shape_text(g.captured.shape)));
  if (g.gradient.dtype != g.captured.dtype && g.gradient.dtype != DType::f32)
    contradiction(fmt::format("{} has type {}; it must be {}'s, {}, or f32", gradient,
                              name_of(g.gradient.dtype), name, name_of(g.captured.dtype)));
  if (g.gradient.device != f.q.device)
    contradiction(fmt::format("{} lies on another device than q; bring them together", gradient));
  check_view(g.gradient, gradient.c_str(), Role::output);
}

void check_captured_gradients(const BackwardProblem& p) {
  for (std::size_t i = 0; i < p.dcaptured.size(); ++i) {
    const CapturedGradient& g = p.dcaptured[i];
    check_captured_gradient(p.forward, g);
    const std::string name = captured_name(p.forward.score, g.captured);
    for (std::size_t j = 0; j < i; ++j) {
      const CapturedGradient& other = p.dcaptured[j];
      if (program::same_view(g.captured, other.captured))
        contradiction(fmt::format("dcaptured names {} twice; give it once", name));
      if (g.gradient.count() > 0 && g.gradient.data == other.gradient.data)
        contradiction(fmt::format("d{} and d{} begin at the same address; give each memory of its own",
                                  captured_name(p.forward.score, other.captured), name));
    }
  }
}

}  // namespace

std::string shape_text(const Dims& d) { return fmt::format("[{}]", fmt::join(d.begin(), d.end(), ", ")); }

Sizes validate(const ForwardProblem& p) {
  Checker c{p};
  c.tensors();
  c.types();
  c.layouts();
  c.lengths();
  c.programs();
  return c.s;
}

Sizes validate(const BackwardProblem& p) {
  const Sizes s = validate(p.forward);
  const ForwardProblem& f = p.forward;
  if (!f.lse) contradiction("lse is missing; backward reads what forward wrote there");
  struct {
    const Tensor& t;
    const char* name;
    const Tensor& like;
    const char* like_name;
    Role role;
  } const rows[] = {{p.dout, "dout", f.out, "out", Role::input},
                    {p.dq, "dq", f.q, "q", Role::output},
                    {p.dk, "dk", f.k, "k", Role::output},
                    {p.dv, "dv", f.v, "v", Role::output}};
  for (const auto& [t, name, like, like_name, role] : rows) {
    check_rows(t, name, like.rank(), fmt::format("{}, as {} has", shape_text(like.shape), like_name).c_str(),
               role);
    if (t.shape != like.shape)
      contradiction(fmt::format("{} has shape {}, {} has {}; they must be equal", name, shape_text(t.shape),
                                like_name, shape_text(like.shape)));
    if (t.dtype != f.q.dtype && t.dtype != DType::f32)
      contradiction(fmt::format("{} has type {}; it must be q's, {}, or f32", name, name_of(t.dtype),
                                name_of(f.q.dtype)));
    if (t.device != f.q.device)
      contradiction(fmt::format("{} lies on another device than q; bring them together", name));
  }
  if (p.dq.dtype != p.dk.dtype || p.dk.dtype != p.dv.dtype)
    contradiction(fmt::format("dq, dk, dv have types {}, {}, {}; they must be equal", name_of(p.dq.dtype),
                              name_of(p.dk.dtype), name_of(p.dv.dtype)));
  if (p.dlse) {
    check_view(p.dlse, "dlse", Role::input);
    if (p.dlse.dtype != DType::f32 || p.dlse.shape != f.lse.shape)
      contradiction(fmt::format("dlse is {} {}, expected f32 {}", name_of(p.dlse.dtype),
                                shape_text(p.dlse.shape), shape_text(f.lse.shape)));
    if (p.dlse.device != f.q.device) contradiction("dlse lies on another device than q; bring them together");
  }
  check_captured_gradients(p);
  return s;
}

void validate_merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out,
                    const Tensor& lse, Device device) {
  if (outs.empty() || outs.size() != lses.size())
    contradiction(
        fmt::format("merge has {} outs and {} lses; give as many of one as of the other, at least 1",
                    outs.size(), lses.size()));
  auto check = [&](const Tensor& o, const Tensor& l, Role role) {
    check_rows(o, "a part's out", out.rank(), "the shape of out", role);
    check_view(l, "a part's lse", role);
    Dims shape{o.size(1), o.size(0)};
    if (o.rank() == 4) shape = {o.size(0), o.size(2), o.size(1)};
    if (o.shape != out.shape || l.shape != shape || l.dtype != DType::f32)
      contradiction(fmt::format("a part has out {} and lse {} {}; out {} needs lse f32 {}",
                                shape_text(o.shape), name_of(l.dtype), shape_text(l.shape),
                                shape_text(out.shape), shape_text(shape)));
    if (o.dtype != DType::f32 && o.dtype != DType::f16 && o.dtype != DType::bf16)
      contradiction(
          fmt::format("a part's out has type {}; supported are f32, f16 and bf16", name_of(o.dtype)));
    if (o.device != device || l.device != device)
      contradiction("a part lies on another device than the context's; bring them together");
  };
  if (out.rank() != 3 && out.rank() != 4)
    contradiction(fmt::format(
        "out has shape {}, expected [batch, rows, heads, head_dim_v] or [total_rows, heads, head_dim_v]",
        shape_text(out.shape)));
  check(out, lse, Role::output);
  for (std::size_t i = 0; i < outs.size(); ++i) check(outs[i], lses[i], Role::input);
}

}  // namespace bolide
