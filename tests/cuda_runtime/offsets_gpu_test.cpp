// Tensors whose elements lie more than 2^31 elements apart give the same bits as the same elements side by
// side: through every stride of every tensor, and through page numbers. Skipped without a Hopper GPU with 16
// GiB free.
#include <gtest/gtest.h>

#include <bolide/context.hpp>
#include <bolide/error.hpp>
#include <bolide/operations.hpp>
#include <cmath>
#include <optional>
#include <vector>

#include "cuda/resources.hpp"
#include "testing/elements.hpp"
#include "tests/cuda_runtime/on_hopper.hpp"

namespace bolide::cuda {
namespace {

constexpr std::int64_t kFar = (std::int64_t{1} << 31) + 4096;
constexpr std::int64_t kBatch = 2, kRowsQ = 150, kRowsKv = 300, kHeads = 4, kHeadsKv = 2, kDim = 128;

// Memory for one far tensor is made once: 4.1 GiB, of which rows are written one by one.
class Offsets : public OnHopper {
 protected:
  void SetUp() override {
    OnHopper::SetUp();
    if (IsSkipped()) return;
    std::size_t left = 0, total = 0;
    device->call(device->entries().memory_left, &left, &total);
    if (left < (std::size_t{16} << 30)) GTEST_SKIP() << "only " << left << " bytes are free";
    context.emplace(Device::cuda(0));
  }
  std::optional<Context> context;

  struct Placed {
    DeviceBuffer buffer;
    Tensor view;
  };
  // Room for a tensor of these strides, with numbers that depend on the index alone.
  Placed place(DType type, const Dims& shape, const Dims& strides, int seed) {
    std::int64_t elements = 1;
    for (int i = 0; i < shape.rank(); ++i) elements += (shape[i] - 1) * strides[i];
    Placed p{DeviceBuffer(device, static_cast<std::size_t>(elements * size_of(type))), {}};
    p.view = Tensor(p.buffer.data(), type, shape, strides, Device::cuda(0));
    const std::int64_t columns = shape[shape.rank() - 1];
    const auto bytes = static_cast<std::size_t>(columns * size_of(type));
    std::vector<std::byte> row(bytes);
    const Tensor host(row.data(), type, {columns});
    std::int64_t n = 0;
    each_row(p.view, [&](std::int64_t at) {
      for (std::int64_t c = 0; c < columns; ++c)
        testing::store(host, c,
                       std::sin(0.61 * static_cast<double>(seed) + 1.7 * static_cast<double>(n++ % 9973)));
      p.buffer.upload(row.data(), bytes, static_cast<std::size_t>(at * size_of(type)));
      synchronize(*device, nullptr);
    });
    return p;
  }
  template <class Visit>
  static void each_row(Tensor t, Visit visit) {
    t.shape[t.rank() - 1] = 1;
    testing::for_each_offset(t, visit);
  }
  std::vector<std::byte> elements(const Placed& p) {
    const auto bytes = static_cast<std::size_t>(p.view.size(p.view.rank() - 1) * size_of(p.view.dtype));
    std::vector<std::byte> all;
    each_row(p.view, [&](std::int64_t at) {
      all.resize(all.size() + bytes);
      p.buffer.download(all.data() + all.size() - bytes, bytes,
                        static_cast<std::size_t>(at * size_of(p.view.dtype)));
    });
    synchronize(*device, nullptr);
    return all;
  }
  void run(const ForwardProblem& p) {
    const Plan plan = context->plan(p);
    const DeviceBuffer workspace(device, plan.workspace_bytes());
    context->forward(plan, p, {workspace.data(), plan.workspace_bytes()});
    synchronize(*device, nullptr);
  }
  static Dims near(const Dims& shape, std::int64_t pitch) {
    Dims strides = shape;
    std::int64_t step = pitch;
    for (int i = shape.rank() - 2; i >= 0; --i) strides[i] = step, step *= shape[i];
    strides[shape.rank() - 1] = 1;
    return strides;
  }
  static Dims far(const Dims& shape, std::int64_t pitch, int axis) {
    Dims strides = near(shape, pitch);
    strides[axis] = (kFar / (shape[axis] - 1) + 15) / 8 * 8 + pitch % 8;
    return strides;
  }
};

TEST_F(Offsets, BeyondTwoToThe31ThroughEveryStride) {
  const Dims shapes[] = {{kBatch, kRowsQ, kHeads, kDim},
                         {kBatch, kRowsKv, kHeadsKv, kDim},
                         {kBatch, kRowsKv, kHeadsKv, kDim},
                         {kBatch, kRowsQ, kHeads, kDim}};
  // Rows of 136 elements go through the copy engine, of 129 through threads.
  for (const std::int64_t pitch : {std::int64_t{136}, std::int64_t{129}}) {
    std::vector<std::byte> want, want_lse;
    for (int far_tensor = -1; far_tensor < 4; ++far_tensor)
      for (int axis = 0; axis < (far_tensor < 0 ? 1 : 3); ++axis) {
        std::vector<Placed> t;
        for (int i = 0; i < 4; ++i)
          t.push_back(place(DType::bf16, shapes[i],
                            i == far_tensor ? far(shapes[i], pitch, axis) : near(shapes[i], pitch), i + 1));
        Placed lse = place(DType::f32, {kBatch, kHeads, kRowsQ}, near({kBatch, kHeads, kRowsQ}, kRowsQ), 9);
        run(fwd({.q = t[0].view,
                 .k = t[1].view,
                 .v = t[2].view,
                 .out = t[3].view,
                 .lse = lse.view,
                 .mask = [](auto, auto, auto q, auto kv) { return kv <= q; }}));
        const std::vector<std::byte> out = elements(t[3]), got_lse = elements(lse);
        if (far_tensor < 0) want = out, want_lse = got_lse;
        EXPECT_EQ(out, want) << "pitch " << pitch << ", tensor " << far_tensor << ", axis " << axis;
        EXPECT_EQ(got_lse, want_lse) << "pitch " << pitch << ", tensor " << far_tensor << ", axis " << axis;
      }
  }
}

TEST_F(Offsets, BeyondTwoToThe31ThroughPageNumbers) {
  constexpr std::int64_t kPageRows = 64, kPages = 5, kPage = kPageRows * kHeadsKv * kDim;
  const std::int64_t stretch =
      kFar / kPage / (kPages - 1) + 1;  // page i of the small pool is page i * stretch
  const Dims q_shape{kBatch, kRowsQ, kHeads, kDim};
  const std::vector<int> table = {4, 1, 3, 0, 2, 4, 4, 1};
  std::vector<std::byte> want;
  for (const bool is_far : {false, true}) {
    const std::int64_t step = is_far ? stretch : 1;
    // A pool whose used pages are written; the pages between hold whatever they hold.
    const Dims used{kPages, kPageRows, kHeadsKv, kDim};
    Dims strides = contiguous_strides(used);
    strides[0] *= step;
    Placed q = place(DType::bf16, q_shape, contiguous_strides(q_shape), 1),
           out = place(DType::bf16, q_shape, contiguous_strides(q_shape), 4);
    Placed pools[] = {place(DType::bf16, used, strides, 2), place(DType::bf16, used, strides, 3)};
    const Dims pool{(kPages - 1) * step + 1, kPageRows, kHeadsKv, kDim};
    const auto whole = [&](const Placed& p) {
      return Tensor(p.buffer.data(), DType::bf16, pool, Device::cuda(0));
    };
    std::vector<int> numbers = table, lengths = {200, 256};
    for (int& n : numbers) n *= static_cast<int>(step);
    DeviceBuffer pages(device, numbers.size() * 4), seqused(device, 8);
    pages.upload(numbers.data(), pages.bytes()), seqused.upload(lengths.data(), 8);
    synchronize(*device, nullptr);
    run(fwd_kvcache({.q = q.view,
                     .k_cache = whole(pools[0]),
                     .v_cache = whole(pools[1]),
                     .out = out.view,
                     .seqused = Tensor(seqused.data(), DType::i32, {kBatch}, Device::cuda(0)),
                     .page_table = Tensor(pages.data(), DType::i32, {kBatch, 4}, Device::cuda(0)),
                     .mask = [](auto, auto, auto q, auto kv) { return kv <= q; }}));
    if (!is_far) want = elements(out);
    EXPECT_EQ(elements(out), want);
  }
}

}  // namespace
}  // namespace bolide::cuda
