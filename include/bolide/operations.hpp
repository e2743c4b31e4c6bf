// The five operations the field knows. Each is a short maker of a problem; they differ only in what they fill
// in.
#pragma once
#include <bolide/problem.hpp>

namespace bolide {

/// Arguments of fwd: one batch of equally long sequences. Shapes: see ForwardProblem, column Dense.
struct FwdArgs {
  Tensor q, k, v, out, lse;
  std::optional<float> scale;
  Mask mask;
  Score score;
  QueryStart query_start = BottomRight{};
};
ForwardProblem fwd(const FwdArgs&);

/// Arguments of varlen_fwd: packed queries; packed keys (cu_seqlens_kv) or paged ones (page_table and
/// seqused_kv).
struct VarlenFwdArgs {
  Tensor q, k, v, out, lse;
  Tensor cu_seqlens_q;   ///< [batch + 1] i32 or i64
  Tensor cu_seqlens_kv;  ///< [batch + 1] i32 or i64; absent when page_table is given
  std::int64_t max_seqlen_q = 0, max_seqlen_kv = 0;  ///< capacities; 0: the number of rows in all
  Tensor seqused_q, seqused_kv, leftpad;             ///< [batch] i32
  Tensor page_table;                                 ///< [batch, max_pages] i32
  std::optional<float> scale;
  Mask mask;
  Score score;
  QueryStart query_start = BottomRight{};
};
ForwardProblem varlen_fwd(const VarlenFwdArgs&);

/// Arguments of fwd_kvcache: a few new queries against a cache that is longer than what it holds.
struct FwdKvcacheArgs {
  Tensor q;                    ///< [batch, rows_q, hq, head_dim]; [total_q, hq, head_dim] with cu_seqlens_q
  Tensor k_cache, v_cache;     ///< [batch, capacity, hkv, dim]; [pages, page_rows, hkv, dim] with page_table
  Tensor out, lse;             ///< as in ForwardProblem
  Tensor seqused;              ///< [batch] i32: rows of the cache in use
  Tensor page_table, leftpad;  ///< [batch, max_pages] i32; [batch] i32
  Tensor cu_seqlens_q;         ///< [batch + 1]: packed queries
  std::int64_t max_seqlen_q = 0;  ///< packed queries: no sequence has more rows
  std::optional<float> scale;
  Mask mask;
  Score score;
  QueryStart query_start = BottomRight{};
};
ForwardProblem fwd_kvcache(const FwdKvcacheArgs&);

/// Arguments of bwd. out and lse are what fwd wrote with the same arguments.
struct BwdArgs {
  Tensor dout, q, k, v, out, lse, dq, dk, dv;
  Tensor dlse;                              ///< optional: the gradient that arrives at lse
  std::vector<CapturedGradient> dcaptured;  ///< optional: {{bias, dbias}} for a score that captures bias
  std::optional<float> scale;
  Mask mask;
  Score score;
  QueryStart query_start = BottomRight{};
};
BackwardProblem bwd(const BwdArgs&);

/// Arguments of varlen_bwd. out and lse are what varlen_fwd wrote with the same arguments.
struct VarlenBwdArgs {
  Tensor dout, q, k, v, out, lse, dq, dk, dv;
  Tensor dlse;
  std::vector<CapturedGradient> dcaptured;
  Tensor cu_seqlens_q, cu_seqlens_kv;
  std::int64_t max_seqlen_q = 0, max_seqlen_kv = 0;
  Tensor seqused_q, seqused_kv, leftpad, page_table;
  std::optional<float> scale;
  Mask mask;
  Score score;
  QueryStart query_start = BottomRight{};
};
BackwardProblem varlen_bwd(const VarlenBwdArgs&);

}  // namespace bolide
