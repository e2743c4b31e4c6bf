// The loading warps: they follow the scheduling warp's items and key tiles, and fill the rings of Q, K and V ahead of the consumers.
// TmaLoader is one warp that commands the copy engine; GatheredLoader is three that copy any layout with cp.async.
#pragma once
#include "schedule.cuh"
#include "tile.cuh"

namespace bolide::device {

// Which page holds a row of the sequence, and where in it. Entries beyond the used rows are never asked for.
BOLIDE_DEVICE int page_of(const FwdParams& p, const WorkItem& w, int row) {
  const int entry = clamp(static_cast<i64>(w.page_base) + row / p.pages.size, 0, p.pages.num_indices - 1);
  return clamp(ptx::ldg(p.pages.indices + entry), 0, p.pages.count - 1);
}

// What V's Infs and NaNs become in a pass that computes an item again.
template <class T>
BOLIDE_DEVICE u32 scrub_word(u32 word, Pass pass) {
  u32 result = 0;
#pragma unroll
  for (int shift = 0; shift < 32; shift += 16) {
    const u32 x = word >> shift & 0xffff, magnitude = x & 0x7fff;
    u32 y = 0;
    if (pass == Pass::finite) y = magnitude >= T::kExponent ? 0 : x;
    else if (magnitude > T::kExponent || (magnitude == T::kExponent && (x >> 15 != 0) == (pass == Pass::negative))) y = T::kOne;
    result |= y << shift;
  }
  return result;
}
template <class T>
BOLIDE_DEVICE void scrub_chunk(u32 address, Pass pass) {
  uint4 x = ptx::ld_shared(address);
  x.x = scrub_word<T>(x.x, pass), x.y = scrub_word<T>(x.y, pass), x.z = scrub_word<T>(x.z, pass), x.w = scrub_word<T>(x.w, pass);
  ptx::st_shared(address, x);
}

// A tile of V that is not handed on before its rows are clean: all lanes of the loading warp write it alike.
struct HeldTile {
  int slot, live_rows;
  Pass pass;
};

// ---- the copy engine --------------------------------------------------------------------------

// Rows dead by length hold whatever lies in memory behind the sequence, or an older tile. S does not mind, since its mask
// replaces them; O would, as 0 * NaN is NaN. So a tile of V with dead rows lands on a barrier of its own, and is
// handed on when they are zero: at the latest before this warp waits for anything else.
template <FwdConfig c, class Smem>
struct TmaLoader {
  static constexpr int kWarps = 1;
  using T = Type16<c.type>;
  Smem& smem;
  const FwdParams& p;
  Cursor<1> q_at{1};
  Cursor<c.k_stages> k_at{1};
  Cursor<c.v_stages> v_at{1};
  u32 held = 0;  // 2: smem.held_tile still has to be cleaned; 1: the next parity of its barrier

  BOLIDE_DEVICE void deliver() {
    if (!(held & 2)) return;
    const int held_slot = smem.held_tile.slot, held_rows = smem.held_tile.live_rows;
    const Pass held_pass = smem.held_tile.pass;
    wait(smem.held, held & 1);
    held = (held & 1) ^ 1;
    const auto& v = smem.v[held_slot];
    constexpr int kChunks = Smem::VTile::kChunks;
#pragma unroll 1
    for (int i = threadIdx.x % 32 + (held_pass == Pass::fast ? held_rows * kChunks : 0); i < c.tile_kv * kChunks; i += 32) {
      const u32 address = v.chunk(i / kChunks, i % kChunks);
      if (i / kChunks >= held_rows) ptx::st_shared(address, {0, 0, 0, 0});
      else scrub_chunk<T>(address, held_pass);
    }
    ptx::fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(smem.v_ring.full[held_slot]);
  }
  template <class R, class At>
  BOLIDE_DEVICE void wait_empty(R& ring, const At& at) {
    if (!__all_sync(~0u, ring.is_empty(at))) deliver(), ring.wait_empty(at);
  }
  template <class R, class At>
  BOLIDE_DEVICE void wait_full(R& ring, const At& at) {
    if (!__all_sync(~0u, ring.is_full(at))) deliver(), ring.wait_full(at);
  }

  BOLIDE_DEVICE void load_q(const WorkItem& w) {
    wait_empty(smem.q_ring, q_at);
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive_expect_tx(smem.q_ring.full[0], smem.q.kPanels * smem.q.kPanelBytes);
    __syncwarp();
    const int panel = threadIdx.x % 32;
    if (panel < smem.q.kPanels)
      ptx::tma_load_4d(ptx::smem_addr(smem.q.data) + panel * smem.q.kPanelBytes, &p.q_map, smem.q_ring.full[0], panel * 64,
                       w.q_row + w.q_begin, w.head, w.q_batch);
    q_at.next();
  }
  // A lane a box: 64 columns of kv_box_rows rows.
  template <class Tile>
  BOLIDE_DEVICE void load_keys(const Tile& dst, const TensorMap* map, u64& bar, const WorkItem& w, int first, int rows) {
    const int box_rows = p.kv_box_rows, boxes = ceil_div(rows, box_rows) * Tile::kPanels;
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive_expect_tx(bar, boxes * box_rows * 128);
    __syncwarp();
#pragma unroll 1
    for (int i = threadIdx.x % 32; i < boxes; i += 32) {
      const int panel = i % Tile::kPanels, box_row = i / Tile::kPanels * box_rows;
      int row = w.kv_row + first + box_row, batch = w.kv_batch;
      if (p.pages.indices) batch = page_of(p, w, row), row %= p.pages.size;
      ptx::tma_load_4d(ptx::smem_addr(dst.data) + panel * Tile::kPanelBytes + box_row * 128, map, bar, panel * 64, row, w.kv_head,
                       batch);
    }
  }
  BOLIDE_DEVICE void load_k(const WorkItem& w, TileInfo info) {
    wait_empty(smem.k_ring, k_at);
    if (threadIdx.x % 32 == 0) smem.tile_info[k_at.slot()] = info.word;
    const int first = info.tile() * c.tile_kv;
    load_keys(smem.k[k_at.slot()], &p.k_map, smem.k_ring.full[k_at.slot()], w, first, min(c.tile_kv, w.len_kv - first));
    k_at.next();
  }
  BOLIDE_DEVICE void load_v(const WorkItem& w, int tile) {
    wait_empty(smem.v_ring, v_at);
    const int first = tile * c.tile_kv, rows = min(c.tile_kv, w.len_kv - first);
    const bool hold = rows < c.tile_kv || w.pass != Pass::fast;
    if (hold) {
      deliver();
      held |= 2;
      smem.held_tile = {v_at.slot(), rows, w.pass};
    }
    load_keys(smem.v[v_at.slot()], &p.v_map, hold ? smem.held : smem.v_ring.full[v_at.slot()], w, first, rows);
    v_at.next();
  }
};

// ---- threads ----------------------------------------------------------------------------------

// Copies of c.copy_bytes, with zeros for dead rows and for columns beyond the head dim: bytes between rows are never read. A tile is
// handed on when the next one's copies are under way, or before a wait.
template <FwdConfig c, class Smem>
struct GatheredLoader {
  static constexpr int kWarps = 3, kThreads = 32 * kWarps;
  using T = Type16<c.type>;
  Smem& smem;
  const FwdParams& p;
  Cursor<1> q_at{1};
  Cursor<c.k_stages> k_at{1};
  Cursor<c.v_stages> v_at{1};
  u32 held = 0;        // the address of the barrier of the tile whose copies are under way
  u32 held_again = 0;  // a tile of V to be scrubbed: its slot * 4 + pass

  BOLIDE_DEVICE static int thread() { return threadIdx.x - 32; }
  template <int kPending>
  BOLIDE_DEVICE void hand_on() {
    if (!held) return;
    ptx::cp_async_wait<kPending>();
    if (held_again) {
      const auto& v = smem.v[held_again / 4];
      constexpr int kChunks = Smem::VTile::kChunks;
#pragma unroll 1
      for (int i = thread(); i < c.tile_kv * kChunks; i += kThreads)
        scrub_chunk<T>(v.chunk(i / kChunks, i % kChunks), static_cast<Pass>(held_again % 4));
    }
    ptx::fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(held);
    held = 0;
  }
  BOLIDE_DEVICE void deliver() { hand_on<0>(); }
  template <class R, class At>
  BOLIDE_DEVICE void wait_empty(R& ring, const At& at) {
    if (!__all_sync(~0u, ring.is_empty(at))) deliver(), ring.wait_empty(at);
  }
  template <class R, class At>
  BOLIDE_DEVICE void wait_full(R& ring, const At& at) {
    if (!__all_sync(~0u, ring.is_full(at))) deliver(), ring.wait_full(at);
  }

  // Copies `live` rows; row_at(i) is where row i starts.
  template <class Tile, class RowAt>
  BOLIDE_DEVICE void gather(const Tile& dst, int live, int columns, RowAt row_at, u64& bar, u32 again) {
    constexpr int kChunks = Tile::kChunks;
#pragma unroll 1
    for (int i = thread(); i < Tile::kRows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks, bytes = row < live ? clamp(columns - 8 * chunk, 0, 8) * 2 : 0;
      copy_chunk(dst.chunk(row, chunk), bytes ? row_at(row) + 8 * chunk : static_cast<const u16*>(p.k.data), bytes);
    }
    ptx::cp_async_commit();
    hand_on<1>();
    held = ptx::smem_addr(&bar), held_again = again;
  }
  BOLIDE_DEVICE static void copy_chunk(u32 dst, const u16* src, int bytes) {
    if constexpr (c.copy_bytes >= 4) {
#pragma unroll
      for (int at = 0; at < 16; at += c.copy_bytes) {
        const int left = bytes - at < 0 ? 0 : min(bytes - at, c.copy_bytes);
        ptx::cp_async<c.copy_bytes>(dst + at, left ? src + at / 2 : src, left);
      }
    } else {
      u32 words[4] = {};
#pragma unroll
      for (int at = 0; at < 8; ++at)
        if (2 * at < bytes) words[at / 2] |= static_cast<u32>(ptx::ldg(src + at)) << (16 * (at % 2));
      ptx::st_shared(dst, {words[0], words[1], words[2], words[3]});
    }
  }
  BOLIDE_DEVICE void load_q(const WorkItem& w) {
    wait_empty(smem.q_ring, q_at);
    const u16* base = static_cast<const u16*>(p.q.data) + w.q_batch * p.q.batch_stride + w.head * p.q.head_stride;
    const int first = w.q_row + w.q_begin;
    gather(smem.q, w.len_q - w.q_begin, p.head_dim, [&](int row) { return base + (first + row) * p.q.row_stride; },
           smem.q_ring.full[0], 0);
    q_at.next();
  }
  template <class Tile>
  BOLIDE_DEVICE void gather_keys(const Tile& dst, const View& view, int columns, const WorkItem& w, int first, u64& bar, u32 again) {
    const u16* base = static_cast<const u16*>(view.data) + w.kv_head * view.head_stride;
    const int begin = w.kv_row + first;
    gather(dst, w.len_kv - first, columns, [&](int row) {
      int r = begin + row, batch = w.kv_batch;
      if (p.pages.indices) batch = page_of(p, w, r), r %= p.pages.size;
      return base + batch * view.batch_stride + r * view.row_stride;
    }, bar, again);
  }
  BOLIDE_DEVICE void load_k(const WorkItem& w, TileInfo info) {
    wait_empty(smem.k_ring, k_at);
    if (thread() == 0) smem.tile_info[k_at.slot()] = info.word;
    gather_keys(smem.k[k_at.slot()], p.k, p.head_dim, w, info.tile() * c.tile_kv, smem.k_ring.full[k_at.slot()], 0);
    k_at.next();
  }
  BOLIDE_DEVICE void load_v(const WorkItem& w, int tile) {
    wait_empty(smem.v_ring, v_at);
    gather_keys(smem.v[v_at.slot()], p.v, p.head_dim_v, w, tile * c.tile_kv, smem.v_ring.full[v_at.slot()],
                w.pass == Pass::fast ? 0 : v_at.slot() * 4 + static_cast<u32>(w.pass));
    v_at.next();
  }
};

// ---- either -----------------------------------------------------------------------------------

// K runs one tile ahead of V, as the consumers read them. Q comes after the first K, whose slot is free earlier.
template <FwdConfig c, class Loader, class Smem>
BOLIDE_DEVICE void produce(Smem& smem, const FwdParams& p) {
  Loader loader{smem, p};
  Cursor<Smem::kWorkSlots> work_at;
  Cursor<Smem::kBlockSlots> block_at;
  for (;;) {
    loader.wait_full(smem.work_ring, work_at);
    const WorkItem& w = smem.work[work_at.slot()];
    if (w.index == Smem::kNoMoreWork) break;
    u32 left = 0;  // tiles of the block under way
    int previous = -1;
    for (bool more = w.any_tiles; more || previous >= 0;) {
      const int loaded = previous;
      previous = -1;
      if (more) {
        if (!left) loader.wait_full(smem.block_ring, block_at);
        const auto& block = smem.blocks[block_at.slot()];
        if (!left) left = block.visible;
        const int bit = __ffs(left) - 1;
        previous = block.first - bit;
        left &= left - 1;
        more = left || !block.last_block;
        TileInfo info{static_cast<u32>(previous) << 7 | !more};
#pragma unroll
        for (int g = 0; g < c.consumers(); ++g) {
          const u32 some = block.some[g] >> bit & 1, all = block.all[g] >> bit & 1;
          info.word |= (some * static_cast<u32>(TileClass::some) + all * static_cast<u32>(TileClass::all)) << (1 + 2 * g);
        }
        __syncwarp();
        if (!left) smem.block_ring.release(block_at);
        loader.load_k(w, info);
      }
      if (loaded < 0) loader.load_q(w);
      else loader.load_v(w, loaded);
    }
    __syncwarp();
    asm volatile("" : "+r"(work_at.word));  // no register holds the slot's address all along
    smem.work_ring.release(work_at);
  }
  loader.deliver();
}

}  // namespace bolide::device
