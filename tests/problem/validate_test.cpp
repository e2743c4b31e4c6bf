// Every rule of validation refuses its violation with a sentence that names both sides.
#include "problem/validate.hpp"

#include <gtest/gtest.h>
#include <bolide/error.hpp>
#include <bolide/operations.hpp>

#include <functional>
#include <vector>

namespace bolide {
namespace {

alignas(64) float memory[1 << 16];
alignas(64) std::int32_t integers[64];

ForwardProblem dense_problem() {
  return fwd({.q = {memory, {2, 5, 4, 8}},
              .k = {memory, {2, 7, 2, 8}},
              .v = {memory, {2, 7, 2, 6}},
              .out = {memory, {2, 5, 4, 6}},
              .lse = {memory, {2, 4, 5}}});
}
ForwardProblem packed_problem() {
  return varlen_fwd({.q = {memory, {9, 4, 8}},
                     .k = {memory, {11, 2, 8}},
                     .v = {memory, {11, 2, 8}},
                     .out = {memory, {9, 4, 8}},
                     .lse = {memory, {4, 9}},
                     .cu_seqlens_q = {integers, {3}},
                     .cu_seqlens_kv = {integers, {3}}});
}
ForwardProblem paged_problem() {
  return fwd_kvcache({.q = {memory, {2, 1, 4, 8}},
                      .k_cache = {memory, {6, 16, 2, 8}},
                      .v_cache = {memory, {6, 16, 2, 8}},
                      .out = {memory, {2, 1, 4, 8}},
                      .seqused = {integers, {2}},
                      .page_table = {integers, {2, 3}}});
}

// Breaks a valid problem in one way and expects the code and every given piece of the sentence.
void expect_refusal(ForwardProblem p, const std::function<void(ForwardProblem&)>& spoil, Code code,
                    std::vector<std::string> pieces) {
  ASSERT_NO_THROW(validate(p));
  spoil(p);
  try {
    validate(p);
    FAIL() << "accepted; expected a sentence with: " << pieces[0];
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    for (const std::string& piece : pieces)
      EXPECT_NE(std::string(e.what()).find(piece), std::string::npos) << e.what() << "\nlacks: " << piece;
  }
}
using P = ForwardProblem;
constexpr Code kProblem = Code::invalid_problem;

TEST(Validate, SizesOfEachLayout) {
  const Sizes dense = validate(dense_problem());
  EXPECT_EQ(dense.batch, 2);
  EXPECT_EQ(dense.group(), 2);
  EXPECT_EQ(dense.head_dim_v, 6);
  EXPECT_DOUBLE_EQ(dense.scale, 1 / std::sqrt(8.0));
  const Sizes packed = validate(packed_problem());
  EXPECT_EQ(packed.batch, 2);
  EXPECT_EQ(packed.rows_q, 9);
  const Sizes paged = validate(paged_problem());
  EXPECT_EQ(paged.rows_kv, 48);
  EXPECT_EQ(paged.page_rows, 16);
}

TEST(Validate, MissingTensor) {
  expect_refusal(dense_problem(), [](P& p) { p.k = {}; }, kProblem, {"k is missing"});
}
TEST(Validate, Rank) {
  expect_refusal(dense_problem(),
                 [](P& p) {
                   p.q = {memory, {5, 4, 8}};
                 },
                 kProblem, {"3 dimensions", "expected 4"});
}
TEST(Validate, HeadDim) {
  expect_refusal(dense_problem(), [](P& p) { p.k = {memory, {2, 7, 2, 9}}; }, kProblem, {"9", "8", "equal"});
}
TEST(Validate, C02_HeadsMustDivide) {
  expect_refusal(dense_problem(),
                 [](P& p) {
                   p.k = {memory, {2, 7, 3, 8}}, p.v = {memory, {2, 7, 3, 6}};
                 },
                 kProblem, {"4 heads", "3", "multiple"});
}
TEST(Validate, Batch) {
  expect_refusal(dense_problem(),
                 [](P& p) {
                   p.k = {memory, {3, 7, 2, 8}}, p.v = {memory, {3, 7, 2, 6}};
                 },
                 kProblem, {"3", "2", "batch"});
}
TEST(Validate, OutShape) {
  expect_refusal(dense_problem(),
                 [](P& p) {
                   p.out = {memory, {2, 5, 4, 8}};
                 },
                 kProblem, {"[2, 5, 4, 8]", "[2, 5, 4, 6]"});
}
TEST(Validate, LseShape) {
  expect_refusal(dense_problem(),
                 [](P& p) {
                   p.lse = {memory, {2, 5, 4}};
                 },
                 kProblem, {"[2, 5, 4]", "[2, 4, 5]"});
}
TEST(Validate, Types) {
  expect_refusal(dense_problem(), [](P& p) { p.k.dtype = DType::bf16; }, kProblem, {"bf16", "f32"});
}
TEST(Validate, QueryType) {
  expect_refusal(dense_problem(), [](P& p) { p.q.dtype = DType::i32; }, kProblem, {"i32", "bf16"});
}
TEST(Validate, Devices) {
  expect_refusal(dense_problem(), [](P& p) { p.v.device = Device::cuda(0); }, kProblem, {"another device"});
}
TEST(Validate, C16_LastDimensionContiguous) {
  expect_refusal(dense_problem(), [](P& p) { p.q.strides[3] = 2; }, kProblem, {"stride 2", "contiguous"});
}
TEST(Validate, C16_OutputsDoNotOverlap) {
  expect_refusal(dense_problem(), [](P& p) { p.out.strides[1] = 0; }, kProblem, {"out", "twice"});
}
TEST(Validate, C16_InputsMayBeExpanded) {
  ForwardProblem p = dense_problem();
  p.k.strides[0] = p.k.strides[2] = 0;
  EXPECT_NO_THROW(validate(p));
}
TEST(Validate, C16_ExtentOverflow) {
  expect_refusal(dense_problem(), [](P& p) { p.q.strides[0] = INT64_MAX / 2; }, kProblem, {"overflows"});
}
TEST(Validate, MisalignedElements) {
  expect_refusal(dense_problem(), [](P& p) { p.q.data = reinterpret_cast<char*>(memory) + 2; }, kProblem,
                 {"multiple of 4 bytes"});
}
TEST(Validate, NullPointer) {
  expect_refusal(dense_problem(), [](P& p) { p.q.data = nullptr; }, kProblem, {"null"});
}
TEST(Validate, C15_ScaleFinite) {
  expect_refusal(dense_problem(), [](P& p) { p.scale = NAN; }, Code::invalid_argument, {"nan", "finite"});
  ForwardProblem p = dense_problem();
  p.scale = -0.5f;
  EXPECT_NO_THROW(validate(p));
  p.scale = 0.f;
  EXPECT_NO_THROW(validate(p));
}
TEST(Validate, C10_EmptyIsFine) {
  ForwardProblem p = fwd({.q = {memory, {0, 5, 4, 8}},
                          .k = {memory, {0, 7, 2, 8}},
                          .v = {memory, {0, 7, 2, 8}},
                          .out = {memory, {0, 5, 4, 8}}});
  EXPECT_NO_THROW(validate(p));
  p = fwd({.q = {memory, {2, 5, 0, 8}},
           .k = {memory, {2, 7, 0, 8}},
           .v = {memory, {2, 7, 0, 8}},
           .out = {memory, {2, 5, 0, 8}}});
  EXPECT_NO_THROW(validate(p));
}
TEST(Validate, CuSeqlens) {
  expect_refusal(packed_problem(), [](P& p) { std::get<Packed>(p.queries).cu_seqlens = {}; }, kProblem,
                 {"cu_seqlens_q", "missing"});
  expect_refusal(packed_problem(),
                 [](P& p) {
                   std::get<Packed>(p.keys).cu_seqlens = {integers, {4}};
                 },
                 kProblem, {"3", "2"});
  expect_refusal(packed_problem(),
                 [](P& p) {
                   std::get<Packed>(p.queries).cu_seqlens = {memory, {3}};
                 },
                 kProblem, {"f32", "i32 or i64"});
}
TEST(Validate, Lengths) {
  expect_refusal(paged_problem(), [](P& p) { p.seqused_kv = {integers, {3}}; }, kProblem, {"[3]", "[2]"});
}
TEST(Validate, PageTable) {
  expect_refusal(paged_problem(),
                 [](P& p) {
                   std::get<Paged>(p.keys).table = {integers, {3, 3}};
                 },
                 kProblem, {"[3, 3]", "[2, max_pages]"});
  expect_refusal(paged_problem(),
                 [](P& p) {
                   std::get<Paged>(p.keys).indptr = {integers, {3}};
                 },
                 kProblem, {"either"});
}
TEST(Validate, C03_GatherByQueryNeedsAStatedStart) {
  const IntTable doc = ints({integers, {64}}, "doc");
  auto same_document = [doc](auto, auto, auto q, auto kv) { return doc[q] == doc[kv]; };
  ForwardProblem p = dense_problem();
  p.mask = same_document;
  EXPECT_NO_THROW(validate(p));  // 5 queries, 7 keys, whatever the contents
  expect_refusal(paged_problem(), [&](P& x) { x.mask = same_document; }, Code::refused,
                 {"doc", "query_start"});
  p = paged_problem();
  p.mask = same_document;
  p.query_start = TopLeft{};
  EXPECT_NO_THROW(validate(p));
}

TEST(Validate, Backward) {
  BackwardProblem b{.forward = dense_problem(),
                    .dout = {memory, {2, 5, 4, 6}},
                    .dq = {memory, {2, 5, 4, 8}},
                    .dk = {memory, {2, 7, 2, 8}},
                    .dv = {memory, {2, 7, 2, 6}}};
  EXPECT_NO_THROW(validate(b));
  BackwardProblem spoilt = b;
  spoilt.dv = {memory, {2, 7, 2, 8}};
  EXPECT_THROW(validate(spoilt), Error);
  spoilt = b;
  spoilt.forward.lse = {};
  EXPECT_THROW(validate(spoilt), Error);
  spoilt = b;
  spoilt.dk.dtype = DType::bf16;
  EXPECT_THROW(validate(spoilt), Error);
}

TEST(Validate, GradientsOfCapturedTensors) {
  const float slopes[4] = {}, limits[4] = {};
  const std::int32_t pads[2] = {};
  float dslopes[8] = {};
  const Tensor s(slopes, {4}), pad(pads, {2}), limit(limits, {4});
  BackwardProblem b{.forward = dense_problem(),
                    .dout = {memory, {2, 5, 4, 6}},
                    .dq = {memory, {2, 5, 4, 8}},
                    .dk = {memory, {2, 7, 2, 8}},
                    .dv = {memory, {2, 7, 2, 6}},
                    .dcaptured = {{s, {dslopes, {4}}}}};
  b.forward.score = Score::parse("score - slope[h] * abs(q - kv) + pad[b]", {{"slope", s}, {"pad", pad}});
  b.forward.mask = Mask::parse("limit[h] > 0.5", {{"limit", limit}});
  EXPECT_NO_THROW(validate(b));
  const auto expect_sentence = [&](std::vector<CapturedGradient> wanted, std::vector<std::string> words) {
    BackwardProblem bad = b;
    bad.dcaptured = std::move(wanted);
    try {
      validate(bad);
      ADD_FAILURE() << "accepted; expected " << words.front();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::invalid_problem);
      for (const std::string& w : words)
        EXPECT_NE(std::string(e.what()).find(w), std::string::npos) << e.what();
    }
  };
  const Tensor good(dslopes, {4});
  expect_sentence({{Tensor(), good}}, {"without a captured tensor"});
  expect_sentence({{Tensor(dslopes, {4}), good}}, {"f32 [4]", "does not capture", "slope[h]"});
  expect_sentence({{limit, good}}, {"limit", "only the mask"});
  expect_sentence({{pad, Tensor(dslopes, {2})}}, {"pad", "i32", "only tensors of floats"});
  expect_sentence({{s, Tensor()}}, {"dslope is missing", "[4]"});
  expect_sentence({{s, Tensor(dslopes, {3})}}, {"dslope has shape [3]", "[4]"});
  expect_sentence({{s, Tensor(dslopes, DType::f16, {4})}}, {"dslope has type f16", "f32"});
  expect_sentence({{s, Tensor(dslopes, DType::f32, {4}, {0})}}, {"dslope is written", "twice"});
  expect_sentence({{s, Tensor(dslopes, {4}, Device::cuda(0))}}, {"dslope lies on another device"});
  expect_sentence({{s, good}, {s, Tensor(dslopes + 4, {4})}}, {"slope twice"});
  const Tensor two(limits, {2, 2});
  b.forward.score = Score::parse("score - slope[h] + t[q, kv]", {{"slope", s}, {"t", two}});
  b.forward.query_start = TopLeft{};
  expect_sentence({{s, good}, {two, Tensor(dslopes, {2, 2})}}, {"dslope and dt begin at the same address"});
  b.forward.score = {};
  expect_sentence({{s, good}}, {"does not capture"});
}

}  // namespace
}  // namespace bolide
