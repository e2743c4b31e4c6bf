// A training step's attention: documents packed into one row, each causal by itself; forward, then gradients.
#include "common.hpp"
using namespace bolide;

int main() {
  constexpr std::int64_t kRows = 24, kHeads = 2, kDim = 8;
  const Dims shape{1, kRows, kHeads, kDim};
  auto qs = example::noise(kRows * kHeads * kDim, 1), ks = example::noise(qs.size(), 2);
  auto vs = example::noise(qs.size(), 3), douts = example::noise(qs.size(), 4);
  std::vector<float> outs(qs.size()), lses(kHeads * kRows), dqs(qs.size()), dks(qs.size()), dvs(qs.size());
  std::vector<std::int32_t> document(kRows);
  for (int row = 0; row < kRows; ++row) document[row] = row < 7 ? 0 : row < 18 ? 1 : 2;

  const Tensor q(qs.data(), shape), k(ks.data(), shape), v(vs.data(), shape), out(outs.data(), shape);
  const Tensor lse(lses.data(), {1, kHeads, kRows});
  const IntTable doc = ints(Tensor(document.data(), {kRows}), "doc");
  const Mask mask = [&](auto, auto, auto q, auto kv) { return kv <= q && doc[q] == doc[kv]; };
  // A score program is differentiated as well: here Gemma's soft cap.
  const Score score = [](auto s, auto, auto, auto, auto) { return 5.0 * tanh(s / 5.0); };

  Context cpu(Device::cpu());
  auto forward = fwd({.q = q, .k = k, .v = v, .out = out, .lse = lse, .mask = mask, .score = score});
  Plan forward_plan = cpu.plan(forward);
  example::Scratch scratch(forward_plan);
  cpu.forward(forward_plan, forward, scratch);

  auto backward = bwd({.dout = Tensor(douts.data(), shape),
                       .q = q,
                       .k = k,
                       .v = v,
                       .out = out,
                       .lse = lse,
                       .dq = Tensor(dqs.data(), shape),
                       .dk = Tensor(dks.data(), shape),
                       .dv = Tensor(dvs.data(), shape),
                       .mask = mask,
                       .score = score});
  Plan backward_plan = cpu.plan(backward);
  cpu.backward(backward_plan, backward, example::Scratch(backward_plan));

  // The gradient of sum(dout * out) in the direction of dk, against a difference quotient along it.
  const auto loss = [&](float step) {
    auto moved = ks;
    for (std::size_t i = 0; i < ks.size(); ++i) moved[i] += step * dks[i];
    forward.k = Tensor(moved.data(), shape);
    cpu.forward(forward_plan, forward, scratch);
    double sum = 0;
    for (std::size_t i = 0; i < outs.size(); ++i) sum += static_cast<double>(douts[i]) * outs[i];
    return sum;
  };
  double slope = 0;
  for (float d : dks) slope += static_cast<double>(d) * d;
  const double quotient = (loss(1e-3f) - loss(-1e-3f)) / 2e-3;
  std::printf("slope along dk %.6f, difference quotient %.6f\n", slope, quotient);
  return std::fabs(quotient / slope - 1) < 1e-3 ? 0 : 1;
}
