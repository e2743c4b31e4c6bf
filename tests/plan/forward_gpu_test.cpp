// What shapes decide about a forward launch on a GPU: producer, tiles, splits, workspace, refusals.
#include "plan/forward_gpu.hpp"

#include <gtest/gtest.h>

#include <bolide/error.hpp>
#include <bolide/operations.hpp>
#include <set>

#include "plan/splits.hpp"

namespace bolide {
namespace {

using device::Producer;

// Tensors at addresses that are never read.
Tensor at(std::uintptr_t address, DType type, const Dims& shape, const Dims& strides) {
  return Tensor(reinterpret_cast<void*>(address), type, shape, strides, Device::cuda(0));
}
Tensor at(std::uintptr_t address, DType type, const Dims& shape) {
  return at(address, type, shape, contiguous_strides(shape));
}

constexpr std::uintptr_t kPlace = 1 << 20;

ForwardProblem dense(std::int64_t batch, std::int64_t rows_q, std::int64_t rows_kv, std::int64_t heads,
                     std::int64_t heads_kv, std::int64_t d, std::int64_t d_v, DType type = DType::bf16) {
  return fwd({.q = at(kPlace, type, {batch, rows_q, heads, d}),
              .k = at(2 * kPlace, type, {batch, rows_kv, heads_kv, d}),
              .v = at(3 * kPlace, type, {batch, rows_kv, heads_kv, d_v}),
              .out = at(4 * kPlace, type, {batch, rows_q, heads, d_v})});
}
ForwardProblem paged(std::int64_t page_rows, std::int64_t max_pages, std::int64_t batch = 4) {
  return fwd_kvcache({.q = at(kPlace, DType::bf16, {batch, 1, 8, 128}),
                      .k_cache = at(2 * kPlace, DType::bf16, {64, page_rows, 2, 128}),
                      .v_cache = at(3 * kPlace, DType::bf16, {64, page_rows, 2, 128}),
                      .out = at(4 * kPlace, DType::bf16, {batch, 1, 8, 128}),
                      .seqused = at(5 * kPlace, DType::i32, {batch}),
                      .page_table = at(6 * kPlace, DType::i32, {batch, max_pages})});
}
ForwardChoice choose(const ForwardProblem& p) {
  return choose_forward(p, validate(p), {.multiprocessors = 132});
}

std::string refusal(const ForwardProblem& p) {
  try {
    choose(p);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::refused) << error.what();
    return error.what();
  }
  return "nothing was refused";
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Splits, OnlyIdleMultiprocessorsAreUsed) {
  static_assert(choose_splits(132, 1000, 132, 2) == 1);
  static_assert(choose_splits(100, 1000, 132, 2) == 1, "three quarters full: merging would cost more");
  static_assert(choose_splits(66, 1000, 132, 2) == 2);
  static_assert(choose_splits(8, 1000, 132, 2) == 16);
  static_assert(choose_splits(8, 7, 132, 2) == 3, "never below two tiles a piece");
  static_assert(choose_splits(8, 1, 132, 2) == 1);
  static_assert(choose_splits(0, 1000, 132, 2) == 1);
}

TEST(ForwardChoice, ContiguousTensorsTakeTheCopyEngineInOneLaunch) {
  const ForwardChoice c = choose(dense(2, 4096, 4096, 16, 4, 128, 128));
  EXPECT_EQ(c.config.producer, Producer::tma);
  EXPECT_EQ(c.num_splits, 1);
  EXPECT_EQ(c.query_tiles, 2 * 16 * 32);
  EXPECT_EQ(c.grid, 132);
  EXPECT_EQ(c.launches(), 1);
  EXPECT_EQ(c.workspace.bytes, 0u);
  EXPECT_EQ(c.kv_box_rows, c.config.tile_kv);
}

TEST(ForwardChoice, C16_AlignmentDecidesWhoLoads) {
  ForwardProblem p = dense(1, 256, 256, 2, 2, 64, 64);
  p.k = at(2 * kPlace + 8, DType::bf16, p.k.shape);
  EXPECT_EQ(choose_producer(p, validate(p)).producer, Producer::gathered);
  EXPECT_EQ(choose_producer(p, validate(p)).copy_bytes, 4) << "8 bytes take the kernel of 4";
  EXPECT_TRUE(has(choose_producer(p, validate(p)).why, "k is aligned to 8 bytes"));
  p.v = at(3 * kPlace, DType::bf16, p.v.shape, {256 * 2 * 65, 2 * 65, 65, 1});
  EXPECT_EQ(choose_producer(p, validate(p)).copy_bytes, 2);
  p = dense(1, 256, 256, 2, 2, 64, 64);
  p.v = at(3 * kPlace, DType::bf16, p.v.shape, {0, 0, 64, 1});
  EXPECT_TRUE(has(choose_producer(p, validate(p)).why, "v has stride 0"));
  EXPECT_EQ(choose_producer(p, validate(p)).copy_bytes, 16);
  p.v = at(3 * kPlace, DType::bf16, p.v.shape, {1, 128, -64, 1});
  EXPECT_TRUE(has(choose_producer(p, validate(p)).why, "v has stride -64"))
      << "the stride of a batch of one does not count";
}

TEST(ForwardChoice, PagesOfMultiplesOfEightTakeTheCopyEngine) {
  EXPECT_EQ(choose(paged(64, 16)).config.producer, Producer::tma);
  EXPECT_EQ(choose(paged(64, 16)).kv_box_rows, 64);
  EXPECT_EQ(choose(paged(24, 16)).kv_box_rows, 8);
  EXPECT_EQ(choose(paged(256, 16)).kv_box_rows, choose(paged(256, 16)).config.tile_kv);
  EXPECT_EQ(choose(paged(12, 16)).config.producer, Producer::gathered);
  ForwardProblem p = paged(64, 16);
  p.leftpad = at(7 * kPlace, DType::i32, {4});
  EXPECT_TRUE(has(choose(p).producer.why, "leftpad"));
  for (const std::int64_t rows : {8, 16, 24, 40, 64, 128, 176, 256}) {
    const ForwardChoice c = choose(paged(rows, 16));
    EXPECT_EQ(c.config.tile_kv % c.kv_box_rows, 0) << rows;
    EXPECT_EQ(rows % c.kv_box_rows, 0) << rows;
    EXPECT_EQ(c.kv_box_rows % 8, 0) << rows;
  }
}

TEST(ForwardChoice, FewQueriesAreSplitAndMerged) {
  ForwardProblem p = paged(64, 1024, 1);
  const ForwardChoice c = choose(p);
  EXPECT_EQ(c.num_splits, 16);
  EXPECT_EQ(c.config.out_type, device::Element::f32);
  EXPECT_EQ(c.launches(), 2);
  EXPECT_EQ(c.grid, 8 * 16);
  EXPECT_EQ(c.workspace.partial_lse, 16u * 8 * 128 * 4);
  EXPECT_EQ(c.workspace.bytes, c.workspace.partial_lse + 16 * 2 * 8 * 4);
}

TEST(ForwardChoice, PackedQueriesAreCountedFirst) {
  const ForwardProblem p = varlen_fwd({.q = at(kPlace, DType::f16, {1000, 4, 64}),
                                       .k = at(2 * kPlace, DType::f16, {1000, 4, 64}),
                                       .v = at(3 * kPlace, DType::f16, {1000, 4, 64}),
                                       .out = at(4 * kPlace, DType::f32, {1000, 4, 64}),
                                       .cu_seqlens_q = at(5 * kPlace, DType::i64, {41}),
                                       .cu_seqlens_kv = at(5 * kPlace, DType::i64, {41})});
  const ForwardChoice c = choose(p);
  EXPECT_EQ(c.query_tiles, (1000 / 192 + 40) * 4);
  EXPECT_EQ(c.launches(), 2);
  EXPECT_EQ(c.workspace.bytes, 512u);
  EXPECT_EQ(c.config.out_type, device::Element::f32);
}

TEST(ForwardChoice, UnevenDenseWorkIsDealtOutByACounter) {
  ForwardProblem p = dense(4, 1025, 1025, 16, 16, 128, 128);
  EXPECT_FALSE(choose(p).counted) << "long items of equal length need no counter";
  EXPECT_EQ(choose(p).launches(), 1);
  p = dense(4, 1024, 1024, 16, 16, 128, 128);
  EXPECT_TRUE(choose(p).counted) << "short ones do";
  EXPECT_EQ(choose(p).launches(), 2);
  p = dense(4, 1025, 1025, 16, 16, 128, 128);
  p.mask = leaf::kv <= leaf::q;
  EXPECT_TRUE(choose(p).counted);
  EXPECT_EQ(choose(p).launches(), 2) << "the most that dense problems may take";
  EXPECT_EQ(choose(p).workspace.bytes, 256u);
  p.mask = Mask();
  p.seqused_kv = at(5 * kPlace, DType::i32, {4});
  EXPECT_TRUE(choose(p).counted);
  ForwardProblem few = dense(1, 1024, 1024, 14, 14, 128, 128);
  few.mask = leaf::kv <= leaf::q;
  EXPECT_EQ(choose(few).query_tiles, 14 * 8);
  EXPECT_FALSE(choose(few).counted) << "every item has a thread block of its own";
  ForwardProblem split = dense(1, 128, 8192, 4, 4, 128, 128);
  split.mask = leaf::kv <= leaf::q;
  EXPECT_GT(choose(split).num_splits, 1);
  EXPECT_FALSE(choose(split).counted);
  EXPECT_LE(choose(split).launches(), 2);
  ForwardProblem plain = dense(4, 1024, 1024, 16, 16, 64, 64, DType::f32);
  plain.mask = leaf::kv <= leaf::q;
  EXPECT_FALSE(choose(plain).counted) << "fwd_f32 walks its grid";
}

// Of sequences whose positions and lengths no vector tells; `batch` of them.
void expect_own_kernel(const ForwardProblem& own, std::int64_t batch,
                       bool (device::FwdConfig::*kind)() const) {
  const auto with = [&](const auto& change) {
    ForwardProblem p = own;
    change(p);
    return (choose(p).config.*kind)();
  };
  EXPECT_TRUE(with([](ForwardProblem&) {}));
  EXPECT_TRUE(with([](ForwardProblem& p) { p.mask = leaf::kv <= leaf::q; }));
  EXPECT_TRUE(with([](ForwardProblem& p) { p.query_start = Start{5, {}}; }));
  EXPECT_TRUE(with([](ForwardProblem& p) { p.key_start = Start{5, {}}; }));
  const Tensor lengths = at(6 * kPlace, DType::i32, {batch});
  EXPECT_FALSE(with([&](ForwardProblem& p) { p.seqused_q = lengths; }));
  EXPECT_FALSE(with([&](ForwardProblem& p) { p.seqused_kv = lengths; }));
  EXPECT_FALSE(with([&](ForwardProblem& p) { p.leftpad = lengths; }));
  EXPECT_FALSE(with([&](ForwardProblem& p) { p.query_start = Start{0, lengths}; }));
  EXPECT_FALSE(with([&](ForwardProblem& p) { p.key_start = Start{0, lengths}; }));
  EXPECT_FALSE(with([](ForwardProblem& p) { p.out.dtype = DType::f32; })) << "few ask for it";
}

TEST(ForwardChoice, WholeSequencesHaveAKernelOfTheirOwn) {
  ForwardProblem whole = dense(4, 1024, 1024, 16, 16, 128, 128);
  expect_own_kernel(whole, 4, &device::FwdConfig::whole);
  whole.k.strides[1] += 1;
  EXPECT_FALSE(choose(whole).config.whole()) << "threads gather";
  EXPECT_FALSE(choose(dense(1, 128, 8192, 4, 4, 128, 128)).config.whole()) << "split";
}

TEST(ForwardChoice, FewKeysUnderAMaskTakeSmallerTiles) {
  ForwardProblem p = dense(4, 1024, 1024, 16, 16, 128, 128);
  EXPECT_EQ(choose(p).tile_kv, 128);
  p.mask = leaf::kv <= leaf::q;
  EXPECT_EQ(choose(p).tile_kv, 64);
  EXPECT_EQ(choose(p).kv_tiles, 16);
  EXPECT_EQ(choose(p).kv_box_rows, 64);
  p.seqused_kv = at(5 * kPlace, DType::i32, {4});
  EXPECT_EQ(choose(p).tile_kv, 128) << "whole sequences only";
  p = dense(4, 1025, 1025, 16, 16, 128, 128);
  p.mask = leaf::kv <= leaf::q;
  EXPECT_EQ(choose(p).tile_kv, 128);
}

ForwardProblem packed_keys(std::int64_t rows, std::int64_t batch, std::int64_t d = 128) {
  const Tensor lengths = at(5 * kPlace, DType::i32, {batch + 1});
  return varlen_fwd({.q = at(kPlace, DType::bf16, {rows, 8, d}),
                     .k = at(2 * kPlace, DType::bf16, {rows, 2, d}),
                     .v = at(3 * kPlace, DType::bf16, {rows, 2, d}),
                     .out = at(4 * kPlace, DType::bf16, {rows, 8, d}),
                     .cu_seqlens_q = lengths,
                     .cu_seqlens_kv = lengths});
}

TEST(ForwardChoice, LongItemsOfAKeyHeadShareWhatTheyLoad) {
  const auto paired = [](const ForwardProblem& p) { return choose(p).config.paired; };
  for (const int d : {64, 256}) {
    EXPECT_TRUE(paired(dense(2, 4096, 4096, 16, 4, d, d)));
    EXPECT_FALSE(paired(dense(2, 1024, 1024, 16, 4, d, d))) << "few keys";
    EXPECT_FALSE(paired(dense(3, 2400, 2400, 17, 17, d, d))) << "an odd number of query tiles";
    ForwardProblem causal = dense(2, 4096, 4096, 16, 4, d, d);
    causal.mask = leaf::kv <= leaf::q;
    EXPECT_FALSE(paired(causal)) << "at different paces";
    ForwardProblem scored = dense(2, 4096, 4096, 16, 4, d, d);
    scored.scale = -1.f;
    EXPECT_FALSE(paired(scored)) << "not measured";
  }
  EXPECT_TRUE(paired(dense(1, 3, 1110, 280, 140, 64, 64))) << "two heads of a key head";
  EXPECT_FALSE(paired(dense(2, 4096, 4096, 16, 4, 128, 128)));

  const ForwardProblem p = dense(2, 4096, 4096, 16, 4, 256, 256);
  const ForwardChoice c = choose_forward(p, validate(p), {.multiprocessors = 133});
  EXPECT_EQ(c.grid, 132) << "whole clusters";
  EXPECT_EQ(c.kv_box_rows, c.config.tile_kv / 2);
}

TEST(HeadsInL2, GroupsAreOfASize) {
  const auto walked = [](long long rows, long long pairs, bool partial = true) {
    return device::heads_in_l2(rows, 128, 128, 2, 4, partial, pairs);
  };
  EXPECT_EQ(walked(4096, 64), 64) << "16 key heads are 32 MiB";
  EXPECT_EQ(walked(4097, 64), 32) << "not 60 and 4";
  EXPECT_EQ(walked(16384, 40), 16) << "10 key heads, 4 of which fit: 4, 4 and 2";
  EXPECT_EQ(walked(1 << 20, 64), 4);
  EXPECT_EQ(walked(4096, 64, false), 4);
  EXPECT_EQ(walked(0, 0), 4) << "not zero, which items are divided by";
}

TEST(ForwardChoice, PackedSequencesHaveAKernelOfTheirOwn) {
  expect_own_kernel(packed_keys(40000, 10), 10, &device::FwdConfig::packed);
  EXPECT_TRUE(choose(packed_keys(40000, 10, 104)).config.packed());
  EXPECT_FALSE(choose(packed_keys(40000, 10, 100)).config.packed()) << "threads gather";
}

TEST(ForwardChoice, FewPackedKeysUnderAMaskTakeSmallerTiles) {
  ForwardProblem p = packed_keys(20480, 10);
  EXPECT_EQ(choose(p).tile_kv, 128);
  p.mask = leaf::kv <= leaf::q;
  EXPECT_EQ(choose(p).tile_kv, 64);
  p = packed_keys(20481, 10);
  p.mask = leaf::kv <= leaf::q;
  EXPECT_EQ(choose(p).tile_kv, 128) << "more than 2048 on average";
}

TEST(ForwardChoice, SplitsHaveAKernelOfTheirOwn) {
  EXPECT_TRUE(choose(paged(64, 1024, 1)).config.partial);
  EXPECT_TRUE(choose(dense(1, 128, 8192, 4, 4, 128, 128)).config.partial);
  EXPECT_FALSE(choose(dense(1, 128, 8192, 4, 4, 64, 64)).config.partial) << "three warpgroups would spill";
  ForwardProblem p = dense(4, 4096, 4096, 16, 16, 128, 128);
  p.out.dtype = DType::f32;
  EXPECT_FALSE(choose(p).config.partial) << "float32, but the caller's";
  p = dense(1, 128, 8192, 4, 4, 128, 33);
  p.v = at(3 * kPlace, DType::bf16, p.v.shape, {8192 * 160, 160, 40, 1});
  EXPECT_EQ(choose(p).config.producer, Producer::tma);
  EXPECT_FALSE(choose(p).config.partial) << "rows of pairs only";
}

TEST(ForwardChoice, PagesOfWholeBlocksHaveAKernelOfTheirOwn) {
  EXPECT_TRUE(choose(paged(64, 16)).config.paged());
  EXPECT_TRUE(choose(paged(24, 16)).config.paged());
  EXPECT_TRUE(choose(paged(64, 1024, 1)).config.paged()) << "splits, too";
  const auto with = [](const auto& change) {
    ForwardProblem p = paged(64, 16);
    change(p.k);
    return choose(p).config;
  };
  EXPECT_FALSE(with([](Tensor& k) { k.strides[2] += 8; }).paged()) << "heads are not panels apart";
  EXPECT_FALSE(with([](Tensor& k) { k.strides[0] += 64; }).paged()) << "pages are not blocks apart";
  EXPECT_EQ(with([](Tensor& k) { k.strides[0] += 64; }).producer, Producer::tma);
  ForwardProblem wide = paged(64, 16);
  wide.v.strides[2] += 8;
  EXPECT_FALSE(choose(wide).config.paged()) << "nor v's";
  const auto dims = [](std::int64_t d, std::int64_t d_v) {
    ForwardProblem p = paged(64, 16);
    for (Tensor* t : {&p.q, &p.k, &p.v, &p.out})
      t->shape[3] = t == &p.q || t == &p.k ? d : d_v, t->strides = contiguous_strides(t->shape);
    return choose(p).config.paged();
  };
  for (const std::int64_t d : {128, 192, 256}) EXPECT_TRUE(dims(d, d)) << d;
  EXPECT_TRUE(dims(192, 128));
  for (const auto& [d, d_v] : {std::pair(64, 128), {128, 64}, {64, 256}, {128, 256}, {256, 128}, {192, 64}})
    EXPECT_FALSE(dims(d, d_v)) << d << " x " << d_v
                               << ": a box is as wide as the tensor, not the kernel's tile";
  ForwardProblem small = paged(64, 16);
  for (Tensor* t : {&small.q, &small.k, &small.v, &small.out}) t->shape[3] = 64;
  EXPECT_FALSE(choose(small).config.paged()) << "a panel is a box";
  for (Tensor* t : {&small.q, &small.k, &small.v, &small.out}) t->shape[3] = 96;
  EXPECT_FALSE(choose(small).config.paged()) << "half a panel";
}

TEST(ForwardChoice, AMapOfPagesCountsPanelsAndBlocks) {
  const auto map = [](const Dims& shape, const Dims& strides) {
    const std::optional<device::PageMap> m = page_map(at(kPlace, DType::bf16, shape, strides));
    return m ? std::pair(m->head_panels, m->page_blocks) : std::pair(-1, -1);
  };
  const std::pair none(-1, -1);
  EXPECT_EQ(map({50, 16, 4, 128}, {16 * 512, 512, 128, 1}), std::pair(2, 2)) << "rows of all heads";
  EXPECT_EQ(map({50, 16, 4, 128}, {16 * 512, 128, 16 * 128, 1}), std::pair(32, 8)) << "heads of all rows";
  EXPECT_EQ(map({50, 16, 4, 128}, {16 * 544, 544, 136, 1}), none) << "gaps between heads";
  EXPECT_EQ(map({50, 16, 1, 128}, {16 * 136, 136, 1, 1}), std::pair(0, 2)) << "one head is nowhere else";
  EXPECT_EQ(map({1, 16, 4, 128}, {1, 512, 128, 1}), std::pair(2, 0)) << "nor is one page";
  EXPECT_EQ(map({50, 16, 4, 128}, {16 * 512 + 512, 512, 128, 1}), none) << "a row between pages";
  EXPECT_EQ(map({50, 12, 4, 128}, {12 * 512, 512, 128, 1}), none) << "half a block";
  EXPECT_EQ(map({50, 16, 4, 96}, {16 * 384, 384, 96, 1}), none) << "half a panel";
  EXPECT_EQ(map({50, 16, 4, 128}, {std::int64_t{1} << 40, 512, 128, 1}), none) << "blocks beyond an int";
}

TEST(ForwardChoice, DivisorsAreExactBelowTwoToThe31) {
  const auto exact = [](std::uint64_t n, std::uint64_t by) {
    const device::Divisor d = device::divisor(static_cast<unsigned>(by));
    return (((n * d.multiplier) >> 32) + n) >> d.shift == n / by;
  };
  const std::uint64_t most = (std::uint64_t{1} << 31) - 1;
  for (std::uint64_t by = 1; by <= most; by += by < 5000 ? 1 : by / 997) {
    const std::uint64_t last = most / by * by;
    for (const std::uint64_t n : {std::uint64_t{0}, by - 1, by, by + 1, last - 1, last, most})
      ASSERT_TRUE(n > most || exact(n, by)) << n << " / " << by;
  }
}

TEST(ForwardChoice, C10_NothingToWriteMeansNoLaunch) {
  for (const ForwardProblem& p :
       {dense(0, 8, 8, 2, 2, 64, 64), dense(2, 0, 8, 2, 2, 64, 64), dense(2, 8, 8, 0, 0, 64, 64)}) {
    EXPECT_EQ(choose(p).launches(), 0);
    EXPECT_EQ(choose(p).workspace.bytes, 0u);
  }
  EXPECT_EQ(choose(dense(2, 8, 0, 2, 2, 64, 64)).launches(), 1) << "rows without keys are written";
  EXPECT_EQ(choose(dense(2, 8, 0, 2, 2, 64, 64)).config.producer, Producer::gathered)
      << "there is no tensor map of nothing";
}

TEST(ForwardChoice, EveryChoiceIsInTheListOfConfigurations) {
  std::set<std::string> all;
  for (const device::FwdConfig& c : every_forward_config()) all.insert(config_text(c));
  EXPECT_EQ(all.size(), every_forward_config().size()) << "each once";
  const auto expect_listed = [&](const ForwardProblem& p) {
    const device::FwdConfig c = choose(p).config;
    const Sizes s = validate(p);
    ASSERT_TRUE(all.count(config_text(c))) << config_text(c);
    ASSERT_GE(c.head_dim, s.head_dim);
    ASSERT_GE(c.head_dim_v, s.head_dim_v);
    ASSERT_LE(c.smem_bytes(), device::kMaxSmemBytes);
  };
  for (const DType type : {DType::f16, DType::bf16})
    for (std::int64_t d = 1; d <= 256; d += 5)
      for (std::int64_t d_v = 1; d_v <= 256; d_v += d < 20 ? 3 : 17)
        for (int variant = 0; variant < 16; ++variant) {
          ForwardProblem p = dense(1, 300, 300, 4, variant & 8 ? 4 : 1, d, d_v, type);
          if (variant & 1) p.mask = leaf::kv <= leaf::q;
          if (variant & 2) p.scale = -1.f;
          if (variant & 4) p.out.dtype = DType::f32;
          if (variant & 8) p.q.data = reinterpret_cast<void*>(kPlace + 2 * (variant & 7));
          expect_listed(p);
          ASSERT_EQ(static_cast<bool>(kernel_programs(p, validate(p)).score), (variant & 2) != 0)
              << "a negative scale is applied by a program";
        }
  for (std::int64_t d = 8; d <= 256; d += 8)
    for (int variant = 0; variant < 16; ++variant) {
      const std::int64_t rows = variant & 1 ? 512 : 2048;
      ForwardProblem p = dense(8, rows, rows, 16, 16, d, d);
      if (variant & 2) p.mask = variant & 4 ? leaf::kv <= leaf::q : (leaf::q - leaf::kv) % 96 <= 64;
      if (variant & 8) p.scale = -1.f;
      expect_listed(p);
    }
  for (std::int64_t d = 8; d <= 256; d += 8)
    for (int variant = 0; variant < 16; ++variant) {
      ForwardProblem p = variant & 1 ? paged(variant & 2 ? 16 : 256, 64, variant & 4 ? 1 : 64)
                                     : packed_keys(variant & 2 ? 1000 : 100000, 10);
      for (Tensor* t : {&p.q, &p.k, &p.v, &p.out})
        t->shape[t->rank() - 1] = d, t->strides = contiguous_strides(t->shape);
      if (variant & 8) p.mask = leaf::kv <= leaf::q;
      if (!(variant & 1) && variant & 4) p.out.dtype = DType::f32;
      expect_listed(p);
    }
}

TEST(ForwardChoice, ProgramsThatAreHeavyDependOnTheHeadDimAndOnWhoLoads) {
  const auto is_heavy = [](std::int64_t d, const char* mask, const char* score, bool gathered = false) {
    ForwardProblem p = dense(4, 1024, 1024, 16, 16, d, d);
    if (*mask) p.mask = Mask::parse(mask);
    if (*score) p.score = Score::parse(score);
    if (gathered) p.v.strides[1] = 0;
    return choose(p).config.rolled_mask;
  };
  EXPECT_FALSE(is_heavy(64, "kv <= q", ""));
  EXPECT_TRUE(is_heavy(64, "kv <= q && q - kv < 1024", ""));
  EXPECT_FALSE(is_heavy(128, "kv <= q && q - kv < 1024", ""));
  EXPECT_TRUE(is_heavy(64, "", "20 * tanh(score / 20)"));
  EXPECT_FALSE(is_heavy(128, "kv <= q", "20 * tanh(score / 20)"));
  EXPECT_TRUE(is_heavy(192, "kv <= q", "20 * tanh(score / 20)"));
  EXPECT_FALSE(is_heavy(256, "kv <= q", "20 * tanh(score / 20)"));
  EXPECT_FALSE(is_heavy(192, "kv <= q && q - kv < 1024", "", true));
  EXPECT_TRUE(is_heavy(256, "kv <= q && q - kv < 1024", "", true));
}

TEST(ForwardChoice, HeadDimsTakeTheNextKernel) {
  const auto dims = [](std::int64_t d, std::int64_t d_v) {
    const device::FwdConfig c = choose(dense(1, 300, 300, 4, 4, d, d_v)).config;
    return std::pair(c.head_dim, c.head_dim_v);
  };
  EXPECT_EQ(dims(1, 1), std::pair(32, 32));
  EXPECT_EQ(dims(40, 40), std::pair(48, 48));
  EXPECT_EQ(dims(112, 112), std::pair(128, 128));
  EXPECT_EQ(dims(160, 160), std::pair(192, 192));
  EXPECT_EQ(dims(192, 128), std::pair(192, 128));
  EXPECT_EQ(dims(10, 70), std::pair(80, 80)) << "two sizes take the larger's";
  EXPECT_EQ(dims(256, 33), std::pair(256, 256));
}

TEST(ForwardChoice, C15_AScaleThatIsNotPositiveIsAProgram) {
  ForwardProblem p = dense(1, 300, 300, 4, 4, 64, 64);
  EXPECT_FALSE(kernel_programs(p, validate(p)).score);
  for (const float scale : {0.f, -0.5f}) {
    p.scale = scale;
    EXPECT_EQ(kernel_programs(p, validate(p)).score.text(), "score");
    EXPECT_TRUE(kernel_programs(p, validate(p)).score) << scale;
  }
  for (Tensor* t : {&p.q, &p.k, &p.v, &p.out}) t->dtype = DType::f32;
  EXPECT_FALSE(kernel_programs(p, validate(p)).score) << "fwd_f32 always scales first";
}

TEST(ForwardChoice, MinusInfinityAtTheRootOfAScoreIsAMask) {
  ForwardProblem p = dense(1, 300, 300, 4, 4, 64, 64);
  p.score = Score::parse("where(q // 8 == kv // 8, score, -inf)");
  const KernelPrograms programs = kernel_programs(p, validate(p));
  EXPECT_EQ(programs.mask.text(), "q // 8 == kv // 8");
  EXPECT_FALSE(programs.score);
  EXPECT_TRUE(choose_forward(p, validate(p), {}).masked);
  p.scale = -1;
  EXPECT_EQ(kernel_programs(p, validate(p)).score.text(), "score");
}

TEST(ForwardChoice, Float32TakesThePlainKernel) {
  const ForwardChoice c = choose(dense(2, 100, 300, 4, 2, 300, 33, DType::f32));
  EXPECT_TRUE(c.plain);
  EXPECT_EQ(c.pieces, 2);
  EXPECT_EQ(c.producer.producer, Producer::gathered);
  EXPECT_EQ(c.query_tiles, 2 * 4 * 7);
  EXPECT_EQ(c.smem_bytes, 4 * (16 * 300 + 32 * 301 + 32 * 33));
  EXPECT_LE(choose(dense(1, 100, 300, 1, 1, 512, 512, DType::f32)).smem_bytes, device::kMaxSmemBytes);
}

TEST(ForwardChoice, WhatNoKernelServesIsRefusedByName) {
  EXPECT_TRUE(has(refusal(dense(1, 8, 8, 2, 2, 264, 64)), "head_dim is 264"));
  EXPECT_TRUE(has(refusal(dense(1, 8, 8, 2, 2, 64, 257)), "head_dim_v 257"));
  EXPECT_TRUE(has(refusal(dense(1, 8, 8, 2, 2, 64, 513, DType::f32)), "head_dim_v 513"));
  EXPECT_TRUE(has(refusal(dense(1, 8, (std::int64_t{1} << 28) + 1, 1, 1, 1, 1)), "268435457 rows of keys"));
  EXPECT_TRUE(has(refusal(dense(1 << 20, 128, 8, 1 << 12, 1, 64, 64)), "tiles of queries"));
}

}  // namespace
}  // namespace bolide
