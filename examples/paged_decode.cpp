// Decoding from a paged cache: two sequences of different length, one new query each, pages in any order.
#include "common.hpp"
using namespace bolide;

int main() {
  constexpr std::int64_t kPages = 8, kPageRows = 4, kHeads = 4, kKeyHeads = 2, kDim = 16;
  const auto qs = example::noise(2 * kHeads * kDim, 1);
  const auto ks = example::noise(kPages * kPageRows * kKeyHeads * kDim, 2), vs = example::noise(ks.size(), 3);
  std::vector<float> paged(qs.size()), one_by_one(qs.size());
  // Sequence 0 holds 10 rows in pages 5, 0, 3; sequence 1 holds 3 rows in page 6. Other entries are never
  // read.
  const std::int32_t table[2][3] = {{5, 0, 3}, {6, -1, -1}}, seqused[2] = {10, 3};
  const Dims cache{kPages, kPageRows, kKeyHeads, kDim};

  Context cpu(Device::cpu());
  auto problem = fwd_kvcache({.q = Tensor(qs.data(), {2, 1, kHeads, kDim}),
                              .k_cache = Tensor(ks.data(), cache),
                              .v_cache = Tensor(vs.data(), cache),
                              .out = Tensor(paged.data(), {2, 1, kHeads, kDim}),
                              .seqused = Tensor(seqused, {2}),
                              .page_table = Tensor(table[0], {2, 3}),
                              .mask = [](auto, auto, auto q, auto kv) { return kv <= q && q - kv < 8; }});
  Plan plan =
      cpu.plan(problem);  // holds for all lengths and tables: decode on, and only their contents change
  cpu.forward(plan, problem, example::Scratch(plan));

  // The same, sequence by sequence from keys in order. The mask is the same text: it speaks of positions.
  for (int b = 0; b < 2; ++b) {
    std::vector<float> k, v;
    for (int row = 0; row < seqused[b]; ++row) {
      const auto at = (table[b][row / kPageRows] * kPageRows + row % kPageRows) * kKeyHeads * kDim;
      k.insert(k.end(), ks.begin() + at, ks.begin() + at + kKeyHeads * kDim);
      v.insert(v.end(), vs.begin() + at, vs.begin() + at + kKeyHeads * kDim);
    }
    const Dims one{1, 1, kHeads, kDim}, keys{1, seqused[b], kKeyHeads, kDim};
    auto alone = fwd({.q = Tensor(qs.data() + b * kHeads * kDim, one),
                      .k = Tensor(k.data(), keys),
                      .v = Tensor(v.data(), keys),
                      .out = Tensor(one_by_one.data() + b * kHeads * kDim, one),
                      .mask = problem.mask});
    Plan plan_alone = cpu.plan(alone);
    cpu.forward(plan_alone, alone, example::Scratch(plan_alone));
  }
  return example::difference("paged against dense", paged, one_by_one) == 0 ? 0 : 1;
}
