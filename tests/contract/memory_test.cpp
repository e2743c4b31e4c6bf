// Contract C12, C16 and C17: what no result may depend on, how tensors may lie, and that no key is lost.
#include <cmath>
#include <map>
#include <vector>

#include "support.hpp"
#include "testing/elements.hpp"

namespace bolide::testing {
namespace {

// The same case with two fills of invisible bytes gives the same bits, forward and backward. (expect_passes
// does this and compares values; here each region stands alone.)
void expect_unseen(const std::string& line) {
  const CaseRun a(line, Fill::nonfinite), b(line, Fill::finite);
  EXPECT_TRUE(same_bits(a.out_tensor, b.out_tensor)) << line;
  EXPECT_TRUE(same_bits(a.lse_tensor, b.lse_tensor)) << line;
  for_each_offset(a.out_tensor,
                  [&](std::int64_t at) { EXPECT_TRUE(std::isfinite(load(a.out_tensor, at))) << line; });
  if (!a.dq_tensor) return;
  EXPECT_TRUE(same_bits(a.dq_tensor, b.dq_tensor)) << line;
  EXPECT_TRUE(same_bits(a.dk_tensor, b.dk_tensor)) << line;
  EXPECT_TRUE(same_bits(a.dv_tensor, b.dv_tensor)) << line;
}
void expect_unseen_both_ways(const std::string& rest) {
  expect_unseen("fwd " + rest);
  expect_unseen("bwd " + rest);
}

TEST(Contract, C12_MaskedKeysInsideATile) {
  expect_unseen_both_ways("f32 hq=2 hkv=1 sq=4 skv=9 d=8 mask=\"kv % 3 == 1\"");
  expect_unseen_both_ways("bf16 b=2 hq=2 sq=4 skv=40 d=8 mask=\"kv <= q && q - kv < 2\"");
  expect_unseen_both_ways("f32 sq=4 skv=9 d=8 mask=\"kv % 3 == 1\" score=\"score - 0.5 * abs(q - kv)\"");
}
TEST(Contract, C12_RowsPastTheLength) {
  expect_unseen_both_ways("f32 b=2 sq=4 skv=9 d=8 seqused_kv=5,2 seqused_q=1,3");
  expect_unseen_both_ways("f16 b=2 sq=4 skv=9 d=8 leftpad=5,2");
}
TEST(Contract, C12_TailsOfPages) {
  expect_unseen_both_ways("f32 b=2 sq=4 skv=9 d=8 kv=paged:8 seqused_kv=9,3");
}
TEST(Contract, C12_UnusedPagesAndTableEntries) {
  expect_unseen_both_ways("f32 b=2 sq=4 skv=64 d=8 kv=paged:4 seqused_kv=9,0");
  expect_unseen_both_ways("bf16 b=2 sq=4 skv=64 d=8 kv=pagelist:4 seqused_kv=9,0");
}
TEST(Contract, C12_NeighboursInAPackedBatch) {
  expect_unseen_both_ways("f32 b=3 sq=4 skv=5,3,7 d=8 kv=packed leftpad=1,2,0 seqused_kv=4,2,3 tail=4");
  // A sequence's results do not depend on who sits beside it, by one bit: the neighbours' rows change, its
  // own do not.
  const CaseRun a("varlen_fwd f32 b=2 sq=3,2 skv=5,4 d=8 seed=5"),
      b("varlen_fwd f32 b=2 sq=3,6 skv=5,9 d=8 seed=5");
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(a.lse(0, i), b.lse(0, i));
}
TEST(Contract, C12_GapsBetweenStrides) {
  for (const char* strides : {"gaps", "odd", "reverse", "expand"})
    expect_unseen_both_ways(std::string("f32 b=2 hq=4 hkv=2 sq=4 skv=9 d=8 strides=") + strides);
}
TEST(Contract, C12_PaddingOfTheHeadDimension) {
  for (const char* d : {"1", "7", "59", "65"})
    expect_unseen_both_ways(std::string("f16 hq=2 sq=4 skv=9 layout=bhsd strides=gaps d=") + d);
}

TEST(Contract, C16_AnyStridesAndOffsets) {
  for (const char* layout : {"bshd", "bhsd", "mixed"})
    for (const char* strides : {"none", "gaps", "odd", "expand", "reverse"})
      for (const char* offset : {"0", "1", "3"}) {
        const std::string memory =
            std::string(" layout=") + layout + " strides=" + strides + " offset=" + offset + " seed=3";
        expect_passes("fwd bf16 b=2 hq=4 hkv=2 sq=5 skv=9 d=24 dv=7 mask=\"kv <= q\"" + memory);
        expect_passes("varlen_bwd f32 b=2 hq=4 hkv=2 sq=5,2 skv=3,9 d=24 dv=7 mask=\"kv <= q\" dlse=yes" +
                      memory);
        expect_passes("bwd f16 b=2 hq=4 hkv=2 sq=5 skv=9 d=8 kv=paged:4 pages=shared" + memory);
      }
}

TEST(Contract, C16_StridesChangeNoBit) {
  const std::string rest = "f32 b=2 hq=4 hkv=2 sq=5 skv=9 d=8 mask=\"kv <= q\" ";
  const CaseRun run("fwd " + rest + "strides=odd layout=mixed offset=3 seed=2");
  const ForwardProblem& p = run.setup().host().forward;
  // The same elements, copied into plain row-major tensors.
  std::vector<std::vector<float>> copies;
  const auto plain = [&](const Tensor& t) {
    std::vector<float> x;
    for_each_offset(t, [&](std::int64_t at) { x.push_back(static_cast<float>(load(t, at))); });
    for (float& e : x) e = std::isnan(e) || std::isinf(e) ? 0 : e;  // keys that no query sees
    copies.push_back(std::move(x));
    return Tensor(copies.back().data(), t.shape);
  };
  copies.reserve(8);
  std::vector<float> out(static_cast<std::size_t>(p.out.count())),
      lse(static_cast<std::size_t>(p.lse.count()));
  const auto problem = fwd({.q = plain(p.q),
                            .k = plain(p.k),
                            .v = plain(p.v),
                            .out = Tensor(out.data(), p.out.shape),
                            .lse = Tensor(lse.data(), p.lse.shape),
                            .mask = Mask::parse("kv <= q")});
  const Context cpu = tested();
  const Plan plan = cpu.plan(problem);
  std::vector<double> workspace(plan.workspace_bytes() / 8 + 64);
  void* aligned =
      reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(workspace.data()) + 255) / 256 * 256);
  cpu.forward(plan, problem, {aligned, plan.workspace_bytes()});
  EXPECT_TRUE(same_bits(run.out_tensor, problem.out));
  EXPECT_TRUE(same_bits(run.lse_tensor, problem.lse));
}

TEST(Contract, C16_LastDimensionMustBeContiguousAndIsNamed) {
  std::vector<float> x(64), out(64);
  const Tensor strided(x.data(), DType::f32, {1, 2, 1, 8}, {32, 16, 16, 2}), good(x.data(), {1, 2, 1, 8}),
      result(out.data(), {1, 2, 1, 8});
  const Context cpu = tested();
  const auto sentence = [&](const FwdArgs& a) -> std::string {
    try {
      cpu.plan(fwd(a));
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(sentence({.q = strided, .k = good, .v = good, .out = result}).substr(0, 2), "q ");
  EXPECT_EQ(sentence({.q = good, .k = strided, .v = good, .out = result}).substr(0, 2), "k ");
  EXPECT_EQ(sentence({.q = good, .k = good, .v = strided, .out = result}).substr(0, 2), "v ");
  EXPECT_EQ(sentence({.q = good, .k = good, .v = good, .out = result}), "");
}

TEST(Contract, C16_OffsetsBeyondTwoToTheThirtyOneElements) {
  // Two sequences 2^31 + 8 elements apart; only the touched pages of the reserved room take memory.
  constexpr std::int64_t kApart = (std::int64_t{1} << 31) + 8;
  const std::unique_ptr<f16[], decltype(&std::free)> room(
      static_cast<f16*>(std::calloc(kApart + 64, sizeof(f16))), &std::free);
  ASSERT_TRUE(room) << "4 GiB of address space";
  f16* k = room.get();
  for (std::int64_t i = 0; i < 16; ++i) k[kApart + i] = f16(static_cast<double>(i) / 8), k[i] = f16(3);
  std::vector<f16> q(16, f16(1)), out(16);
  std::vector<float> lse(2);
  const Tensor keys(k, DType::f16, {2, 2, 1, 8}, {kApart, 8, 8, 1});
  const auto problem = fwd({.q = Tensor(q.data(), {2, 1, 1, 8}),
                            .k = keys,
                            .v = keys,
                            .out = Tensor(out.data(), {2, 1, 1, 8}),
                            .lse = Tensor(lse.data(), {2, 1, 1}),
                            .scale = 0.f});
  const Context cpu = tested();
  const Plan plan = cpu.plan(problem);
  std::vector<double> workspace(plan.workspace_bytes() / 8 + 64);
  void* aligned =
      reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(workspace.data()) + 255) / 256 * 256);
  cpu.forward(plan, problem, {aligned, plan.workspace_bytes()});
  for (std::int64_t c = 0; c < 8; ++c) {
    EXPECT_EQ(static_cast<float>(out[static_cast<std::size_t>(c)]), 3);
    EXPECT_EQ(static_cast<float>(out[static_cast<std::size_t>(8 + c)]), static_cast<float>(2 * c + 8) / 16);
  }
}

TEST(Contract, C17_TheCountTestFindsEveryKey) {
  for (const char* mask :
       {"", " mask=\"kv <= q\"", " mask=\"kv <= q && q - kv < 100\"", " mask=\"(q + kv) % 7 != 3\""})
    for (const char* keys : {"", " kv=packed", " kv=paged:16", " kv=pagelist:100"})
      expect_passes(std::string("fwd bf16 b=2 hq=2 hkv=1 sq=3 skv=1100 d=4 dv=64 seed=1") + keys + mask);
}

TEST(Contract, C17_LseIsTheLogarithmOfTheCount) {
  for (const std::int64_t n : {1, 2, 3, 63, 64, 65, 500, 1000, 4097}) {
    const CaseRun run("fwd f16 sq=1 d=1 data=zeroq skv=" + std::to_string(n));
    const double want = std::log(static_cast<double>(n));
    EXPECT_LE(std::abs(run.lse(0, 0) - want), ulp(DType::f32, want) + 1e-6) << n;
  }
}

TEST(Contract, C17_TwoCoprimeResiduesGiveExactCounts) {
  for (const std::int64_t m : {31, 32}) {
    constexpr std::int64_t kKeys = 1500;
    std::vector<float> q(2, 0.f), k(kKeys, 1.f), v(static_cast<std::size_t>(kKeys * m), 0.f),
        out(static_cast<std::size_t>(2 * m)), lse(2);
    for (std::int64_t j = 0; j < kKeys; ++j) v[static_cast<std::size_t>(j * m + j % m)] = 1;
    const auto problem = fwd({.q = Tensor(q.data(), {1, 2, 1, 1}),
                              .k = Tensor(k.data(), {1, kKeys, 1, 1}),
                              .v = Tensor(v.data(), {1, kKeys, 1, m}),
                              .out = Tensor(out.data(), {1, 2, 1, m}),
                              .lse = Tensor(lse.data(), {1, 1, 2}),
                              .mask = Mask::parse("kv <= q && kv % 5 != 2")});
    const Context cpu = tested();
    const Plan plan = cpu.plan(problem);
    std::vector<double> workspace(plan.workspace_bytes() / 8 + 64);
    void* aligned =
        reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(workspace.data()) + 255) / 256 * 256);
    cpu.forward(plan, problem, {aligned, plan.workspace_bytes()});
    for (std::int64_t i = 0; i < 2; ++i) {
      std::vector<std::int64_t> want(static_cast<std::size_t>(m));
      std::int64_t all = 0;
      for (std::int64_t j = 0; j <= kKeys - 2 + i; ++j)
        if (j % 5 != 2) ++want[static_cast<std::size_t>(j % m)], ++all;
      for (std::int64_t r = 0; r < m; ++r)
        EXPECT_NEAR(out[static_cast<std::size_t>(i * m + r)] * static_cast<double>(all),
                    static_cast<double>(want[static_cast<std::size_t>(r)]), 0.01)
            << r;
    }
  }
}

}  // namespace
}  // namespace bolide::testing
