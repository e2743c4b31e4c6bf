// Tiles change no result: classes on, off and forced, any number of threads. Their counts are the
// classifier's.
#include <gtest/gtest.h>
#include <bolide/masks.hpp>
#include <bolide/operations.hpp>

#include <cstring>
#include <random>

#include "cpu/tiled.hpp"
#include "problem/validate.hpp"
#include "program/classify.hpp"
#include "tests/program/catalogue.hpp"
#include "tests/program/random_program.hpp"

namespace bolide::cpu {
namespace {

// One batch of dense rows, its gradients, and calls that keep nothing between them.
struct Problem {
  std::int64_t rows_q, rows_kv, heads, key_heads, dim;
  std::vector<float> q, k, v, out, lse, dout, dq, dk, dv;
  BackwardProblem p;

  Problem(std::int64_t rows_q, std::int64_t rows_kv, Mask mask, Score score = {}, std::int64_t heads = 2,
          std::int64_t key_heads = 1, std::int64_t dim = 4)
      : rows_q(rows_q), rows_kv(rows_kv), heads(heads), key_heads(key_heads), dim(dim) {
    std::mt19937 random(static_cast<unsigned>(rows_q + 7 * rows_kv));
    const auto fill = [&](std::vector<float>& x, std::int64_t rows, std::int64_t h) {
      x.resize(static_cast<std::size_t>(rows * h * dim));
      for (float& e : x) e = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500;
    };
    fill(q, rows_q, heads), fill(dout, rows_q, heads), fill(k, rows_kv, key_heads),
        fill(v, rows_kv, key_heads);
    out.resize(q.size()), dq.resize(q.size()), dk.resize(k.size()), dv.resize(k.size());
    lse.resize(static_cast<std::size_t>(rows_q * heads));
    const Dims of_q{1, rows_q, heads, dim}, of_k{1, rows_kv, key_heads, dim};
    p.forward = fwd({.q = {q.data(), of_q},
                     .k = {k.data(), of_k},
                     .v = {v.data(), of_k},
                     .out = {out.data(), of_q},
                     .lse = {lse.data(), {1, heads, rows_q}},
                     .mask = mask,
                     .score = score});
    p.forward.query_start = TopLeft{};
    p.dout = {dout.data(), of_q}, p.dq = {dq.data(), of_q}, p.dk = {dk.data(), of_k},
    p.dv = {dv.data(), of_k};
  }

  struct Run {
    std::vector<float> results;
    TileCounts forward, backward;
  };
  Run run(Classes classes, int threads = 1) {
    Run r;
    for (std::vector<float>* x : {&out, &lse, &dq, &dk, &dv}) std::fill(x->begin(), x->end(), NAN);
    const auto call = [&](auto planned, auto&& f) {
      TiledPlan plan = *planned;
      plan.classes = classes;
      plan.threads = threads;
      plan.workspace_bytes = plan.shared_bytes + static_cast<std::size_t>(threads) * plan.thread_bytes;
      std::vector<float> memory(plan.workspace_bytes / 4 + 64, NAN);
      const auto at = (reinterpret_cast<std::uintptr_t>(memory.data()) + 255) / 256 * 256;
      f(plan, Workspace{reinterpret_cast<void*>(at), plan.workspace_bytes});
    };
    call(plan_tiled(p.forward, validate(p.forward)),
         [&](const TiledPlan& plan, Workspace w) { tiled_forward(plan, p.forward, w, &r.forward); });
    call(plan_tiled(p, validate(p)),
         [&](const TiledPlan& plan, Workspace w) { tiled_backward(plan, p, w, &r.backward); });
    for (const std::vector<float>* x : {&out, &lse, &dq, &dk, &dv})
      r.results.insert(r.results.end(), x->begin(), x->end());
    return r;
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

// The classifier's own counts, tile by tile, over all heads.
program::ClassifierCounts classified(const Problem& x, const Mask& mask) {
  const program::Classifier classifier(mask);
  program::ClassifierCounts counts;
  for (std::int64_t h = 0; h < x.heads; ++h)
    classifier.tiles({0, h, 0, x.rows_q, 0, x.rows_kv, x.rows_q, x.rows_kv}, kTileQ, kTileKv, true, counts,
                     {});
  return counts;
}

void expect_classes_change_nothing(Problem& x, const Mask& mask, const std::string& name) {
  const Problem::Run on = x.run(Classes::on), off = x.run(Classes::off), partial = x.run(Classes::partial);
  EXPECT_TRUE(same_bits(on.results, off.results)) << name;
  EXPECT_TRUE(same_bits(on.results, partial.results)) << name;
  const program::ClassifierCounts want = classified(x, mask);
  for (const TileCounts& got : {on.forward, off.forward}) {
    EXPECT_EQ(got.masked, want.some) << name;
    EXPECT_EQ(got.unmasked, want.all) << name;
    EXPECT_EQ(got.skipped, want.none) << name;
  }
  // A step for the statistics of rows, one for dq, one for dk and dv.
  EXPECT_EQ(on.backward.masked, 3 * want.some) << name;
  EXPECT_EQ(on.backward.unmasked, 3 * want.all) << name;
  EXPECT_EQ(partial.forward.masked, want.none + want.some + want.all) << name;
}

TEST(Tiled, ClassesChangeNoBitAndCountAsTheClassifierDoes) {
  const testing::Catalogue catalogue;
  for (const testing::CatalogueMask& e : catalogue.masks()) {
    Problem x(std::min<std::int64_t>(e.len_q, 200), std::min<std::int64_t>(e.len_kv, 330), e.mask);
    expect_classes_change_nothing(x, e.mask, e.id);
  }
}

TEST(Tiled, ClassesChangeNoBitOfRandomPrograms) {
  std::mt19937_64 random(11);
  const testing::RandomTables tables(random);
  for (int i = 0; i < 60; ++i) {
    testing::RandomProgram programs(random, tables.captured());
    const Mask mask(programs.mask(12));
    Problem x(130, 150, mask, i % 3 ? Score() : softcap(3));
    expect_classes_change_nothing(x, mask, mask.text());
  }
}

TEST(Tiled, ThreadsChangeNoBit) {
  for (const char* text : {"kv <= q", "abs(q - kv) < 70", "h % 2 == 0 || kv > q", "true"}) {
    Problem x(400, 390, Mask::parse(text), alibi(4), 4, 2);
    const Problem::Run one = x.run(Classes::on, 1);
    for (const int threads : {2, 3, 7}) {
      const Problem::Run many = x.run(Classes::on, threads);
      EXPECT_TRUE(same_bits(one.results, many.results)) << text << " " << threads;
      EXPECT_EQ(one.forward.loaded(), many.forward.loaded());
      EXPECT_EQ(one.backward.loaded(), many.backward.loaded());
    }
  }
}

TEST(Tiled, MasksThatDoNotTellHeadsApartAreClassifiedOnce) {
  const auto evaluations = [](const char* text, std::int64_t heads) {
    Problem x(640, 640, Mask::parse(text), {}, heads, heads);
    return x.run(Classes::on).forward.interval_evaluations;
  };
  EXPECT_GT(evaluations("kv <= q", 1), 0);
  EXPECT_EQ(evaluations("kv <= q", 1), evaluations("kv <= q", 6));
  EXPECT_GT(evaluations("kv <= q + h", 6), 5 * evaluations("kv <= q + h", 1));
}

// The work of a window is linear in the length: tiles exactly, interval evaluations but for the depth of the
// search.
TEST(Tiled, WindowsTakeLinearWorkToAMillionTokens) {
  const Mask mask = Mask::parse("kv <= q && q - kv < 256");
  std::int64_t loaded = 0, evaluations = 0;
  for (const std::int64_t rows : {1 << 14, 1 << 17, 1 << 20}) {
    Problem x(rows, rows, mask, {}, 1, 1, 1);
    const TiledPlan plan = *plan_tiled(x.p.forward, validate(x.p.forward));
    EXPECT_LT(plan.thread_bytes, 1 << 20);
    std::vector<float> memory(plan.workspace_bytes / 4 + 64);
    const auto at = (reinterpret_cast<std::uintptr_t>(memory.data()) + 255) / 256 * 256;
    TileCounts counts;
    tiled_forward(plan, x.p.forward, {reinterpret_cast<void*>(at), plan.workspace_bytes}, &counts);
    const std::int64_t tiles = rows / kTileQ;
    EXPECT_EQ(counts.loaded(), 5 * tiles - 10);
    EXPECT_EQ(counts.masked, 2 * tiles - 4);
    EXPECT_LT(counts.interval_evaluations, tiles * 4 * 20);
    if (loaded) {
      EXPECT_NEAR(static_cast<double>(counts.loaded()) / static_cast<double>(loaded), 8, 0.1);
      EXPECT_LT(counts.interval_evaluations, 11 * evaluations);  // 8 log(8 n) / log(n)
    }
    loaded = counts.loaded(), evaluations = counts.interval_evaluations;
  }
}

}  // namespace
}  // namespace bolide::cpu
