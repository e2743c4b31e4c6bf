// `bolide run` on files: every option of the problem, against attention written out here.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "files/tensor_file.hpp"
#include "tests/cli/command.hpp"

namespace bolide::tests {
namespace {

// One problem in plain arrays: q [batch, rows_q, heads_q, dim] and so on.
struct Plain {
  Array<float> q, k, v;
  Plain(std::int64_t batch, std::int64_t rows_q, std::int64_t rows_kv, std::int64_t heads_q,
        std::int64_t heads_kv, std::int64_t dim, std::int64_t dim_v)
      : q(some_numbers({batch, rows_q, heads_q, dim}, 1)),
        k(some_numbers({batch, rows_kv, heads_kv, dim}, 2)),
        v(some_numbers({batch, rows_kv, heads_kv, dim_v}, 3)) {}
};

using Visible = std::function<bool(int b, int h, int row, int key)>;
using Rescore = std::function<double(double score, int row, int key)>;

struct Attention {
  Array<float> out, lse;
};

// Rows and keys are indices here, not positions.
Attention attention(const Plain& p, double scale, const Visible& visible, const Rescore& rescore = {}) {
  const auto batch = p.q.shape[0], rows = p.q.shape[1], heads = p.q.shape[2], dim = p.q.shape[3];
  const auto keys = p.k.shape[1], heads_kv = p.k.shape[2], dim_v = p.v.shape[3];
  Attention a{Array<float>({batch, rows, heads, dim_v}), Array<float>({batch, heads, rows})};
  for (int b = 0; b < batch; ++b)
    for (int h = 0; h < heads; ++h)
      for (int i = 0; i < rows; ++i) {
        const auto kv_head = h / (heads / heads_kv);
        std::vector<double> weight(keys, 0), out(dim_v, 0);
        double sum = 0;
        for (int j = 0; j < keys; ++j) {
          if (!visible(b, h, i, j)) continue;
          double s = 0;
          for (int d = 0; d < dim; ++d)
            s += double{p.q.values[((b * rows + i) * heads + h) * dim + d]} *
                 p.k.values[((b * keys + j) * heads_kv + kv_head) * dim + d];
          s *= scale;
          if (rescore) s = rescore(s, i, j);
          sum += weight[j] = std::exp(s);
        }
        a.lse.values[(b * heads + h) * rows + i] = static_cast<float>(std::log(sum));
        for (int j = 0; j < keys; ++j)
          if (weight[j] > 0)
            for (int d = 0; d < dim_v; ++d)
              out[d] += weight[j] / sum * p.v.values[((b * keys + j) * heads_kv + kv_head) * dim_v + d];
        for (int d = 0; d < dim_v; ++d)
          a.out.values[((b * rows + i) * heads + h) * dim_v + d] = static_cast<float>(out[d]);
      }
  return a;
}

void expect_near(const Array<float>& got, const Array<float>& expected, double tolerance = 2e-6) {
  ASSERT_EQ(got.shape, expected.shape);
  for (std::size_t i = 0; i < got.values.size(); ++i) {
    if (got.values[i] == expected.values[i]) continue;  // infinities
    ASSERT_NEAR(got.values[i], expected.values[i], tolerance) << "element " << i;
  }
}

class Run : public ::testing::Test {
 protected:
  Folder folder;

  void write(const std::string& name, const std::vector<std::pair<std::string, Tensor>>& tensors) {
    files::write_safetensors(folder / name, tensors);
  }
  void write(const Plain& p, std::vector<std::pair<std::string, Tensor>> more = {}) {
    more.insert(more.begin(), {{"q", p.q.tensor()}, {"k", p.k.tensor()}, {"v", p.v.tensor()}});
    write("in.safetensors", more);
  }
  // Runs on in.safetensors and writes out and lse to out.safetensors.
  Ran run(std::vector<std::string> more) {
    std::vector<std::string> arguments{"run", "in.safetensors", "-o", "out.safetensors", "--lse"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ran ran = bolide(arguments, {folder.path()});
    EXPECT_EQ(ran.exit, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
    return ran;
  }
  Array<float> result(const std::string& name) { return read_array(folder / "out.safetensors", name); }
  void expect_results(const Attention& a, double tolerance = 2e-6) {
    expect_near(result("out"), a.out, tolerance);
    expect_near(result("lse"), a.lse, tolerance);
  }
};

const double kScale8 = 1 / std::sqrt(8.0);

TEST_F(Run, MaskedWindowAsTheReadmeShowsIt) {
  const Plain p(2, 9, 9, 4, 2, 8, 5);
  write(p);
  const Ran ran = run({"--mask", "kv <= q && q - kv < 3"});
  expect_results(attention(p, kScale8, [](int, int, int i, int j) { return j <= i && i - j < 3; }));
  EXPECT_NE(ran.out.find("cpu/tiled"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("f32 [2, 9, 4, 8]"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("f32 [2, 9, 4, 5]"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("TFLOP/s over 192 visible pairs"), std::string::npos)
      << ran.out;  // 2 * 4 * (1 + 2 + 7 * 3)
  EXPECT_NE(ran.out.find("wrote out.safetensors: out lse"), std::string::npos) << ran.out;
}

TEST_F(Run, C03_DefaultQueryStartIsBottomRight) {
  const Plain p(1, 3, 7, 2, 2, 8, 8);
  write(p);
  run({"--mask", "kv <= q"});
  expect_results(attention(p, kScale8, [](int, int, int i, int j) { return j <= i + 4; }));
}

TEST_F(Run, C03_QueryStartAndKeyStart) {
  const Plain p(2, 3, 7, 2, 2, 8, 8);
  const Array<std::int32_t> starts({2}, {5, 1});
  write(p, {{"starts", starts.tensor()}});
  run({"--mask", "kv <= q", "--query-start", "top_left"});
  expect_results(attention(p, kScale8, [](int, int, int i, int j) { return j <= i; }));
  run({"--mask", "kv <= q", "--query-start", "2"});
  expect_results(attention(p, kScale8, [](int, int, int i, int j) { return j <= i + 2; }));
  run({"--mask", "kv <= q", "--query-start", "starts"});
  expect_results(attention(p, kScale8, [](int b, int, int i, int j) { return j <= i + (b == 0 ? 5 : 1); }));
  run({"--mask", "kv <= q", "--query-start", "5", "--key-start", "3"});
  expect_results(attention(p, kScale8, [](int, int, int i, int j) { return j + 3 <= i + 5; }));
  run({"--mask", "kv <= q", "--query-start", "5", "--key-start", "starts"});
  expect_results(
      attention(p, kScale8, [](int b, int, int i, int j) { return j + (b == 0 ? 5 : 1) <= i + 5; }));
  run({"--mask", "kv < 2 - q", "--query-start", "-3"});
  expect_results(attention(p, kScale8, [](int, int, int i, int j) { return j < 2 - (i - 3); }));
}

TEST_F(Run, ScaleScoreNumbersAndCapturedTensors) {
  const Plain p(2, 6, 6, 2, 1, 8, 8);
  const Array<std::int64_t> doc({6}, {0, 0, 1, 1, 1, 2});
  write(p, {{"doc", doc.tensor()}});
  run({"--scale", "-0.5", "--score", "cap * tanh(score / cap) + w * (q - kv)", "--number", "cap=1.5",
       "--number", "w=2", "--mask", "doc[q] == ids[kv]", "--tensor", "doc", "--tensor", "ids=doc"});
  expect_results(attention(
                     p, -0.5, [&](int, int, int i, int j) { return doc.values[i] == doc.values[j]; },
                     [](double s, int i, int j) { return 1.5 * std::tanh(s / 1.5) + 2 * (i - j); }),
                 1e-5);
  files::write_npy(folder / "other.npy", doc.tensor());
  const Array<float> before = result("out");
  run({"--scale", "-0.5", "--score", "1.5 * tanh(score / 1.5) + 2 * (q - kv)", "--mask", "doc[q] == doc[kv]",
       "--tensor", "doc=other.npy"});
  expect_near(result("out"), before, 0);
}

TEST_F(Run, HeadsFirstLayoutIsTheSameProblem) {
  const Plain p(2, 5, 6, 4, 2, 8, 3);
  write(p);
  run({"--mask", "kv <= q"});
  const Array<float> out = result("out"), lse = result("lse");
  // [batch, rows, heads, dim] -> [batch, heads, rows, dim]
  const auto swap = [](const Array<float>& a) {
    const auto B = a.shape[0], S = a.shape[1], H = a.shape[2], D = a.shape[3];
    Array<float> t({B, H, S, D});
    for (int b = 0; b < B; ++b)
      for (int s = 0; s < S; ++s)
        for (int h = 0; h < H; ++h)
          for (int d = 0; d < D; ++d)
            t.values[((b * H + h) * S + s) * D + d] = a.values[((b * S + s) * H + h) * D + d];
    return t;
  };
  const Array<float> q = swap(p.q), k = swap(p.k), v = swap(p.v), expected = swap(out);
  write("in.safetensors",
        {{"q", q.tensor()}, {"k", k.tensor()}, {"v", v.tensor()}, {"e", expected.tensor()}});
  const Ran ran = run({"--mask", "kv <= q", "--layout", "bhsd", "--expect", "e", "--tolerance", "0"});
  expect_near(result("out"), expected, 0);
  expect_near(result("lse"), lse, 0);
  EXPECT_NE(ran.out.find("f32 [2, 4, 5, 8]"), std::string::npos) << ran.out;
}

// The rows of a dense tensor one after another: [batch * rows, heads, dim], the same memory.
Tensor packed(const Array<float>& a) {
  return Tensor(a.values.data(), {a.shape[0] * a.shape[1], a.shape[2], a.shape[3]});
}

TEST_F(Run, PackedPagedAndDenseAgree) {
  const Plain p(3, 2, 4, 2, 1, 8, 8);
  const Array<std::int64_t> cu_q({4}, {0, 2, 4, 6});
  const Array<std::int32_t> cu_kv({4}, {0, 4, 8, 12}), used({3}, {4, 3, 1}), pad({3}, {1, 0, 0}),
      used_q({3}, {2, 1, 2});
  const Array<std::int32_t> table({3, 2}, {0, 1, 2, 3, 4, -7}), indptr({4}, {0, 2, 4, 5}),
      last({3}, {2, 1, 1});
  const Array<std::int64_t> indices({5}, {0, 1, 2, 3, 4});
  const Tensor pages_k(p.k.values.data(), {6, 2, 1, 8}), pages_v(p.v.values.data(), {6, 2, 1, 8});
  write(p, {{"qp", packed(p.q)},
            {"kp", packed(p.k)},
            {"vp", packed(p.v)},
            {"cuq", cu_q.tensor()},
            {"cukv", cu_kv.tensor()},
            {"used", used.tensor()},
            {"pad", pad.tensor()},
            {"usedq", used_q.tensor()},
            {"kpages", pages_k},
            {"vpages", pages_v},
            {"table", table.tensor()},
            {"indptr", indptr.tensor()},
            {"indices", indices.tensor()},
            {"last", last.tensor()}});
  const std::vector<std::string> lengths{"--mask", "kv <= q", "--seqused-kv", "used", "--seqused-q", "usedq"};
  const auto run_with = [&](std::vector<std::string> more) {
    more.insert(more.end(), lengths.begin(), lengths.end());
    return run(more);
  };
  run_with({"--leftpad", "pad"});
  const Array<float> padded = result("out");
  const auto query_rows = [&](int b) { return used_q.values[b]; };
  Attention expected = attention(p, kScale8, [&](int b, int, int i, int j) {
    const int first = pad.values[b], keys = used.values[b] - first, start = keys - query_rows(b);
    return i < query_rows(b) && j >= first && j < used.values[b] && j - first <= start + i;
  });
  for (float& x : expected.out.values) x = std::isnan(x) ? 0 : x;
  expect_results(expected);
  run_with({"--leftpad", "pad", "--q", "qp", "--k", "kp", "--v", "vp", "--cu-seqlens-q", "cuq",
            "--cu-seqlens-kv", "cukv", "--max-seqlen-q", "2", "--max-seqlen-kv", "4"});
  EXPECT_EQ(result("out").values, padded.values);
  EXPECT_EQ(result("out").shape, (Dims{6, 2, 8}));
  EXPECT_EQ(result("lse").shape, (Dims{2, 6}));

  run_with({});
  const Array<float> unpadded = result("out");
  EXPECT_NE(unpadded.values, padded.values);
  run_with({"--k", "kpages", "--v", "vpages", "--page-table", "table"});
  EXPECT_EQ(result("out").values, unpadded.values);
  run_with({"--q", "qp", "--cu-seqlens-q", "cuq", "--k", "kpages", "--v", "vpages", "--page-table", "table"});
  EXPECT_EQ(result("out").values, unpadded.values);
  run_with({"--k", "kpages", "--v", "vpages", "--page-indptr", "indptr", "--page-indices", "indices",
            "--last-page-len", "last", "--max-pages", "2"});
  EXPECT_EQ(result("out").values, unpadded.values);
  run({"--k", "kpages", "--v", "vpages", "--page-indptr", "indptr", "--page-indices", "indices",
       "--last-page-len", "last", "--mask", "kv <= q", "--seqused-q", "usedq"});
  EXPECT_EQ(result("out").values, unpadded.values);
}

TEST_F(Run, NpyFilesInAndOut) {
  const Plain p(1, 4, 4, 2, 2, 8, 8);
  for (const auto& [name, array] : {std::pair{"q", &p.q}, {"k", &p.k}, {"v", &p.v}})
    files::write_npy(folder / (std::string(name) + ".npy"), array->tensor());
  const Attention expected = attention(p, kScale8, [](int, int, int, int) { return true; });
  Ran ran = bolide({"run", "q.npy", "k.npy", "v.npy", "-o", "o.npy"}, {folder.path()});
  ASSERT_EQ(ran.exit, 0) << ran.err;
  expect_near(read_array(folder / "o.npy", "o"), expected.out);
  ran = bolide({"run", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "-o", "p.npy"}, {folder.path()});
  ASSERT_EQ(ran.exit, 0) << ran.err;
  EXPECT_EQ(text_of(folder / "p.npy"), text_of(folder / "o.npy"));
}

TEST_F(Run, TensorsOfSeveralFilesByName) {
  const Plain p(1, 4, 4, 2, 2, 8, 8);
  write("a.safetensors", {{"q", p.q.tensor()}, {"k", p.k.tensor()}});
  write("b.safetensors", {{"v", p.v.tensor()}, {"k", p.v.tensor()}});
  Ran ran = bolide({"run", "a.safetensors", "b.safetensors"}, {folder.path()});
  EXPECT_EQ(ran.exit, 2);
  EXPECT_NE(ran.err.find("both a.safetensors and b.safetensors"), std::string::npos) << ran.err;
  ran = bolide({"run", "a.safetensors", "b.safetensors", "--k", "a.safetensors:k", "-o", "out.safetensors"},
               {folder.path()});
  ASSERT_EQ(ran.exit, 0) << ran.err;
  expect_near(result("out"), attention(p, kScale8, [](int, int, int, int) { return true; }).out);
}

TEST_F(Run, SixteenBitTypesAndOutType) {
  const Plain p(1, 4, 4, 2, 2, 8, 8);
  const auto to_bf16 = [](const Array<float>& a) {
    Array<bf16> b(a.shape);
    for (std::size_t i = 0; i < a.values.size(); ++i) b.values[i] = bf16(a.values[i]);
    return b;
  };
  const Array<bf16> q = to_bf16(p.q), k = to_bf16(p.k), v = to_bf16(p.v);
  write("in.safetensors", {{"q", q.tensor()}, {"k", k.tensor()}, {"v", v.tensor()}});
  run({});
  const files::TensorFile narrow = files::open_tensors(folder / "out.safetensors");
  EXPECT_EQ(narrow.info("out").dtype, DType::bf16);
  EXPECT_EQ(narrow.info("lse").dtype, DType::f32);
  const Array<float> rounded = result("out");
  run({"--out-dtype", "f32"});
  EXPECT_EQ(files::open_tensors(folder / "out.safetensors").info("out").dtype, DType::f32);
  expect_near(rounded, result("out"), 4e-3);
  EXPECT_NE(rounded.values, result("out").values);
}

TEST_F(Run, GradientsMatchFiniteDifferences) {
  const Plain p(1, 3, 4, 2, 1, 8, 8);
  const Array<float> dout = some_numbers({1, 3, 2, 8}, 9), dlse = some_numbers({1, 2, 3}, 10);
  write(p, {{"g", dout.tensor()}, {"gl", dlse.tensor()}});
  const Ran ran = run({"--mask", "kv <= q", "--dout", "g", "--dlse", "gl"});
  EXPECT_NE(ran.out.find("backward on cpu"), std::string::npos) << ran.out;
  const auto objective = [&](const Plain& at) {
    const Attention a = attention(at, kScale8, [](int, int, int i, int j) { return j <= i + 1; });
    double sum = 0;
    for (std::size_t i = 0; i < dout.values.size(); ++i) sum += double{dout.values[i]} * a.out.values[i];
    for (std::size_t i = 0; i < dlse.values.size(); ++i) sum += double{dlse.values[i]} * a.lse.values[i];
    return sum;
  };
  const auto check = [&](const char* name, Array<float> Plain::*which) {
    const Array<float> gradient = result(name);
    ASSERT_EQ(gradient.shape, (p.*which).shape);
    for (std::size_t i = 0; i < gradient.values.size(); i += 5) {
      constexpr float kStep = 1.0f / 64;
      Plain up = p, down = p;
      (up.*which).values[i] += kStep;
      (down.*which).values[i] -= kStep;
      EXPECT_NEAR(gradient.values[i], (objective(up) - objective(down)) / (2 * kStep), 1e-3)
          << name << " " << i;
    }
  };
  check("dq", &Plain::q);
  check("dk", &Plain::k);
  check("dv", &Plain::v);
}

TEST_F(Run, GradientsOfCapturedTensors) {
  const Plain p(1, 3, 4, 2, 1, 8, 8);
  const Array<float> dout = some_numbers({1, 3, 2, 8}, 9), near = some_numbers({3}, 11),
                     heat = some_numbers({}, 12);
  write(p, {{"g", dout.tensor()}, {"near", near.tensor()}, {"heat", heat.tensor()}});
  const std::vector<std::string> options{
      "--mask",        "kv <= q", "--score",  "score * heat + near[q - kv]",
      "--tensor",      "near",    "--tensor", "heat",
      "--query-start", "1",       "--dout",   "g",
      "--grad",        "near",    "--grad",   "heat"};
  const Ran ran = run(options);
  EXPECT_NE(ran.out.find("dnear     f32 [3]"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("wrote out.safetensors: out lse dq dk dv dnear dheat"), std::string::npos)
      << ran.out;
  const auto objective = [&](const Array<float>& near_at, float heat_at) {
    const Attention a = attention(
        p, kScale8, [](int, int, int i, int j) { return j <= i + 1; },
        [&](double s, int i, int j) {
          return s * heat_at + near_at.values[static_cast<std::size_t>(std::min(i + 1 - j, 2))];
        });
    double sum = 0;
    for (std::size_t i = 0; i < dout.values.size(); ++i) sum += double{dout.values[i]} * a.out.values[i];
    return sum;
  };
  constexpr float kStep = 1.0f / 64;
  const Array<float> dnear = result("dnear"), dheat = result("dheat");
  ASSERT_EQ(dnear.shape, near.shape);
  ASSERT_EQ(dheat.shape, heat.shape);
  for (std::size_t i = 0; i < 3; ++i) {
    Array<float> up = near, down = near;
    up.values[i] += kStep, down.values[i] -= kStep;
    const double difference = objective(up, heat.values[0]) - objective(down, heat.values[0]);
    EXPECT_NEAR(dnear.values[i], difference / (2 * kStep), 1e-3) << i;
  }
  EXPECT_NEAR(
      dheat.values[0],
      (objective(near, heat.values[0] + kStep) - objective(near, heat.values[0] - kStep)) / (2 * kStep),
      1e-3);
  // As an input they are compared like every other result; heads first changes nothing about them.
  write("ref.safetensors", {{"dnear_ref", dnear.tensor()}});
  std::vector<std::string> again = options;
  again.insert(again.end(), {"--expect", "dnear=ref.safetensors:dnear_ref", "--tolerance", "0"});
  run(again);
}

TEST_F(Run, GradientsOfCapturedTensorsAreRefusedByName) {
  const Plain p(1, 3, 4, 2, 1, 8, 8);
  const Array<float> t = some_numbers({4}, 9);
  write(p, {{"t", t.tensor()}, {"g", p.q.tensor()}});
  const auto sentence = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "in.safetensors"});
    const Ran ran = bolide(more, {folder.path()});
    EXPECT_EQ(ran.exit, 2) << ran.out;
    return ran.err;
  };
  const std::string text = "score + t[kv]";
  EXPECT_NE(
      sentence({"--score", text, "--tensor", "t", "--grad", "t"}).find("--grad means nothing without --dout"),
      std::string::npos);
  EXPECT_NE(sentence({"--dout", "g", "--grad", "t"}).find("--grad t: no --tensor has this name"),
            std::string::npos);
  EXPECT_NE(sentence({"--dout", "g", "--score", "score + k[kv]", "--tensor", "k=t", "--grad", "k"})
                .find("--grad k: there is a result dk already"),
            std::string::npos);
  EXPECT_NE(sentence({"--dout", "g", "--mask", "t[kv] > 0", "--tensor", "t", "--grad", "t"})
                .find("which only the mask reads"),
            std::string::npos);
}

TEST_F(Run, ExpectSaysHowFarItIsAndJudgesByTolerance) {
  const Plain p(1, 4, 4, 2, 2, 8, 8);
  Attention expected = attention(p, kScale8, [](int, int, int, int) { return true; });
  Array<float> off = expected.out, broken = expected.out;
  off.values[17] += 0.25f;
  broken.values[3] = std::nanf("");
  write(p, {{"e", expected.out.tensor()},
            {"l", expected.lse.tensor()},
            {"off", off.tensor()},
            {"broken", broken.tensor()}});
  Ran ran = run({"--expect", "e", "--expect", "lse=l", "--tolerance", "1e-6"});
  EXPECT_NE(ran.out.find("x the rounding floor"), std::string::npos) << ran.out;
  run({"--expect", "off"});  // without a tolerance it only tells
  ran = bolide({"run", "in.safetensors", "--expect", "off", "--tolerance", "0.24"}, {folder.path()});
  EXPECT_EQ(ran.exit, 1);
  EXPECT_NE(ran.out.find("worst at [0, 1, 0, 1]"), std::string::npos) << ran.out;
  EXPECT_EQ(bolide({"run", "in.safetensors", "--expect", "off", "--tolerance", "0.26"}, {folder.path()}).exit,
            0);
  ran = bolide({"run", "in.safetensors", "--expect", "broken", "--tolerance", "100"}, {folder.path()});
  EXPECT_EQ(ran.exit, 1);
  EXPECT_NE(ran.out.find("1 of 64 elements are NaN or infinite on one side only"), std::string::npos)
      << ran.out;
}

TEST_F(Run, C08_RowsThatSeeNothingAreCountedApart) {
  const Plain p(1, 5, 2, 1, 1, 8, 8);
  write(p);
  const Ran ran = run({"--mask", "kv <= q"});
  EXPECT_NE(ran.out.find("3 of 5 rows see no key"), std::string::npos) << ran.out;
  const Array<float> out = result("out");
  for (int i = 0; i < 3 * 8; ++i) EXPECT_EQ(out.values[i], 0.0f);
  EXPECT_EQ(result("lse").values[0], -INFINITY);
}

TEST_F(Run, C10_EmptyProblemsSucceed) {
  for (const auto& [batch, rows, keys] : {std::tuple{0, 3, 3}, {2, 0, 3}, {2, 3, 0}}) {
    const Plain p(batch, rows, keys, 2, 1, 8, 8);
    write(p, {{"g", p.q.tensor()}});
    const Ran ran = run({"--dout", "g"});
    EXPECT_NE(ran.out.find("lse       no finite value"), std::string::npos) << ran.out;
  }
}

}  // namespace
}  // namespace bolide::tests
