// Forward attention for Hopper: one persistent CTA per multiprocessor takes tiles of queries off a work list.
//
//   warp 0                    schedules: finds work, sorts its key tiles into classes       (schedule.cuh)
//   warps 1 and 2, TMA        load Q and K, and V, as far ahead as shared memory allows     (load.cuh)
//   warp 3, TMA               cleans tiles of V before they are handed on, where needed
//   warps 1 to 3, gathered    load Q, K, V
//   warpgroups 1, 2 (, 3)     each own 64 of the tile's query rows: S = Q K^T, softmax, O += P V
//
//            blocks of tile classes          K, V, Q; a tile's class travels with K
//   schedule ----------------------> load ------------------------------------------> consume -> out, lse
//      '---------------- work items: the sequence, its lengths ------------------------^  | "a NaN: again"
//      ^----------------------------------------------------------------------------------'
//
// A consumer's step over key tile t, tiles walked from the last to the first. A thread owns two rows of S, a
// and b:
//
//   tensor cores | S_t = Q K_t^T | O += P_t+1 V_t+1 |                          | S_t-1 = ...
//   CUDA cores   |               | exp a ...        | ... exp a, exp b, pack P_t |
//                                      wait for PV ^
//
// A warp gets a result from the exponential unit every eighth cycle, so all else (sums, packing) belongs
// between two exponentials; that is why PV is waited for in the middle of the softmax and not after it. The
// other warpgroup's multiplies fill the tensor cores meanwhile; nothing makes the warpgroups take turns. Only
// an item's first step, and those behind it while a row has seen nothing, look for maxima and scale O: see
// softmax.cuh.
#pragma once
#include "epilogue.cuh"
#include "load.cuh"
#include "visible.cuh"

namespace bolide::device {

template <FwdConfig c>
struct Smem {
  // A third item is found while one is under way and one waits (+3 % at 512 and 1024 keys); longer items do
  // without (-3 % at 4096, -6 % for d256), as what is taken early is dealt out unevenly.
  static constexpr int kWorkSlots = c.head_dim > 192 ? 2 : 3, kBlockSlots = 4;
  static constexpr int kNoMoreWork = -1, kNothing = -2;  // in WorkItem::index
  using KTile = SmemTile<c.tile_kv, c.head_dim, c.paged()>;
  using VTile = SmemTile<c.tile_kv, c.head_dim_v, c.paged()>;
  SmemTile<c.tile_q, c.head_dim> q;
  KTile k[c.k_stages];
  VTile v[c.v_stages];
  WorkItem work[kWorkSlots];
  TileBlock blocks[kBlockSlots];
  TileInfo tile_info[c.k_stages];
  // Where the boxes of the next tile of K, and of V, begin: read four at a time.
  alignas(16) int page_blocks[2][c.paged() ? (c.tile_kv / 8 + 3) / 4 * 4 : 4];
  u32 warp_word[4];  // of the producer's warps: what they seldom use, registers being few
  Ring<1> q_ring;
  Ring<c.k_stages> k_ring;
  Ring<c.v_stages> v_ring;
  Ring<kWorkSlots> work_ring;
  Ring<kBlockSlots> block_ring;
  Ring<1> held_ring;  // TMA: full when held_tile has landed
  HeldTile held_tile;
  alignas(128) char staged[4 * c.consumers()]
                          [c.staged_out() ? kStagedBytes : 16];  // a warp's rows, on their way out
};

// Splits, which mostly wait for memory, compute caps in place: at 192 the polynomial would spill. So would it
// beside masks that are very heavy, which take registers from the consumers.
template <FwdConfig c, class Program>
using ScoresOf = ScoresFor<(c.partial || c.producer_registers > 56) && Program::kForm != ScoreForm::along
                               ? ScoreForm::any
                               : Program::kForm>;
template <FwdConfig c, class Program>
using Softmax = OnlineSoftmax<ScoresOf<c, Program>>;

// Applies scale, score (but for Program::after) and mask to this thread's part of S, in the contract's order
// (C2). kMasked: for tiles the schedule could not call wholly visible; masked: it did not, where a loop
// serves both. kCareful: in passes but the fast one, too.
template <FwdConfig c, class Program, bool kMasked, bool kCareful>
BOLIDE_DEVICE void apply_program(Frag<c.tile_kv>& s, Softmax<c, Program>& softmax, const FwdParams& p,
                                 const typename Program::Params& program, const WorkItem& w, int q_row,
                                 int tile, int lane, const VisibleBits& bits, bool masked = kMasked) {
  constexpr bool kScores = Program::kHasScore, kMask = kMasked && Program::kHasMask;
  constexpr int kColumns = c.tile_kv / 4;  // a row's, in a thread
  if constexpr (!kMasked && !kScores) return;
  const int first_key = tile * c.tile_kv + s.col_of(0, lane);
  auto point = [&](int r) { return point_of(w, q_row + 8 * r, first_key); };
  softmax.scores.begin_tile(p.scale, tile * c.tile_kv);
  if constexpr (kScores && !ScoresOf<c, Program>::kLate) {
    const float before = p.scale * Program::before(program);
    const typename Program::ScoreRow rows[2] = {Program::score_row(program, point(0)),
                                                Program::score_row(program, point(1))};
    typename Program::ScoreColumn column = {};
#pragma unroll
    for (int i = 0; i < 2 * kColumns; ++i) {  // row by row, or, so that a column is found once, by columns
      const int r = Program::kScoreColumns ? i % 2 : i / kColumns,
                n = Program::kScoreColumns ? i / 2 : i % kColumns;
      const int offset = 8 * (n / 2) + n % 2;
      Point at = point(r);
      at.kv += offset;
      if (Program::kScoreColumns && r == 0) column = Program::score_column(program, at);
      float& x = s.x[4 * (n / 2) + 2 * r + n % 2];
      x = Program::core(program, x * before, rows[r], column, at, static_cast<float>(offset));
    }
  }
  if (kMask && masked)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      Point at = point(r);
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        at.kv = w.kv_position + first_key + 8 * (n / 2) + n % 2;
        bool visible = true;
        if constexpr (c.rolled_mask) visible = bits.words[n / 32][r] >> (n % 32) & 1;
        else visible = Program::mask(program, at);
        float& x = s.x[4 * (n / 2) + 2 * r + n % 2];
        x = visible ? x : softmax.scores.hidden();
      }
    }
  if constexpr (kCareful)
    if (BOLIDE_RARELY(w.pass >= Pass::positive)) {  // P is to say which keys are visible, and nothing else
      asm volatile("" ::: "memory");                // a branch, not a select for every score of every pass
#pragma unroll
      for (int i = 0; i < s.kSize; ++i)
        s.x[i] = softmax.scores.score(s.x[i], s.row_of(i), i) == kNegInf ? softmax.scores.hidden() : 0.f;
      softmax.scores.clear();
    }
}

// Hides the columns from `live` on: keys past the length, or of nothing. Only the last tile of a sequence has
// any, and it is the first to be walked.
template <int kCols>
BOLIDE_DEVICE void hide_dead(Frag<kCols>& s, int live, int lane, float hidden) {
  const int own = live - s.col_of(0, lane);
#pragma unroll
  for (int first = 0; first < s.kSize; first += 16)  // 32 columns: most have none that is dead
    if (live < s.col_of(first, 0) + 32)
#pragma unroll
      for (int i = first; i < first + 16 && i < s.kSize; ++i)
        if (s.col_of(i, 0) >= own) s.x[i] = hidden;
}

// ---- the consumers: a warpgroup per 64 query rows -------------------------------------------

template <FwdConfig c, class Program>
BOLIDE_DEVICE void consume(Smem<c>& smem, const FwdParams& p, const typename Program::Params& program) {
  using T = Type16<c.type>;
  constexpr bool kRolled = Program::kHasMask && c.rolled_mask;
  constexpr bool kScores = Program::kHasScore;  // then scores come scaled, but for a factor
  constexpr bool kOneLoop = c.partial;
  const int wg = __shfl_sync(~0u, threadIdx.x / 128, 0) - 1, thread = threadIdx.x % 128, lane = thread % 32;
  const auto q_once = smem.q.ref(wg * 64);
  auto q_tile = [&] {  // the descriptors of more columns would not fit registers
    return c.head_dim > (c.rolled_mask ? 128 : 192) ? smem.q.ref(wg * 64) : q_once;
  };
  Cursor<1> q_at;
  Cursor<c.k_stages> k_at;
  Cursor<c.v_stages> v_at;
  Cursor<Smem<c>::kWorkSlots> work_at;
  Frag<c.tile_kv> s;
  Frag<c.head_dim_v> o;
  u32 probs[c.tile_kv / 16][4];
  Softmax<c, Program> softmax;
  TileInfo at;                          // of the next tile of K
  typename Smem<c>::KTile::Ref k_tile;  // where it is: found well before its multiply needs it
  TileClass seen;                       // what this warpgroup's rows see of it
  bool ready;         // something, and no row waits for its first key: no maxima will be looked for
  bool plain;         // all of it besides: nor will the mask
  bool much = false;  // P_t is too large: to be relieved before it is used

  // What the gathered producer's threads wrote becomes visible to wgmma by a fence on this side.
  auto wait_full = [&](auto& ring, auto& cursor) {
    ring.wait_full(cursor);
    if constexpr (c.producer == Producer::gathered) ptx::fence_proxy_async();
  };
  auto release = [&](auto& ring, auto& cursor) {
    if constexpr (c.paired) ring.release_pair(cursor);
    else ring.release(cursor);
  };
  // Reads what travels with the tile of K at k_at, and finds it for the multiply. Not in the branch that
  // waits for the tile, so that the assembler can put other work between; after an item's last tile it is
  // stale and nobody asks.
  auto look = [&] {
    at = smem.tile_info[k_at.slot()];
    k_tile = smem.k[k_at.slot()].ref();
    seen = at.of(wg);
    ready = seen != TileClass::none && !softmax.waiting;
    plain = ready && seen == TileClass::all;
  };

  // Row a, then row b. kCareful: looks for maxima, b's under a's exponentials; between() comes under them
  // too.
  auto to_probs = [&]<bool kMasked, bool kCareful>(const WorkItem& w, int q_row, auto between) {
    float factor[2];
    auto mult = [&](int r) { return kCareful ? softmax.mult(r) : softmax.scale_log2; };
    if constexpr (kCareful) {
      factor[0] = softmax.template begin<0>(s, w.pass != Pass::fast);
    }
    constexpr bool kFlattens = kCareful || ScoresOf<c, Program>::kFlattensTiles;
    if constexpr (kFlattens) softmax.template flatten<0, kMasked>(s);
    softmax.template exponentiate<0, 0, c.early_cols, kMasked>(s, mult(0));
    if constexpr (kCareful) factor[1] = softmax.template begin<1>(s, w.pass != Pass::fast);
    if constexpr (kFlattens) softmax.template flatten<1, kMasked>(s);
    if constexpr (kCareful) {
      auto waits = [&](int r) {
        return (softmax.base[r] == kInf || softmax.scores.is_steep(r)) && q_row + 8 * r < w.len_q;
      };
      // All of a warpgroup's warps take the same multiplies, so they decide together. The vote tells the
      // compiler that a warp's lanes do too.
      softmax.waiting =
          __any_sync(~0u, ptx::any_of_threads(1 + wg, 128, waits(0) || waits(1) || w.pass != Pass::fast));
    }
    pin(s);
    between();
    softmax.template exponentiate<0, c.early_cols, c.tile_kv, kMasked>(s, mult(0));
    softmax.template exponentiate<1, 0, c.tile_kv, kMasked>(s, mult(1));
    if constexpr (kCareful)
      if (BOLIDE_RARELY(__any_sync(~0u, factor[0] != 1.f || factor[1] != 1.f))) scale_rows(o, factor);
    pack<T>(probs, s);
    // By warps: which multiplies follow does not depend on it.
    much = __any_sync(~0u, softmax.is_much());
    if (!much) softmax.add_tile();
  };

  for (;;) {
    smem.work_ring.wait_full(work_at);
    WorkItem& w = smem.work[work_at.slot()];  // stays in shared memory: registers are precious here
    if (BOLIDE_RARELY(w.index < 0)) {
      const bool done = w.index == Smem<c>::kNoMoreWork;
      __syncwarp();
      if constexpr (c.paired) ptx::fence_cluster();  // behind all that arrived in the other CTA
      release(smem.work_ring, work_at);
      if (done) return;
      continue;
    }
    const int q_row = w.q_begin + wg * 64 + frag_row(thread);
    softmax = {kScores ? kLog2E * Program::after(program) : p.scale_log2};
    o = {};
    SoftmaxEnd rows;
    auto report = [&](u32 suspicious) {  // to whom the other CTA's item is done again with, too
      if constexpr (c.paired)
        for (u32 rank = 0; rank < 2; ++rank) ptx::atomic_or_in(w.suspicious, suspicious, rank);
      else atomicOr(&w.suspicious, suspicious);
    };
    auto end = [&] { rows = softmax.finish(kScores ? Program::after(program) : p.scale); };
    bool more = w.any_tiles;

    // On entry K_t is in shared memory, P_t+1 in probs, and nothing is in flight.
    auto step = [&]<bool kMasked>() {
      start_qk<T, c.head_dim>(s, q_tile(), k_tile);
      const auto v_tile = smem.v[v_at.slot()].ref();
      wait_full(smem.v_ring, v_at);
      start_pv<T>(o, probs, v_tile);
      VisibleBits bits;
      if constexpr (kMasked && kRolled) bits = find_visible<c, Program>(program, w, q_row, at.tile(), lane);
      await<1>(s);
      release(smem.k_ring, k_at);
      more = !at.last();
      if (!more) smem.q_ring.release(q_at);  // the next item's queries load under the rest of this one
      apply_program<c, Program, kMasked, false>(s, softmax, p, program, w, q_row, at.tile(), lane, bits,
                                                kMasked && !(kOneLoop && plain));
      to_probs.template operator()<kMasked, false>(w, q_row, [&] {
        // The next step's keys landed long ago, but a branch here keeps the assembler from moving the wait
        // for PV up to the top of the softmax.
        if (more) wait_full(smem.k_ring, k_at);
        await<0>(o);
        release(smem.v_ring, v_at);
        look();
      });
    };

    // Over the item's key tiles. Leaves O without the norm.
    auto walk = [&] {
      if (more) {
        wait_full(smem.q_ring, q_at);
        wait_full(smem.k_ring, k_at);
        look();
        // Not before: what programs gather may be what a launch ahead writes.
        softmax.scores.template begin<Program>(program, point_of(w, q_row, s.col_of(0, lane)),
                                               point_of(w, q_row + 8, s.col_of(0, lane)), p.scale,
                                               softmax.scale_log2);
      }
      while (more) {
        if (seen == TileClass::none) {  // only other warpgroups see it
          // A slot may only be released once it is full and all lanes have read the class: no multiply has
          // brought them together.
          __syncwarp();
          release(smem.k_ring, k_at);
          smem.v_ring.wait_full(v_at);
          release(smem.v_ring, v_at);
          more = !at.last();
          if (more) wait_full(smem.k_ring, k_at);
          else smem.q_ring.release(q_at);
          look();
          continue;
        }
        // The first tile has no PV to overlap with. Nor have those behind it while a row has seen nothing.
        start_qk<T, c.head_dim>(s, q_tile(), k_tile);
        const bool programmed = kScores || seen == TileClass::some;
        VisibleBits bits;
        if constexpr (kRolled)
          if (programmed) bits = find_visible<c, Program>(program, w, q_row, at.tile(), lane);
        await<0>(s);
        release(smem.k_ring, k_at);
        more = !at.last();
        if (!more) smem.q_ring.release(q_at);
        if (programmed) {
          apply_program<c, Program, true, true>(s, softmax, p, program, w, q_row, at.tile(), lane, bits);
          const int live = w.len_kv - at.tile() * c.tile_kv;
          if (BOLIDE_RARELY(live < c.tile_kv)) hide_dead(s, live, lane, softmax.scores.hidden());
        }
        to_probs.template operator()<true, true>(w, q_row, [] {});
        if (more) wait_full(smem.k_ring, k_at);
        look();

        bool careful = true;  // the step before
        // A loop for each class and not one with a test, so that the inner one, the long one, holds no
        // masking code.
        do {
          if (BOLIDE_RARELY(much)) {
            softmax.relieve(s, o, careful);
            pack<T>(probs, s);
            much = false;
          }
          if constexpr (!kOneLoop)
#pragma unroll 1
            while (more && plain && !much) step.template operator()<false>(), careful = false;
#pragma unroll 1
          while (more && ready && (kOneLoop || !plain) && !much)
            step.template operator()<true>(), careful = false;
        } while (much || (more && ready));

        wait_full(smem.v_ring, v_at);
        start_pv<T>(o, probs, smem.v[v_at.slot()].ref());
        if (!more) {
          end();  // under the last multiply
          await<0>(o);
          release(smem.v_ring, v_at);
          return;
        }
        await<0>(o);
        release(smem.v_ring, v_at);
      }
      end();  // the last tiles were only for others
    };
    walk();
    if (BOLIDE_RARELY(w.pass > Pass::finite)) {
      add_infinities<c>(p, w, o, q_row, lane);
    } else {
      const u32 suspicious = store<c>(smem, p, w, o, softmax, rows, q_row, lane);
      if (BOLIDE_RARELY(__any_sync(~0u, suspicious)) && w.pass <= Pass::careful)
        report(w.pass == Pass::fast ? suspicious : suspicious & WorkItem::kShowsNaN);
    }
    __syncwarp();
    if constexpr (c.paired) ptx::fence_cluster();  // behind what was reported
    release(smem.work_ring, work_at);
  }
}

template <FwdConfig c, class Program>
__global__ void __launch_bounds__(c.threads(), 1)
    fwd_sm90(const __grid_constant__ FwdParams p, const __grid_constant__ typename Program::Params program) {
  static_assert(c.tile_q == 128 || c.tile_q == 192, "two or three consumer warpgroups");
  static_assert(c.tile_kv % 16 == 0 && c.early_cols % 8 == 0 && c.early_cols <= c.tile_kv,
                "whole wgmma fragments");
  static_assert(sizeof(Smem<c>) <= c.smem_bytes() && c.smem_bytes() <= kMaxSmemBytes,
                "the host's count of shared memory");
  using Loader = Select<c.producer == Producer::tma, TmaLoader<c, Smem<c>>, GatheredLoader<c, Smem<c>>>;
  extern __shared__ __align__(1024) char smem_bytes[];
  auto& smem = *reinterpret_cast<Smem<c>*>(smem_bytes);

  if (threadIdx.x == 0) {
    constexpr int kWarps = 4 * c.consumers();  // one arrival per consumer warp frees a slot
    constexpr int kFill = Loader::kArrivals;
    smem.q_ring.init(kFill, kWarps);
    constexpr int kCtas = c.paired ? 2 : 1;  // of both
    smem.k_ring.init(kFill, kCtas * kWarps);
    smem.v_ring.init(kFill, kCtas * kWarps);
    smem.work_ring.init(1, kCtas * kWarps + Loader::kWarps);
    smem.block_ring.init(1, Loader::kWarps);
    smem.held_ring.init(1, kCtas);
    for (WorkItem& w : smem.work) w.suspicious = 0, w.pass = Pass::fast;
    ptx::fence_mbarrier_init();
    // What comes behind may begin where a CTA ends, up to its griddepcontrol.wait.
    ptx::griddepcontrol_launch_dependents();
  }
  if constexpr (c.paired) ptx::cluster_sync();
  else __syncthreads();

  if (threadIdx.x < 128) {
    ptx::setmaxnreg_dec<c.producer_registers>();
    const int warp = threadIdx.x / 32;
    if (warp == 0) schedule<c, Program>(smem, p, program);
    else if (warp <= Loader::kWarps) produce<c, Loader>(smem, p);
    else if (c.producer == Producer::tma) clean<c>(smem);
  } else {
    ptx::setmaxnreg_inc<c.consumer_registers()>();
    consume<c, Program>(smem, p, program);
  }
}

}  // namespace bolide::device
