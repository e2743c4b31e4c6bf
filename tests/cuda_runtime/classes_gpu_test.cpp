// Tile classes on a real GPU: found by intervals, found at points and forced they give the same bits, and the
// tiles that a launch counts are those of classify_tiles, which `bolide mask` prints. Skipped where there is
// no Hopper GPU or no compiler.
#include <gtest/gtest.h>

#include <atomic>
#include <bolide/tiles.hpp>
#include <cstdlib>
#include <thread>
#include <vector>

#include "cuda/backend.hpp"
#include "cuda/forward_plan.hpp"
#include "cuda/resources.hpp"
#include "jit/kernel_store.hpp"
#include "program/facts.hpp"
#include "testing/device_memory.hpp"
#include "testing/setup.hpp"
#include "tests/cuda_runtime/on_hopper.hpp"
#include "tests/program/catalogue.hpp"
#include "tests/program/kernels_classifier.hpp"

namespace bolide::cuda {
namespace {

using testing::Case;
using Counts = std::array<std::uint64_t, 3>;  // none, some, all

constexpr Classes kModes[] = {Classes::on, Classes::off, Classes::partial};

// A catalogue's case with tiles enough to tell classes apart.
Case enlarged(const std::string& line, std::size_t index) {
  Case c = Case::parse(line);
  c.operation = testing::Operation::fwd;
  c.rows_q = 300;
  c.head_dim = c.head_dim_v = index % 2 ? 64 : 128;
  if (index % 4 > 0) c.heads_q = c.heads_kv = 48;  // no splits: tables have ranges
  if (!c.lets.empty()) return c;                   // tables are as large as the catalogue's rows
  c.rows_q = 700, c.rows_kv = 1500;
  c.query_start.value = 750;
  return c;
}

// Every fourth of the catalogue's masks, of every type, from number BOLIDE_CLASSES_FROM on (0); a score,
// lengths of every kind, splits. All masks take four runs, half a minute each on 16 cores.
std::vector<Case> cases() {
  const char* const from = getenv("BOLIDE_CLASSES_FROM");
  std::vector<Case> all;
  const std::vector<std::string> lines = testing::catalogue_cases();
  for (std::size_t i = from ? std::strtoul(from, nullptr, 10) : 0; i < lines.size(); i += 4)
    if (lines[i].find(" mask=") != lines[i].npos) all.push_back(enlarged(lines[i], all.size()));
  for (const char* line :
       {"fwd bf16 b=2 hq=4 hkv=2 sq=500 skv=900 d=128 mask=\"kv<=q && q-kv<300\" score=\"20*tanh(score/20)\"",
        "fwd f16 b=2 hq=4 hkv=2 sq=300 skv=1000 d=256 seqused_kv=3,977 mask=\"kv<=q\" seed=3",
        "varlen_fwd bf16 b=5 hq=2 hkv=2 sq=0..600 skv=0..700 d=96 kv=packed mask=\"kv<=q\" seed=5",
        "varlen_fwd bf16 b=5 hq=2 hkv=2 sq=0..600 skv=0..700 d=128 kv=paged:16 mask=\"kv<=q\" offset=1",
        "varlen_fwd bf16 b=5 hq=32 hkv=2 sq=0..600 skv=0..700 d=128 kv=packed mask=\"kv<=q\" seed=6",
        "varlen_fwd bf16 b=5 hq=32 hkv=2 sq=0..600 skv=0..700 d=128 kv=paged:16 mask=\"kv<=q\" seed=7",
        "fwd bf16 b=2 hq=40 sq=300 skv=900 d=128 mask=\"kv<=q && q-kv<300\" score=\"score-0.3*(q-kv)\"",
        "fwd bf16 b=2 hq=2 sq=300 skv=900 d=128 mask=\"kv<=q && q-kv<300\" score=\"score-2*(q-kv)\"",
        "fwd bf16 b=2 hq=40 sq=300 skv=900 d=128 mask=\"kv<=q && q-kv<300\" score=\"2*tanh(score/2)\"",
        "fwd bf16 b=2 hq=40 sq=300 skv=900 d=128 mask=\"kv<=q && q-kv<300\" score=\"2*tanh_fast(score/-2)\"",
        "fwd f16 hq=40 sq=300 skv=900 d=256 mask=\"kv<=q\" score=\"5*tanh(score/5)\" data=outliers",
        "fwd bf16 let doc=steps(130,n) hq=40 sq=300 skv=300 d=128 mask=\"kv<=q && doc[q]==doc[kv]\" "
        "score=\"2*tanh(score/2)\"",
        "fwd bf16 hq=2 sq=3 skv=8000 d=128 mask=\"kv<=q\" score=\"2*tanh(score/2)\"",
        "fwd bf16 hq=64 sq=200 skv=20000 d=128 mask=\"q-kv<900 && kv<=q || kv<300\"",
        "fwd_kvcache bf16 b=2 hq=8 hkv=2 sq=3 skv=5000 d=64 kv=paged:64 mask=\"q-kv<3000\""})
    all.push_back(Case::parse(line));
  return all;
}

// Heads that a mask does not tell apart are looked at once.
struct Heads {
  std::int64_t looked_at;
  std::uint64_t alike = 1;
  explicit Heads(const ForwardProblem& p) : looked_at(p.q.size(p.q.rank() - 2)) {
    if (!depends_on(p.mask, leaf::h)) alike = static_cast<std::uint64_t>(looked_at), looked_at = 1;
  }
};

// What classify_tiles counts in a launch's geometry. A tile that reaches beyond the keys is masked even where
// all of its pairs are visible.
Counts classified(const testing::Setup& setup, const ForwardChoice& choice, bool bisect) {
  const ForwardProblem& p = setup.host().forward;
  const std::int64_t band = choice.plain ? choice.tile_q : 64, keys = choice.tile_kv;
  Counts counts{};
  for (std::size_t b = 0; b < setup.sequences().size(); ++b) {
    const testing::Sequence& s = setup.sequences()[b];
    const Heads heads(p);
    for (std::int64_t h = 0; h < heads.looked_at; ++h) {
      const std::int64_t whole = s.len_kv() / keys;
      TileVisitor visitor;
      visitor.area = [&](const TileArea& a) {
        const auto tiles = [](std::int64_t begin, std::int64_t end, std::int64_t size) {
          return static_cast<std::uint64_t>((end + size - 1) / size - begin / size);
        };
        const std::uint64_t bands = heads.alike * tiles(a.q_begin, a.q_end, band);
        const bool beyond = a.visibility == Visibility::all && a.kv_end > whole * keys;
        counts[static_cast<int>(a.visibility)] += bands * (tiles(a.kv_begin, a.kv_end, keys) - beyond);
        counts[1] += bands * beyond;
      };
      classify_tiles(p.mask,
                     {.len_q = s.len_q(),
                      .len_kv = s.len_kv(),
                      .tile_q = band,
                      .tile_kv = keys,
                      .b = static_cast<std::int64_t>(b),
                      .h = h,
                      .query_start = s.query_start,
                      .key_start = s.key_start,
                      .bisect = bisect},
                     visitor);
    }
  }
  return counts;
}

// What a launch counts whose tiles are classified so.
Counts counted(const testing::Setup& setup, const ForwardChoice& choice) {
  const ForwardProblem& p = setup.host().forward;
  testing::KernelsClassifier classify(p.mask, choice.num_splits == 1);
  const std::int64_t band = choice.plain ? choice.tile_q : 64, keys = choice.tile_kv;
  Counts counts{};
  for (std::size_t b = 0; b < setup.sequences().size(); ++b) {
    const testing::Sequence& s = setup.sequences()[b];
    const Heads heads(p);
    for (std::int64_t h = 0; h < heads.looked_at; ++h)
      for (std::int64_t q = 0; q < s.len_q(); q += band)
        for (std::int64_t kv = 0; kv < s.len_kv(); kv += keys) {
          const std::int64_t q_end = std::min(q + band, s.len_q()), kv_end = std::min(kv + keys, s.len_kv());
          TileClass found =
              classify({static_cast<std::int64_t>(b), h, s.query_start + q, s.query_start + q_end,
                        s.key_start + kv, s.key_start + kv_end, s.len_q(), s.len_kv()});
          if (found == TileClass::all && kv_end < kv + keys) found = TileClass::some;
          counts[static_cast<std::size_t>(found)] += heads.alike;
        }
  }
  return counts;
}

class ClassesOnGpu : public OnHopper {
 protected:
  void SetUp() override {
    OnHopper::SetUp();
    if (IsSkipped()) return;
    memory = testing::memory_for(Device::cuda(0));
    for (std::size_t i = 0; i < std::size(kModes); ++i)
      backends.push_back(make_backend(device, kernel_store(device->driver()), {kModes[i], true}));
  }
  struct Planned {
    Case c;
    std::unique_ptr<testing::Setup> setup;
    std::shared_ptr<const BackendPlan> plans[std::size(kModes)];
  };
  // Compiling is what takes time: on every core.
  std::vector<Planned> plan_all(const std::vector<Case>& list) {
    std::vector<Planned> planned;
    for (const Case& c : list)
      planned.push_back({c, std::make_unique<testing::Setup>(c, testing::Fill::nonfinite, *memory), {}});
    std::atomic<std::size_t> next = 0;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t)
      threads.emplace_back([&] {
        for (std::size_t i; (i = next++) < planned.size() * std::size(kModes);) {
          Planned& at = planned[i / std::size(kModes)];
          const ForwardProblem& p = at.setup->placed().forward;
          at.plans[i % std::size(kModes)] = backends[i % std::size(kModes)]->plan(p, validate(p));
        }
      });
    for (std::thread& t : threads) t.join();
    return planned;
  }
  struct Run {
    std::vector<std::byte> out, lse;
    Counts counts;
  };
  Run run(Planned& planned, std::size_t mode) {
    testing::Setup& setup = *planned.setup;
    ForwardPlan plan = static_cast<const ForwardPlan&>(*planned.plans[mode]);
    const auto stream = static_cast<StreamHandle>(memory->stream().handle);
    const DeviceBuffer workspace(device, plan.workspace_bytes);
    DeviceBuffer counts(device, sizeof(device::TileCounts));
    counts.fill(0, stream);
    plan.tile_counts = static_cast<device::TileCounts*>(counts.data());
    setup.upload();
    launch_forward(*device, plan, setup.placed().forward, workspace.data(), stream);
    EXPECT_EQ(setup.download(), "") << planned.c.text();
    Run r;
    counts.download(r.counts.data(), sizeof r.counts, 0, stream);
    synchronize(*device, stream);
    const auto bytes = [&](const Tensor& of) {
      const Tensor t = setup.result(of);
      const auto* first = static_cast<const std::byte*>(t.data);
      return std::vector<std::byte>(first, first + t.count() * size_of(t.dtype));
    };
    r.out = bytes(setup.host().forward.out), r.lse = bytes(setup.host().forward.lse);
    return r;
  }
  std::unique_ptr<testing::Memory> memory;
  std::vector<std::unique_ptr<Backend>> backends;
};

TEST_F(ClassesOnGpu, ChangeNoBitAndCountAsTheClassifierDoes) {
  for (Planned& planned : plan_all(cases())) {
    const std::string name = planned.c.text();
    const Run on = run(planned, 0), off = run(planned, 1), partial = run(planned, 2);
    for (const Run* r : {&off, &partial}) {
      const char* mode = r == &off ? " off" : " partial";
      EXPECT_EQ(on.out, r->out) << name << mode;
      EXPECT_EQ(on.lse, r->lse) << name << mode;
    }
    const ForwardChoice& choice = static_cast<const ForwardPlan&>(*planned.plans[0]).choice;
    const Counts exact = classified(*planned.setup, choice, true);
    EXPECT_EQ(off.counts, exact) << name;
    EXPECT_EQ(partial.counts, (Counts{0, exact[0] + exact[1] + exact[2], 0})) << name;
    EXPECT_EQ(on.counts, counted(*planned.setup, choice)) << name;
    if (program::facts(planned.setup->host().forward.mask.expr()).captured.empty()) {
      EXPECT_EQ(on.counts, classified(*planned.setup, choice, false)) << name;
    }
  }
}

}  // namespace
}  // namespace bolide::cuda
