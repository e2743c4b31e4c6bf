// The five makers. Each fills in one of the two descriptions; nothing is checked here.
#include <bolide/operations.hpp>

namespace bolide {
namespace {

// What keys a varlen or cache call describes: pages if it names a table, packed sequences otherwise.
template <class Args>
KeyLayout packed_or_paged(const Args& a) {
  if (a.page_table) return Paged{.table = a.page_table};
  return Packed{a.cu_seqlens_kv, a.max_seqlen_kv};
}

template <class Args>
ForwardProblem varlen(const Args& a) {
  return {.q = a.q,
          .k = a.k,
          .v = a.v,
          .out = a.out,
          .lse = a.lse,
          .queries = Packed{a.cu_seqlens_q, a.max_seqlen_q},
          .keys = packed_or_paged(a),
          .seqused_q = a.seqused_q,
          .seqused_kv = a.seqused_kv,
          .leftpad = a.leftpad,
          .scale = a.scale,
          .mask = a.mask,
          .score = a.score,
          .query_start = a.query_start};
}

template <class Args>
ForwardProblem dense(const Args& a) {
  return {.q = a.q,
          .k = a.k,
          .v = a.v,
          .out = a.out,
          .lse = a.lse,
          .scale = a.scale,
          .mask = a.mask,
          .score = a.score,
          .query_start = a.query_start};
}

}  // namespace

ForwardProblem fwd(const FwdArgs& a) { return dense(a); }

ForwardProblem varlen_fwd(const VarlenFwdArgs& a) { return varlen(a); }

ForwardProblem fwd_kvcache(const FwdKvcacheArgs& a) {
  ForwardProblem p{.q = a.q,
                   .k = a.k_cache,
                   .v = a.v_cache,
                   .out = a.out,
                   .lse = a.lse,
                   .seqused_kv = a.seqused,
                   .leftpad = a.leftpad,
                   .scale = a.scale,
                   .mask = a.mask,
                   .score = a.score,
                   .query_start = a.query_start};
  if (a.cu_seqlens_q) p.queries = Packed{a.cu_seqlens_q, a.max_seqlen_q};
  if (a.page_table) p.keys = Paged{.table = a.page_table};
  return p;
}

BackwardProblem bwd(const BwdArgs& a) {
  return {.forward = dense(a),
          .dout = a.dout,
          .dlse = a.dlse,
          .dq = a.dq,
          .dk = a.dk,
          .dv = a.dv,
          .dcaptured = a.dcaptured};
}

BackwardProblem varlen_bwd(const VarlenBwdArgs& a) {
  return {.forward = varlen(a),
          .dout = a.dout,
          .dlse = a.dlse,
          .dq = a.dq,
          .dk = a.dk,
          .dv = a.dv,
          .dcaptured = a.dcaptured};
}

}  // namespace bolide
