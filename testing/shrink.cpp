// Makes a failing case small: tries simpler relatives, keeps those that fail, until none does.
#include <algorithm>
#include <functional>

#include "testing/check.hpp"

namespace bolide::testing {
namespace {

using Step = std::function<void(Case&)>;

void cut(Spread& s, std::int64_t (*f)(std::int64_t)) {
  for (std::int64_t& v : s.values) v = f(v);
}
std::int64_t half(std::int64_t n) { return n / 2; }
std::int64_t less(std::int64_t n) { return n > 0 ? n - 1 : n; }

// Simpler relatives, boldest first. A step that changes nothing is skipped by the caller.
std::vector<Step> steps() {
  std::vector<Step> all = {
      [](Case& c) { c.score.clear(), c.dcaptured.clear(); },
      [](Case& c) { c.dcaptured.clear(); },
      [](Case& c) {
        if (!c.dcaptured.empty()) c.dcaptured.pop_back();
      },
      [](Case& c) { c.mask.clear(); },
      [](Case& c) {
        c.operation = c.queries == Rows::packed || !c.backward() ? c.operation : Operation::bwd;
      },
      [](Case& c) { c.keys = Keys::dense, c.pages = PageOrder::shuffled, c.rows_kv = c.rows_kv.largest(); },
      [](Case& c) { c.keys = Keys::packed, c.pages = PageOrder::shuffled; },
      [](Case& c) {
        c.queries = Rows::dense, c.rows_q = c.rows_q.largest();
        c.operation = c.backward() ? Operation::bwd : Operation::fwd;
      },
      [](Case& c) {
        if (!c.packed()) c.tail = 0, c.cu_i64 = c.max_seqlen = false;
      },
      [](Case& c) { c.strides = Strides::none; },
      [](Case& c) { c.layout = MemoryOrder::bshd; },
      [](Case& c) { c.pages = PageOrder::shuffled; },
      [](Case& c) { c.offset = 0; },
      [](Case& c) { c.tail = 0; },
      [](Case& c) { c.cu_i64 = false; },
      [](Case& c) { c.max_seqlen = false; },
      [](Case& c) { c.data = Data::normal; },
      [](Case& c) { c.scale.clear(); },
      [](Case& c) { c.key_start = Case{}.key_start; },
      [](Case& c) { c.query_start = {}; },
      [](Case& c) {
        c.query_start = {Position::top_left, {}};
      },
      [](Case& c) { c.leftpad = {}; },
      [](Case& c) { c.seqused_q = {}; },
      [](Case& c) { c.seqused_kv = {}; },
      [](Case& c) { c.dlse = false; },
      [](Case& c) { c.dout_f32 = c.grad_f32 = false; },
      [](Case& c) { c.out_f32 = false; },
      [](Case& c) { c.lse = true; },
      [](Case& c) { c.head_dim_v = c.head_dim; },
      [](Case& c) { c.heads_q = c.heads_kv = std::min<std::int64_t>(c.heads_kv, 1); },
      [](Case& c) { c.heads_q = c.heads_kv; },
      [](Case& c) { c.rows_q = c.rows_q.largest(); },
      [](Case& c) { c.rows_kv = c.rows_kv.largest(); },
  };
  for (std::int64_t Case::*size : {&Case::batch, &Case::head_dim, &Case::head_dim_v, &Case::page_rows})
    for (auto* f : {half, less})
      all.push_back([=](Case& c) { c.*size = std::max<std::int64_t>(1, f(c.*size)); });
  for (Spread Case::*s : {&Case::rows_q, &Case::rows_kv, &Case::seqused_q, &Case::seqused_kv, &Case::leftpad})
    for (auto* f : {half, less}) all.push_back([=](Case& c) { cut(c.*s, f); });
  return all;
}

// Lets that no program names any more.
void drop_lets(Case& c) {
  std::erase_if(c.lets, [&](const Let& l) {
    return c.mask.find(l.name) == std::string::npos && c.score.find(l.name) == std::string::npos;
  });
}

bool consistent(const Case& c) {
  try {
    c.validate();
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Case shrink(const Case& failing, const std::function<bool(const Case&)>& fails, int attempts) {
  Case best = failing;
  for (bool progress = true; progress;) {
    progress = false;
    for (const Step& step : steps()) {
      for (;;) {
        Case smaller = best;
        step(smaller);
        if (!smaller.packed()) smaller.tail = 0, smaller.cu_i64 = smaller.max_seqlen = false;
        if (!smaller.paged()) smaller.page_rows = Case{}.page_rows, smaller.pages = PageOrder::shuffled;
        drop_lets(smaller);
        if (smaller == best || !consistent(smaller) || attempts-- <= 0 || !fails(smaller)) break;
        best = smaller, progress = true;
      }
      if (attempts <= 0) return best;
    }
  }
  return best;
}

Case shrink(const Case& failing, const Context& context, int attempts) {
  const auto fails = [&](const Case& c) {
    try {
      return check(c, context).kind == Outcome::failed;
    } catch (const Error&) {
      return false;  // a program that lost what it captures
    }
  };
  return shrink(failing, fails, attempts);
}

}  // namespace bolide::testing
