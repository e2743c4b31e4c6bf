// The real compiler: code and names come out, its report is read as ptxas wrote it, its messages reach the
// reader.
#include "jit/compile.hpp"

#include <fmt/format.h>

#include <bolide/error.hpp>

#include "jit/kernel_store.hpp"
#include "tests/jit/support.hpp"
#include "tests/jit/test_nvrtc.hpp"

namespace bolide::jit {
namespace {

constexpr std::chrono::milliseconds kTimeout{60000};

class CompileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    nvrtc = testing::nvrtc_for_tests(why);
    if (!nvrtc) GTEST_SKIP() << why;
  }
  KernelSpec spec(const std::string& source, const std::string& name) const {
    return {.sources = std::make_shared<SourceSet>(std::vector<SourceSet::File>{
                {"config.cuh", "#pragma once\nstruct Config { int width = 1; bool twice = false; };\n"}}),
            .source = "#include \"config.cuh\"\n" + source,
            .name = name};
  }
  CompiledKernel compile_one(const std::string& source, const std::string& name) const {
    return compile(nvrtc, spec(source, name), kTimeout);
  }
  std::shared_ptr<const Nvrtc> nvrtc;
};

constexpr char kScale[] = R"(
int helper(int x) { return 2 * x; }  // a device function without a word about it
template <Config c> __global__ void scale(float* x) {
  x[threadIdx.x] *= c.twice ? helper(c.width) : c.width;
}
)";

// Every element of a long array is read before any is written, with few registers a thread.
constexpr char kManyValues[] = R"(
template <int n, int threads, int blocks>
__global__ void __launch_bounds__(threads, blocks) values(float* x) {
  float a[n];
#pragma unroll
  for (int i = 0; i < n; ++i) a[i] = x[i * threads + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < n; ++i) x[i * threads + threadIdx.x] = a[n - 1 - i] * a[i];
}
)";

TEST_F(CompileTest, AConfigurationIsATemplateParameter) {
  const CompiledKernel kernel = compile_one(kScale, "scale<Config{.width = 3, .twice = true}>");
  EXPECT_EQ(kernel.cubin.substr(0, 4), "\177ELF");
  EXPECT_NE(kernel.lowered_name.find("scale"), std::string::npos);
  EXPECT_NE(kernel.cubin.find(kernel.lowered_name), std::string::npos) << "the module has the function";
  EXPECT_GT(kernel.report.registers, 3);
  EXPECT_LT(kernel.report.registers, 40);
  EXPECT_EQ(kernel.report.complaint(), "");
  EXPECT_GT(kernel.report.seconds, 0);
  EXPECT_EQ(kernel_from_bytes(to_bytes(kernel))->cubin, kernel.cubin);
  EXPECT_EQ(compile_one(kScale, "scale<Config{.width = 3, .twice = true}>").cubin, kernel.cubin)
      << "same key, same bits";
}

TEST_F(CompileTest, ASpillIsReported) {
  const CompileReport spills = compile_one(kManyValues, "values<200, 1024, 2>").report;
  EXPECT_EQ(spills.registers, 32);
  EXPECT_GT(spills.spill_store_bytes, 0);
  EXPECT_GT(spills.spill_load_bytes, 0);
  EXPECT_GT(spills.stack_bytes, 0);
  EXPECT_NE(spills.complaint().find("spills"), std::string::npos);
  const CompileReport none = compile_one(kManyValues, "values<100, 128, 1>").report;
  EXPECT_GE(none.registers, 100);
  EXPECT_EQ(none.barriers, 1);
  EXPECT_EQ(none.spill_store_bytes + none.spill_load_bytes + none.stack_bytes, 0);
  EXPECT_EQ(none.complaint(), "");
}

TEST_F(CompileTest, LocalMemoryAndSharedMemoryAreReported) {
  const CompileReport report = compile_one(R"(
template <int n> __global__ void indexed(float* x, int at) {
  __shared__ float s[n];
  float a[n];
  for (int i = 0; i < n; ++i) a[i] = s[i] = x[i];
  __syncthreads();
  x[0] = a[at] + s[at + 1];
})",
                                           "indexed<64>")
                                   .report;
  EXPECT_EQ(report.stack_bytes, 256);
  EXPECT_EQ(report.static_shared_bytes, 256);
  EXPECT_EQ(report.spill_store_bytes, 0);
  EXPECT_NE(report.complaint().find("256 bytes in local memory"), std::string::npos) << report.complaint();
}

// An accumulator touched between two multiplies of one group: ptxas serializes them and says so.
TEST_F(CompileTest, ASerializedWgmmaIsReported) {
  const std::string source = R"(
inline void multiply(float* d, unsigned long long a, unsigned long long b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, %4, %5, 1, 1, 1, 0, 0;"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a), "l"(b));
}
template <bool touch> __global__ void mma(float* out, unsigned long long a, unsigned long long b) {
  float d[4] = {0, 0, 0, 0};
  asm volatile("wgmma.fence.sync.aligned;");
  multiply(d, a, b);
  if (touch) d[0] += out[threadIdx.x];
  multiply(d, a, b);
  asm volatile("wgmma.commit_group.sync.aligned;");
  asm volatile("wgmma.wait_group.sync.aligned 0;");
  for (int i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = d[i];
})";
  const CompileReport touched = compile_one(source, "mma<true>").report;
  ASSERT_FALSE(touched.remarks.empty());
  EXPECT_NE(touched.complaint().find("serialized"), std::string::npos) << touched.complaint();
  EXPECT_EQ(compile_one(source, "mma<false>").report.complaint(), "");
}

TEST_F(CompileTest, TheCompilersWordsReachTheReader) {
  try {
    compile_one("template <int n> __global__ void bad() { undeclared(n); }", "bad<1>");
    FAIL() << "it compiled";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::device);
    EXPECT_NE(std::string(error.what()).find("\"undeclared\" is undefined"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("bad<1>"), std::string::npos);
  }
  KernelSpec other = spec(kScale, "scale<Config{}>");
  other.architecture = "sm_1";
  EXPECT_THROW(compile(nvrtc, other, kTimeout), Error);
  other.architecture = "sm_90a", other.options = {"--no-such-option"};
  EXPECT_THROW(compile(nvrtc, other, kTimeout), Error);
}

TEST_F(CompileTest, ACompilationStopsWhenItsTimeIsUp) {
  const auto start = std::chrono::steady_clock::now();
  try {
    compile(nvrtc, spec(kManyValues, "values<6000, 128, 1>"), std::chrono::milliseconds(20));
    FAIL() << "it ended within its time";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("given up"), std::string::npos) << error.what();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10)) << "it stops when asked";
}

TEST_F(CompileTest, ManyAtOnceHereAndApartAreTheSameBits) {
  std::vector<KernelSpec> list;
  for (int i = 1; i <= 8; ++i) list.push_back(spec(kScale, fmt::format("scale<Config{{.width = {}}}>", i)));
  std::vector<std::string> here;
  for (const char* program : {"none", COMPILER_PROGRAM}) {
    KernelStore store({.use_disk = false, .compiler_program = program});
    const auto outcomes = store.prepare(list, 4);
    for (std::size_t i = 0; i < list.size(); ++i) {
      ASSERT_TRUE(outcomes[i].kernel) << outcomes[i].error;
      if (here.size() < list.size()) here.push_back(outcomes[i].kernel->cubin);
      EXPECT_TRUE(outcomes[i].kernel->cubin == here[i]) << program;
      EXPECT_EQ(outcomes[i].kernel->toolchain, nvrtc->toolchain());
    }
    EXPECT_EQ(store.statistics().compiled, 8u);
    EXPECT_TRUE(store.statistics().problems.empty());
  }
}

TEST_F(CompileTest, TheEmbeddedDeviceSourcesAreTheFolders) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(BOLIDE_DEVICE_FOLDER)) {
    if (entry.path().extension() != ".cuh") continue;
    const auto& all = device_sources()->files();
    const auto at =
        std::find_if(all.begin(), all.end(), [&](auto& f) { return f.name == entry.path().filename(); });
    ASSERT_NE(at, all.end()) << entry.path();
    EXPECT_TRUE(at->text == testing::read_file(entry.path())) << entry.path();
    ++files;
  }
  EXPECT_GT(files, 0);
  EXPECT_EQ(device_sources()->digest().size(), 64u);
}

// No compiler needed: the parts of a log that the kernels above do not bring about.
TEST(PtxasLog, TheEntryAskedForAndEveryRemark) {
  const std::string head = R"(ptxas info    : 37 bytes gmem
ptxas info    : Compiling entry function 'other' for 'sm_90a'
ptxas info    : Function properties for other
ptxas         .     16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 255 registers, used 9 barriers, 99 bytes smem
)";
  const std::string ours = R"(ptxas info    : Compiling entry function '_Zk' for 'sm_90a'
ptxas info    : Function properties for _Zk
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 2 barriers, 1032 bytes smem, 656 bytes cmem[0]
ptxas info    : Compile time = 1.833 ms
)";
  for (const std::string& log : {head + ours, ours + head}) {
    const CompileReport report = read_ptxas_log(log, "_Zk");
    EXPECT_EQ(report.registers, 168);
    EXPECT_EQ(report.barriers, 2);
    EXPECT_EQ(report.static_shared_bytes, 1032);
    EXPECT_EQ(report.stack_bytes, 16) << "of every function: the entry may call the other";
    EXPECT_EQ(report.spill_store_bytes, 4);
    EXPECT_EQ(report.spill_load_bytes, 8);
    EXPECT_TRUE(report.remarks.empty());
  }
  EXPECT_EQ(read_ptxas_log(ours, "_Zk").complaint(), "");
  for (const char* code : {"C7510", "C7515", "C7517", "C7519"}) {
    const CompileReport report = read_ptxas_log(ours + "ptxas info    : (" + code + ") a remark\n", "_Zk");
    ASSERT_EQ(report.remarks.size(), 1u) << code;
    EXPECT_NE(report.complaint().find(code), std::string::npos);
  }
  EXPECT_EQ(read_ptxas_log("a wait was injected before it\nwgmma was serialized", "_Zk").remarks.size(), 2u);
  EXPECT_EQ(read_ptxas_log("", "_Zk").registers, 0);
}

}  // namespace
}  // namespace bolide::jit
