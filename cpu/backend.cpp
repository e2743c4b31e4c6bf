// Chooses between the CPU's paths: tiles by default, the definition where it is asked for.
#include "cpu/backend.hpp"

#include <fmt/core.h>

#include "cpu/merge.hpp"
#include "cpu/naive.hpp"
#include "cpu/tiled.hpp"

namespace bolide::cpu {
namespace {

std::shared_ptr<const BackendPlan> described(std::shared_ptr<const NaivePlan> naive) {
  auto plan = std::make_shared<NaivePlan>(*naive);
  const std::pair<std::string, std::string> general[] = {
      {"arithmetic", "float64, rounded once"},
      {"threads", fmt::format("{}", plan->threads)},
      {"determinism", "D1, D2, D3: a row's bits depend on its own sequence alone"}};
  plan->details.insert(plan->details.begin(), std::begin(general), std::end(general));
  return plan;
}

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(Kernels kernels) : tiled_(kernels == Kernels::fastest) {}
  std::shared_ptr<const BackendPlan> plan(const ForwardProblem& p, const Sizes& s) const override {
    if (tiled_) return plan_tiled(p, s);
    return described(plan_naive(p, s));
  }
  std::shared_ptr<const BackendPlan> plan(const BackwardProblem& p, const Sizes& s) const override {
    if (tiled_) return plan_tiled(p, s);
    return described(plan_naive(p, s));
  }
  void forward(const BackendPlan& plan, const ForwardProblem& p, Workspace w, Stream) const override {
    if (const auto* tiled = dynamic_cast<const TiledPlan*>(&plan)) tiled_forward(*tiled, p, w);
    else naive_forward(static_cast<const NaivePlan&>(plan), p, w);
  }
  void backward(const BackendPlan& plan, const BackwardProblem& p, Workspace w, Stream) const override {
    if (const auto* tiled = dynamic_cast<const TiledPlan*>(&plan)) tiled_backward(*tiled, p, w);
    else naive_backward(static_cast<const NaivePlan&>(plan), p, w);
  }
  void merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out, const Tensor& lse,
             Stream) const override {
    cpu::merge(outs, lses, out, lse);
  }

 private:
  bool tiled_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(Kernels kernels) { return std::make_unique<CpuBackend>(kernels); }

}  // namespace bolide::cpu
