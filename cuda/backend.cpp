// Plans forward problems for one device: configuration, kernels from the store, what explain() says.
#include "cuda/backend.hpp"

#include <bolide/error.hpp>

#include <fmt/core.h>

#include <cstdlib>
#include <future>
#include <mutex>
#include <set>
#include <sstream>

#include "cuda/forward_plan.hpp"
#include "cuda/merge.hpp"
#include "jit/kernel_store.hpp"

namespace bolide::cuda {
namespace {

constexpr int kMaxParameterBytes = 32764, kMaxParameterBytesBefore12_1 = 4096;

// The captured tensors whose extremes the classifier does not know: "i32 [2, 4096], f32 [8]".
std::string tables_without_ranges(const program::Emitted& e, bool none_found) {
  std::set<int> unknown(e.unranged.begin(), e.unranged.end());
  const std::vector<std::size_t> offsets = program::range_offsets(e);
  for (std::size_t i = 0; i < e.ranges.size(); ++i)
    if (none_found || offsets[i] == offsets[i + 1]) unknown.insert(e.ranges[i].tensor);
  std::string text;
  for (const int i : unknown) {
    const Tensor& t = e.tensors[static_cast<std::size_t>(i)];
    text += fmt::format("{}{} [", text.empty() ? "" : ", ", name_of(t.dtype));
    for (int axis = 0; axis < t.rank(); ++axis) text += fmt::format("{}{}", axis ? ", " : "", t.size(axis));
    text += "]";
  }
  return text;
}

std::string classes_text(const ForwardPlan& plan, const program::Emitted& emitted) {
  if (!plan.choice.masked) return "every tile is visible up to the lengths";
  std::string text = "by interval analysis";
  const bool found = plan.choice.workspace.range_bytes > 0;
  if (const int tables = plan.program.ranges.count; found)
    text += fmt::format(", with the ranges of {} captured tensor{} found anew by every call", tables,
                        tables == 1 ? "" : "s");
  if (const std::string unknown = tables_without_ranges(emitted, !found); !unknown.empty())
    text += fmt::format(
        "; ranges are not found of {}: where a tile may read more than 16 elements they may hold anything",
        unknown);
  return text;
}

std::vector<std::pair<std::string, std::string>> describe(const ForwardPlan& plan,
                                                          const program::Emitted& emitted,
                                                          const jit::CompiledKernel& code) {
  const ForwardChoice& c = plan.choice;
  const device::FwdConfig& f = c.config;
  const bool tma = c.producer.producer == device::Producer::tma;
  const auto& w = c.workspace;
  std::string workspace = fmt::format("{} bytes", w.bytes);
  if (c.packed)
    workspace += fmt::format(": tile offsets at {}, work counter at {}", w.tile_offsets, w.next_work);
  else if (c.counted) workspace += fmt::format(": work counter at {}", w.next_work);
  if (w.range_bytes) workspace += fmt::format("{}: ranges at {}", c.counted ? ";" : "", w.ranges);
  if (c.num_splits > 1)
    workspace += fmt::format("{}: partial out at {}, partial lse at {}", c.counted ? ";" : "", w.partial_out,
                             w.partial_lse);
  std::string launches = fmt::format("{}", c.launches());
  if (c.packed) launches += ", the first counts tiles of queries";
  else if (c.counted) launches += ", the first zeroes the work counter";
  else if (c.prepared()) launches += ", the first finds ranges of captured tensors";
  if (c.num_splits > 1) launches += ", the last merges the splits";
  const std::string loads = !tma        ? fmt::format("threads, {} bytes a copy", c.producer.copy_bytes)
                            : f.paged() ? "copy engine (TMA), all columns of a page's rows at once"
                                        : "copy engine (TMA)";
  return {
      {"kernel", fmt::format("{} ({}, {})", code.name, code.architecture, code.toolchain.text())},
      {"tile", fmt::format("{} queries x {} keys{}", c.tile_q, c.tile_kv,
                           c.plain ? ""
                                   : fmt::format(", head_dim {} and {}; {} stages of K, {} of V", f.head_dim,
                                                 f.head_dim_v, f.k_stages, f.v_stages))},
      {"registers", fmt::format("{} a thread at launch{}; {} bytes spilled", code.report.registers,
                                c.plain ? ""
                                        : fmt::format("; {} consumers, {} producers", f.consumer_registers(),
                                                      f.producer_registers),
                                code.report.spill_store_bytes + code.report.spill_load_bytes)},
      {"shared memory", fmt::format("{} bytes", c.smem_bytes)},
      {"producer", fmt::format("{}: {}", loads, c.producer.why)},
      {"scale", c.plain || c.scored ? "applied to each score" : "folded into the exponential"},
      {"tile classes", classes_text(plan, emitted)},
      {"splits", c.splits_text()},
      {"launches", launches},
      {"thread blocks", fmt::format("{} of {} threads{}", c.grid, c.threads,
                                    f.paired ? ", in clusters of two that share the keys they load" : "")},
      {"determinism", "D1: run to run, bitwise"},
      {"workspace layout", workspace}};
}

class CudaBackend : public Backend {
 public:
  CudaBackend(std::shared_ptr<const DeviceContext> context, std::shared_ptr<jit::KernelStore> store,
              TileOptions tiles)
      : context_(std::move(context)), store_(std::move(store)), tiles_(tiles), kernels_(context_) {}

  std::shared_ptr<const BackendPlan> plan(const ForwardProblem& p, const Sizes& s) const override {
    check_architecture();
    auto plan = std::make_shared<ForwardPlan>();
    plan->sizes = s;
    plan->choice = choose_forward(p, s, {.multiprocessors = context_->facts().multiprocessors});
    plan->path = plan->choice.plain ? "cuda/fwd_f32" : "cuda/fwd_sm90";
    plan->workspace_bytes = plan->choice.workspace.bytes;
    plan->tiles = tiles_;
    const KernelPrograms programs = kernel_programs(p, s);
    const program::Emitted emitted = program::emit(programs.mask, programs.score, tiles_);
    plan->mask = p.mask, plan->score = p.score, plan->program = program_data(emitted);
    check_parameters(sizeof(device::FwdParams) + plan->program.params.size());
    const std::vector<jit::KernelSpec> specs = specs_of(plan->choice, emitted, p.out.dtype);
    std::vector<std::future<jit::KernelStore::Kernel>> small;  // they compile beside the large one
    for (std::size_t i = 1; i < specs.size(); ++i)
      small.push_back(std::async(std::launch::async, [this, &specs, i] { return store_->get(specs[i]); }));
    const jit::KernelStore::Kernel code = store_->get(specs[0]);
    plan->main = kernels_.get(code, plan->choice.smem_bytes);
    std::size_t next = 0;
    if (plan->choice.prepared()) plan->prepare = kernels_.get(small[next++].get(), 0);
    if (plan->choice.num_splits > 1) plan->combine = kernels_.get(small[next++].get(), 0);
    if (plan->choice.grid > 0 && plan->choice.producer.producer == device::Producer::tma)
      encode_maps(*plan, p);
    plan->details = describe(*plan, emitted, *code);
    return plan;
  }
  std::shared_ptr<const BackendPlan> plan(const BackwardProblem&, const Sizes&) const override {
    throw Error(Code::refused, "backward problems have no CUDA kernels yet; use Device::cpu()");
  }
  void forward(const BackendPlan& plan, const ForwardProblem& p, Workspace w,
               bolide::Stream stream) const override {
    launch_forward(*context_, static_cast<const ForwardPlan&>(plan), p, w.data,
                   static_cast<StreamHandle>(stream.handle));
  }
  void backward(const BackendPlan&, const BackwardProblem&, Workspace, bolide::Stream) const override {
    throw Error(Code::refused, "backward problems have no CUDA kernels yet; use Device::cpu()");
  }
  void merge(std::span<const Tensor> outs, std::span<const Tensor> lses, const Tensor& out, const Tensor& lse,
             bolide::Stream stream) const override {
    check_architecture();
    const device::MergeParams params = merge_params(outs, lses, out, lse);
    std::call_once(merge_loaded_, [this] { merge_ = kernels_.get(store_->get(merge_spec()), 0); });
    launch_merge(*merge_, params, static_cast<StreamHandle>(stream.handle));
  }

 private:
  void check_architecture() const {
    const DeviceFacts& facts = context_->facts();
    if (facts.capability_major != 9 || facts.capability_minor != 0)
      throw Error(
          Code::refused,
          fmt::format("cuda:{} is a {} ({}); kernels exist for Hopper (sm_90a) so far: use Device::cpu()",
                      facts.ordinal, facts.name, facts.architecture()));
  }
  void check_parameters(std::size_t bytes) const {
    const int limit =
        context_->driver().version() >= 12010 ? kMaxParameterBytes : kMaxParameterBytesBefore12_1;
    if (bytes > static_cast<std::size_t>(limit))
      throw Error(
          Code::refused,
          fmt::format(
              "mask and score carry so many numbers and tensors that the kernel's parameters take {} bytes; "
              "a launch serves {}: capture tables instead of numbers",
              bytes, limit));
  }
  void encode_maps(ForwardPlan& plan, const ForwardProblem& p) const {
    const Tensor* const tensors[] = {&p.q, &p.k, &p.v};
    for (int i = 0; i < 3; ++i) {
      plan.addresses[i] = tensors[i]->data;
      plan.maps[i] = tensor_map(*context_, plan.choice, *tensors[i], i == 0);
    }
  }

  const std::shared_ptr<const DeviceContext> context_;
  const std::shared_ptr<jit::KernelStore> store_;
  const TileOptions tiles_;
  mutable LoadedKernels kernels_;
  mutable std::once_flag merge_loaded_;
  mutable std::shared_ptr<const Kernel> merge_;
};

}  // namespace

namespace {
// A pack is code, so a set-user-id program takes none from its environment.
std::vector<std::string> packs_of_environment() {
  const char* const listed = secure_getenv("BOLIDE_PACK");
  std::vector<std::string> packs;
  std::istringstream all(listed ? listed : "");
  for (std::string path; std::getline(all, path, ':');)
    if (!path.empty()) packs.push_back(path);
  return packs;
}
}  // namespace

std::shared_ptr<jit::KernelStore> kernel_store(const Driver& driver) {
  static std::mutex mutex;
  static std::weak_ptr<jit::KernelStore> store;
  std::lock_guard lock(mutex);
  std::shared_ptr<jit::KernelStore> alive = store.lock();
  if (!alive) {
    alive = std::make_shared<jit::KernelStore>(jit::KernelStoreOptions{.driver_major = driver.major()});
    for (const std::string& pack : packs_of_environment()) alive->load_pack(pack);
    store = alive;
  }
  return alive;
}

std::unique_ptr<Backend> make_backend(std::shared_ptr<const DeviceContext> context,
                                      std::shared_ptr<jit::KernelStore> store, TileOptions tiles) {
  return std::make_unique<CudaBackend>(std::move(context), std::move(store), tiles);
}

std::unique_ptr<Backend> make_backend(int ordinal, const std::vector<std::string>& packs) {
  auto context = DeviceContext::open(Driver::open(), ordinal);
  auto store = kernel_store(context->driver());
  for (const std::string& pack : packs) store->load_pack(pack);
  return make_backend(std::move(context), std::move(store));
}

}  // namespace bolide::cuda
