// A ring of shared-memory slots between producer and consumer warps.
#pragma once
#include "ptx.cuh"

namespace bolide::device {

// A position in a ring: slot and parity, in one register. The parity flips each time round; a producer starts
// at {1}, one lap ahead.
template <int kStages>
struct Cursor {
  u32 word = 0;  // slot * 2 + parity
  BOLIDE_DEVICE int slot() const { return kStages == 1 ? 0 : word >> 1; }
  BOLIDE_DEVICE u32 parity() const { return kStages == 1 ? word : word & 1; }
  BOLIDE_DEVICE void next() {
    if constexpr (kStages == 1) word ^= 1;
    else if ((word += 2) >= 2 * kStages) word = (word & 1) ^ 1;
  }
};

BOLIDE_DEVICE void wait(u64& bar, u32 parity) {
  while (!ptx::mbarrier_try_wait_parity(bar, parity)) {}
}

template <int kStages>
struct Ring {
  u64 full[kStages], empty[kStages];

  // How many arrivals fill a slot, and how many free it.
  BOLIDE_DEVICE void init(int fill_arrivals, int free_arrivals) {
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(full[i], fill_arrivals);
      ptx::mbarrier_init(empty[i], free_arrivals);
    }
  }
  BOLIDE_DEVICE void wait_full(const Cursor<kStages>& at) { wait(full[at.slot()], at.parity()); }
  BOLIDE_DEVICE void wait_empty(const Cursor<kStages>& at) { wait(empty[at.slot()], at.parity()); }
  // This warp has filled its part of the slot, by ordinary writes of any of its lanes.
  BOLIDE_DEVICE void fill(Cursor<kStages>& at) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(full[at.slot()]);
    at.next();
  }
  // This warp is done with the slot.
  BOLIDE_DEVICE void release(Cursor<kStages>& at) {
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(empty[at.slot()]);
    at.next();
  }
  // So are both CTAs of a cluster to know.
  BOLIDE_DEVICE void release_pair(Cursor<kStages>& at) {
    ptx::mbarrier_arrive_pair(empty[at.slot()]);
    at.next();
  }
};

}  // namespace bolide::device
