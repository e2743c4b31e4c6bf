// Times cases: copies of their tensors in turn, graphs and events on a GPU, the clock on the CPU.
#include "testing/bench.hpp"

#include <bolide/error.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>

#include "cuda/resources.hpp"
#include "program/evaluator.hpp"
#include "program/facts.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

constexpr double kMostPairsCounted = 1 << 29;
constexpr std::size_t kRotatedBytes = std::size_t{256}
                                      << 20;  // several times the L2 cache of an H200, 50 MiB
constexpr int kMostCopies = 64, kMostCalls = 2000;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(std::lround(share * static_cast<double>(values.size() - 1)))];
}

// Counts what each query sees, on the host: every row, or every step-th where there are too many pairs.
void count_work(const Setup& setup, Timing& t) {
  const ForwardProblem& p = setup.host().forward;
  const int last = p.q.rank() - 1;
  const std::int64_t heads = p.q.size(last - 1), heads_kv = p.k.size(p.k.rank() - 2);
  double all = 0, rows_q = 0, rows_kv = 0;
  for (const Sequence& s : setup.sequences())
    all += static_cast<double>(s.len_q() * s.len_kv()), rows_q += static_cast<double>(s.len_q()),
        rows_kv += static_cast<double>(s.len_kv());
  if (!p.mask) {
    t.pairs = all * static_cast<double>(heads);
  } else {
    const program::Evaluator evaluator(p.mask.expr());
    const bool by_head = program::facts(p.mask.expr()).uses_h;
    const std::int64_t counted_heads = by_head ? heads : std::min<std::int64_t>(heads, 1);
    const auto step = static_cast<std::int64_t>(
        std::max(1.0, std::ceil(all * static_cast<double>(counted_heads) / kMostPairsCounted)));
    t.pairs_sampled = step > 1;
    std::vector<std::byte> scratch(evaluator.scratch_bytes() + 64);
    std::vector<std::uint8_t> seen;
    for (std::size_t b = 0; b < setup.sequences().size(); ++b) {
      const Sequence& s = setup.sequences()[b];
      seen.resize(static_cast<std::size_t>(s.len_kv()));
      double found = 0;
      std::int64_t rows = 0;
      for (std::int64_t h = 0; h < counted_heads; ++h)
        for (std::int64_t i = (s.len_q() - 1) % step; i >= 0 && i < s.len_q(); i += step, ++rows) {
          void* const place =
              reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(scratch.data()) + 63) / 64 * 64);
          evaluator.mask({static_cast<std::int64_t>(b), h, s.query_start + i, s.len_q(), s.len_kv()},
                         s.key_start, static_cast<int>(s.len_kv()), seen.data(), place);
          for (const std::uint8_t x : seen) found += x;
        }
      const double share =
          rows > 0 ? static_cast<double>(s.len_q() * counted_heads) / static_cast<double>(rows) : 0;
      t.pairs += found * share * static_cast<double>(by_head ? 1 : heads);
    }
  }
  const double d = static_cast<double>(p.q.size(last)), d_v = static_cast<double>(p.out.size(last)),
               size = size_of(p.q.dtype);
  t.flops = 2 * t.pairs * (d + d_v);
  t.bytes = static_cast<double>(heads) * rows_q * (d * size + d_v * size_of(p.out.dtype)) +
            static_cast<double>(heads_kv) * rows_kv * (d + d_v) * size;
}

void summarise(Timing& t, const std::vector<double>& samples) {
  t.median = percentile(samples, 0.5), t.low = percentile(samples, 0.1), t.high = percentile(samples, 0.9);
}

using Call = std::function<void(int copy, Stream stream)>;

void time_on_cpu(Timing& t, const Call& call, const BenchOptions& options) {
  const auto first = std::chrono::steady_clock::now();
  call(0, {});
  t.calls = std::clamp(static_cast<int>(options.sample_seconds / std::max(seconds_since(first), 1e-9)), 1,
                       kMostCalls);
  std::vector<double> samples;
  int copy = 0;
  for (int i = 0; i < options.samples; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    for (int n = 0; n < t.calls; ++n) call(copy++ % t.copies, {});
    samples.push_back(seconds_since(begin) / t.calls);
  }
  summarise(t, samples);
}

void time_on_cuda(Timing& t, const Call& call, const cuda::SharedContext& context,
                  const BenchOptions& options) {
  const cuda::Stream stream(context);
  const cuda::Event begin(context), end(context);
  const auto record = [&](int calls) {
    return cuda::Graph(stream, [&] {
      for (int i = 0; i < calls; ++i) call(i % t.copies, {stream.handle()});
    });
  };
  const auto milliseconds = [&](const cuda::Graph& graph) {
    begin.record(stream.handle());
    graph.launch(stream.handle());
    end.record(stream.handle());
    end.synchronize();
    return static_cast<double>(end.milliseconds_since(begin));
  };
  const cuda::Graph once = record(t.copies);
  milliseconds(once);  // the clocks rise, the caches fill
  const double each = std::max(milliseconds(once) * 1e-3 / t.copies, 1e-7);
  t.calls = std::clamp(static_cast<int>(std::ceil(options.sample_seconds / each)), t.copies, kMostCalls);
  const cuda::Graph graph = record(t.calls);
  milliseconds(graph);
  std::vector<double> samples;
  for (int i = 0; i < options.samples; ++i) samples.push_back(milliseconds(graph) * 1e-3 / t.calls);
  summarise(t, samples);

  // The host's part, without a graph: a few calls at a time, fewer than a stream queues. The fastest of some
  // rounds, as other processes only add.
  constexpr int kQueued = 64;
  double host = 1;
  for (int round = 0; round < 5; ++round) {
    stream.synchronize();
    const auto started = std::chrono::steady_clock::now();
    for (int i = 0; i < kQueued; ++i) call(0, {stream.handle()});
    host = std::min(host, seconds_since(started) / kQueued);
  }
  stream.synchronize();
  t.host = host;
}

// Memory of the context's device that is freed at the end of a scope.
class Scratch {
 public:
  Scratch(Memory& memory, std::size_t bytes)
      : memory_(memory), data_(bytes ? memory.allocate(bytes) : nullptr) {
    if (bytes && !data_) throw Error(Code::device, "there is no room for the workspace; take a smaller case");
  }
  ~Scratch() {
    if (data_) memory_.release(data_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data() const { return data_; }

 private:
  Memory& memory_;
  void* data_;
};

}  // namespace

struct TimedForward::Parts {
  explicit Parts(const Context& c) : context(c) {}
  const Context& context;
  std::deque<Setup> copies;
  std::optional<Plan> plan;
  std::optional<Scratch> workspace;
  Timing facts;  // all but the times
};

TimedForward::TimedForward(const Case& c, const Context& context, Memory& memory)
    : parts_(std::make_unique<Parts>(context)) {
  if (c.backward())
    throw Error(Code::refused, "backward cases are not timed; give the forward of the same problem");
  Timing& t = parts_->facts;
  std::deque<Setup>& copies = parts_->copies;
  copies.emplace_back(c, Fill::normal, memory);
  count_work(copies.front(), t);
  parts_->plan = context.plan(copies.front().placed().forward);
  t.path = parts_->plan->path(), t.workspace_bytes = parts_->plan->workspace_bytes();
  const double one = std::max(t.bytes, 1.0);
  t.copies =
      std::clamp(static_cast<int>(std::ceil(static_cast<double>(kRotatedBytes) / one)), 2, kMostCopies);
  while (static_cast<int>(copies.size()) < t.copies) copies.emplace_back(c, Fill::normal, memory);
  for (Setup& setup : copies) setup.upload();
  parts_->workspace.emplace(memory, t.workspace_bytes);
}
TimedForward::~TimedForward() = default;

Timing TimedForward::time(const BenchOptions& options) {
  Timing t = parts_->facts;
  const Context& context = parts_->context;
  const Call call = [&](int copy, Stream stream) {
    context.forward(*parts_->plan, parts_->copies[static_cast<std::size_t>(copy)].placed().forward,
                    {parts_->workspace->data(), t.workspace_bytes}, stream);
  };
  const Device device = context.device();
  if (device.kind == Device::Kind::cpu) {
    time_on_cpu(t, call, options);
  } else {
    const auto opened = cuda::DeviceContext::open(cuda::Driver::open(), device.ordinal);
    cuda::synchronize(*opened, nullptr);
    time_on_cuda(t, call, opened, options);
  }
  return t;
}

double copy_bytes_per_second(Device device) {
  constexpr int kRounds = 10;
  double best = 0;
  if (device.kind == Device::Kind::cpu) {
    const std::size_t bytes = std::size_t{256} << 20;
    const std::vector<std::byte> from(bytes, std::byte{1});
    std::vector<std::byte> to(bytes);
    for (int i = 0; i < kRounds; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      std::memcpy(to.data(), from.data(), bytes);
      best = std::max(best, 2.0 * static_cast<double>(bytes) / seconds_since(begin));
    }
    return best;
  }
  const std::size_t bytes = std::size_t{1} << 30;
  const auto context = cuda::DeviceContext::open(cuda::Driver::open(), device.ordinal);
  const cuda::DeviceBuffer from(context, bytes);
  cuda::DeviceBuffer to(context, bytes);
  const cuda::Stream stream(context);
  const cuda::Event begin(context), end(context);
  for (int i = 0; i < kRounds; ++i) {
    begin.record(stream.handle());
    to.upload(from.data(), bytes, 0, stream.handle());
    end.record(stream.handle());
    end.synchronize();
    best =
        std::max(best, 2e3 * static_cast<double>(bytes) / static_cast<double>(end.milliseconds_since(begin)));
  }
  return best;
}

}  // namespace bolide::testing
