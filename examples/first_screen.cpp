// The README's first example: a causal window of 1,024 keys, stated once, planned once, run on the CPU.
#include <bolide/bolide.hpp>
#include <cstdio>
#include <cstdlib>
#include <vector>
using namespace bolide;

int main() {
  const Dims shape{1, 1500, 2, 32};  // [batch, rows, heads, head_dim]; strides, f16 and bf16 work as well
  std::vector<float> qs(1500 * 2 * 32, 0.25f), ks = qs, vs = qs, outs = qs, lses(2 * 1500);
  Tensor q(qs.data(), shape), k(ks.data(), shape), v(vs.data(), shape), out(outs.data(), shape);
  Tensor lse(lses.data(), {1, 2, 1500});

  Context cpu(Device::cpu());
  const Mask window = [](auto, auto, auto q, auto kv) { return kv <= q && q - kv < 1024; };
  auto problem = fwd({.q = q, .k = k, .v = v, .out = out, .lse = lse, .mask = window});
  Plan plan = cpu.plan(problem);  // cheap, reusable for every problem of the same shapes

  void* memory = std::aligned_alloc(256, plan.workspace_bytes());
  cpu.forward(plan, problem, {memory, plan.workspace_bytes()});  // allocates nothing itself
  std::free(memory);

  std::printf("%s: lse of the last row %.4f, out %.4f\n", plan.path().c_str(), lses.back(), outs.back());
}
