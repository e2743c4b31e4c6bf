// The loading warps: they follow the scheduling warp's items and key tiles, and fill the rings of Q, K and V
// ahead of the consumers. TmaLoader is two warps that command the copy engine, with another that cleans tiles
// of V which hold what must not be seen; GatheredLoader is three warps that copy any layout with cp.async.
#pragma once
#include "schedule.cuh"
#include "tile.cuh"

namespace bolide::device {

// What V's Infs and NaNs become in a pass that scrubs().
template <class T>
BOLIDE_DEVICE u32 scrub_word(u32 word, Pass pass) {
  u32 result = 0;
#pragma unroll
  for (int shift = 0; shift < 32; shift += 16) {
    const u32 x = word >> shift & 0xffff, magnitude = x & 0x7fff;
    u32 y = 0;
    if (pass == Pass::finite) y = magnitude >= T::kExponent ? 0 : x;
    else if (magnitude > T::kExponent ||
             (magnitude == T::kExponent && (x >> 15 != 0) == (pass == Pass::negative)))
      y = T::kOne;
    result |= y << shift;
  }
  return result;
}
template <class T>
BOLIDE_DEVICE void scrub_chunk(u32 address, Pass pass) {
  uint4 x = ptx::ld_shared(address);
  x.x = scrub_word<T>(x.x, pass), x.y = scrub_word<T>(x.y, pass), x.z = scrub_word<T>(x.z, pass),
  x.w = scrub_word<T>(x.w, pass);
  ptx::st_shared(address, x);
}

// ---- the copy engine --------------------------------------------------------------------------

// A tile of V on its way to the cleaning warp.
struct HeldTile {
  int slot;       // of V's ring; negative: the launch is over
  int live_rows;  // the others become zero
  Pass pass;
};

// Rows dead by length hold whatever lies in memory behind the sequence, or an older tile. S does not mind,
// since its mask replaces them; O would, as 0 * NaN is NaN. So a tile of V with dead rows lands on a barrier
// of its own, and the cleaning warp hands it on when they are zero.
template <FwdConfig c, class Smem>
BOLIDE_DEVICE void clean(Smem& smem) {
  constexpr int kChunks = Smem::VTile::kChunks;
  Cursor<1> at;
  for (;;) {
    smem.held_ring.wait_full(at);
    const HeldTile held = smem.held_tile;
    if (held.slot < 0) return;
    const auto& v = smem.v[held.slot];
#pragma unroll 1
    for (int i = threadIdx.x % 32 + (scrubs(held.pass) ? 0 : held.live_rows * kChunks);
         i < c.tile_kv * kChunks; i += 32) {
      const u32 address = v.chunk(i / kChunks, i % kChunks);
      if (i / kChunks >= held.live_rows) ptx::st_shared(address, {0, 0, 0, 0});
      else scrub_chunk<Type16<c.type>>(address, held.pass);
    }
    ptx::fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(smem.v_ring.full[held.slot]);
    if constexpr (c.paired) smem.held_ring.release_pair(at);
    else smem.held_ring.release(at);
  }
}

// One warp loads Q and K, another V.
template <FwdConfig c, class Smem>
struct TmaLoader {
  static constexpr int kWarps = 2, kArrivals = 1;
  Smem& smem;
  const FwdParams& p;
  const bool values = threadIdx.x / 32 == 2;
  Cursor<1> q_at{1};
  Cursor<c.k_stages> k_at{1};
  Cursor<c.v_stages> v_at{1};
  Cursor<1> held_at{1};

  // Slots are freed just in time: nothing but the copies stands between that and the next load. All else is
  // found before: `settled`, or the compiler would move it behind the wait.
  struct Boxes {
    int row, head, batch;  // where this lane's begin; of a page in the pool, and with Sequences::paged its
                           // head's first panel, and no more, as page_blocks says where
    int bytes;             // of all lanes'
    int place;             // the row of the tile where this lane's go
    int count;             // of all lanes'
    BOLIDE_DEVICE Boxes settled() {
      asm volatile("" : "+r"(row), "+r"(head), "+r"(batch), "+r"(bytes), "+r"(place), "+r"(count));
      return *this;
    }
  };

  // A tile in one box a panel, by one lane. kHalf: half of it, for both CTAs, whose other half the other
  // loads.
  template <bool kHalf = false, class Tile>
  BOLIDE_DEVICE void load_panels(const Tile& dst, const TensorMap* map, u64& bar, const Boxes& from) {
    if (ptx::elect_one()) {
      ptx::mbarrier_arrive_expect_tx(bar, Tile::kPanels * Tile::kPanelBytes);
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel) {
        const u32 to = ptx::smem_addr(dst.data) + panel * Tile::kPanelBytes;
        if constexpr (kHalf)
          ptx::tma_load_4d_pair(to + from.place * 128, map, bar, panel * 64, from.row, from.head, from.batch);
        else ptx::tma_load_4d(to, map, bar, panel * 64, from.row, from.head, from.batch);
      }
    }
    __syncwarp();
  }
  // Pages: a lane has the boxes, or with Sequences::paged the box, of kv_box_rows rows of one place in the
  // tile. The page table is asked for the tile below while this one loads.
  struct Entry {
    int row, page;  // page: as the table says, not bounded yet, so that nobody waits for it here
  };
  Entry below;
  int tile_below = -1;
  BOLIDE_DEVICE Entry find_entry(const WorkItem& w, int tile) {
    const int place = threadIdx.x % 32 * p.kv_box_rows, row = tile * c.tile_kv + place;
    if (tile < 0 || place >= c.tile_kv || row >= w.len_kv) return {0, 0};
    const int entry = static_cast<int>(divide(row, p.pages.by_size));
    return {row - entry * p.pages.size, page_entry(p, w, entry)};
  }
  template <class Tile>
  BOLIDE_DEVICE void load_pages(const Tile& dst, const TensorMap* map, u64& bar, const Boxes& from) {
    if (ptx::elect_one()) ptx::mbarrier_arrive_expect_tx(bar, from.bytes);
    __syncwarp();
    if (static_cast<int>(threadIdx.x % 32) < from.count)
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel)
        ptx::tma_load_4d(ptx::smem_addr(dst.data) + panel * Tile::kPanelBytes + from.place * 128, map, bar,
                         panel * 64, from.row, from.head, from.batch);
    __syncwarp();
  }
  // One lane copies all, four boxes a look at shared memory: lanes that each copy their own do so one after
  // another, in a loop of their own.
  template <class Tile>
  BOLIDE_DEVICE void load_blocks(const Tile& dst, const TensorMap* map, u64& bar, const Boxes& from) {
    if (ptx::elect_one()) {
      ptx::mbarrier_arrive_expect_tx(bar, from.bytes);
      const u32 box_bytes = p.kv_box_rows * (Tile::kPanels * 128),
                blocks = ptx::smem_addr(smem.page_blocks[values]);
      u32 to = ptx::smem_addr(dst.data);
      const auto load = [&](int block) {
        ptx::tma_load_4d(to, map, bar, 0, 0, from.head, block);
        to += box_bytes;
      };
#pragma unroll 1
      for (int left = from.count, at = 0; left > 0; left -= 4, at += 16) {
        const uint4 four = ptx::ld_shared(blocks + at);
        load(four.x);
        if (left > 1) load(four.y);
        if (left > 2) load(four.z);
        if (left > 3) load(four.w);
      }
    }
    __syncwarp();
  }
  BOLIDE_DEVICE bool has_pages() const { return c.paged() || (!c.whole() && !c.packed() && p.pages.indices); }
  template <class Tile>
  BOLIDE_DEVICE Boxes find_keys(const WorkItem& w, int tile, PageMap steps) {
    const int first = tile * c.tile_kv;
    if constexpr (c.paired) {
      const int half = ptx::cluster_rank() * (c.tile_kv / 2);
      return {w.kv_row + first + half, w.kv_head, w.kv_batch, 0, half};
    }
    if (!has_pages()) return {w.kv_row + first, w.kv_head, w.kv_batch};
    const Entry from = tile == tile_below ? below : find_entry(w, tile);
    const int page = clamp(from.page, 0, p.pages.count - 1), lane = threadIdx.x % 32;
    Boxes boxes{from.row, w.kv_head, page};
    boxes.place = lane * p.kv_box_rows;
    boxes.count = __popc(__ballot_sync(~0u, boxes.place < min(c.tile_kv, w.len_kv - first)));
    boxes.bytes = boxes.count * p.kv_box_rows * (Tile::kPanels * 128);
    if constexpr (c.paged()) {
      if (lane < boxes.count) smem.page_blocks[values][lane] = page * steps.page_blocks + from.row / 8;
      __syncwarp();
      boxes.head *= steps.head_panels;
    }
    return boxes;
  }
  BOLIDE_DEVICE void look_below(const WorkItem& w, int tile) {
    tile_below = tile - 1;
    if (has_pages() && tile > 0) below = find_entry(w, tile_below);
  }
  template <class Tile>
  BOLIDE_DEVICE void load_keys(const Tile& dst, const TensorMap* map, u64& bar, const Boxes& from) {
    if constexpr (c.paired) load_panels<true>(dst, map, bar, from);
    else if constexpr (c.paged()) load_blocks(dst, map, bar, from);
    else if (has_pages()) load_pages(dst, map, bar, from);
    else load_panels(dst, map, bar, from);
  }

  BOLIDE_DEVICE void load_q(const WorkItem& w) {
    if (values) {
      tile_below = -1;  // K's warp has looked below its item's first tile by now
      return;
    }
    const Boxes from = Boxes{w.q_row + w.q_begin, w.head, w.q_batch}.settled();
    smem.q_ring.wait_empty(q_at);
    load_panels(smem.q, &p.q_map, smem.q_ring.full[0], from);
    q_at.next();
  }
  BOLIDE_DEVICE void load_k(const WorkItem& w, TileInfo info) {
    if (values) return;
    const Boxes from = find_keys<typename Smem::KTile>(w, info.tile(), p.k_pages).settled();
    smem.k_ring.wait_empty(k_at);
    if (ptx::elect_one()) smem.tile_info[k_at.slot()] = info;
    load_keys(smem.k[k_at.slot()], &p.k_map, smem.k_ring.full[k_at.slot()], from);
    k_at.next();
    look_below(w, info.last() ? 0 : info.tile());
  }
  BOLIDE_DEVICE void load_v(const WorkItem& w, int tile) {
    if (!values) return;
    const int rows = min(c.tile_kv, w.len_kv - tile * c.tile_kv);
    const bool hold = (!c.whole() && rows < c.tile_kv && !w.clipped) || scrubs(w.pass);
    const Boxes from = find_keys<typename Smem::VTile>(w, tile, p.v_pages).settled();
    smem.v_ring.wait_empty(v_at);
    if (hold) {
      smem.held_ring.wait_empty(held_at);
      if (ptx::elect_one()) smem.held_tile = {v_at.slot(), rows, w.pass};  // who arrives for the copy
      held_at.next();
    }
    load_keys(smem.v[v_at.slot()], &p.v_map, hold ? smem.held_ring.full[0] : smem.v_ring.full[v_at.slot()],
              from);
    v_at.next();
    look_below(w, tile);
  }
  BOLIDE_DEVICE void finish() {
    if (!values) return;
    smem.held_ring.wait_empty(held_at);
    if (threadIdx.x % 32 == 0) smem.held_tile.slot = -1;
    Cursor<1> last;
    smem.held_ring.fill(last);
  }
};

// ---- threads ----------------------------------------------------------------------------------

// Copies of c.copy_bytes, with zeros for dead rows and for columns beyond the head dim: bytes between rows
// are never read. The copies arrive on the tile's barrier themselves when they land, so that nobody waits for
// them here.
template <FwdConfig c, class Smem>
struct GatheredLoader {
  static constexpr int kWarps = 3, kThreads = 32 * kWarps;
  static constexpr int kArrivals = kThreads + 1;  // each thread's copies, and the word of who wrote tile_info
  static constexpr int kUnroll = 1;
  using T = Type16<c.type>;
  Smem& smem;
  const FwdParams& p;
  Cursor<1> q_at{1};
  Cursor<c.k_stages> k_at{1};
  Cursor<c.v_stages> v_at{1};

  BOLIDE_DEVICE static int thread() { return threadIdx.x - 32; }
  BOLIDE_DEVICE void finish() {}

  // Calls visit(row, half, chunk, address) for this thread's chunks in row + 4 * half of a tile's first
  // panel. A warp takes every third block of eight rows, a lane one of eight columns of 16 bytes in two of
  // its rows: where they lie differs from block to block by a constant.
  template <class Tile, class Visit>
  BOLIDE_DEVICE static void each_chunk(const Tile& tile, Visit visit) {
    int thread = threadIdx.x - 32;
    asm volatile("" : "+r"(thread));  // what follows is not kept in registers from tile to tile
    const int column = thread % 8, first = thread / 32 * 8 + thread % 32 / 8;
    u32 address = tile.chunk(first, column);
#pragma unroll kUnroll
    for (int row = first; row < Tile::kRows; row += 8 * kWarps, address += 1024 * kWarps)
#pragma unroll
      for (int half = 0; half < 2; ++half) visit(row, half, column, (address + 512 * half) ^ (64 * half));
  }
  // Copies a tile's first `live` rows; row_at(i) is where row i starts. Rows that are neither dead nor narrow
  // nor paged need no more than an addition each: a warp's instructions come one after another here, and
  // latency counts.
  template <class Tile, class RowAt>
  BOLIDE_DEVICE void gather(const Tile& dst, int live, int columns, RowAt row_at, Stride stride, u64& bar,
                            Pass pass) {
    if (c.copy_bytes == 16 && stride != 0 && live >= Tile::kRows && columns == Tile::kCols) {
      const int first = thread() / 32 * 8 + thread() % 32 / 8;
      const u16* from = row_at(first) + 8 * (thread() % 8);
      each_chunk(dst, [&](int, int half, int column, u32 address) {
#pragma unroll
        for (int panel = 0; panel < Tile::kPanels; ++panel)
          if (8 * panel + column < Tile::kChunks)
            ptx::cp_async_16(address + panel * Tile::kPanelBytes, from + 64 * panel);
        from += half ? (8 * kWarps - 4) * stride : 4 * stride;
      });
    } else {
      each_chunk(dst, [&](int row, int half, int column, u32 address) {
        row += 4 * half;
        const bool is_live = row < live;
        const u16* from = row_at(row);
        if (!is_live) from = static_cast<const u16*>(p.k.data);
#pragma unroll c.copy_bytes < 4 ? 1 : Tile::kPanels
        for (int panel = 0; panel < Tile::kPanels; ++panel) {
          const int chunk = 8 * panel + column, bytes = is_live ? clamp(columns - 8 * chunk, 0, 8) * 2 : 0;
          if (chunk < Tile::kChunks)
            copy_chunk(address + panel * Tile::kPanelBytes, from + (bytes ? 8 * chunk : 0), bytes);
        }
      });
    }
    if (c.copy_bytes >= 4 && !scrubs(pass)) {
      ptx::cp_async_mbarrier_arrive_noinc(bar);
    } else {
      ptx::cp_async_wait_all();
      if (scrubs(pass))
        each_chunk(dst, [&](int, int, int column, u32 address) {
          for (int panel = 0; panel < Tile::kPanels && 8 * panel + column < Tile::kChunks; ++panel)
            scrub_chunk<T>(address + panel * Tile::kPanelBytes, pass);
        });
      ptx::mbarrier_arrive(bar);
    }
    if (thread() == 0) ptx::mbarrier_arrive(bar);
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
    smem.q_ring.wait_empty(q_at);
    const u16* base = static_cast<const u16*>(p.q.data) + w.q_batch * p.q.batch_stride +
                      w.head * p.q.head_stride + static_cast<i64>(w.q_row + w.q_begin) * p.q.row_stride;
    gather(
        smem.q, w.len_q - w.q_begin, p.head_dim, [&](int row) { return base + row * p.q.row_stride; },
        p.q.row_stride, smem.q_ring.full[0], Pass::fast);
    q_at.next();
  }
  template <class Tile>
  BOLIDE_DEVICE void gather_keys(const Tile& dst, const View& view, int columns, const WorkItem& w, int first,
                                 u64& bar, Pass pass) {
    const u16* base = static_cast<const u16*>(view.data) + w.kv_head * view.head_stride;
    const int begin = w.kv_row + first;
    if (p.pages.indices) {
      // A lane looks up every 32nd of its warp's rows; who needs a row asks for it, in the order of
      // each_chunk.
      static_assert(Tile::kRows <= 64 * kWarps, "two rows a lane");
      const int lane = threadIdx.x % 32, warp_row = thread() / 32 * 8;
      const u32 size = p.pages.size;
      i64 offsets[2];
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const int n = lane + 32 * part, row = n / 8 * 8 * kWarps + warp_row + n % 8;
        const u32 r = begin + row;
        offsets[part] = 0;
        if (row < Tile::kRows && row < w.len_kv - first)
          offsets[part] = page_at(p, w, r / size) * view.batch_stride + r % size * view.row_stride;
      }
      int n = lane / 8;
      gather(
          dst, w.len_kv - first, columns,
          [&](int) {
            const i64 offset = __shfl_sync(~0u, n < 32 ? offsets[0] : offsets[1], n % 32);
            n += 4;
            return base + offset;
          },
          0, bar, pass);
    } else {
      base += w.kv_batch * view.batch_stride + begin * view.row_stride;
      gather(
          dst, w.len_kv - first, columns, [&](int row) { return base + row * view.row_stride; },
          view.row_stride, bar, pass);
    }
  }
  BOLIDE_DEVICE void load_k(const WorkItem& w, TileInfo info) {
    smem.k_ring.wait_empty(k_at);
    if (thread() == 0) smem.tile_info[k_at.slot()] = info;
    gather_keys(smem.k[k_at.slot()], p.k, p.head_dim, w, info.tile() * c.tile_kv,
                smem.k_ring.full[k_at.slot()], Pass::fast);
    k_at.next();
  }
  BOLIDE_DEVICE void load_v(const WorkItem& w, int tile) {
    smem.v_ring.wait_empty(v_at);
    gather_keys(smem.v[v_at.slot()], p.v, p.head_dim_v, w, tile * c.tile_kv, smem.v_ring.full[v_at.slot()],
                w.pass);
    v_at.next();
  }
};

// ---- either -----------------------------------------------------------------------------------

// K runs one tile ahead of V, as the consumers read them. Q comes after the first K, whose slot is free
// earlier.
template <FwdConfig c, class Loader, class Smem>
BOLIDE_DEVICE void produce(Smem& smem, const FwdParams& p) {
  Loader loader{smem, p};
  Cursor<Smem::kBlockSlots> block_at;
  ptx::griddepcontrol_wait();
  u32& work_word = smem.warp_word[threadIdx.x / 32];  // the cursor of items
  work_word = 0;
  for (;;) {
    Cursor<Smem::kWorkSlots> work_at{work_word};
    smem.work_ring.wait_full(work_at);
    const WorkItem& w = smem.work[work_at.slot()];
    if (w.index == Smem::kNoMoreWork) {
      smem.work_ring.release(work_at);
      break;
    }
    int place = 0;  // in the block under way
    int previous = -1;
    for (bool more = w.any_tiles; more || previous >= 0;) {
      const int loaded = previous;
      previous = -1;
      if (more) {
        if (!place) smem.block_ring.wait_full(block_at);
        const TileBlock& block = smem.blocks[block_at.slot()];
        TileInfo info = block.tiles[place];
        previous = info.tile();
        if (++place == block.count) {
          more = !block.last_block;
          info.word |= !more;
          place = 0;
          __syncwarp();
          smem.block_ring.release(block_at);
        }
        loader.load_k(w, info);
      }
      if (loaded < 0) loader.load_q(w);
      else loader.load_v(w, loaded);
    }
    __syncwarp();
    work_at.word = work_word;
    __syncwarp();
    smem.work_ring.release(work_at);
    work_word = work_at.word;
  }
  loader.finish();
}

}  // namespace bolide::device
