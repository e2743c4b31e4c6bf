// What to do, in which order, decided on the device: one warp of every CTA turns numbers of work items into
// sequences, rows and lengths, sorts the key tiles of each item into invisible, partly and wholly visible
// ones, 32 at a time, and hands both out through small rings. Nobody else reads a length.
#pragma once
#include "program.cuh"
#include "ring.cuh"
#include "work.hpp"

namespace bolide::device {

BOLIDE_DEVICE int ceil_div(int a, int b) { return (a + b - 1) / b; }
BOLIDE_DEVICE int clamp(i64 x, int lo, int hi) { return static_cast<int>(x < lo ? lo : x > hi ? hi : x); }

// How an item is computed. Scores beyond what steps without maxima bear, and it is done again with maxima
// only. A NaN cannot leave an accumulator once it is in, so an item whose output shows one is done again, in
// the same order and with the same bits: the values first, then what visible Infs and NaNs of V add to them
// (contract C12, C13).
enum class Pass : int {
  fast,
  careful,   // every step looks for maxima
  finite,    // so it does from here on; every Inf or NaN of V counts as 0
  positive,  // adds +inf where a +Inf or NaN of V is visible
  negative,  // adds -inf likewise: where both happen, NaN results
};
BOLIDE_DEVICE bool scrubs(Pass pass) { return pass >= Pass::finite; }

// A tile of queries of one head, and everything about their sequence.
struct alignas(16) WorkItem {
  int index;  // in the launch's order; negative: no more work
  Pass pass;
  u32 suspicious;  // a consumer's report: kShowsNaN, kIsBeyond
  static constexpr u32 kShowsNaN = 1, kIsBeyond = 2;
  int any_tiles;  // some key is visible to some row
  int clipped;    // the keys end where the tensor does: the copy engine fills up with zeros
  int batch, head, kv_head, split;
  int q_begin;                  // the tile's first row, in its sequence
  int rows_q;                   // rows of the sequence: all are written
  int len_q, len_kv;            // rows in use
  int q_position, kv_position;  // of row 0 and key 0 (contract C3)
  int q_batch, q_row;           // where row 0 is
  int kv_batch, kv_row;         // where key 0 is, leftpad included
  int page_base;                // paged: the sequence's first entry in `pages`
  int tiles_begin, tiles_end;   // this split's key tiles
  int whole_chunks;             // out's rows are made of aligned chunks of 16 bytes
  void* out;                    // where row 0 of this head's output (of this split's) starts
  float* lse;                   // and its lse
  const int* pages;             // paged: the lists' indices, or this sequence's of the table
};

// Where a row and a key of its sequence are, to a program.
BOLIDE_DEVICE Point point_of(const WorkItem& w, int q_row, int first_key) {
  return {w.batch, w.head, w.q_position + q_row, w.kv_position + first_key, w.len_q, w.len_kv};
}

// What travels with a tile of K: its number, whether it is the item's last, and its class for each warpgroup.
struct TileInfo {
  u32 word;
  BOLIDE_DEVICE int tile() const { return static_cast<int>(word >> 7); }
  BOLIDE_DEVICE bool last() const { return word & 1; }
  BOLIDE_DEVICE TileClass of(int warpgroup) const {
    return static_cast<TileClass>(word >> (1 + 2 * warpgroup) & 3);
  }
  BOLIDE_DEVICE bool visible() const { return word & 126; }  // to any warpgroup: the others are not loaded
  BOLIDE_DEVICE void set(int warpgroup, TileClass c) { word |= static_cast<u32>(c) << (1 + 2 * warpgroup); }
};

// Key tiles to load for an item, at most 32, in the order in which they are walked: the last of them first.
struct alignas(16) TileBlock {
  int count;
  int last_block;  // of its item
  TileInfo tiles[32];
};

// ---- sequences --------------------------------------------------------------------------------

// Rows [begin, begin + rows) of packed sequence b. "Sequence" number batch is what lies behind the last.
struct Span {
  int begin, rows;
};
BOLIDE_DEVICE int cumulative_at(const Lengths& l, int b) {
  const i64 x = l.cumulative_is_64 ? static_cast<const i64*>(l.cumulative)[b * l.cumulative_stride]
                                   : static_cast<const int*>(l.cumulative)[b * l.cumulative_stride];
  return clamp(x, 0, l.rows);
}
BOLIDE_DEVICE Span packed_rows(const Lengths& l, int batch, int b) {
  const int begin = cumulative_at(l, b), end = b < batch ? cumulative_at(l, b + 1) : l.rows;
  return {begin, end > begin ? end - begin : 0};
}

BOLIDE_DEVICE u32 divide(u32 n, Divisor d) { return (__umulhi(n, d.multiplier) + n) >> d.shift; }

// A sequence's page, by its place in the sequence. Entries beyond the used rows are never asked for.
// page_entry: as it stands in the table, not yet bounded.
BOLIDE_DEVICE int page_entry(const FwdParams& p, const WorkItem& w, int entry) {
  const u32 at = min(static_cast<u32>(w.page_base) + entry, static_cast<u32>(p.pages.num_indices) - 1);
  return ptx::ldg(w.pages + at * p.pages.index_stride);
}
BOLIDE_DEVICE int page_at(const FwdParams& p, const WorkItem& w, int entry) {
  return clamp(page_entry(p, w, entry), 0, p.pages.count - 1);
}

// Where sequence b's keys are. Returns how many there are.
template <Sequences kSequences>
BOLIDE_DEVICE int describe_keys(const FwdParams& p, int b, WorkItem& w) {
  if constexpr (kSequences == Sequences::packed) {
    const Span span = packed_rows(p.keys, p.batch, b);
    w.kv_batch = 0, w.kv_row = span.begin, w.clipped = false;
    return span.rows;
  }
  const int source = p.kv_batch ? clamp(p.kv_batch[b], 0, p.kv_batches - 1) : b;
  int rows = p.keys.rows, kv_batch = source, kv_row = 0, page_base = 0;
  if (p.keys.cumulative) {
    const Span span = packed_rows(p.keys, p.kv_batches, source);
    kv_batch = 0, kv_row = span.begin, rows = span.rows;
  } else if (p.pages.indptr) {
    page_base = clamp(p.pages.indptr[source], 0, p.pages.num_indices);
    const int n =
        min(clamp(p.pages.indptr[source + 1], page_base, p.pages.num_indices) - page_base, p.pages.max_pages);
    rows = n * p.pages.size;
    if (p.pages.last_rows && n > 0) rows += clamp(p.pages.last_rows[source], 0, p.pages.size) - p.pages.size;
  }
  w.pages = p.pages.indices + kv_batch * p.pages.table_stride;
  const int used = p.keys.used ? clamp(p.keys.used[b], 0, rows) : rows;
  const int skipped = p.leftpad ? clamp(p.leftpad[b], 0, used) : 0;
  w.kv_batch = kv_batch, w.kv_row = kv_row + skipped, w.page_base = page_base;
  w.clipped = used == p.keys.rows && !p.pages.indices && !p.keys.cumulative;
  return used - skipped;
}

// Which item is it? Groups of heads whose keys the L2 cache holds; in a group the last tiles of queries
// first: with causal masks they are the longest. Fills in all that neither rows nor lengths decide.
template <Sequences kSequences>
BOLIDE_DEVICE bool find_item(const FwdParams& p, int index, int tile_q, WorkItem& w) {
  int pairs = p.batch * p.heads, q_tiles, batch = 0;
  u32 left = index, pair, tiles_before;
  if constexpr (kSequences == Sequences::whole) {
    if (index >= p.num_work) return false;
    q_tiles = ceil_div(p.query.rows, tile_q);
    pair = divide(left, p.group_items) * p.heads_in_l2;
    left -= pair * q_tiles;
    const int in_group = min(p.heads_in_l2, pairs - static_cast<int>(pair));
    tiles_before = divide(left, in_group == p.heads_in_l2 ? p.group_pairs : p.last_group_pairs);
    left -= tiles_before * in_group;
    w.split = 0;
    pair += left;
    batch = divide(pair, p.of_batch);
    w.head = pair - batch * p.heads;
    w.kv_head = divide(w.head, p.of_kv);
  } else {
    constexpr bool kPacked = kSequences == Sequences::packed;
    const int num_splits = kPacked ? 1 : p.num_splits;
    const int per_tile = p.heads * num_splits, lane = threadIdx.x % 32;
    if (kPacked || p.tile_offsets) {  // packed: which sequence? 32 candidates a look
      if (index >= p.tile_offsets[p.batch + 1] * per_tile) return false;
      int begin = 0, end = p.batch + 1;
      while (end - begin > 1) {
        const int step = ceil_div(end - begin, 32), candidate = begin + lane * step;
        const bool starts_before = candidate < end && p.tile_offsets[candidate] * per_tile <= index;
        begin += (__popc(__ballot_sync(~0u, starts_before)) - 1) * step;
        end = min(end, begin + step);
      }
      batch = begin;
      left -= p.tile_offsets[begin] * per_tile;
      q_tiles = p.tile_offsets[begin + 1] - p.tile_offsets[begin];
      pairs = p.heads;
    } else {
      if (index >= p.num_work) return false;
      q_tiles = ceil_div(p.query.rows, tile_q);
    }
    const int in_l2 = min(p.heads_in_l2, pairs);
    pair = left / (in_l2 * q_tiles * num_splits) * in_l2;  // of numbers without a sign: shorter
    left -= pair * q_tiles * num_splits;
    const u32 in_group = min(in_l2, pairs - static_cast<int>(pair)) * num_splits;
    tiles_before = left / in_group;
    left -= tiles_before * in_group;
    const u32 split_pair = num_splits == 1 ? left : left / num_splits;
    w.split = left - split_pair * num_splits;
    pair += split_pair;
    const u32 sequences = kPacked ? 0 : pair / p.heads, head = pair - sequences * p.heads;
    batch += sequences;
    w.head = head;
    w.kv_head = p.heads_per_kv == 1 ? head : head / p.heads_per_kv;
  }
  w.q_begin = (q_tiles - 1 - static_cast<int>(tiles_before)) * tile_q;
  w.batch = batch;
  return true;
}

// Fills in item number index. False: there is no such item. By a whole warp; every lane gets the same.
template <Sequences kSequences>
BOLIDE_DEVICE bool describe(const FwdParams& p, int index, int tile_q, int tile_kv, int out_bytes,
                            WorkItem& w) {
  constexpr bool kWhole = kSequences == Sequences::whole, kPacked = kSequences == Sequences::packed,
                 kAsks = !kWhole && !kPacked;  // vectors may say how long sequences are and where they start
  if (!find_item<kSequences>(p, index, tile_q, w)) return false;
  const int batch = w.batch;
  int rows_q = p.query.rows, q_batch = batch, q_row = 0;
  if (kPacked || (kAsks && p.query.cumulative)) {
    const Span span = packed_rows(p.query, p.batch, batch);
    q_batch = 0, q_row = span.begin, rows_q = span.rows;
  }
  w.q_batch = q_batch, w.q_row = q_row, w.rows_q = rows_q;
  w.out = static_cast<char*>(p.out.data) + (w.split * p.out_split_stride + q_batch * p.out.batch_stride +
                                            q_row * p.out.row_stride + w.head * p.out.head_stride) *
                                               out_bytes;
  w.whole_chunks =
      ((reinterpret_cast<u64>(w.out) | p.out.row_stride * out_bytes | p.head_dim_v * out_bytes) & 15) == 0;
  w.lse = p.lse + w.split * p.lse_split_stride + q_batch * p.lse_batch_stride + w.head * p.lse_head_stride +
          q_row * p.lse_row_stride;
  w.len_q = w.len_kv = w.kv_position = w.q_position = 0;
  w.tiles_begin = w.tiles_end = 0;
  if (!kWhole && batch >= p.batch) return true;  // rows behind the last sequence: nothing to see, but written
  int len_q = rows_q, len_kv = p.keys.rows, kv_position = p.positions.key_start;
  if constexpr (kWhole) {
    w.kv_batch = batch, w.kv_row = w.page_base = 0, w.clipped = true;
  } else {
    if (kAsks && p.query.used) len_q = clamp(p.query.used[batch], 0, rows_q);
    len_kv = describe_keys<kSequences>(p, batch, w);
    if (kAsks && p.positions.key_starts) kv_position = p.positions.key_starts[batch];
  }
  w.len_q = len_q, w.len_kv = len_kv, w.kv_position = kv_position;
  if (p.positions.query == QueryStart::bottom_right) w.q_position = kv_position + len_kv - len_q;
  else if (p.positions.query == QueryStart::given)
    w.q_position =
        kAsks && p.positions.query_starts ? p.positions.query_starts[batch] : p.positions.query_start;

  const int tiles = w.q_begin < len_q ? ceil_div(len_kv, tile_kv) : 0, split = w.split;
  w.tiles_end = tiles;
  if (kWhole || kPacked || p.num_splits == 1) return true;
  const int piece = p.split_tiles ? p.split_tiles : ceil_div(tiles, p.num_splits);
  const int tiles_begin = clamp(static_cast<i64>(split) * piece, 0, tiles);
  w.tiles_begin = tiles_begin;
  if (split < p.num_splits - 1) w.tiles_end = clamp(static_cast<i64>(tiles_begin) + piece, 0, tiles);
  return true;
}

// The next item's number for this CTA, after its first, which is number blockIdx.x.
BOLIDE_DEVICE int next_index(const FwdParams& p, int previous) {
  if (!p.next_work) return previous + ptx::nctaid_x();
  int asked = 0;
  if (threadIdx.x % 32 == 0) asked = atomicAdd(p.next_work, 1);
  return ptx::nctaid_x() + __shfl_sync(~0u, asked, 0);
}

// ---- classes of key tiles ---------------------------------------------------------------------

// The class of keys [tile_begin, tile_end) * tile_kv for query rows [row_begin, row_end), both cut to the
// lengths. Keys past the length make a tile partly visible, never invisible rows of queries.
template <class Program>
BOLIDE_DEVICE TileClass classify(const typename Program::Params& program, const WorkItem& w, int key_begin,
                                 int key_end, int row_begin, int row_end) {
  row_end = min(row_end, w.len_q);
  const int last_key = min(key_end, w.len_kv);
  if (row_begin >= row_end || key_begin >= last_key) return TileClass::none;
  TileClass found = Program::kHasMask ? TileClass::some : TileClass::all;
  if constexpr (Program::kHasMask && Program::kClassifies)
    found = Program::classify(program,
                              Tile{w.batch, w.head, w.q_position + row_begin, w.q_position + row_end,
                                   w.kv_position + key_begin, w.kv_position + last_key, w.len_q, w.len_kv});
  if (found == TileClass::all && (last_key < key_end || w.pass != Pass::fast)) return TileClass::some;
  return found;
}

// Adds to the launch's counts. Items that are done again have been counted.
BOLIDE_DEVICE void count_tiles(const FwdParams& p, const WorkItem& w, int none, int some, int all) {
  if (w.pass != Pass::fast) return;
  atomicAdd(&p.tile_counts->none, static_cast<u64>(static_cast<i64>(none)));
  atomicAdd(&p.tile_counts->some, static_cast<u64>(some));
  atomicAdd(&p.tile_counts->all, static_cast<u64>(all));
}

// Calls emit(tile) for each block of 32 tiles that holds visible ones, last tiles first; a lane a tile. Long
// rows are looked through in spans of 32 blocks before, a block a lane.
template <FwdConfig c, class Program, class Emit>
BOLIDE_DEVICE void classify_tiles(const typename Program::Params& program, const WorkItem& w, Emit emit) {
  const int lane = threadIdx.x % 32, q_begin = w.q_begin;
  for (int span = w.tiles_end; span > w.tiles_begin; span -= 1024) {
    u32 blocks = ~0u >> (31 - min(31, (span - w.tiles_begin - 1) / 32));
    if (Program::kHasMask && Program::kClassifies && blocks > 1) {
      const int end = span - 32 * lane;
      const bool seen = end > w.tiles_begin &&
                        classify<Program>(program, w, max(end - 32, w.tiles_begin) * c.tile_kv,
                                          end * c.tile_kv, q_begin, q_begin + c.tile_q) != TileClass::none;
      blocks = __ballot_sync(~0u, seen);
    }
    for (; blocks; blocks &= blocks - 1) {
      const int tile = span - 32 * (__ffs(blocks) - 1) - 1 - lane;
      TileInfo info{static_cast<u32>(tile) << 7};
      if (tile >= w.tiles_begin)
#pragma unroll 1
        for (int g = 0; g < c.consumers(); ++g)
          info.set(g, classify<Program>(program, w, tile * c.tile_kv, (tile + 1) * c.tile_kv,
                                        q_begin + 64 * g, q_begin + 64 * g + 64));
      if (__any_sync(~0u, info.visible())) emit(info);
    }
  }
}

// The scheduling warp. A block is handed out when it is known whether another follows. Items are written
// where the others will read them, by all lanes alike: registers are few here.
template <FwdConfig c, class Program, class Smem>
BOLIDE_DEVICE void schedule(Smem& smem, const FwdParams& p, const typename Program::Params& program) {
  Cursor<Smem::kWorkSlots> work_at{1};
  Cursor<Smem::kBlockSlots> block_at{1};
  constexpr int kNone = -1, kNoMore = -2;
  const bool leader = threadIdx.x % 32 == 0;
  int taken = kNone, idle = 0;  // idle: slots known to hold nothing that may have to be done again
  // The first of whole sequences' items takes no look at memory (queries are fetched into L2, where later
  // writes land too), and is found while kernels ahead still run. Heavy masks may gather.
  constexpr bool kFirstIsKnown = c.whole() && !c.rolled_mask && !Program::kCounts;
  if (!kFirstIsKnown) ptx::griddepcontrol_wait();  // fwd_prepare's results
  u32& is_long =
      smem.warp_word[0];  // the last item: then two are taken and no more, so that the launch ends evenly
  is_long = false;
  for (;;) {
    smem.work_ring.wait_empty(work_at);
    if (Smem::kWorkSlots > 2 && is_long) {
      auto one_later = work_at;
      one_later.next();
      smem.work_ring.wait_empty(one_later);
    }
    if constexpr (c.paired) ptx::fence_cluster();  // what the other CTA reported
    WorkItem& w = smem.work[work_at.slot()];
    Pass pass = Pass::fast;
    if (BOLIDE_RARELY(w.suspicious)) pass = w.suspicious & WorkItem::kIsBeyond ? Pass::careful : Pass::finite;
    else if (w.pass == Pass::finite || w.pass == Pass::positive)
      pass = static_cast<Pass>(static_cast<int>(w.pass) + 1);
    const bool again = pass != Pass::fast;
    if (!again && taken == kNone) {
      taken = blockIdx.x;
    } else if (!again && taken != kNoMore) {
      if (kFirstIsKnown && taken == static_cast<int>(blockIdx.x)) ptx::griddepcontrol_wait();
      taken = next_index(p, taken);
    }
    const int index = again ? w.index : taken;
    __syncwarp();
    w.index = index, w.pass = pass, w.suspicious = 0, w.any_tiles = 0;
    if (index < 0 ||
        !describe<c.sequences>(p, index, c.tile_q, c.tile_kv, c.out_type == Element::f32 ? 4 : 2, w)) {
      taken = kNoMore;  // but for items in flight that may come again
      const bool done = ++idle == Smem::kWorkSlots;
      w.index = done ? Smem::kNoMoreWork : Smem::kNothing;
      auto last = work_at;
      smem.work_ring.fill(work_at);
      if constexpr (c.paired)
        if (done) {
          last.word ^= 1;  // the other CTA arrives here no more when all its consumers have seen the end
          smem.work_ring.wait_empty(last);
        }
      if (done) return;
      continue;
    }
    idle = 0;
    __syncwarp();
    is_long = w.len_kv >= 16 * c.tile_kv;

    // All tiles are invisible until a block shows some of them.
    if (Program::kCounts && leader)
      count_tiles(p, w, min(ceil_div(w.len_q - w.q_begin, 64), c.consumers()) * (w.tiles_end - w.tiles_begin),
                  0, 0);

    bool any = false;
    auto publish_block = [&](bool last) {
      if (leader) smem.blocks[block_at.slot()].last_block = last;
      smem.block_ring.fill(block_at);
    };
    auto publish_item = [&] {
      w.any_tiles = any;
      // Queries are read from memory once, and there is room for one tile of them: it waits in the L2 cache.
      if (c.producer == Producer::tma && any && ptx::elect_one())
#pragma unroll
        for (int column = 0; column < c.head_dim; column += 64)
          ptx::tma_prefetch_4d(&p.q_map, column, w.q_row + w.q_begin, w.head, w.q_batch);
      smem.work_ring.fill(work_at);
    };
    classify_tiles<c, Program>(program, w, [&](TileInfo tile) {
      if (any) publish_block(false);
      else any = true, publish_item();
      smem.block_ring.wait_empty(block_at);
      TileBlock& block = smem.blocks[block_at.slot()];
      const u32 visible = __ballot_sync(~0u, tile.visible());
      if (tile.visible()) block.tiles[__popc(visible & ((1u << threadIdx.x % 32) - 1))] = tile;
      if (leader) block.count = __popc(visible);
      if constexpr (Program::kCounts) {
        int some = 0, all = 0;
        for (int g = 0; g < c.consumers(); ++g)
          some += tile.of(g) == TileClass::some, all += tile.of(g) == TileClass::all;
        count_tiles(p, w, -some - all, some, all);
      }
    });
    if (any) {
      publish_block(true);
    } else {  // the consumers write at once, behind no load that has waited
      if (kFirstIsKnown) ptx::griddepcontrol_wait();
      publish_item();
    }
  }
}

}  // namespace bolide::device
