// The case language: what parses, what prints, what is refused and how; captured tensors; the documented
// keys.
#include "testing/case.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "testing/captured.hpp"
#include "testing/elements.hpp"
#include "testing/random_case.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

std::string sentence(const std::string& line) {
  try {
    Case::parse(line);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::invalid_argument) << line;
    return e.what();
  }
  ADD_FAILURE() << "parsed: " << line;
  return "";
}

TEST(Case, ReadsTheLineOfTheDocumentation) {
  const Case c = Case::parse("fwd bf16 b=2 hq=8 hkv=2 sq=1 skv=4097 d=128 kv=paged:64 mask=\"kv<=q\" seed=7");
  EXPECT_EQ(c.operation, Operation::fwd);
  EXPECT_EQ(c.dtype, DType::bf16);
  EXPECT_EQ(c.batch, 2);
  EXPECT_EQ(c.heads_q, 8);
  EXPECT_EQ(c.heads_kv, 2);
  EXPECT_EQ(c.rows_q, Spread(1));
  EXPECT_EQ(c.rows_kv, Spread(4097));
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_EQ(c.head_dim_v, 128);
  EXPECT_EQ(c.keys, Keys::paged);
  EXPECT_EQ(c.page_rows, 64);
  EXPECT_EQ(c.mask, "kv<=q");
  EXPECT_EQ(c.seed, 7u);
  EXPECT_EQ(c.text(), "fwd bf16 b=2 hq=8 hkv=2 sq=1 skv=4097 d=128 kv=paged:64 mask=\"kv<=q\" seed=7");
}

TEST(Case, DefaultsFollowOtherKeys) {
  const Case c = Case::parse("varlen_bwd f32 hq=6 sq=5 d=32");
  EXPECT_EQ(c.heads_kv, 6);
  EXPECT_EQ(c.rows_kv, Spread(5));
  EXPECT_EQ(c.head_dim_v, 32);
  EXPECT_EQ(c.queries, Rows::packed);
  EXPECT_EQ(c.keys, Keys::packed);
}

TEST(Case, TextParsesBackToAnEqualCase) {
  for (const char* line :
       {"fwd f32", "varlen_fwd f16 b=3 sq=5,0,17 skv=0..9 tail=2 cu=i64 max_seqlen=given",
        "bwd bf16 hq=0 hkv=2 start=per:-3..9 key_start=-4 scale=-1e-3 dlse=yes dout=f32 grad=f32 out=f32",
        "fwd_kvcache f16 kv=pagelist:3 pages=shared seqused_kv=4 leftpad=0..2 layout=mixed strides=reverse "
        "offset=3 data=tiny",
        "fwd f32 let doc=runs(n) let t=randint(0, 9, b, skv):i64 mask=\"doc[kv] < t[b, kv]\" score=\"score * "
        "2\" lse=no",
        "varlen_fwd f32 kv=dense start=top_left key_start=per:2"}) {
    const Case c = Case::parse(line);
    EXPECT_EQ(Case::parse(c.text()), c) << line << "\n" << c.text();
    EXPECT_EQ(Case::parse(c.text()).text(), c.text());
  }
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const Case c = draw(11, i);
    EXPECT_EQ(Case::parse(c.text()), c) << c.text();
  }
}

TEST(Case, AnUnknownKeyIsNamedWithTheKeysThereAre) {
  const std::string s = sentence("fwd f32 heads=3");
  EXPECT_NE(s.find("'heads'"), std::string::npos);
  EXPECT_NE(s.find("hkv"), std::string::npos);
}

TEST(Case, ABadValueIsNamedWithItsKeyAndWhatIsAllowed) {
  const struct {
    const char *line, *key, *value, *allowed;
  } cases[] = {{"fwd f32 d=0", "key d ", "'0'", "1..65536"},
               {"fwd f32 b=-1", "key b ", "'-1'", "0..65536"},
               {"fwd f32 b=2x", "key b ", "'2x'", "0..65536"},
               {"fwd f32 kv=paged", "key kv ", "'paged'", "paged:N"},
               {"fwd f32 kv=paged:0", "key kv ", "'paged:0'", "paged:N"},
               {"fwd f32 kv=dense:3", "key kv ", "'dense:3'", "dense"},
               {"fwd f32 data=odd", "key data ", "'odd'", "outliers"},
               {"fwd f32 scale=nan", "key scale ", "'nan'", "finite"},
               {"fwd f32 start=left", "key start ", "'left'", "top_left"},
               {"varlen_fwd f32 sq=9..2", "key sq ", "'9..2'", "range"},
               {"varlen_fwd f32 sq=3,,4", "key sq ", "'3,,4'", "list"},
               {"fwd f32 out=f16", "key out ", "'f16'", "same, f32"},
               {"fwd f32 mask=", "key mask ", "''", "expression"},
               {"fwd f32 let t=rand(3)", "let t ", "'rand(3)'", "randint"},
               {"fwd f32 let t=randn(x)", "let t ", "'randn(x)'", "sizes"},
               {"fwd f32 let t=randint(3,3,b)", "let t ", "randint(3,3,b)", "low,high"}};
  for (const auto& c : cases) {
    const std::string s = sentence(c.line);
    EXPECT_NE(s.find(c.key), std::string::npos) << c.line << ": " << s;
    EXPECT_NE(s.find(c.value), std::string::npos) << c.line << ": " << s;
    EXPECT_NE(s.find(c.allowed), std::string::npos) << c.line << ": " << s;
  }
}

TEST(Case, ContradictionsBetweenKeysAreNamed) {
  for (const char* line : {"",
                           "foo f32",
                           "fwd",
                           "fwd f64",
                           "fwd f32 b=2 b=3",
                           "fwd f32 b",
                           "fwd f32 mask=\"kv",
                           "fwd f32 let",
                           "fwd f32 let x",
                           "fwd f32 let x=1 let x=2",
                           "varlen_fwd f32 q=dense",
                           "fwd f32 b=2 sq=3,4",
                           "fwd f32 b=2 skv=3,4",
                           "varlen_fwd f32 b=3 sq=1,2",
                           "fwd f32 pages=shared",
                           "fwd f32 tail=2",
                           "fwd f32 cu=i64",
                           "fwd f32 dlse=yes",
                           "fwd f32 grad=f32",
                           "bwd f32 lse=no",
                           "bwd f32 data=nan",
                           "fwd f32 seqused_kv=1,2"})
    EXPECT_FALSE(sentence(line).empty());
}

TEST(Case, ListedLengthsMustFitTheirRows) {
  HostMemory memory;
  try {
    testing::Setup(Case::parse("fwd f32 b=2 sq=1 skv=4 seqused_kv=4,5"), Fill::finite, memory);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("lists 5 for sequence 1, which has 4 rows"), std::string::npos)
        << e.what();
  }
}

TEST(Case, EveryKeyIsInTheDocumentation) {
  std::ifstream file(BOLIDE_SOURCE_DIR "/docs/cases.md");
  std::stringstream text;
  text << file.rdbuf();
  for (const Key& key : keys())
    EXPECT_NE(text.str().find("\n| `" + key.name + "` |"), std::string::npos) << key.name;
  for (const char* generator :
       {"runs(", "randint(", "randn(", "uniform(", "randbool(", "arange(", "steps(", "slopes(", "file("})
    EXPECT_NE(text.str().find(std::string("\n| `") + generator), std::string::npos) << generator;
  for (const char* value : {"`shuffled`, `ordered`, `shared`", "`bshd`, `bhsd`, `mixed`",
                            "`none`, `gaps`, `odd`, `expand`, `reverse`",
                            "`normal`, `uniform`, `outliers`, `large`, `tiny`, `ties`, `zeroq`, `nan`"})
    EXPECT_NE(text.str().find(value), std::string::npos) << value;
}

TEST(Captured, ShapesAndContents) {
  const ShapeNames names{2, 6, 3, 40, 50, 16};
  EXPECT_EQ(parse_generator("t", "randn(b,h,sq,skv)").dims(names), (Dims{2, 6, 40, 50}));
  EXPECT_EQ(parse_generator("t", "randn(n,skv+1,2*hkv,sq-50)").dims(names), (Dims{50, 51, 6, 0}));
  const Generator runs = parse_generator("t", "runs(b,n)"), ints = parse_generator("t", "randint(-3,9,n):i8");
  EXPECT_EQ(ints.dtype, DType::i8);
  std::vector<std::int32_t> doc(100);
  runs.fill(Tensor(doc.data(), {2, 50}), 5);
  for (std::size_t row : {0, 50}) {
    EXPECT_EQ(doc[row], 0);
    for (std::size_t i = row + 1; i < row + 50; ++i)
      EXPECT_TRUE(doc[i] == doc[i - 1] || doc[i] == doc[i - 1] + 1);
  }
  EXPECT_GT(doc[49], 0);
  std::vector<std::int32_t> step(10);
  parse_generator("t", "steps(4,n)").fill(Tensor(step.data(), {10}), 5);
  EXPECT_EQ(step, (std::vector<std::int32_t>{0, 0, 0, 0, 1, 1, 1, 1, 2, 2}));
  std::vector<std::int8_t> x(1000);
  ints.fill(Tensor(x.data(), {1000}), 5);
  EXPECT_EQ(*std::min_element(x.begin(), x.end()), -3);
  EXPECT_EQ(*std::max_element(x.begin(), x.end()), 8);
}

TEST(Captured, EqualSeedsGiveEqualTensorsAndLengths) {
  const Case c = Case::parse("varlen_fwd f32 b=9 sq=0..50 skv=3..7 seqused_kv=0..5 seed=3");
  Case other = c;
  EXPECT_EQ(draw_lengths(c).rows_q, draw_lengths(other).rows_q);
  other.seed = 4;
  EXPECT_NE(draw_lengths(c).rows_q, draw_lengths(other).rows_q);
  for (const std::int64_t n : draw_lengths(c).rows_kv) EXPECT_TRUE(n >= 3 && n <= 7);
  for (std::size_t b = 0; b < 9; ++b) EXPECT_LE(draw_lengths(c).used_kv[b], draw_lengths(c).rows_kv[b]);
}

}  // namespace
}  // namespace bolide::testing
