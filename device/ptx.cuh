// One function per PTX instruction, named after the instruction. No policy lives here.
// Reference: PTX ISA 8.0 (sm_90a).
#pragma once
#include "base.cuh"

namespace bolide::ptx {

BOLIDE_DEVICE u32 smem_addr(const void* p) { return static_cast<u32>(__cvta_generic_to_shared(p)); }

// ---- mbarrier -----------------------------------------------------------------------------
BOLIDE_DEVICE void mbarrier_init(u64& bar, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_addr(&bar)), "r"(arrivals));
}
BOLIDE_DEVICE void mbarrier_arrive(u64& bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_addr(&bar)) : "memory");
}
BOLIDE_DEVICE void mbarrier_arrive_expect_tx(u64& bar, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_addr(&bar)), "r"(bytes)
               : "memory");
}
BOLIDE_DEVICE bool mbarrier_try_wait_parity(u64& bar, u32 parity) {
  u32 done;
  asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
               : "=r"(done)
               : "r"(smem_addr(&bar)), "r"(parity)
               : "memory");
  return done;
}
// Whether x holds in any of the threads of these many warps; they wait for each other at the named barrier.
BOLIDE_DEVICE bool any_of_threads(int barrier, int threads, bool x) {
  u32 any;
  asm volatile(
      "{ .reg .pred p, q; setp.ne.u32 p, %3, 0; barrier.cta.red.or.pred q, %1, %2, p; selp.u32 %0, 1, 0, q; }"
      : "=r"(any)
      : "r"(barrier), "r"(threads), "r"(static_cast<u32>(x))
      : "memory");
  return any;
}
BOLIDE_DEVICE void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// ---- clusters -----------------------------------------------------------------------------
BOLIDE_DEVICE u32 cluster_rank() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// Where the CTA of that rank has what this one has at x.
BOLIDE_DEVICE u32 address_in(const void* x, u32 rank) {
  u32 there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(smem_addr(x)), "r"(rank));
  return there;
}
// Lane 0 arrives in the cluster's first CTA, lane 1 in its second: predicated, as a branch that lanes take
// differently would cost the loop its uniform registers.
BOLIDE_DEVICE void mbarrier_arrive_pair(u64& bar) {
  const u32 lane = threadIdx.x % 32;
  asm volatile(
      "{ .reg .pred p; .reg .b32 there; setp.lt.u32 p, %1, 2; mapa.shared::cluster.u32 there, %0, %2; "
      "@p mbarrier.arrive.shared::cluster.b64 _, [there]; }" ::"r"(smem_addr(&bar)),
      "r"(lane), "r"(lane % 2)
      : "memory");
}
BOLIDE_DEVICE void atomic_or_in(u32& x, u32 bits, u32 rank) {
  asm volatile("red.relaxed.cluster.shared::cluster.or.b32 [%0], %1;" ::"r"(address_in(&x, rank)), "r"(bits)
               : "memory");
}
BOLIDE_DEVICE void fence_cluster() { asm volatile("fence.acq_rel.cluster;" ::: "memory"); }
// All threads of the cluster wait for each other.
BOLIDE_DEVICE void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release;\n barrier.cluster.wait.acquire;" ::: "memory");
}

// ---- copies to shared memory --------------------------------------------------------------
BOLIDE_DEVICE void tma_load_4d(u32 dst, const void* map, u64& bar, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(dst),
      "l"(map), "r"(smem_addr(&bar)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}
// The same into both CTAs of a cluster of two, at the same place, and both their barriers.
BOLIDE_DEVICE void tma_load_4d_pair(u32 dst, const void* map, u64& bar, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(dst),
      "l"(map), "r"(smem_addr(&bar)), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "h"(static_cast<u16>(3))
      : "memory");
}
// Brings a box into the L2 cache.
BOLIDE_DEVICE void tma_prefetch_4d(const void* map, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global.tile [%0, {%1, %2, %3, %4}];" ::"l"(map), "r"(c0),
               "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}
BOLIDE_DEVICE void prefetch_tensormap(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
BOLIDE_DEVICE void cp_async_16(u32 dst, const void* src) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
}
// kBytes from global to shared memory, of which the first source_bytes are read and the rest are zero.
template <int kBytes>
BOLIDE_DEVICE void cp_async(u32 dst, const void* src, u32 source_bytes) {
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(source_bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(dst), "l"(src), "n"(kBytes),
                 "r"(source_bytes)
                 : "memory");
}
BOLIDE_DEVICE void cp_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// Arrives on bar, as one of its expected arrivals, when this thread's copies so far have landed.
BOLIDE_DEVICE void cp_async_mbarrier_arrive_noinc(u64& bar) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(smem_addr(&bar)) : "memory");
}
BOLIDE_DEVICE void st_shared(u32 dst, uint4 x) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(dst), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}
// Four 8 x 8 matrices as wgmma's accumulators hold them, packed; lanes 8 i to 8 i + 7 name the rows of matrix
// i.
BOLIDE_DEVICE void stmatrix_x4(u32 dst, const u32 (&x)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(dst), "r"(x[0]),
               "r"(x[1]), "r"(x[2]), "r"(x[3])
               : "memory");
}
BOLIDE_DEVICE uint4 ld_shared(u32 src) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(src)
               : "memory");
  return x;
}
// Makes this thread's ordinary writes to shared memory visible to wgmma and the copy engine.
BOLIDE_DEVICE void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// A read of memory that nobody writes during the launch.
BOLIDE_DEVICE int ldg(const int* p) {
  int x;
  asm("ld.global.nc.b32 %0, [%1];" : "=r"(x) : "l"(p));
  return x;
}
BOLIDE_DEVICE u16 ldg(const u16* p) {
  u16 x;
  asm("ld.global.nc.b16 %0, [%1];" : "=h"(x) : "l"(p));
  return x;
}

// ---- programmatic dependent launch --------------------------------------------------------
BOLIDE_DEVICE void griddepcontrol_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
BOLIDE_DEVICE void griddepcontrol_launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// ---- wgmma groups (the multiply and the wait for it are in wgmma.cuh) -----------------------------------
BOLIDE_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
BOLIDE_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// The number of CTAs, read when asked for: the compiler would keep gridDim.x in a register all along.
BOLIDE_DEVICE int nctaid_x() {
  int n;
  asm volatile("mov.u32 %0, %%nctaid.x;" : "=r"(n));
  return n;
}

// One lane of a converged warp, and the assembler knows that it is one: the operands of what it does need no
// vote.
BOLIDE_DEVICE bool elect_one() {
  u32 elected;
  asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(elected));
  return elected;
}

// ---- registers, conversions ---------------------------------------------------------------
template <int kRegisters>
BOLIDE_DEVICE void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
BOLIDE_DEVICE void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
BOLIDE_DEVICE float ex2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// a or b, both computed: of `?:` the compiler may make a branch.
BOLIDE_DEVICE float selp(bool which, float a, float b) {
  float y;
  asm("{.reg .pred p; setp.ne.s32 p, %3, 0; selp.f32 %0, %1, %2, p;}"
      : "=f"(y)
      : "f"(a), "f"(b), "r"(static_cast<int>(which)));
  return y;
}
BOLIDE_DEVICE float lg2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
BOLIDE_DEVICE float rcp(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
BOLIDE_DEVICE bool either_nan(float x, float y) {
  u32 found;
  asm("{ .reg .pred p; setp.nan.f32 p, %1, %2; selp.u32 %0, 1, 0, p; }" : "=r"(found) : "f"(x), "f"(y));
  return found;
}
BOLIDE_DEVICE u32 cvt_bf16x2(float lo, float hi) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
BOLIDE_DEVICE u32 cvt_f16x2(float lo, float hi) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
BOLIDE_DEVICE float cvt_f32_f16(u16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
}

}  // namespace bolide::ptx
