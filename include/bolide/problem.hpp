// One problem: what attends to what, where it lies, and under which mask and score. Five makers fill it in
// (operations.hpp); no back end knows which one was used.
#pragma once
#include <bolide/program.hpp>
#include <bolide/tensor.hpp>
#include <optional>
#include <variant>
#include <vector>

namespace bolide {

/// Rows of sequence b are tensor[b]: q [batch, rows, heads, head_dim].
struct Dense {};

/// Sequences one after another: q [total_rows, heads, head_dim]; sequence b has rows [cu_seqlens[b],
/// cu_seqlens[b + 1]).
struct Packed {
  Tensor cu_seqlens;  ///< [batch + 1], i32 or i64, starts at 0, does not decrease, ends at most at total_rows
  std::int64_t max_seqlen = 0;  ///< no sequence is longer; 0: total_rows. Plans are sized by it.
};

/// Keys in pages of any number of rows: k [pages, page_rows, heads, head_dim]. Pages may be shared and in any
/// order. Either a table, or the three lists; entries beyond a sequence's used rows are never read (contract
/// C12).
struct Paged {
  Tensor table;  ///< [batch, max_pages] i32: page of the sequence's rows [i * page_rows, (i + 1) * page_rows)
  Tensor indptr;         ///< [batch + 1] i32: sequence b's pages are indices[indptr[b] .. indptr[b + 1])
  Tensor indices;        ///< [any] i32
  Tensor last_page_len;  ///< [batch] i32: rows used in the sequence's last page; seqused_kv, if given,
                         ///< decides instead
  std::int64_t max_pages = 0;  ///< lists only: no sequence has more pages; 0: all of indices
};

using QueryLayout = std::variant<Dense, Packed>;
using KeyLayout = std::variant<Dense, Packed, Paged>;

/// A first position, the same for all sequences or one for each ([batch] i32).
struct Start {
  std::int64_t value = 0;
  Tensor per_sequence;
};
/// The last query stands at the last key: query start = key start + len_kv - len_q. The default.
struct BottomRight {};
/// The first query stands at position 0.
struct TopLeft {};
using QueryStart = std::variant<BottomRight, TopLeft, Start>;

/// out = softmax(visible(score(scale * q k^T))) v, exactly (contract C1, C2).
///
/// |     | Dense                         | Packed                    | Paged keys              |
/// |-----|-------------------------------|---------------------------|-------------------------|
/// | q   | [batch, rows_q, hq, dim]      | [total_q, hq, dim]        |                         |
/// | k   | [batch, rows_kv, hkv, dim]    | [total_kv, hkv, dim]      | [pages, rows, hkv, dim] |
/// | v   | like k, but dim_v             | like k, but dim_v         | like k, but dim_v       |
/// | out | [batch, rows_q, hq, dim_v]    | [total_q, hq, dim_v]      |                         |
/// | lse | [batch, hq, rows_q] f32       | [hq, total_q] f32         |                         |
///
/// q, k, v share one type of f32, f16, bf16; out has it too, or f32. hq is a multiple of hkv, and query head
/// h reads key head h / (hq / hkv). Strides are arbitrary but for a contiguous last dimension; inputs may
/// have strides 0. Lengths, tables and starts lie where the other tensors lie, and the host never reads a
/// device's.
struct ForwardProblem {
  Tensor q, k, v, out;
  Tensor lse;  ///< optional; natural logarithm of the sum (contract C1)
  QueryLayout queries = Dense{};
  KeyLayout keys = Dense{};
  Tensor seqused_q;  ///< optional [batch] i32: only the sequence's first rows are queries; the others' out is
                     ///< 0, lse -inf
  Tensor seqused_kv;  ///< optional [batch] i32: only the sequence's first rows are keys, leftpad included
  Tensor leftpad;     ///< optional [batch] i32: as many first rows of the sequence's keys are skipped
  std::optional<float> scale;  ///< any finite value; absent: 1 / sqrt(head_dim)
  Mask mask;                   ///< over positions (contract C3); absent: every key is visible
  Score score;                 ///< applied to scale * q k^T before the mask; absent: as it is
  QueryStart query_start = BottomRight{};
  Start key_start;
};

/// One float tensor that `forward.score` captures, and where its gradient goes.
struct CapturedGradient {
  Tensor captured;  ///< the very view the score captures: same elements, type, shape and strides
  Tensor gradient;  ///< [like captured], each of its elements by itself even where captured's strides are 0;
                    ///< f32 or captured's type
};

/// Gradients of a ForwardProblem. `forward.out` and `forward.lse` are what its forward wrote, and are read
/// here. dout [like out], q's type or out's. dq, dk, dv have the shapes of q, k, v and one type of theirs or
/// f32. Every element of them is written: rows that no query sees get 0, rows of shared pages the sum over
/// the sequences that share them. dcaptured is as complete: elements that no visible pair reads get +0, an
/// element that many pairs read, through clamping too, the sum over them.
struct BackwardProblem {
  ForwardProblem forward;
  Tensor dout;
  Tensor dlse;  ///< optional, [like lse] f32: gradient that arrives at lse
  Tensor dq, dk, dv;
  std::vector<CapturedGradient>
      dcaptured;  ///< in any order, each tensor at most once; the others' are not wanted
};

}  // namespace bolide
