// The definition against results worked out by hand, and its gradients against finite differences.
#include <gtest/gtest.h>
#include <bolide/bolide.hpp>

#include <cstdlib>
#include <random>

namespace bolide {
namespace {

struct Memory {  // a workspace as large as the plan says
  explicit Memory(std::size_t bytes)
      : data(std::aligned_alloc(256, (bytes + 255) / 256 * 256)), size(bytes) {}
  Memory(const Memory&) = delete;
  ~Memory() { std::free(data); }
  operator Workspace() const { return {data, size}; }
  void* data;
  std::size_t size;
};

void run(const ForwardProblem& p) {
  const Context cpu(Device::cpu(), {.kernels = Kernels::definition});
  const Plan plan = cpu.plan(p);
  cpu.forward(plan, p, Memory(plan.workspace_bytes()));
}
void run(const BackwardProblem& p) {
  const Context cpu(Device::cpu(), {.kernels = Kernels::definition});
  const Plan plan = cpu.plan(p);
  cpu.backward(plan, p, Memory(plan.workspace_bytes()));
}

TEST(Naive, TwoKeysByHand) {
  const float q[] = {1, 0}, k[] = {1, 0, 3, 0}, v[] = {10, 20};
  float out[1], lse[1];
  run(fwd({.q = {q, {1, 1, 1, 2}},
           .k = {k, {1, 2, 1, 2}},
           .v = {v, {1, 2, 1, 1}},
           .out = {out, {1, 1, 1, 1}},
           .lse = {lse, {1, 1, 1}},
           .scale = 1.f}));
  const double e = std::exp(-2.0);
  EXPECT_FLOAT_EQ(out[0], static_cast<float>((10 * e + 20) / (e + 1)));
  EXPECT_FLOAT_EQ(lse[0], static_cast<float>(3 + std::log1p(e)));
}

TEST(Naive, C03_CausalIsBottomRight) {  // two queries, four keys: the first sees three
  const float q[2] = {}, k[4] = {}, v[4] = {1, 2, 4, 8};
  float out[2], lse[2];
  run(fwd({.q = {q, {1, 2, 1, 1}},
           .k = {k, {1, 4, 1, 1}},
           .v = {v, {1, 4, 1, 1}},
           .out = {out, {1, 2, 1, 1}},
           .lse = {lse, {1, 1, 2}},
           .mask = causal()}));
  EXPECT_FLOAT_EQ(out[0], 7.f / 3);
  EXPECT_FLOAT_EQ(out[1], 15.f / 4);
  EXPECT_FLOAT_EQ(lse[0], std::log(3.f));
}

TEST(Naive, C08_NothingVisibleGivesZeroAndMinusInfinity) {
  const float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  float out[2] = {NAN, NAN}, lse[1] = {NAN};
  run(fwd({.q = {x, {1, 1, 1, 2}},
           .k = {x, {1, 4, 1, 2}},
           .v = {x, {1, 4, 1, 2}},
           .out = {out, {1, 1, 1, 2}},
           .lse = {lse, {1, 1, 1}},
           .mask = [](auto, auto, auto q, auto kv) { return kv > q; }}));
  EXPECT_EQ(out[0], 0);
  EXPECT_FALSE(std::signbit(out[1]));
  EXPECT_EQ(lse[0], -INFINITY);
}

// One loss, sum(out * w) + sum(lse * u), differentiated numerically in every input.
TEST(Naive, GradientsAgreeWithFiniteDifferences) {
  constexpr int kRows = 5, kKeys = 7, kHeads = 4, kKeyHeads = 2, kDim = 3, kDimV = 2;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  auto draw = [&](int n) {
    std::vector<float> x(n);
    for (float& e : x) e = normal(random);
    return x;
  };
  auto q = draw(kRows * kHeads * kDim), k = draw(kKeys * kKeyHeads * kDim),
       v = draw(kKeys * kKeyHeads * kDimV);
  auto w = draw(kRows * kHeads * kDimV), u = draw(kRows * kHeads);
  std::vector<float> out(w.size()), lse(u.size()), dq(q.size()), dk(k.size()), dv(v.size());
  const ForwardProblem f = fwd({.q = {q.data(), {1, kRows, kHeads, kDim}},
                                .k = {k.data(), {1, kKeys, kKeyHeads, kDim}},
                                .v = {v.data(), {1, kKeys, kKeyHeads, kDimV}},
                                .out = {out.data(), {1, kRows, kHeads, kDimV}},
                                .lse = {lse.data(), {1, kHeads, kRows}},
                                .mask = causal(),
                                .score = softcap(1.5)});
  run(f);
  run({.forward = f,
       .dout = {w.data(), {1, kRows, kHeads, kDimV}},
       .dlse = {u.data(), {1, kHeads, kRows}},
       .dq = {dq.data(), f.q.shape},
       .dk = {dk.data(), f.k.shape},
       .dv = {dv.data(), f.v.shape}});
  auto loss = [&] {
    run(f);
    double sum = 0;
    for (std::size_t i = 0; i < w.size(); ++i) sum += static_cast<double>(out[i]) * w[i];
    for (std::size_t i = 0; i < u.size(); ++i) sum += static_cast<double>(lse[i]) * u[i];
    return sum;
  };
  struct {
    std::vector<float>& x;
    std::vector<float>& dx;
    const char* name;
  } inputs[] = {{q, dq, "q"}, {k, dk, "k"}, {v, dv, "v"}};
  for (auto& [x, dx, name] : inputs)
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float at = x[i], h = 1e-2f;
      x[i] = at + h;
      const double above = loss();
      x[i] = at - h;
      const double below = loss();
      x[i] = at;
      EXPECT_NEAR(dx[i], (above - below) / (2 * h), 2e-3) << "d" << name << "[" << i << "]";
    }
}

TEST(Context, PlanServesEqualShapesAndRefusesOthers) {
  std::vector<float> x(1000);
  auto problem = [&](std::int64_t rows) {
    return fwd({.q = {x.data(), {1, rows, 1, 4}},
                .k = {x.data(), {1, 8, 1, 4}},
                .v = {x.data(), {1, 8, 1, 4}},
                .out = {x.data() + 500, {1, rows, 1, 4}}});
  };
  const Context cpu(Device::cpu());
  const Plan plan = cpu.plan(problem(4));
  const Memory memory(plan.workspace_bytes());
  EXPECT_NO_THROW(cpu.forward(plan, problem(4), memory));
  EXPECT_THROW(cpu.forward(plan, problem(5), memory), Error);
  EXPECT_THROW(cpu.forward(plan, problem(4), {memory.data, plan.workspace_bytes() - 1}), Error);
  EXPECT_THROW(cpu.forward(plan, problem(4), memory, Stream{&x}), Error);
}

TEST(Context, NumbersMayChangeUnderOnePlanButProgramsMayNot) {
  std::vector<float> x(100, 0), v{1, 2, 4, 8};
  float out[4];
  auto problem = [&](Mask mask) {
    return fwd({.q = {x.data(), {1, 4, 1, 1}},
                .k = {x.data(), {1, 4, 1, 1}},
                .v = {v.data(), {1, 4, 1, 1}},
                .out = {out, {1, 4, 1, 1}},
                .mask = mask});
  };
  auto window = [](int w) {
    return Mask([w](auto, auto, auto q, auto kv) { return kv <= q && q - kv < w; });
  };
  const Context cpu(Device::cpu());
  const Plan plan = cpu.plan(problem(window(2)));
  const Memory memory(plan.workspace_bytes());
  cpu.forward(plan, problem(window(2)), memory);
  EXPECT_FLOAT_EQ(out[3], 6.f);
  cpu.forward(plan, problem(window(1)), memory);
  EXPECT_FLOAT_EQ(out[3], 8.f);
  EXPECT_THROW(cpu.forward(plan, problem(causal()), memory), Error);
}

TEST(Context, ExplainSaysThePathOrTheRule) {
  std::vector<float> x(100);
  ForwardProblem p = fwd({.q = {x.data(), {1, 4, 1, 1}},
                          .k = {x.data(), {1, 4, 1, 1}},
                          .v = {x.data(), {1, 4, 1, 1}},
                          .out = {x.data() + 50, {1, 4, 1, 1}}});
  const Context cpu(Device::cpu());
  EXPECT_EQ(cpu.explain(p).path, "cpu/tiled");
  EXPECT_EQ(Context(Device::cpu(), {.kernels = Kernels::definition}).explain(p).path, "cpu/naive");
  p.v = {x.data(), {1, 3, 1, 1}};
  const Explanation refused = cpu.explain(p);
  EXPECT_FALSE(refused.served);
  EXPECT_NE(refused.text().find("refused: k has shape [1, 4, 1, 1], v [1, 3, 1, 1]"), std::string::npos)
      << refused.text();
}

// C19: lengths and tables that leave their tensors are errors on the CPU.
TEST(Naive, C19_LengthsAndTablesAreChecked) {
  std::vector<float> x(10000);
  std::int32_t cu[3] = {0, 3, 9}, used[2] = {20, 33}, table[6] = {0, 1, 2, 3, 4, 5};
  auto cache = [&] {
    return fwd_kvcache({.q = {x.data(), {2, 1, 4, 8}},
                        .k_cache = {x.data(), {6, 16, 2, 8}},
                        .v_cache = {x.data(), {6, 16, 2, 8}},
                        .out = {x.data() + 5000, {2, 1, 4, 8}},
                        .seqused = {used, {2}},
                        .page_table = {table, {2, 3}}});
  };
  EXPECT_NO_THROW(run(cache()));
  used[1] = 49;  // three pages of 16 hold 48
  EXPECT_THROW(run(cache()), Error);
  used[1] = 33, table[5] = 6;
  EXPECT_THROW(run(cache()), Error);
  used[1] = 32;  // the third page is not read
  EXPECT_NO_THROW(run(cache()));
  auto packed = [&] {
    return varlen_fwd({.q = {x.data(), {9, 4, 8}},
                       .k = {x.data(), {9, 2, 8}},
                       .v = {x.data(), {9, 2, 8}},
                       .out = {x.data() + 5000, {9, 4, 8}},
                       .cu_seqlens_q = {cu, {3}},
                       .cu_seqlens_kv = {cu, {3}}});
  };
  EXPECT_NO_THROW(run(packed()));
  cu[2] = 10;
  EXPECT_THROW(run(packed()), Error);
  cu[1] = 4, cu[2] = 3;
  EXPECT_THROW(run(packed()), Error);
}

}  // namespace
}  // namespace bolide
