// Which kernels a case needs, and cases that need no others.
#include "testing/kernel_budget.hpp"

#include <bolide/error.hpp>

#include <optional>
#include <unordered_set>

#include "cuda/backend.hpp"
#include "cuda/forward_kernels.hpp"
#include "jit/kernel_store.hpp"
#include "plan/forward_gpu.hpp"
#include "testing/check.hpp"
#include "testing/random.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

// The attention kernel of a case's forward; nothing if none serves it. Images on the host are aligned as on a
// device.
std::optional<jit::KernelSpec> kernel_of(const Case& c, int multiprocessors) {
  try {
    HostMemory memory;
    const Setup setup(c, Fill::normal, memory);
    const ForwardProblem& p = setup.host().forward;
    const ForwardChoice choice = choose_forward(p, validate(p), {.multiprocessors = multiprocessors});
    return cuda::main_spec(choice, program::emit(p.mask, p.score));
  } catch (const Error&) {
    return std::nullopt;
  }
}

class Sharer {
 public:
  Sharer(int multiprocessors, int most) : multiprocessors_(multiprocessors), most_(most) {}
  const std::vector<jit::KernelSpec>& specs() const { return specs_; }

  // True if the case's kernels are known, or there is room for them and `may_add`.
  bool admit(const Case& c, bool may_add) {
    std::vector<jit::KernelSpec> fresh;
    std::vector<Case> parts{c};
    if (!c.backward()) parts.push_back(count_case(c));
    for (const Case& part : parts)
      if (std::optional<jit::KernelSpec> spec = kernel_of(part, multiprocessors_))
        if (!keys_.count(spec->key())) fresh.push_back(std::move(*spec));
    if (!fresh.empty() && (!may_add || specs_.size() + fresh.size() > static_cast<std::size_t>(most_)))
      return false;
    for (jit::KernelSpec& spec : fresh)
      if (keys_.insert(spec.key()).second) specs_.push_back(std::move(spec));
    return true;
  }

 private:
  const int multiprocessors_, most_;
  std::unordered_set<std::string> keys_;
  std::vector<jit::KernelSpec> specs_;
};

// The layouts, lengths and data of one case with what decides the kernel of another.
Case with_kernel_of(Case c, const Case& other) {
  c.mask = other.mask, c.score = other.score, c.lets = other.lets;
  c.dtype = other.dtype, c.out_f32 = other.out_f32, c.head_dim = other.head_dim,
  c.head_dim_v = other.head_dim_v;
  c.scale = other.scale, c.strides = other.strides, c.offset = other.offset, c.layout = other.layout;
  c.query_start = other.query_start;  // programs that gather by q need a stated one
  return c;
}

std::optional<Case> shared(const Case& c, const std::vector<Case>& before, Sharer& sharer, Random& random) {
  constexpr int kTries = 12;
  for (int i = 0; i < kTries && !before.empty(); ++i) {
    const Case& other =
        before[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(before.size()) - 1))];
    const Case mixed = with_kernel_of(c, other);
    try {
      mixed.validate();
    } catch (const Error&) {
      continue;
    }
    if (sharer.admit(mixed, false)) return mixed;
  }
  return std::nullopt;
}

}  // namespace

SharedDraws share_kernels(int multiprocessors, std::uint64_t seed, std::uint64_t count, const Filter& filter,
                          int kernels) {
  Sharer sharer(multiprocessors, kernels);
  SharedDraws draws;
  std::vector<Case> originals;
  Random random(scramble(seed, 50));
  const std::uint64_t most_draws = 20 * count + 1000;
  for (std::uint64_t i = 0; draws.cases.size() < count && i < most_draws; ++i) {
    const Case c = draw(seed, i, filter);
    if (sharer.admit(c, true)) {
      draws.cases.push_back(c);
      originals.push_back(c);
    } else if (const std::optional<Case> mixed = shared(c, originals, sharer, random)) {
      draws.cases.push_back(*mixed);
    }
  }
  draws.kernels = sharer.specs();
  return draws;
}

int prepare_kernels(const SharedDraws& draws) {
  int failed = 0;
  for (const auto& outcome : cuda::kernel_store(*cuda::Driver::open())->prepare(draws.kernels))
    failed += !outcome.kernel;
  return failed;
}

}  // namespace bolide::testing
