// Masks that gather or are long, in a loop beside the multiply: which of a tile's scores they leave visible.
#pragma once
#include "schedule.cuh"
#include "tile.cuh"

namespace bolide::device {

// Which columns of this thread's two rows of S a mask leaves visible, from column n on, a bit each: in a loop
// that stays a loop, since unrolled gathers would all be in flight at once and take the registers. What the
// row decides alone is found before; what a column decides alone by one lane for the warp, which hands it on:
// 32 columns a batch, a thread's 8 of which fill 8 registers, or fewer.
template <class Program, int kBits>
BOLIDE_DEVICE void visible_bits(const typename Program::Params& program, Point at, int n, u32 (&bits)[2]) {
  using Column = typename Program::Column;
  constexpr int kBatch = sizeof(Column) <= 4 && kBits % 8 == 0   ? 8
                         : sizeof(Column) <= 8 && kBits % 4 == 0 ? 4
                                                                 : 2;
  Point below = at;
  below.q += 8;
  const auto row = Program::row(program, at), row_below = Program::row(program, below);
  at.kv += 4 * n;
  const int lane = threadIdx.x % 32, column = lane % 4 * 2;  // of the first of this thread's
  Point own = at;
  own.kv += lane % (4 * kBatch) - column;
  Column next = Program::column(program, own);  // a batch ahead, so that nobody waits; the last is not used
#pragma unroll 1
  for (int first = 0; first < kBits; first += kBatch, at.kv += 4 * kBatch) {
    const Column found = next;
    own.kv += 4 * kBatch;
    next = Program::column(program, own);
    Column columns[kBatch];
    u32 word = 0, word_below = 0;
#pragma unroll
    for (int i = 0; i < kBatch; ++i) columns[i] = of_lane(found, 8 * (i / 2) + i % 2 + column);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      Point here = at;
      here.kv += 8 * (i / 2) + i % 2;
      below.kv = here.kv;
      word |= static_cast<u32>(Program::mask(program, row, columns[i], here)) << i;
      word_below |= static_cast<u32>(Program::mask(program, row_below, columns[i], below)) << i;
    }
    bits[0] |= word << first, bits[1] |= word_below << first;
  }
}

// Which columns of this thread's two rows of a tile a mask leaves visible, a bit each, 32 to a word.
struct VisibleBits {
  u32 words[2][2] = {};
};

// By a thread of the tile, while its multiply is under way.
template <FwdConfig c, class Program>
BOLIDE_DEVICE VisibleBits find_visible(const typename Program::Params& program, const WorkItem& w, int q_row,
                                       int tile, int lane) {
  constexpr int kColumns = c.tile_kv / 4;
  VisibleBits bits;
  const Point at = point_of(w, q_row, tile * c.tile_kv + Frag<c.tile_kv>::col_of(0, lane));
  constexpr int kFirst = kColumns < 32 ? kColumns : 32;
  visible_bits<Program, kFirst>(program, at, 0, bits.words[0]);
  if constexpr (kColumns > 32) visible_bits<Program, kColumns - 32>(program, at, 32, bits.words[1]);
  return bits;
}

}  // namespace bolide::device
