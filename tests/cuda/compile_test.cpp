// The configurations that a plan can choose compile to sm_90a without a remark that wgmma was serialized or
// that a wait was injected, and without a spill but for the known ones. Needs NVRTC, no GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>

#include "cuda/forward_kernels.hpp"
#include "jit/kernel_store.hpp"
#include "plan/forward_gpu.hpp"
#include "tests/jit/test_nvrtc.hpp"

namespace bolide::cuda {
namespace {

using device::Element;
using device::FwdConfig;
using device::Producer;

struct NamedProgram {
  const char* name;
  bool heavy;  ///< as plans say: it gathers
  bool many;   ///< too much for the lean kernel of small head dims
  Mask mask;
  Score score;
};

// Nothing, what the field knows, gathers, and scores that cost registers. Tables are of addresses that nobody
// reads.
std::vector<NamedProgram> programs() {
  const Tensor ids(reinterpret_cast<void*>(256), DType::i32, {4096}, Device::cuda(0));
  const Tensor slopes(reinterpret_cast<void*>(256), DType::f32, {64}, Device::cuda(0));
  const Bindings names{{"doc", ids}, {"slope", slopes}};
  const auto mask = [&](const char* text) { return Mask::parse(text, names); };
  const auto score = [&](const char* text) { return Score::parse(text, names); };
  return {{"none", false, false, Mask(), Score()},
          {"causal", false, false, mask("kv <= q"), Score()},
          {"window", false, true, mask("kv <= q && q - kv < 1024"), Score()},
          {"documents", true, true, mask("kv <= q && doc[q] == doc[kv]"), Score()},
          {"softcap and alibi", true, true, mask("kv <= q"),
           score("30.0 * tanh(score / 30.0) - slope[h] * abs(q - kv)")}};
}

// Spills that are there today, to be removed and not to grow (docs/hopper.md, "Known spills"): of kernels
// that gather through cp.async or whose program is heavy, and of the plain float32 kernel. The lean kernels
// have none.
int known_spill_bytes(const FwdConfig& c) {
  return c.producer == Producer::gathered || c.rolled_mask ? 64 : 0;
}
constexpr int kKnownPlainSpillBytes = 96;

struct Job {
  std::string what;
  jit::KernelSpec spec;
  int known_spill_bytes = 0;
};

// Programs meet configurations so that every configuration of the list is compiled with one of them, in an
// order in which the ones that are likeliest to spill come first: `share` of the list, evenly.
std::vector<Job> jobs(std::size_t most) {
  const std::vector<NamedProgram> all_programs = programs();
  std::vector<Job> jobs;
  std::set<std::string> names;
  const auto add = [&](const FwdConfig& c, const NamedProgram& p) {
    const jit::KernelSpec spec = forward_spec(c, program::emit(p.mask, p.score));
    if (names.insert(spec.key()).second)
      jobs.push_back({std::string(p.name) + ": " + spec.name, spec, known_spill_bytes(c)});
  };
  std::vector<FwdConfig> configs = every_forward_config();
  // The native sizes with every program, by both producers.
  for (const FwdConfig& c : configs) {
    const bool native =
        c.head_dim == c.head_dim_v && (c.head_dim == 64 || c.head_dim == 128 || c.head_dim == 256);
    const bool fast = c.producer == Producer::tma || c.copy_bytes == 16;
    if (native && fast && c.type == Element::bf16 && c.out_type == Element::bf16 && !c.scale_first)
      for (const NamedProgram& p : all_programs)
        if ((p.heavy || (p.many && c.head_dim <= 64)) == c.rolled_mask) add(c, p);
  }
  // The rest, spread over the list: a step that shares no factor with the number of programs or of variants.
  const std::size_t count = configs.size();
  std::size_t step = 613;
  while (std::gcd(step, count) != 1) ++step;
  for (std::size_t i = 0, at = 0; i < count && jobs.size() < most; ++i, at = (at + step) % count) {
    const bool small = configs[at].head_dim <= 64 && configs[at].head_dim_v <= 64;
    const std::size_t light = small ? 2 : 3, heavy = all_programs.size() - light;
    add(configs[at], all_programs[configs[at].rolled_mask ? light + i % heavy : i % light]);
  }
  return jobs;
}

TEST(Compile, ConfigurationsWithoutRemarkOrNewSpill) {
  std::string why;
  if (!jit::testing::nvrtc_for_tests(why)) GTEST_SKIP() << why;
  // BOLIDE_COMPILE_MOST says how many of the list, 100000 all of it; the default, the native sizes, takes two
  // cores about a minute.
  const char* most = getenv("BOLIDE_COMPILE_MOST");
  std::vector<Job> list = jobs(most ? std::strtoul(most, nullptr, 10) : 1);
  list.push_back({"prepare", prepare_spec()});
  for (const NamedProgram& p : programs())
    for (const int pieces : {1, 2, 4, 8, kMostPieces})
      list.push_back({std::string("f32, ") + p.name, plain_spec(pieces, program::emit(p.mask, p.score)),
                      kKnownPlainSpillBytes});
  for (const Element out : {Element::f16, Element::bf16, Element::f32})
    list.push_back({"combine", combine_spec(out)});
  std::vector<jit::KernelSpec> specs;
  for (const Job& job : list) specs.push_back(job.spec);
  jit::KernelStore store({.use_disk = false});
  const auto outcomes = store.prepare(specs);
  double seconds = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    ASSERT_TRUE(outcomes[i].kernel) << list[i].what << "\n" << outcomes[i].error;
    jit::CompileReport report = outcomes[i].kernel->report;
    if (std::max(report.spill_store_bytes, report.spill_load_bytes) <= list[i].known_spill_bytes)
      report.spill_store_bytes = report.spill_load_bytes = report.stack_bytes = 0;
    EXPECT_EQ(report.complaint(), "") << list[i].what << ", " << report.registers << " registers";
    seconds += outcomes[i].kernel->report.seconds;
  }
  RecordProperty("kernels", static_cast<int>(list.size()));
  RecordProperty("compile_seconds", static_cast<int>(seconds));
}

TEST(Compile, TheListHoldsEveryKernelOfAProgram) {
  const std::vector<jit::KernelSpec> all = every_configuration(program::emit(Mask(), Score()));
  std::set<std::string> keys;
  for (const jit::KernelSpec& spec : all) keys.insert(spec.key());
  EXPECT_EQ(keys.size(), all.size()) << "each once";
  EXPECT_EQ(all.size(), every_forward_config().size() + kMostPieces + 4);
}

}  // namespace
}  // namespace bolide::cuda
