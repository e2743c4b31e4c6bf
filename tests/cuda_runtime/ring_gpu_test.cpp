// The ring that hands shared memory from warp to warp, alone: what it hands over arrives. Under
//
//   compute-sanitizer --tool racecheck cuda_gpu_test --gtest_filter='Ring.*'
//
// the first kernel is reported and the second is not, though they differ only in who arrives: one lane behind
// a __syncwarp(), or each lane for itself. The tool does not join the two orders (docs/hopper.md).
#include <gtest/gtest.h>

#include <vector>

#include "cuda/kernel.hpp"
#include "cuda/resources.hpp"
#include "jit/kernel_store.hpp"
#include "tests/cuda_runtime/on_hopper.hpp"

namespace bolide::cuda {
namespace {

constexpr char kSource[] = R"(
#include "ring.cuh"
using namespace bolide::device;
// Warp 0 writes rounds of 32 numbers, warp 1 adds them up; two slots.
template <bool kEachLane> __global__ void hand_over(int* sums, int rounds) {
  __shared__ int slots[2][32];
  __shared__ Ring<2> ring;
  const int lane = threadIdx.x % 32, arrivals = kEachLane ? 32 : 1;
  if (threadIdx.x == 0) {
    ring.init(arrivals, arrivals);
    bolide::ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    Cursor<2> at{1};
    for (int i = 0; i < rounds; ++i) {
      ring.wait_empty(at);
      slots[at.slot()][lane] = i + lane;
      if (kEachLane) bolide::ptx::mbarrier_arrive(ring.full[at.slot()]), at.next();
      else ring.fill(at);
    }
  } else {
    Cursor<2> at;
    int sum = 0;
    for (int i = 0; i < rounds; ++i) {
      ring.wait_full(at);
      sum += slots[at.slot()][31 - lane];
      if (kEachLane) {
        bolide::ptx::mbarrier_arrive(ring.empty[at.slot()]), at.next();
      } else {
        __syncwarp();
        ring.release(at);
      }
    }
    sums[lane] = sum;
  }
}
)";

class Ring : public OnHopper, public ::testing::WithParamInterface<const char*> {};

TEST_P(Ring, HandsOverWhatWasWritten) {
  constexpr int kRounds = 100;
  jit::KernelStore store{{.use_disk = false}};
  const Kernel kernel(device,
                      *store.get({.sources = jit::device_sources(),
                                  .source = kSource,
                                  .name = GetParam(),
                                  .architecture = device->facts().architecture()}),
                      0);
  Stream stream(device);
  DeviceBuffer sums(device, 32 * sizeof(int));
  kernel({.grid = {1, 1, 1}, .block = {64, 1, 1}}, stream.handle(), static_cast<int*>(sums.data()), kRounds);
  std::vector<int> got(32), want(32);
  sums.download(got.data(), sums.bytes(), 0, stream.handle());
  synchronize(*device, stream.handle());
  for (int lane = 0; lane < 32; ++lane)
    want[static_cast<std::size_t>(lane)] = kRounds * (kRounds - 1) / 2 + kRounds * (31 - lane);
  EXPECT_EQ(got, want);
}
INSTANTIATE_TEST_SUITE_P(Arrivals, Ring, ::testing::Values("hand_over<false>", "hand_over<true>"));

}  // namespace
}  // namespace bolide::cuda
