// Builds a case's tensors in order, assembles the problem and moves its bytes.
#include "testing/setup.hpp"

#include <fmt/core.h>

#include <cstdlib>

namespace bolide::testing {

Setup::Setup(const Case& c, Fill fill, Memory& memory, const Setup* like)
    : case_(c), fill_(fill), memory_(memory), lengths_(draw_lengths(c)) {
  c.validate();
  add_lengths();
  add_rows();
  if (c.backward()) add_gradients();
  add_captured();
  host_ = assemble(false);
  if (fill != Fill::untouched) sequences_ = testing::sequences(host_.forward);
  if (fill != Fill::normal && fill != Fill::untouched) {
    visible_ = like ? like->visible_ : visibility(host_.forward, sequences_, !c.backward());
    write_data();
  }
  for (Part& part : parts_) {
    part.place = memory_.allocate(part.arena.image().size());
    if (!part.place)
      throw Error(Code::device, fmt::format("no room for {} bytes of {}; take a smaller case",
                                            part.arena.image().size(), part.arena.name()));
  }
  placed_ = assemble(true);
}

Setup::~Setup() {
  for (Part& part : parts_)
    if (part.place) memory_.release(part.place);
}

Tensor Setup::view(int part, bool placed) const {
  if (part < 0) return {};
  const Part& p = parts_[static_cast<std::size_t>(part)];
  return placed ? p.arena.view(p.place, memory_.device()) : p.arena.host();
}

// Through the maker of the operation where its arguments can say it; fields no maker knows are set
// afterwards.
ForwardProblem Setup::make(const FwdArgs& a, bool placed) const {
  const Case& c = case_;
  const std::int64_t most_q = c.max_seqlen ? lengths_.most_rows_q : 0,
                     most_kv = c.max_seqlen ? lengths_.most_rows_kv : 0;
  ForwardProblem p;
  if (c.operation == Operation::varlen_fwd && (c.keys == Keys::packed || c.keys == Keys::paged)) {
    p = varlen_fwd({.q = a.q,
                    .k = a.k,
                    .v = a.v,
                    .out = a.out,
                    .lse = a.lse,
                    .cu_seqlens_q = view(cu_q_, placed),
                    .cu_seqlens_kv = view(cu_kv_, placed),
                    .max_seqlen_q = most_q,
                    .max_seqlen_kv = most_kv,
                    .seqused_q = view(seqused_q_, placed),
                    .seqused_kv = view(seqused_kv_, placed),
                    .leftpad = view(leftpad_, placed),
                    .page_table = view(table_, placed),
                    .scale = a.scale,
                    .mask = a.mask,
                    .score = a.score,
                    .query_start = a.query_start});
  } else if (c.operation == Operation::fwd_kvcache && (c.keys == Keys::dense || c.keys == Keys::paged)) {
    p = fwd_kvcache({.q = a.q,
                     .k_cache = a.k,
                     .v_cache = a.v,
                     .out = a.out,
                     .lse = a.lse,
                     .seqused = view(seqused_kv_, placed),
                     .page_table = view(table_, placed),
                     .leftpad = view(leftpad_, placed),
                     .cu_seqlens_q = view(cu_q_, placed),
                     .max_seqlen_q = most_q,
                     .scale = a.scale,
                     .mask = a.mask,
                     .score = a.score,
                     .query_start = a.query_start});
    p.seqused_q = view(seqused_q_, placed);
  } else {
    p = fwd(a);
    if (c.queries == Rows::packed) p.queries = Packed{view(cu_q_, placed), most_q};
    if (c.keys == Keys::packed) p.keys = Packed{view(cu_kv_, placed), most_kv};
    if (c.keys == Keys::paged) p.keys = Paged{.table = view(table_, placed)};
    p.seqused_q = view(seqused_q_, placed), p.seqused_kv = view(seqused_kv_, placed),
    p.leftpad = view(leftpad_, placed);
  }
  if (c.keys == Keys::pagelist)
    p.keys = Paged{.indptr = view(indptr_, placed),
                   .indices = view(indices_, placed),
                   .last_page_len = view(last_page_len_, placed)};
  p.key_start = {.value = c.key_start.kind == Position::number ? c.key_start.value.values[0] : 0,
                 .per_sequence = view(key_start_, placed)};
  return p;
}

BackwardProblem Setup::assemble(bool placed) const {
  const Case& c = case_;
  Bindings bindings;
  for (const auto& [name, number] : numbers_) bindings.values.emplace(name, number);
  for (const auto& [name, part] : captured_) bindings.values.emplace(name, view(part, placed));
  FwdArgs a{.q = view(q_, placed),
            .k = view(k_, placed),
            .v = view(v_, placed),
            .out = view(out_, placed),
            .lse = view(lse_, placed)};
  if (!c.scale.empty()) a.scale = std::strtof(c.scale.c_str(), nullptr);
  if (!c.mask.empty()) a.mask = Mask::parse(c.mask, bindings);
  if (!c.score.empty()) a.score = Score::parse(c.score, bindings);
  if (c.query_start.kind == Position::top_left) a.query_start = TopLeft{};
  if (c.query_start.kind == Position::number) a.query_start = Start{.value = c.query_start.value.values[0]};
  if (c.query_start.kind == Position::per_sequence)
    a.query_start = Start{.per_sequence = view(query_start_, placed)};
  const ForwardProblem p = make(a, placed);
  if (!c.backward()) return {.forward = p};
  const Tensor dout = view(dout_, placed), dlse = view(dlse_, placed), dq = view(dq_, placed),
               dk = view(dk_, placed), dv = view(dv_, placed);
  std::vector<CapturedGradient> dcaptured;
  for (const auto& [of, gradient] : captured_gradients_)
    dcaptured.push_back({.captured = view(of, placed), .gradient = view(gradient, placed)});
  BackwardProblem made;
  if (c.operation == Operation::bwd) {
    made = bwd({.dout = dout,
                .q = a.q,
                .k = a.k,
                .v = a.v,
                .out = a.out,
                .lse = a.lse,
                .dq = dq,
                .dk = dk,
                .dv = dv,
                .dlse = dlse,
                .dcaptured = dcaptured,
                .scale = a.scale,
                .mask = a.mask,
                .score = a.score,
                .query_start = a.query_start});
  } else {
    made = varlen_bwd({.dout = dout,
                       .q = a.q,
                       .k = a.k,
                       .v = a.v,
                       .out = a.out,
                       .lse = a.lse,
                       .dq = dq,
                       .dk = dk,
                       .dv = dv,
                       .dlse = dlse,
                       .dcaptured = dcaptured,
                       .cu_seqlens_q = view(cu_q_, placed),
                       .cu_seqlens_kv = view(cu_kv_, placed),
                       .seqused_q = p.seqused_q,
                       .seqused_kv = p.seqused_kv,
                       .leftpad = p.leftpad,
                       .page_table = view(table_, placed),
                       .scale = a.scale,
                       .mask = a.mask,
                       .score = a.score,
                       .query_start = a.query_start});
  }
  const bool plain = c.operation == Operation::bwd && c.queries == Rows::dense && c.keys == Keys::dense &&
                     !c.seqused_q && !c.seqused_kv && !c.leftpad && c.key_start == Case{}.key_start;
  const bool known = c.operation == Operation::varlen_bwd &&
                     (c.keys == Keys::packed || c.keys == Keys::paged) && !c.max_seqlen &&
                     c.key_start == Case{}.key_start;
  if (!plain && !known) made.forward = p;
  return made;
}

void Setup::upload() {
  for (Part& part : parts_) memory_.upload(part.place, part.arena.image());
}

std::string Setup::download() {
  std::string damage;
  for (Part& part : parts_) {
    part.after.resize(part.arena.image().size());
    memory_.download(part.after, part.place);
    if (damage.empty()) damage = part.arena.find_damage(part.after);
  }
  return damage;
}

Tensor Setup::result(const Tensor& of) const {
  for (const Part& part : parts_)
    if (part.arena.host().data == of.data && part.arena.output())
      return part.arena.view(const_cast<std::byte*>(part.after.data()), Device::cpu());
  return {};
}

void Setup::keep_forward() {
  for (const int i : {out_, lse_})
    parts_[static_cast<std::size_t>(i)].arena.accept(parts_[static_cast<std::size_t>(i)].after);
}

}  // namespace bolide::testing
