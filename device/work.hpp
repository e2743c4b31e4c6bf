// What the host hands to the kernels: parameters, configurations and the policies that choose them. Plain
// C++, compiled on both sides. Pointers are device addresses; strides count elements; lengths are never read
// by the host.
#pragma once

#if defined(__CUDACC__)
#define BOLIDE_SHARED __host__ __device__
#else
#define BOLIDE_SHARED
#endif

namespace bolide::device {

using Stride = long long;

enum class Element : int { f16, bf16, f32 };
BOLIDE_SHARED constexpr int size_of(Element t) { return t == Element::f32 ? 4 : 2; }

/// Bit-compatible with CUtensorMap.
struct alignas(64) TensorMap {
  unsigned long long opaque[16];
};

/// [batch, rows, heads, columns], [total_rows, heads, columns] (batch stride 0) or [page, row, heads,
/// columns]; columns are contiguous.
struct View {
  void* data;
  Stride batch_stride, row_stride, head_stride;
};

/// A vector of int32 in device memory, of any stride.
struct Ints {
  const int* data;  ///< null: the vector is absent
  Stride stride;
  BOLIDE_SHARED explicit operator bool() const { return data != nullptr; }
  BOLIDE_SHARED int operator[](int i) const { return data[i * stride]; }
};

/// Where each sequence's rows are and how many of them are used. Values are clamped on the device: whatever
/// they are, no access leaves its buffer (contract C19).
struct Lengths {
  const void* cumulative;  ///< packed: [batch + 1], int32 or int64; else null
  Stride cumulative_stride;
  Ints used;             ///< [batch]: rows in use; absent: all there is room for
  int cumulative_is_64;  ///< cumulative is int64
  int rows;  ///< dense: rows of a sequence; packed: rows of all together; paged: max_pages * page_size
};

/// Divides numbers below 2^31 by one that the host knows, in 3 instructions instead of 20.
struct Divisor {
  unsigned multiplier, shift;
};
constexpr Divisor divisor(unsigned by) {
  unsigned shift = 0;
  while ((1ull << shift) < by) ++shift;
  return {static_cast<unsigned>((((1ull << shift) - by) << 32) / by + (by > 1)), shift};
}

/// Pages of keys. A page table [batch, max_pages], or lists: the pages of sequence b are indices[indptr[b]
/// ...].
struct Pages {
  const int* indices;   ///< the table or the lists' indices; null: keys are not paged
  Ints indptr;          ///< lists: [batch + 1]; absent: a table
  Ints last_rows;       ///< lists: [batch] rows used in the last page; absent: see Lengths::used
  Stride table_stride;  ///< table: elements between two sequences; lists: 0
  Stride index_stride;  ///< elements between two entries
  int num_indices;      ///< entries of the lists, or of a sequence in the table
  int size;             ///< rows of a page,
  Divisor by_size;      ///< and division by it
  int count;            ///< pages in the pool
  int max_pages;        ///< of one sequence
};

/// What a row index is as a position (contract C3).
enum class QueryStart : int { bottom_right, top_left, given };
struct Positions {
  QueryStart query;
  int query_start, key_start;  ///< given: used where the tensor is null
  Ints query_starts;           ///< [batch] or absent
  Ints key_starts;             ///< [batch] or absent
};

/// Key tiles that a launch of a kernel with Program::kCounts found of each class: a band of query rows (a
/// warpgroup's 64; fwd_f32: 16) by tile_kv keys, of every head. Bands and tiles wholly beyond the lengths are
/// none of them. A tile that reaches beyond the keys counts as some, since it is masked. Items that are done
/// again count once.
struct TileCounts {
  unsigned long long none, some, all;
};

/// Sequences::paged: how far apart the tensor map has heads, in panels of 64 columns, and pages, in blocks of
/// eight rows.
struct PageMap {
  int head_panels, page_blocks;
};

/// The parameters of a forward kernel.
struct FwdParams {
  /// Producer::tma only: [columns, rows, heads, batch or page], a box is 64 columns of some rows; of K and V
  /// with Sequences::paged [64 columns, 8 rows, panels, blocks], a box is all panels of some blocks.
  TensorMap q_map, k_map, v_map;
  PageMap k_pages, v_pages;
  View q, k, v;
  View out;  ///< of the configuration's out_type; with splits the partial results, float32
  Stride out_split_stride;
  float* lse;  ///< [batch, heads, rows] or [heads, total_rows], natural log; or null
  Stride lse_batch_stride, lse_head_stride, lse_row_stride, lse_split_stride;
  Stride log_sum_offset;  ///< with splits lse is in two parts: a base and, so many elements further, the
                          ///< logarithm of the sum of exp(score - base); else 0

  Lengths query, keys;
  Ints leftpad;         ///< [batch] rows before the first key, or absent
  const int* kv_batch;  ///< [batch] which sequence of the cache belongs to a batch entry, or null
  int kv_batches;       ///< sequences in the cache (equal to batch without kv_batch)
  Pages pages;
  Positions positions;

  int batch, heads, heads_per_kv, head_dim, head_dim_v;
  int kv_box_rows;  ///< rows of a TMA box of K and V: tile_kv, half of it (FwdConfig::paired), or with pages
                    ///< a divisor of it and of their size
  float scale, scale_log2;  ///< scale_log2 = scale * log2(e)
  float scale_lost;         ///< what rounding took from scale, for float32
  const float* sinks;       ///< [heads] or null; the combine kernel's job when there are splits

  int num_splits;   ///< pieces a sequence's keys are cut into; each is a work item
  int split_tiles;  ///< key tiles of a piece; 0: a num_splits-th of the sequence's tiles
  int heads_in_l2;  ///< (batch, head) pairs walked together, longest first: see heads_in_l2()
  int num_work;     ///< dense: work items; packed: not used, tile_offsets says
  const int*
      tile_offsets;  ///< packed: [batch + 2] query tiles before each sequence, by fwd_prepare; else null
  int* next_work;    ///< fwd_prepare makes it zero; null: items are dealt out in turn
  TileCounts* tile_counts;  ///< with Program::kCounts: what a launch found is added here
  /// Sequences::whole only: items of heads_in_l2 pairs, those pairs, the last group's, heads, heads_per_kv.
  Divisor group_items, group_pairs, last_group_pairs, of_batch, of_kv;
};

/// fwd_prepare: counts the query tiles of packed sequences and zeroes the work counter. One block of 1024
/// threads, or of a warp where there are no tiles to count.
struct PrepareParams {
  Lengths query;
  int batch, tile_q;
  unsigned most_tiles;  ///< of a head; cumulative lengths that say more are not believed (contract C19)
  int* tile_offsets;    ///< [batch + 2], or null
  int* next_work;       ///< or null
};

/// fwd_combine: merges the partial results of all splits.
struct CombineParams {
  const float* partial_out;  ///< [split, batch, rows, heads, head_dim_v], contiguous; packed: batch 1
  const float* partial_lse;  ///< [split, 2, batch, heads, rows], contiguous: base, log of the sum
  View out;
  float* lse;
  Stride lse_batch_stride, lse_head_stride, lse_row_stride;
  int batch, heads, rows, head_dim_v, num_splits;
  const float* sinks;
};

/// merge: results over disjoint sets of keys, each with its lse.
struct MergePart {
  View out;  ///< of the type
  Element type;
  float* lse;
  Stride lse_batch_stride, lse_head_stride, lse_row_stride;
};
inline constexpr int kMostMergeParts = 32;
struct MergeParams {
  MergePart out, parts[kMostMergeParts];
  int num_parts;
  int batch, heads, rows, head_dim_v;
};

/// Who fills shared memory: the copy engine (16-byte aligned strides, contiguous columns) or, for everything
/// else, threads with cp.async.
enum class Producer : int { tma, gathered };

/// How many registers a mask and a score take, of those who classify tiles and of those who compute: a light
/// mask beside a score that computes what it gathers, or a mask that gathers or is long, or is very long.
enum class ProgramWeight : int { light, gathering_score, heavy, very_heavy };

/// What a kernel takes for granted of its sequences, so that it need not ask. `whole`: each is all rows of
/// its tensor. `packed`: queries and keys lie between cumulative lengths and are all in use. Both: unsplit,
/// starts are numbers. `paged`: keys come in pages, whose rows one box brings; the rest is as in `any`.
enum class Sequences : int { any, whole, packed, paged };

inline constexpr int kMaxSmemBytes = 232448;
inline constexpr int kControlBytes = 2048;  // of it: for rings, work items and classes
inline constexpr int kStagedBytes = 2048;   // of it: for a warp's rows of the output, 64 columns of 16 bits

/// A kernel's configuration: fwd_sm90<FwdConfig{...}, Program>.
struct FwdConfig {
  int head_dim, head_dim_v;  ///< rounded up to a multiple of 16; the exact ones are in FwdParams
  Element type, out_type;
  Producer producer;
  int copy_bytes;  ///< gathered: bytes of a copy, 16, 8, 4 or 2, as Q, K and V's alignment allows
  int tile_q, tile_kv, k_stages, v_stages;
  int early_cols;  ///< columns of row a exponentiated before PV is waited for (all but the extremes do)
  int producer_registers;  ///< of a producer's thread; programs with tile classification need more than 24
  bool rolled_mask;        ///< evaluate masks in a loop, not unrolled: for masks that gather or are long
  bool partial;            ///< of splits, with an even head_dim_v: a single loop, which compiles a seventh
                           ///< faster; they mostly wait for memory
  Sequences sequences;
  bool paired;  ///< whole: CTAs come in clusters of two whose items share keys, and each loads half of a tile
                ///< for both

  BOLIDE_SHARED constexpr bool whole() const { return sequences == Sequences::whole; }
  BOLIDE_SHARED constexpr bool packed() const { return sequences == Sequences::packed; }
  BOLIDE_SHARED constexpr bool paged() const { return sequences == Sequences::paged; }

  BOLIDE_SHARED constexpr int consumers() const { return tile_q / 64; }
  BOLIDE_SHARED constexpr int threads() const { return 128 * (consumers() + 1); }
  BOLIDE_SHARED constexpr int consumer_registers() const {
    return ((consumers() == 2 ? 504 : 512) - producer_registers) / consumers() / 8 *
           8;  // of what the launch allocates
  }
  BOLIDE_SHARED constexpr int tile_bytes() const {
    const int row = (head_dim + 63) / 64 * 128, row_v = (head_dim_v + 63) / 64 * 128;
    return tile_q * row + tile_kv * (k_stages * row + v_stages * row_v);
  }
  /// Rows of a 16-bit output go by way of shared memory where there is room.
  BOLIDE_SHARED constexpr int staged_bytes() const {
    const int bytes = consumers() * 4 * kStagedBytes;
    return out_type != Element::f32 && tile_bytes() + bytes + kControlBytes <= kMaxSmemBytes ? bytes : 0;
  }
  BOLIDE_SHARED constexpr bool staged_out() const { return staged_bytes() != 0; }
  /// Dynamic shared memory of a launch, in bytes.
  BOLIDE_SHARED constexpr int smem_bytes() const { return tile_bytes() + staged_bytes() + kControlBytes; }
};

/// The kernel that serves these head dims. Tiles and early_cols were measured at the native sizes on an H200
/// (docs/hopper.md); others take the tile of the next native size, as shared memory holds panels of 64
/// columns. `weight`: tiles of heavy masks are classified with more registers and the mask is evaluated in a
/// loop; a gathering score's loads are in flight at once, so it takes smaller tiles (what spilled decided the
/// figures). `sequences`, whole or packed: a kernel of its own where the copy engine loads and the mask is
/// light, as the code that looks for lengths does not fit the instruction cache beside the rest (at 512 keys
/// d64 +13 to +21 %, d128 +6 %), and of whole sequences where it is heavy, too (documents of 1,500: +5 %).
/// `short_items`: few keys, not all of them visible; with a light mask such a kernel then takes tiles of 64,
/// less of which a mask hides (causal, 512 and 1024 keys: d128 +5 and +2 %, d256 +6 and +4 %; d64, which does
/// without, +2 and 0; d80 and d96 follow d128 unmeasured).
BOLIDE_SHARED constexpr FwdConfig choose_config(int head_dim, int head_dim_v, Element type, Element out_type,
                                                Producer producer, ProgramWeight weight, Sequences sequences,
                                                bool short_items) {
  if (producer == Producer::gathered && weight != ProgramWeight::light) weight = ProgramWeight::heavy;
  const bool one_panel = head_dim <= 64 && head_dim_v <= 64;
  if (one_panel && weight == ProgramWeight::gathering_score) weight = ProgramWeight::very_heavy;
  const bool scores = weight == ProgramWeight::gathering_score, very = weight == ProgramWeight::very_heavy,
             heavy_program = weight != ProgramWeight::light;
  FwdConfig c{(head_dim + 15) / 16 * 16,
              (head_dim_v + 15) / 16 * 16,
              type,
              out_type,
              producer,
              16,
              128,
              128,
              2,
              2,
              64,
              40,
              heavy_program,
              false,
              Sequences::any,
              false};
  const int k_panels = (head_dim + 63) / 64, v_panels = (head_dim_v + 63) / 64;
  const bool lean =
      producer == Producer::tma && !heavy_program;  // 32 or 40 registers are enough to schedule and load
  if (!lean) c.producer_registers = scores ? 40 : very ? 88 : 56;
  const bool heavy_whole =
      producer == Producer::tma && weight == ProgramWeight::heavy && sequences == Sequences::whole;
  if ((lean || heavy_whole) && out_type == type) c.sequences = sequences;
  if (k_panels == 1 && v_panels == 1 && lean) {
    c.tile_q = 192, c.k_stages = c.v_stages = 3, c.producer_registers = 32;
  } else if (k_panels <= 2 && v_panels <= 2) {
    if (scores || (very && one_panel)) c.tile_kv = 96;
    c.k_stages = 3;
    if (one_panel) c.v_stages = 3;
  } else if (k_panels <= 3 && v_panels <= 2) {
    c.tile_kv = very || scores ? 96 : heavy_program ? 112 : 128;
  } else if (k_panels <= 3 && v_panels <= 3) {
    c.tile_kv = scores ? 64 : very ? 80 : lean ? 112 : 96;
  } else {
    c.tile_kv = very ? 48 : heavy_program ? 64 : 80;
  }
  if (c.sequences != Sequences::any && lean && short_items && k_panels == v_panels && k_panels % 2 == 0) {
    c.tile_kv = 64;
    if (k_panels == 2) c.k_stages = c.v_stages = 4;
  }
  c.early_cols = c.tile_kv * 3 / 4 / 8 * 8;
  return c;
}

/// (batch, head) pairs that are walked together, of so many. Where tiles are partly visible (causal,
/// windows), those whose keys and values the L2 cache holds, 32 MiB of 50 to 60, longest first, and only then
/// the next: worth 10 % at 16k keys, causal. Else one key head after another. Groups are of a size: the last,
/// were it small, would be longest items that nothing shorter comes behind (60 and 4 pairs: 8 % slower).
BOLIDE_SHARED constexpr int heads_in_l2(long long rows_kv, int head_dim, int head_dim_v, int element_bytes,
                                        int heads_per_kv, bool partial_tiles, long long pairs) {
  const long long bytes = rows_kv * (head_dim + head_dim_v) * element_bytes;
  const long long fit = partial_tiles ? (32ll << 20) / (bytes > 0 ? bytes : 1) : 1;
  const long long held = fit < 1 ? 1 : fit > (1 << 20) ? 1 << 20 : fit;
  const long long key_heads = (pairs + heads_per_kv - 1) / heads_per_kv;
  const long long groups = (key_heads + held - 1) / held;
  return static_cast<int>(groups > 0 ? (key_heads + groups - 1) / groups : 1) * heads_per_kv;
}

}  // namespace bolide::device
