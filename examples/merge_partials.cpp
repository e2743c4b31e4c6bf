// Attention over keys held in two places: each computes its part, and the parts merge exactly.
#include "common.hpp"
using namespace bolide;

int main() {
  constexpr std::int64_t kRows = 64, kSplit = 40, kHeads = 2, kDim = 16, kStep = kHeads * kDim;
  const Dims shape{1, kRows, kHeads, kDim};
  const auto qs = example::noise(kRows * kStep, 1), ks = example::noise(qs.size(), 2),
             vs = example::noise(qs.size(), 3);
  std::vector<float> whole(qs.size()), parts[2] = {whole, whole}, lses[3];
  for (auto& lse : lses) lse.resize(kHeads * kRows);

  Context cpu(Device::cpu());
  // Keys [begin, end) under a causal mask; positions are told, so that each part sees its true place.
  const auto attend = [&](std::int64_t begin, std::int64_t end, const Tensor& out, const Tensor& lse) {
    auto problem = fwd({.q = Tensor(qs.data(), shape),
                        .k = Tensor(ks.data() + begin * kStep, {1, end - begin, kHeads, kDim}),
                        .v = Tensor(vs.data() + begin * kStep, {1, end - begin, kHeads, kDim}),
                        .out = out,
                        .lse = lse,
                        .mask = [](auto, auto, auto q, auto kv) { return kv <= q; },
                        .query_start = TopLeft{}});
    problem.key_start.value = begin;
    Plan plan = cpu.plan(problem);
    cpu.forward(plan, problem, example::Scratch(plan));
  };
  const Dims lse_shape{1, kHeads, kRows};
  const Tensor outs[2] = {Tensor(parts[0].data(), shape), Tensor(parts[1].data(), shape)};
  const Tensor lse[3] = {Tensor(lses[0].data(), lse_shape), Tensor(lses[1].data(), lse_shape),
                         Tensor(lses[2].data(), lse_shape)};
  attend(0, kRows, Tensor(whole.data(), shape), lse[2]);
  attend(0, kSplit, outs[0], lse[0]);
  attend(kSplit, kRows, outs[1], lse[1]);  // sees nothing for the first 40 queries: an empty part
  cpu.merge(outs, std::span(lse, 2), outs[0], lse[0]);

  const double out_error = example::difference("merged out", parts[0], whole);
  const double lse_error = example::difference("merged lse", lses[0], lses[2]);
  return out_error < 1e-6 && lse_error < 1e-6 ? 0 : 1;
}
