// The driver's wrappers over a fake driver: what is current when, what is freed, what errors say; and over no
// driver.
#include <gtest/gtest.h>

#include <bolide/error.hpp>
#include <functional>
#include <thread>

#include "cuda/kernel.hpp"
#include "cuda/resources.hpp"
#include "cuda/tensor_map.hpp"
#include "tests/cuda_runtime/fake_driver.hpp"

namespace bolide::cuda {
namespace {

using testing::current_contexts;
using testing::fake;

std::string failure_of(const std::function<void()>& body, Code code = Code::device) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "nothing was thrown";
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class Runtime : public ::testing::Test {
 protected:
  void TearDown() override {
    fake().failures.clear(), fake().devices = 2;
    context.reset(), driver.reset();
    EXPECT_TRUE(fake().memory.empty()) << "all memory is freed";
    EXPECT_TRUE(fake().objects.empty()) << "all modules, streams, events and graphs are destroyed";
    EXPECT_EQ(fake().retained, 0) << "the primary context is released as often as retained";
    EXPECT_TRUE(current_contexts.empty()) << "no context stays current";
  }
  std::mutex mutex;
  std::map<std::string, int> calls;  // under the mutex
  std::shared_ptr<const Driver> driver = Driver(testing::fake_table()).observed_by([this](const char* name) {
    std::lock_guard lock(mutex);
    ++calls[name];
  });
  std::shared_ptr<const DeviceContext> context = DeviceContext::open(driver, 1);
  const jit::CompiledKernel code{.name = "k<1>",
                                 .lowered_name = "_Zk",
                                 .architecture = "sm_90a",
                                 .sources_digest = "",
                                 .toolchain = {13, 0, "b"},
                                 .cubin = "ELF",
                                 .report = {}};
};

TEST_F(Runtime, FactsAreTheDevices) {
  const DeviceFacts& facts = context->facts();
  EXPECT_EQ(facts.ordinal, 1);
  EXPECT_EQ(facts.name, "Fake GPU");
  EXPECT_EQ(facts.architecture(), "sm_90a");
  EXPECT_EQ(facts.multiprocessors, 132);
  EXPECT_EQ(facts.shared_bytes_per_block, 232448);
  EXPECT_EQ(facts.memory_bytes, 1000);
  DeviceFacts older;
  older.capability_major = 8, older.capability_minor = 6;
  EXPECT_EQ(older.architecture(), "sm_86");
}

TEST_F(Runtime, ADeviceThatDoesNotExistIsNamed) {
  EXPECT_TRUE(
      has(failure_of([&] { DeviceContext::open(driver, 2); }), "no device cuda:2; the driver shows 2"));
  EXPECT_TRUE(has(failure_of([&] { DeviceContext::open(driver, -1); }), "cuda:-1"));
  fake().devices = 0;
  EXPECT_TRUE(has(failure_of([&] { device_count(*driver); }), "shows no device"));
}

TEST_F(Runtime, TheCallersContextStaysCurrent) {
  const auto theirs = reinterpret_cast<ContextHandle>(99);
  current_contexts = {theirs};
  {
    DeviceBuffer buffer(context, 100);
    buffer.fill(0);
    EXPECT_EQ(current_contexts, std::vector{theirs});
    fake().failures["cuMemsetD8Async"] = 1;
    EXPECT_THROW(buffer.fill(0), Error);
    EXPECT_EQ(current_contexts, std::vector{theirs}) << "also after a failure";
  }
  EXPECT_EQ(current_contexts, std::vector{theirs});
  current_contexts.clear();
}

TEST_F(Runtime, BuffersHoldWhatTheyAreGivenAndCheckRanges) {
  DeviceBuffer buffer(context, 8);
  const char text[] = "1234567";
  buffer.upload(text, 8);
  buffer.upload("xy", 2, 3);
  char back[8];
  buffer.download(back, 8);
  EXPECT_STREQ(back, "123xy67");
  buffer.fill_words(0x41424344);
  buffer.download(back, 3, 5);
  EXPECT_EQ(std::string(back, 3), "CBA");
  for (auto [bytes, offset] :
       {std::pair<std::size_t, std::size_t>{9, 0}, {1, 8}, {2, 7}, {~0ull, 4}, {1, ~0ull}}) {
    EXPECT_TRUE(
        has(failure_of([&] { buffer.upload(text, bytes, offset); }, Code::invalid_argument), "does not fit"));
    EXPECT_TRUE(has(failure_of([&] { buffer.download(back, bytes, offset); }, Code::invalid_argument),
                    "does not fit"));
  }
  DeviceBuffer moved = std::move(buffer), empty(context, 0);
  EXPECT_EQ(moved.bytes(), 8u);
  EXPECT_EQ(empty.data(), nullptr);
  empty.fill(1), empty.upload(text, 0);
  EXPECT_THROW(DeviceBuffer(context, 6).fill_words(1), Error);
}

TEST_F(Runtime, ErrorsNameCallDeviceAndTheDriversWords) {
  fake().failures["cuMemAlloc"] = kOutOfMemory;
  const std::string memory = failure_of([&] { DeviceBuffer(context, 4096); });
  EXPECT_TRUE(
      has(memory, "cuMemAlloc on cuda:1 failed: CUDA_ERROR_OUT_OF_MEMORY (2): the driver's own words"))
      << memory;
  EXPECT_TRUE(has(memory, "4096 bytes were asked for, 77 of 1000 are free")) << memory;
  fake().failures["cuModuleLoadData"] = 209;
  const std::string load = failure_of([&] { Kernel(context, code, 0); });
  EXPECT_TRUE(has(load, "cuModuleLoadData on cuda:1")) << load;
  EXPECT_TRUE(
      has(load, "`k<1>` (sm_90a, nvrtc 13.0 build b; the driver serves CUDA 13, the device is sm_90a)"))
      << load;
}

// Every entry that can fail is made to: an Error that names it, and nothing is left behind (TearDown looks).
TEST_F(Runtime, EveryFailureIsTypedAndLeavesNothingBehind) {
  const auto everything = [&] {
    const auto c = DeviceContext::open(driver, 0);
    DeviceBuffer buffer(c, 16);
    buffer.fill(1), buffer.fill_words(1);
    Stream stream(c);
    Event begin(c), end(c);
    const Kernel kernel(c, code, 1000);
    kernel.attribute(FunctionAttribute::registers), kernel.blocks_per_multiprocessor(128, 0);
    char host[16];
    buffer.download(host, 16, 0, stream.handle());
    Graph graph(stream, [&] { kernel({}, stream.handle(), 7); });
    begin.record(stream.handle()), graph.launch(stream.handle()), end.record(stream.handle());
    end.synchronize(), stream.synchronize(), end.milliseconds_since(begin);
    const DeviceContext::Current current(*c);
    make_tensor_map(*driver, {.address = buffer.data(), .rank = 1, .sizes = {8}, .box = {8}});
  };
  everything();
  const char* const can_fail[] = {"cuDeviceGetCount",     "cuDeviceGet",        "cuDeviceGetName",
                                  "cuDeviceGetAttribute", "cuDeviceTotalMem",   "cuDevicePrimaryCtxRetain",
                                  "cuCtxPushCurrent",     "cuMemAlloc",         "cuMemsetD8Async",
                                  "cuMemsetD32Async",     "cuMemcpyAsync",      "cuStreamCreate",
                                  "cuEventCreate",        "cuModuleLoadData",   "cuModuleGetFunction",
                                  "cuFuncGetAttribute",   "cuFuncSetAttribute", "cuLaunchKernelEx",
                                  "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiateWithFlags",
                                  "cuGraphLaunch",        "cuEventRecord",      "cuEventSynchronize",
                                  "cuStreamSynchronize",  "cuEventElapsedTime", "cuTensorMapEncodeTiled"};
  for (const char* name : can_fail) {
    fake().failures = {{name, 1}};
    EXPECT_TRUE(has(failure_of(everything),
                    std::string(name) + (std::string(name) == "cuTensorMapEncodeTiled" ? " failed" : "")))
        << name;
    fake().failures.clear();
    EXPECT_TRUE(fake().memory.empty() && fake().objects.empty()) << name;
    EXPECT_EQ(fake().retained, 1) << name;
    EXPECT_TRUE(current_contexts.empty()) << name;
  }
}

TEST_F(Runtime, LaunchesCarryTheirShapeAndAttributes) {
  const Kernel kernel(context, code, 1000);
  const auto stream = reinterpret_cast<StreamHandle>(5);
  kernel({.grid = {3, 2, 1}, .block = {128, 1, 1}, .dynamic_shared_bytes = 1000}, stream, 42, 1.0);
  EXPECT_EQ(fake().last.grid[0], 3u);
  EXPECT_EQ(fake().last.grid[1], 2u);
  EXPECT_EQ(fake().last.block[0], 128u);
  EXPECT_EQ(fake().last.dynamic_shared_bytes, 1000u);
  EXPECT_EQ(fake().last.stream, stream);
  EXPECT_EQ(fake().last_parameter, 42);
  EXPECT_TRUE(fake().last_attributes.empty());
  kernel({.cluster = 2, .overlaps_previous = true}, stream, 43);
  ASSERT_EQ(fake().last_attributes.size(), 2u);
  EXPECT_EQ(fake().last_attributes[0].id, LaunchAttributeId::programmatic_serialization);
  EXPECT_EQ(fake().last_attributes[0].programmatic_serialization, 1);
  EXPECT_EQ(fake().last_attributes[1].cluster[0], 2u);
  EXPECT_EQ(fake().last_attributes[1].cluster[1], 1u);
  calls.clear();
  kernel({.grid = {0, 5, 5}}, stream, 44);
  EXPECT_TRUE(calls.empty()) << "no work, no call";
}

// What a forward may cost: a launch makes three calls, none of which allocates or waits.
TEST_F(Runtime, ALaunchPushesLaunchesAndPops) {
  const Kernel kernel(context, code, 0);
  calls.clear();
  kernel({}, nullptr, 1);
  const std::map<std::string, int> expected = {
      {"cuCtxPushCurrent", 1}, {"cuLaunchKernelEx", 1}, {"cuCtxPopCurrent", 1}};
  EXPECT_EQ(calls, expected);
}

TEST_F(Runtime, SharedMemoryBeyondTheDeviceIsRefused) {
  EXPECT_TRUE(has(failure_of([&] { Kernel(context, code, 232448); }, Code::refused),
                  "needs 232512 bytes of shared memory"));
}

TEST_F(Runtime, AKernelIsLoadedOnceByAnyNumberOfThreads) {
  LoadedKernels loaded(context);
  const auto shared = std::make_shared<const jit::CompiledKernel>(code);
  std::vector<std::shared_ptr<const Kernel>> seen(8);
  fake().failures["cuModuleLoadData"] = 2;
  EXPECT_THROW(loaded.get(shared, 0), Error);
  fake().failures.clear();
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < seen.size(); ++i)
    threads.emplace_back([&, i] { seen[i] = loaded.get(shared, i % 2 ? 100 : 0); });
  for (std::thread& t : threads) t.join();
  for (std::size_t i = 2; i < seen.size(); ++i) EXPECT_EQ(seen[i], seen[i - 2]);
  EXPECT_EQ(fake().objects.size(), 2u);
}

TEST_F(Runtime, AThrowDuringCaptureEndsIt) {
  Stream stream(context);
  EXPECT_THROW(Graph(stream, [] { throw Error(Code::refused, "no"); }), Error);
  EXPECT_EQ(calls["cuStreamEndCapture"], 1);
  EXPECT_EQ(calls["cuGraphDestroy"], 1);
}

TEST(TensorMaps, RulesAreSentences) {
  alignas(16) static char memory[64];
  const TensorMapShape good{
      .address = memory, .rank = 2, .sizes = {64, 10}, .strides_bytes = {128}, .box = {64, 8}};
  EXPECT_EQ(why_no_tensor_map(good), "");
  const auto rule = [&](auto change) {
    TensorMapShape s = good;
    change(s);
    return why_no_tensor_map(s);
  };
  EXPECT_TRUE(has(rule([](auto& s) { s.address = memory + 2; }), "multiples of 16"));
  EXPECT_TRUE(has(rule([](auto& s) { s.rank = 6; }), "1 to 5"));
  EXPECT_TRUE(has(rule([](auto& s) { s.sizes[1] = 0; }), "2^32"));
  EXPECT_TRUE(has(rule([](auto& s) { s.sizes[1] = (1ull << 32) + 1; }), "2^32"));
  EXPECT_TRUE(has(rule([](auto& s) { s.strides_bytes[0] = 130; }), "stride of 130"));
  EXPECT_TRUE(has(rule([](auto& s) { s.box[1] = 257; }), "is 257"));
  EXPECT_TRUE(has(rule([](auto& s) { s.box[0] = 4; }), "8 bytes"));
  EXPECT_TRUE(has(rule([](auto& s) { s.box[0] = 128; }), "a swizzle of 128"));
  EXPECT_EQ(rule([](auto& s) { s.box[0] = 128, s.swizzle = TensorMapSwizzle::none; }), "");
}

// On a machine without a driver the way in is a typed error, and info a sentence. (Elsewhere: the driver
// opens.)
TEST(NoDriver, EveryWayInIsATypedErrorOrWorks) {
  const std::string why = why_no_cuda();
  if (why.empty()) {
    EXPECT_NO_THROW(DeviceContext::open(Driver::open(), 0));
    return;
  }
  EXPECT_EQ(failure_of([] { device_count(*Driver::open()); }), why);
  EXPECT_TRUE(has(why, "driver")) << why;
  EXPECT_TRUE(has(why, "CPU serves")) << why;
}

}  // namespace
}  // namespace bolide::cuda
