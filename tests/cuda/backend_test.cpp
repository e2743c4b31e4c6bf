// The back end over a fake driver: what a call asks of the driver, what it puts on the stream, what plan and
// explain say, what a call costs the host. Needs NVRTC for the kernels' text, no GPU.
#include "cuda/backend.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <bolide/error.hpp>
#include <bolide/kernels.hpp>
#include <bolide/operations.hpp>
#include <chrono>
#include <map>

#include "cuda/forward_plan.hpp"
#include "jit/kernel_store.hpp"
#include "tests/cuda_runtime/fake_driver.hpp"
#include "tests/jit/support.hpp"
#include "tests/jit/test_nvrtc.hpp"

namespace bolide::cuda {
namespace {

constexpr std::uintptr_t kPlace = 1 << 20;

Tensor at(std::uintptr_t address, DType type, const Dims& shape) {
  return Tensor(reinterpret_cast<void*>(address), type, shape, Device::cuda(0));
}
ForwardProblem dense(std::int64_t batch, std::int64_t rows, std::int64_t heads, std::int64_t d) {
  return fwd({.q = at(kPlace, DType::bf16, {batch, rows, heads, d}),
              .k = at(2 * kPlace, DType::bf16, {batch, rows, heads, d}),
              .v = at(3 * kPlace, DType::bf16, {batch, rows, heads, d}),
              .out = at(4 * kPlace, DType::bf16, {batch, rows, heads, d}),
              .lse = at(5 * kPlace, DType::f32, {batch, heads, rows})});
}
ForwardProblem packed() {
  return varlen_fwd({.q = at(kPlace, DType::bf16, {1000, 32, 128}),
                     .k = at(2 * kPlace, DType::bf16, {1000, 32, 128}),
                     .v = at(3 * kPlace, DType::bf16, {1000, 32, 128}),
                     .out = at(4 * kPlace, DType::bf16, {1000, 32, 128}),
                     .cu_seqlens_q = at(5 * kPlace, DType::i32, {3}),
                     .cu_seqlens_kv = at(6 * kPlace, DType::i32, {3})});
}

class BackendTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!jit::testing::nvrtc_for_tests(why)) GTEST_SKIP() << why;
    driver_ = Driver(testing::fake_table()).observed_by([this](const char* name) { ++calls_[name]; });
    backend_ = make_backend(DeviceContext::open(driver_, 0), store());
  }
  // Compiled once for all tests of the process.
  static std::shared_ptr<jit::KernelStore> store() {
    static auto store = std::make_shared<jit::KernelStore>(jit::KernelStoreOptions{.use_disk = false});
    return store;
  }
  std::shared_ptr<const BackendPlan> plan(const ForwardProblem& p) { return backend_->plan(p, validate(p)); }
  void run(const BackendPlan& plan, const ForwardProblem& p) {
    calls_.clear();
    backend_->forward(plan, p, {reinterpret_cast<void*>(16 * kPlace), plan.workspace_bytes}, {});
  }
  std::map<std::string, int> calls_;
  std::shared_ptr<const Driver> driver_;
  std::unique_ptr<Backend> backend_;
};

TEST_F(BackendTest, ADenseCallIsOneLaunchAndNothingElse) {
  const ForwardProblem p = dense(2, 4096, 8, 128);
  const auto planned = plan(p);
  EXPECT_EQ(planned->path, "cuda/fwd_sm90");
  EXPECT_EQ(planned->workspace_bytes, 0u);
  run(*planned, p);
  EXPECT_EQ(calls_, (std::map<std::string, int>{
                        {"cuCtxPushCurrent", 1}, {"cuCtxPopCurrent", 1}, {"cuLaunchKernelEx", 1}}));
  EXPECT_EQ(testing::fake().last.grid[0], 132u);
  ASSERT_EQ(testing::fake().last_attributes.size(), 1u) << "it may begin before the kernel ahead of it ends";
  EXPECT_EQ(testing::fake().last_attributes[0].id, LaunchAttributeId::programmatic_serialization);
}

TEST_F(BackendTest, PairedBlocksAreLaunchedAsClusters) {
  const ForwardProblem p = dense(2, 4096, 8, 256);
  const auto planned = plan(p);
  run(*planned, p);
  EXPECT_EQ(testing::fake().last.grid[0], 132u);
  ASSERT_EQ(testing::fake().last_attributes.size(), 2u);
  EXPECT_EQ(testing::fake().last_attributes[1].id, LaunchAttributeId::cluster);
  EXPECT_EQ(testing::fake().last_attributes[1].cluster[0], 2u);
}

TEST_F(BackendTest, OtherAddressesAreEncodedAnew) {
  ForwardProblem p = dense(2, 4096, 8, 128);
  const auto planned = plan(p);
  p.k.data = reinterpret_cast<void*>(9 * kPlace);
  run(*planned, p);
  EXPECT_EQ(calls_["cuTensorMapEncodeTiled"], 1);
}

TEST_F(BackendTest, ASplitCallIsTwoLaunches) {
  const ForwardProblem p = dense(1, 1, 4, 128);
  ForwardProblem longer = p;
  longer.k = at(2 * kPlace, DType::bf16, {1, 8192, 4, 128}),
  longer.v = at(3 * kPlace, DType::bf16, {1, 8192, 4, 128});
  const auto planned = plan(longer);
  run(*planned, longer);
  EXPECT_EQ(calls_["cuLaunchKernelEx"], 2);
  EXPECT_GT(planned->workspace_bytes, 0u);
  EXPECT_EQ(testing::fake().last.grid[0], 1u) << "four rows a block";
}

TEST_F(BackendTest, PackedQueriesAreCountedByALaunchThatTheMainOneOverlaps) {
  const ForwardProblem p = packed();
  const auto planned = plan(p);
  run(*planned, p);
  EXPECT_EQ(calls_["cuLaunchKernelEx"], 2);
  EXPECT_EQ(calls_["cuMemAlloc"] + calls_["cuStreamSynchronize"] + calls_["cuMemcpyAsync"], 0);
  ASSERT_EQ(testing::fake().last_attributes.size(), 1u);
  EXPECT_EQ(testing::fake().last_attributes[0].id, LaunchAttributeId::programmatic_serialization);
}

TEST_F(BackendTest, MaskedDenseWorkZeroesItsCounterFirst) {
  ForwardProblem p = dense(2, 4096, 8, 128);
  p.mask = Mask::parse("kv <= q");
  const auto planned = plan(p);
  EXPECT_EQ(planned->workspace_bytes, 256u);
  run(*planned, p);
  EXPECT_EQ(calls_, (std::map<std::string, int>{
                        {"cuCtxPushCurrent", 1}, {"cuCtxPopCurrent", 1}, {"cuLaunchKernelEx", 2}}));
  EXPECT_EQ(testing::fake().last.num_attributes, 1u) << "the main launch overlaps the one that zeroes";
  const auto& choice = static_cast<const ForwardPlan&>(*planned).choice;
  const device::FwdParams f = forward_params(p, planned->sizes, choice, reinterpret_cast<void*>(16 * kPlace));
  EXPECT_EQ(f.next_work, reinterpret_cast<int*>(16 * kPlace));
  EXPECT_EQ(f.tile_offsets, nullptr);
  EXPECT_EQ(f.num_work, 2 * 8 * 32);
}

TEST_F(BackendTest, RangesOfCapturedTensorsAreFoundByTheFirstLaunch) {
  const auto documents = [](std::uintptr_t address, std::int64_t length) {
    return Mask::parse("doc[b, q] == doc[b, kv]", {{"doc", at(address, DType::i32, {2, length})}});
  };
  ForwardProblem p = dense(2, 4096, 8, 128);
  p.mask = documents(7 * kPlace, 4096);
  const auto planned = plan(p);
  const auto& choice = static_cast<const ForwardPlan&>(*planned).choice;
  // Two rows of 64 fine blocks and a coarse one, two 32-bit ends each.
  EXPECT_EQ(choice.workspace.range_bytes, (2 * 65 * 8 + 255) / 256 * 256u);
  run(*planned, p);
  EXPECT_EQ(calls_["cuLaunchKernelEx"], 2);
  p.mask = documents(8 * kPlace, 4096);
  run(*planned, p);
  p.mask = documents(8 * kPlace, 8192);
  EXPECT_THROW(run(*planned, p), Error) << "there is no room for the ranges of a larger tensor";

  const ProgramData data = program_data(program::emit(documents(8 * kPlace, 8192), {}));
  ASSERT_EQ(data.ranges.count, 1);
  EXPECT_EQ(data.ranges.tasks[0].units, 4) << "two rows of two coarse blocks";
  EXPECT_EQ(data.ranges.tasks[0].stored, Stored::i32);
  EXPECT_EQ(data.ranges.tasks[0].column_axis, 1);
}

TEST_F(BackendTest, NumbersOfAProgramMayChangeUnderAPlan) {
  ForwardProblem p = dense(2, 4096, 8, 128);
  p.mask = Mask::parse("kv <= q && q - kv < 1024");
  const auto planned = plan(p);
  const auto compiled = store()->statistics().compiled;
  p.mask = Mask::parse("kv <= q && q - kv < 1000");
  run(*planned, p);
  (void)plan(p);
  EXPECT_EQ(store()->statistics().compiled, compiled) << "one text for all numbers";
  p.score = Score::parse("30 * tanh(score / -20)");
  const auto capped = plan(p);
  p.score = Score::parse("0.01 * tanh(score / 5000)");
  run(*capped, p);
}

// Numbers that the emitted text depends on: their kernel is another one, and its parameters may be longer.
TEST_F(BackendTest, NumbersThatAskForAnotherKernelAreRefused) {
  ForwardProblem p = dense(2, 4096, 8, 128);
  const auto refused = [&](const ForwardProblem& planned, const ForwardProblem& called) {
    const auto kept = plan(planned);
    EXPECT_THROW(run(*kept, called), Error);
    EXPECT_NO_THROW(run(*kept, planned));
  };
  ForwardProblem near = p, far = p;
  near.mask = Mask::parse("q - kv < 100"), far.mask = Mask::parse("q - kv < 40000000000");
  refused(near, far);
  refused(far, near);
  ForwardProblem hidden = p, low = p;
  hidden.score = Score::parse("where(kv <= q, score, -inf)");
  low.score = Score::parse("where(kv <= q, score, -1e30)");
  refused(hidden, low);
  refused(low, hidden);
  ForwardProblem scaled = p, negated = p, tiny = p;  // the factor behind a score is a softmax scale's
  scaled.score = Score::parse("2 * score"), negated.score = Score::parse("-2 * score");
  tiny.score = Score::parse("1e-15 * score");
  refused(scaled, negated);
  refused(negated, scaled);
  refused(scaled, tiny);
}

TEST_F(BackendTest, ExplainNamesTheDecisions) {
  const auto planned = plan(dense(2, 4096, 8, 128));
  std::map<std::string, std::string> details(planned->details.begin(), planned->details.end());
  for (const char* name :
       {"kernel", "tile", "registers", "producer", "splits", "launches", "determinism", "workspace layout"})
    EXPECT_FALSE(details[name].empty()) << name;
  EXPECT_NE(details["kernel"].find("fwd_sm90<"), std::string::npos);
}

TEST_F(BackendTest, ExplainNamesTensorsWithoutRanges) {
  const auto classes = [&](const std::string& text, const Bindings& names) {
    ForwardProblem p = dense(2, 4096, 8, 32);
    p.mask = Mask::parse(text, names);
    const auto planned = plan(p);
    return std::map<std::string, std::string>(planned->details.begin(),
                                              planned->details.end())["tile classes"];
  };
  Bindings names;
  std::string nine;
  for (int i = 0; i < 9; ++i) {
    const std::string name = fmt::format("t{}", i);
    names.values.emplace(name, at((20 + static_cast<std::uintptr_t>(i)) * kPlace, DType::i32, {4096 + i}));
    nine += fmt::format("{}{}[kv] > 0", i ? " && " : "", name);
  }
  const std::string many = classes(nine, names);
  EXPECT_NE(many.find("ranges of 8 captured tensors"), std::string::npos) << many;
  EXPECT_NE(many.find("not found of i32 [4104]: "), std::string::npos) << many;
  const std::string cube =
      classes("t[q % 4, kv % 4, (q + kv) % 4] > 0", {{"t", at(20 * kPlace, DType::f32, {4, 4, 4})}});
  EXPECT_NE(cube.find("not found of f32 [4, 4, 4]: "), std::string::npos) << cube;
  const std::string documents = classes("doc[q] == doc[kv]", {{"doc", at(20 * kPlace, DType::i32, {4096})}});
  EXPECT_EQ(documents.find("not found"), std::string::npos) << documents;
}

TEST_F(BackendTest, Float32RunsThePlainKernel) {
  ForwardProblem p = dense(2, 64, 2, 64);
  for (Tensor* t : {&p.q, &p.k, &p.v, &p.out}) t->dtype = DType::f32;
  const auto planned = plan(p);
  EXPECT_EQ(planned->path, "cuda/fwd_f32");
  run(*planned, p);
  EXPECT_EQ(calls_["cuLaunchKernelEx"], 1);
  EXPECT_EQ(calls_["cuTensorMapEncodeTiled"], 0);
  EXPECT_EQ(testing::fake().last.block[0], 256u);
  EXPECT_EQ(testing::fake().last.grid[0], 2u * 2 * 4);
}

TEST_F(BackendTest, AMergeIsOneLaunch) {
  const ForwardProblem p = dense(2, 100, 4, 64);
  const std::vector<Tensor> outs(3, p.out), lses(3, p.lse);
  backend_->merge(outs, lses, p.out, p.lse, {});
  calls_.clear();
  backend_->merge(outs, lses, p.out, p.lse, {});
  EXPECT_EQ(calls_, (std::map<std::string, int>{
                        {"cuCtxPushCurrent", 1}, {"cuCtxPopCurrent", 1}, {"cuLaunchKernelEx", 1}}));
  EXPECT_EQ(testing::fake().last.grid[0], 200u) << "2 x 100 x 4 rows, four a block";
  const std::vector<Tensor> many(33, p.out), many_lses(33, p.lse);
  EXPECT_THROW(backend_->merge(many, many_lses, p.out, p.lse, {}), Error);
}

TEST_F(BackendTest, APackServesPlansWithoutACompiler) {
  ForwardProblem split = dense(1, 1, 4, 64), queries = packed();
  split.k = at(2 * kPlace, DType::f32, {1, 8192, 4, 64}),
  split.v = at(3 * kPlace, DType::f32, {1, 8192, 4, 64});
  split.q.dtype = split.out.dtype = DType::f32;
  for (Tensor* t : {&queries.q, &queries.k, &queries.v, &queries.out}) t->dtype = DType::f32;
  const ForwardProblem problems[] = {split, queries};
  const jit::testing::Folder folder;
  const jit::testing::Environment cache("BOLIDE_CACHE_DIR", (folder / "cache").c_str());
  EXPECT_EQ(write_kernel_pack(folder / "a.pack", problems).kernels, 5)
      << "two attention kernels, one that counts tiles, two that merge";
  const auto packed = std::make_shared<jit::KernelStore>(jit::KernelStoreOptions{.use_disk = false});
  packed->load_pack(folder / "a.pack");
  const auto backend = make_backend(DeviceContext::open(driver_, 0), packed);
  for (const ForwardProblem& p : problems) (void)backend->plan(p, validate(p));
  backend->merge(std::vector{split.out}, std::vector{split.lse}, split.out, split.lse, {});
  EXPECT_EQ(packed->statistics().from_pack, 5u);
  EXPECT_EQ(packed->statistics().compiled, 0u);

  const std::string path = folder / "a.pack";
  {
    const jit::testing::Environment listed("BOLIDE_PACK", (":" + path + ":").c_str());
    const auto store = kernel_store(*driver_);
    (void)store->get(merge_spec());
    EXPECT_EQ(store->statistics().from_pack, 1u);
  }
  const jit::testing::Environment missing("BOLIDE_PACK", (path + ".not").c_str());
  try {
    (void)kernel_store(*driver_);
    ADD_FAILURE() << "a pack that is not there was passed over";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::file);
  }
}

TEST_F(BackendTest, BackwardIsRefused) {
  ForwardProblem p = dense(1, 64, 2, 64);
  const BackwardProblem b{.forward = p,
                          .dout = p.out,
                          .dq = at(7 * kPlace, DType::bf16, p.q.shape),
                          .dk = at(8 * kPlace, DType::bf16, p.k.shape),
                          .dv = at(9 * kPlace, DType::bf16, p.v.shape)};
  try {
    (void)backend_->plan(b, validate(b));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::refused);
  }
}

// The driver's own part of a launch comes on top: `bolide bench` measures both together on a GPU.
TEST_F(BackendTest, ACallCostsTheHostLittle) {
  const ForwardProblem p = packed();
  const auto planned = plan(p);
  const auto quiet =
      make_backend(DeviceContext::open(std::make_shared<Driver>(testing::fake_table()), 0), store());
  double best = 1;
  for (int round = 0; round < 20; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 100; ++i)
      quiet->forward(*planned, p, {reinterpret_cast<void*>(16 * kPlace), planned->workspace_bytes}, {});
    best =
        std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / 100);
  }
  EXPECT_LT(best, 2e-6) << "without the driver; the budget with it is 5 us";
}

}  // namespace
}  // namespace bolide::cuda
