// The configurations that a plan can choose compile to sm_90a without a remark that wgmma was serialized or
// that a wait was injected, and without a spill but for the known ones. Needs NVRTC, no GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "cuda/forward_kernels.hpp"
#include "jit/kernel_store.hpp"
#include "plan/forward_gpu.hpp"
#include "program/facts.hpp"
#include "testing/setup.hpp"
#include "tests/jit/test_nvrtc.hpp"
#include "tests/program/catalogue.hpp"

namespace bolide::cuda {
namespace {

using device::Element;
using device::FwdConfig;
using device::Producer;
using device::ProgramWeight;

struct NamedProgram {
  const char* name;
  ProgramWeight weight;  ///< as plans say, at every head dim
  bool heavy_score;      ///< a light mask's: heavy, but by the copy engine from 65 to 128
  bool many;             ///< too much for the lean kernels of small head dims, and of large ones by threads
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
  return {
      {"none", ProgramWeight::light, false, false, Mask(), Score()},
      {"causal", ProgramWeight::light, false, false, mask("kv <= q"), Score()},
      {"window", ProgramWeight::light, false, true, mask("kv <= q && q - kv < 1024"), Score()},
      {"documents", ProgramWeight::heavy, false, true, mask("kv <= q && doc[q] == doc[kv]"), Score()},
      {"softcap and alibi", ProgramWeight::light, true, true, mask("kv <= q"),
       score("30.0 * tanh(score / 30.0) - slope[h] * abs(q - kv)")},
      {"tree of documents", ProgramWeight::very_heavy, false, true,
       mask("kv <= q && (doc[q] == doc[kv] || doc[doc[q]] == doc[doc[kv]])"), Score()},
      {"relative bias", ProgramWeight::gathering_score, false, true, Mask(),
       score("score + slope[clamp(kv - q + 32, 0, 63)]")},
      {"softcap", ProgramWeight::light, false, true, mask("kv <= q"), score("30.0 * tanh(score / 30.0)")},
      {"fast softcap", ProgramWeight::light, false, true, mask("kv <= q"),
       score("30.0 * tanh_fast(score / 30.0)")},
      {"alibi", ProgramWeight::light, true, true, mask("kv <= q"), score("score - slope[h] * abs(q - kv)")}};
}

// The one table of what a kernel may keep in local memory, in bytes of spills (docs/hopper.md, "Known
// spills"). The aim is 0 everywhere; a kernel that has more than its line fails.
struct KnownSpills {
  int lean = 0;               ///< the copy engine, a program that gathers nothing and is short
  int gathered_or_heavy = 0;  ///< threads that copy, or classes that take registers
  int plain = 0;              ///< fwd_f32
  int of(const FwdConfig& c) const {
    return c.producer == Producer::gathered || c.rolled_mask ? gathered_or_heavy : lean;
  }
};
constexpr KnownSpills kKnownSpills;

struct Job {
  std::string what;
  jit::KernelSpec spec;
  int known_spill_bytes = 0;
};

// A cover of every_forward_config(), enough to notice what a change of the sources does to any of them: of
// kernels that differ in their types only, one, in bf16, with out in turn as q and as float32 (f16 differs in
// the names of instructions; it is there for a lean kernel). The native sizes by every producer and variant;
// the others lean, and heavy by the copy engine and by threads in turn. Narrow copies, which share a loop,
// once each. Of whole and packed sequences, and of splits, all lean ones in bf16; of pages heavy at 128 only.
std::vector<FwdConfig> cover() {
  std::map<std::string, int> kinds, sizes;
  std::vector<FwdConfig> chosen;
  for (const FwdConfig& c : every_forward_config()) {
    FwdConfig kind = c;
    kind.type = kind.out_type = Element::bf16;
    const auto number = [](std::map<std::string, int>& all, const std::string& name) {
      return all.emplace(name, static_cast<int>(all.size())).first->second;
    };
    const int index = number(kinds, config_text(kind)),
              size = number(sizes, std::to_string(c.head_dim) + " x " + std::to_string(c.head_dim_v));
    const bool equal = c.head_dim == c.head_dim_v, tma = c.producer == Producer::tma;
    const bool native = equal && (c.head_dim == 64 || c.head_dim == 128 || c.head_dim == 256);
    if (c.copy_bytes < 16 && c.head_dim != 128) continue;
    if (c.paged() && c.rolled_mask && c.head_dim != 128) continue;
    if (!native && (c.rolled_mask ? tma != (size % 2 == 0) : !tma)) continue;
    const bool in_turn =
        c.type == Element::bf16 && (c.partial || (c.out_type == Element::f32) == (index % 2 == 1));
    const bool half = c.type == Element::f16 && c.out_type == c.type && equal && c.head_dim == 128;
    const bool dense = c.whole() || c.packed();
    if (dense ? c.type == Element::bf16 : in_turn || (half && tma && !c.rolled_mask)) chosen.push_back(c);
  }
  return chosen;
}

// What choose_config() was asked for. A gathered producer has one configuration for all that is not light.
ProgramWeight weight_of(const FwdConfig& c) {
  if (!c.rolled_mask) return ProgramWeight::light;
  if (c.producer == Producer::gathered || c.producer_registers == 56) return ProgramWeight::heavy;
  return c.producer_registers == 40 ? ProgramWeight::gathering_score : ProgramWeight::very_heavy;
}

// Every configuration that is asked for meets one program of its kind, in turn, so that all meet all sizes.
std::vector<Job> jobs(bool all) {
  const std::vector<NamedProgram> programs_in_turn = programs();
  std::vector<Job> jobs;
  std::map<ProgramWeight, std::size_t> met;
  for (const FwdConfig& c : all ? every_forward_config() : cover()) {
    const bool small = c.head_dim <= 64 && c.head_dim_v <= 64, medium = !small && c.head_dim <= 128;
    const ProgramWeight weight = weight_of(c);
    const auto fits = [&](const NamedProgram& p) {
      if (c.paired) return !p.mask && !p.score;
      const bool extreme =
          p.weight == ProgramWeight::gathering_score || p.weight == ProgramWeight::very_heavy;
      if (extreme && small) return weight == ProgramWeight::very_heavy;
      if (extreme) return weight == p.weight;
      const int larger = std::max(c.head_dim, c.head_dim_v);
      const bool long_at_192 =
          p.score && program::facts(p.score.expr()).functions > 0 && larger > 128 && larger <= 192;
      const bool heavy = long_at_192 || p.weight == ProgramWeight::heavy ||
                         (p.heavy_score && !(medium && c.producer == Producer::tma)) ||
                         (p.many && (small || (c.producer == Producer::gathered && c.head_dim > 192)));
      return weight == (heavy ? ProgramWeight::heavy : ProgramWeight::light);
    };
    const NamedProgram* p = nullptr;
    do p = &programs_in_turn[met[weight]++ % programs_in_turn.size()];
    while (!fits(*p));
    const jit::KernelSpec spec = forward_spec(c, program::emit(p->mask, p->score));
    jobs.push_back({std::string(p->name) + ": " + spec.name, spec, kKnownSpills.of(c)});
  }
  // Caps cost every kernel that takes them registers of its own.
  if (all)
    for (const FwdConfig& c : every_forward_config())
      for (const NamedProgram& p : programs_in_turn)
        if (!c.paired && c.rolled_mask == (c.head_dim <= 64 || c.head_dim == 192) &&
            weight_of(c) <= ProgramWeight::heavy && std::string(p.name).ends_with("softcap")) {
          const jit::KernelSpec spec = forward_spec(c, program::emit(p.mask, p.score));
          jobs.push_back({std::string(p.name) + ": " + spec.name, spec, kKnownSpills.of(c)});
        }
  jobs.push_back({"prepare", prepare_spec(false)});
  jobs.push_back({"prepare with ranges", prepare_spec(true)});
  jobs.push_back({"merge", merge_spec()});
  for (const Element out : {Element::f16, Element::bf16, Element::f32})
    jobs.push_back({"combine", combine_spec(out)});
  for (const NamedProgram& p : {programs_in_turn[0], programs_in_turn[4]})
    for (int pieces = 1; pieces <= kMostPieces; pieces *= 2)
      jobs.push_back({std::string("f32, ") + p.name, plain_spec(pieces, program::emit(p.mask, p.score)),
                      kKnownSpills.plain});
  return jobs;
}

// Compiles all; what the report of a job complains of beyond its known spills is a failure.
void expect_no_complaint(const std::vector<Job>& list) {
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
  ::testing::Test::RecordProperty("kernels", static_cast<int>(list.size()));
  ::testing::Test::RecordProperty("compile_seconds", static_cast<int>(seconds));
  std::printf("%zu kernels compiled, %.0f seconds of a core\n", list.size(), seconds);
}

// BOLIDE_COMPILE_ALL takes every configuration that a plan can choose: some minutes on two cores.
TEST(Compile, ConfigurationsWithoutRemarkOrNewSpill) {
  std::string why;
  if (!jit::testing::nvrtc_for_tests(why)) GTEST_SKIP() << why;
  expect_no_complaint(jobs(getenv("BOLIDE_COMPILE_ALL") != nullptr));
}

// Every mask and score of the catalogue, in the configuration that plans choose for it, at three head dims in
// turn, with a score beside every third mask: minutes on two cores, so only where BOLIDE_COMPILE_CATALOGUE is
// set; those whose case holds its text.
TEST(Compile, TheCataloguesProgramsWithoutSpill) {
  const char* const wanted = getenv("BOLIDE_COMPILE_CATALOGUE");
  if (!wanted) GTEST_SKIP() << "BOLIDE_COMPILE_CATALOGUE is not set";
  std::string why;
  if (!jit::testing::nvrtc_for_tests(why)) GTEST_SKIP() << why;
  std::vector<Job> list;
  std::size_t index = 0;
  for (const std::string& line : testing::catalogue_cases()) {
    testing::Case c = testing::Case::parse(line);
    c.operation = testing::Operation::fwd;
    c.dlse = false, c.dcaptured.clear();
    if (c.dtype == DType::f32) c.dtype = DType::bf16;
    c.head_dim = c.head_dim_v = 64 << index % 3;
    if (index / 3 % 3 == 1 && c.score.empty()) c.score = "20 * tanh(score / 20)";
    ++index;
    if (c.text().find(wanted) == std::string::npos) continue;
    testing::NoMemory memory(Device::cpu());
    const testing::Setup setup(c, testing::Fill::untouched, memory);
    const ForwardProblem& p = setup.placed().forward;
    const KernelPrograms programs = kernel_programs(p, validate(p));
    const ForwardChoice choice = choose_forward(p, validate(p), {});
    list.push_back({c.text(), main_spec(choice, program::emit(programs.mask, programs.score))});
  }
  expect_no_complaint(list);
}

TEST(Compile, TheCoverHasEverySizeAndVariant) {
  const auto kinds = [](const std::vector<FwdConfig>& configs) {
    std::set<std::string> all;
    for (const FwdConfig& c : configs) {
      const std::string weight = c.rolled_mask ? " heavy" : " lean";
      all.insert("weight " + std::to_string(static_cast<int>(weight_of(c))));
      all.insert(std::to_string(c.head_dim) + " x " + std::to_string(c.head_dim_v) + weight);
      all.insert((c.producer == Producer::tma ? "tma" : "gathered") + weight);
      all.insert("copies of " + std::to_string(c.copy_bytes));
      const std::string size = " " + std::to_string(c.head_dim) + " x " + std::to_string(c.head_dim_v);
      if (c.whole()) all.insert("whole" + size), all.insert("whole" + weight);
      if (c.packed()) all.insert("packed" + size);
      if (c.paired) all.insert("paired" + size);
      if (c.paged()) all.insert("paged" + size);
      if (c.partial) all.insert((c.paged() ? "of pages, partial" : "partial") + size);
      all.insert("type " + std::to_string(static_cast<int>(c.type)));
      all.insert("out " + std::to_string(static_cast<int>(c.out_type)));
    }
    return all;
  };
  EXPECT_EQ(kinds(cover()), kinds(every_forward_config()));
  EXPECT_LE(every_forward_config().size(), 442u)
      << "a longer list takes too long to compile: make it coarser";
}

TEST(Compile, TheListHoldsEveryKernelOfAProgram) {
  const std::vector<jit::KernelSpec> all = every_configuration(program::emit(Mask(), Score()));
  std::set<std::string> keys;
  for (const jit::KernelSpec& spec : all) keys.insert(spec.key());
  EXPECT_EQ(keys.size(), all.size()) << "each once";
  EXPECT_EQ(all.size(), every_forward_config().size() + std::bit_width(unsigned{kMostPieces}) + 5);
}

}  // namespace
}  // namespace bolide::cuda
