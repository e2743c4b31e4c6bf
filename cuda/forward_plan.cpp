// From a problem to parameters, and the launches.
#include "cuda/forward_plan.hpp"

#include <bolide/error.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace bolide::cuda {
namespace {

using device::FwdParams;

constexpr std::int64_t kMaxStart = std::int64_t{1}
                                   << 28;  // positions stay in the reach of programs: program/emit.hpp
constexpr double kLog2E = 1.4426950408889634;

device::Ints ints_of(const Tensor& t) {
  return {t ? static_cast<const int*>(t.data) : nullptr, t ? t.strides[0] : 0};
}

int start_value(const Start& start, const char* name) {
  if (start.per_sequence) return 0;
  if (start.value < -kMaxStart || start.value > kMaxStart)
    throw Error(Code::refused, fmt::format("{} is {}; a GPU serves positions from {} to {}", name,
                                           start.value, -kMaxStart, kMaxStart));
  return static_cast<int>(start.value);
}

// [batch, rows, heads, columns], [rows, heads, columns] or [page, row, heads, columns].
device::View view(const Tensor& t) {
  const int i = t.rank() - 3;
  return {t.data, i == 1 ? t.strides[0] : 0, t.strides[i], t.strides[i + 1]};
}

device::Lengths lengths(const Tensor& cumulative, const Tensor& used, std::int64_t rows) {
  return {cumulative ? cumulative.data : nullptr, cumulative ? cumulative.strides[0] : 0, ints_of(used),
          cumulative && cumulative.dtype == DType::i64, static_cast<int>(rows)};
}

void set_keys(FwdParams& f, const ForwardProblem& p, const Sizes& s) {
  if (auto* packed = std::get_if<Packed>(&p.keys)) {
    f.keys = lengths(packed->cu_seqlens, p.seqused_kv, p.k.size(0));
  } else if (auto* pages = std::get_if<Paged>(&p.keys)) {
    const bool any = p.k.size(0) > 0;  // a pool without pages holds no keys, whatever the tables say
    f.keys = lengths({}, p.seqused_kv, any ? s.rows_kv : 0);
    device::Pages& to = f.pages;
    to.size = static_cast<int>(s.page_rows), to.by_size = device::divisor(static_cast<unsigned>(to.size));
    to.count = static_cast<int>(p.k.size(0));
    to.max_pages = any ? static_cast<int>(s.rows_kv / s.page_rows) : 0;
    if (const Tensor& t = pages->table) {
      to.indices = static_cast<const int*>(t.data), to.num_indices = static_cast<int>(t.size(1));
      to.table_stride = t.strides[0], to.index_stride = t.strides[1];
    } else {
      const Tensor& list = pages->indices;
      to.indices = static_cast<const int*>(list.data), to.num_indices = static_cast<int>(list.size(0));
      to.index_stride = list.strides[0], to.indptr = ints_of(pages->indptr);
      if (!p.seqused_kv) to.last_rows = ints_of(pages->last_page_len);
    }
  } else {
    f.keys = lengths({}, p.seqused_kv, s.rows_kv);
  }
}

void set_positions(FwdParams& f, const ForwardProblem& p) {
  device::Positions& to = f.positions;
  to.query = device::QueryStart::bottom_right;
  if (std::holds_alternative<TopLeft>(p.query_start)) to.query = device::QueryStart::top_left;
  if (auto* start = std::get_if<Start>(&p.query_start)) {
    to.query = device::QueryStart::given;
    to.query_start = start_value(*start, "query_start"), to.query_starts = ints_of(start->per_sequence);
  }
  to.key_start = start_value(p.key_start, "key_start"), to.key_starts = ints_of(p.key_start.per_sequence);
}

// How items are numbered where every sequence is whole: find_item() in device/schedule.cuh.
void set_divisors(FwdParams& f, int tile_q) {
  const int pairs = f.batch * f.heads;
  f.heads_in_l2 = std::min(f.heads_in_l2, pairs);
  const int last_group = pairs % f.heads_in_l2;
  const auto unsigned_of = [](int n) { return static_cast<unsigned>(n); };
  f.group_items =
      device::divisor(unsigned_of(f.heads_in_l2) * unsigned_of((f.query.rows + tile_q - 1) / tile_q));
  f.group_pairs = device::divisor(unsigned_of(f.heads_in_l2));
  f.last_group_pairs = device::divisor(unsigned_of(last_group ? last_group : f.heads_in_l2));
  f.of_batch = device::divisor(unsigned_of(f.heads)), f.of_kv = device::divisor(unsigned_of(f.heads_per_kv));
}

// out and lse of the call, or the partial results of its splits.
void set_results(FwdParams& f, const ForwardProblem& p, const Sizes& s, const ForwardChoice& c,
                 std::byte* workspace) {
  if (c.num_splits == 1) {
    f.out = view(p.out);
    if (!p.lse) return;
    const int heads = p.lse.rank() - 2;
    f.lse = static_cast<float*>(p.lse.data);
    f.lse_batch_stride = heads == 1 ? p.lse.strides[0] : 0;
    f.lse_head_stride = p.lse.strides[heads], f.lse_row_stride = p.lse.strides[heads + 1];
    return;
  }
  const std::int64_t batch = c.packed ? 1 : s.batch, rows = c.packed ? p.q.size(0) : s.rows_q,
                     heads = s.heads_q;
  f.out = {workspace + c.workspace.partial_out, rows * heads * s.head_dim_v, heads * s.head_dim_v,
           s.head_dim_v};
  f.out_split_stride = batch * f.out.batch_stride;
  f.lse = reinterpret_cast<float*>(workspace + c.workspace.partial_lse);
  f.lse_batch_stride = heads * rows, f.lse_head_stride = rows, f.lse_row_stride = 1,
  f.log_sum_offset = batch * heads * rows, f.lse_split_stride = 2 * f.log_sum_offset;
}

device::CombineParams combine_params(const ForwardProblem& p, const Sizes& s, const ForwardChoice& c,
                                     const FwdParams& f) {
  device::CombineParams to{};
  to.partial_out = static_cast<const float*>(f.out.data), to.partial_lse = f.lse;
  to.out = view(p.out);
  if (p.lse) {
    const int heads = p.lse.rank() - 2;
    to.lse = static_cast<float*>(p.lse.data);
    to.lse_batch_stride = heads == 1 ? p.lse.strides[0] : 0;
    to.lse_head_stride = p.lse.strides[heads], to.lse_row_stride = p.lse.strides[heads + 1];
  }
  to.batch = c.packed ? 1 : static_cast<int>(s.batch), to.heads = f.heads;
  to.rows = static_cast<int>(c.packed ? p.q.size(0) : s.rows_q);
  to.head_dim_v = f.head_dim_v, to.num_splits = f.num_splits;
  return to;
}

// Expressions are immutable: the same nodes mean the same numbers and tensors.
bool same_program(const ForwardPlan& plan, const ForwardProblem& p) {
  const auto same = [](const auto& a, const auto& b) { return !a || a.expr().node() == b.expr().node(); };
  return same(p.mask, plan.mask) && same(p.score, plan.score);
}

}  // namespace

FwdParams forward_params(const ForwardProblem& p, const Sizes& s, const ForwardChoice& c, void* memory) {
  FwdParams f{};
  auto* workspace = static_cast<std::byte*>(memory);
  f.q = view(p.q), f.k = view(p.k), f.v = view(p.v);
  set_results(f, p, s, c, workspace);
  auto* packed = std::get_if<Packed>(&p.queries);
  f.query = lengths(packed ? packed->cu_seqlens : Tensor(), p.seqused_q, packed ? p.q.size(0) : s.rows_q);
  set_keys(f, p, s);
  set_positions(f, p);
  f.leftpad = ints_of(p.leftpad);
  f.batch = f.kv_batches = static_cast<int>(s.batch);
  f.heads = static_cast<int>(s.heads_q), f.heads_per_kv = static_cast<int>(s.group());
  f.head_dim = static_cast<int>(s.head_dim), f.head_dim_v = static_cast<int>(s.head_dim_v);
  f.kv_box_rows = c.kv_box_rows;
  if (c.config.paged()) f.k_pages = *page_map(p.k), f.v_pages = *page_map(p.v);
  f.scale = static_cast<float>(s.scale);
  f.scale_log2 = static_cast<float>(static_cast<double>(f.scale) * kLog2E);
  f.scale_lost = static_cast<float>(s.scale - static_cast<double>(f.scale));
  f.num_splits = c.num_splits;
  f.heads_in_l2 =
      device::heads_in_l2(s.rows_kv, f.head_dim, f.head_dim_v, size_of(p.q.dtype),
                          std::min(f.heads_per_kv, 1024), c.masked, (c.packed ? 1 : s.batch) * s.heads_q);
  f.num_work = c.packed ? 0 : static_cast<int>(c.query_tiles * c.num_splits);
  if (!c.plain && c.config.whole()) set_divisors(f, c.tile_q);
  if (c.packed) {
    f.tile_offsets = reinterpret_cast<const int*>(workspace + c.workspace.tile_offsets);
  }
  if (c.counted) f.next_work = reinterpret_cast<int*>(workspace + c.workspace.next_work);
  return f;
}

namespace {

TensorMapShape empty_map(const Tensor& t) {
  return {
      .address = t.data, .type = t.dtype == DType::f16 ? TensorMapType::f16 : TensorMapType::bf16, .rank = 4};
}

TensorMapShape by_rows(const Tensor& t, int box_rows) {
  const int rows = t.rank() - 3;
  TensorMapShape shape = empty_map(t);
  shape.sizes[0] = static_cast<std::uint64_t>(t.size(rows + 2));
  const int axes[] = {rows, rows + 1, 0};
  for (int i = 0; i < 3; ++i) {
    const bool absent = i == 2 && rows == 0;
    const std::int64_t size = absent ? 1 : t.size(axes[i]);
    shape.sizes[i + 1] = static_cast<std::uint64_t>(size);
    // The stride of a dimension of one row is never taken, but the copy engine wants one.
    shape.strides_bytes[i] =
        size > 1 ? static_cast<std::uint64_t>(t.strides[axes[i]] * size_of(t.dtype)) : 16;
  }
  shape.box = {64, static_cast<unsigned>(box_rows), 1, 1};
  return shape;
}

TensorMapShape by_blocks(const Tensor& t, int box_rows) {
  const device::PageMap steps = *page_map(t);
  const auto sized = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
  const std::int64_t panels = t.size(3) / 64, row_bytes = t.strides[1] * size_of(t.dtype);
  TensorMapShape shape = empty_map(t);
  shape.sizes = {64, 8, sized((t.size(2) - 1) * steps.head_panels + panels),
                 sized((t.size(0) - 1) * steps.page_blocks + t.size(1) / 8)};
  shape.strides_bytes = {sized(row_bytes), 128, sized(8 * row_bytes)};
  shape.box = {64, 8, static_cast<unsigned>(panels), static_cast<unsigned>(box_rows / 8)};
  return shape;
}

}  // namespace

device::TensorMap tensor_map(const DeviceContext& context, const ForwardChoice& c, const Tensor& t,
                             bool is_query) {
  const TensorMapShape shape = !is_query && c.config.paged()
                                   ? by_blocks(t, c.kv_box_rows)
                                   : by_rows(t, is_query ? c.tile_q : c.kv_box_rows);
  const DeviceContext::Current current(context);  // drivers refuse to encode without one
  const TensorMap encoded = make_tensor_map(context.driver(), shape);
  device::TensorMap map;
  static_assert(sizeof map == sizeof encoded);
  std::memcpy(&map, &encoded, sizeof map);
  return map;
}

ProgramData program_data(const program::Emitted& e) {
  ProgramData data{program::pack_params(e), {}, program::range_offsets(e), !e.ranges.empty(), e.hash};
  for (std::size_t i = 0; i < e.ranges.size(); ++i) {
    const program::RangedTable& table = e.ranges[i];
    const Tensor& t = e.tensors[static_cast<std::size_t>(table.tensor)];
    if (data.offsets[i] == data.offsets[i + 1]) continue;
    RangeTask& task = data.ranges.tasks[data.ranges.count++];
    task = {program::tensor_arg(t),
            static_cast<Stored>(t.dtype),
            t.rank(),
            table.row_axis,
            table.column_axis,
            nullptr,
            0};
    task.units = program::range_units(t, table);
  }
  return data;
}

namespace {

// Where a call's ranges go: in the kernel's parameters and in those of fwd_prepare.
void place_ranges(ProgramData& data, std::byte* at) {
  RangeTask* task = data.ranges.tasks;
  for (std::size_t i = 0; i + 1 < data.offsets.size(); ++i) {
    if (data.offsets[i] == data.offsets[i + 1]) continue;
    void* const ranges = at + data.offsets[i];
    std::memcpy(data.params.data() + i * sizeof(void*), &ranges, sizeof ranges);
    (task++)->ranges = ranges;
  }
}

void launch_prepare(const ForwardPlan& plan, const FwdParams& f, const RangeTasks& ranges, bool overlap,
                    StreamHandle stream, const DeviceContext::Current& current) {
  device::PrepareParams prepare{f.query,
                                f.batch,
                                plan.choice.tile_q,
                                static_cast<unsigned>(plan.choice.query_tiles / f.heads + 1),
                                const_cast<int*>(f.tile_offsets),
                                f.next_work};
  unsigned blocks = 1;
  void* arguments[] = {&prepare, nullptr, nullptr};
  if (plan.choice.workspace.range_bytes) {
    for (int i = 0; i < ranges.count; ++i) blocks += static_cast<unsigned>(ranges.tasks[i].units);
    arguments[1] = const_cast<RangeTasks*>(&ranges);
  }
  // One thread zeroes a counter, and a warp may find room beside the kernel before.
  const unsigned threads = plan.choice.packed || blocks > 1 ? 1024 : 32;
  plan.prepare->launch({.grid = {blocks, 1, 1}, .block = {threads, 1, 1}, .overlaps_previous = overlap},
                       stream, arguments, current);
}

}  // namespace

void launch_forward(const DeviceContext& context, const ForwardPlan& plan, const ForwardProblem& p,
                    void* workspace, StreamHandle stream) {
  const ForwardChoice& c = plan.choice;
  if (c.grid == 0) return;
  FwdParams f = forward_params(p, plan.sizes, c, workspace);
  f.tile_counts = plan.tile_counts;
  if (c.producer.producer == device::Producer::tma) {
    const Tensor* const tensors[] = {&p.q, &p.k, &p.v};
    device::TensorMap* const maps[] = {&f.q_map, &f.k_map, &f.v_map};
    for (int i = 0; i < 3; ++i)
      *maps[i] =
          tensors[i]->data == plan.addresses[i] ? plan.maps[i] : tensor_map(context, c, *tensors[i], i == 0);
  }
  std::optional<ProgramData> own;  // a copy only where the plan's does not serve as it is
  if (!same_program(plan, p)) {
    const KernelPrograms programs = kernel_programs(p, plan.sizes);
    own = program_data(program::emit(programs.mask, programs.score, plan.tiles));
    if (own->text != plan.program.text)
      throw Error(
          Code::invalid_problem,
          "a number of this mask or score asks for another kernel than the plan's: one beyond 2^20, a "
          "boolean, -inf where a score hides keys, or a factor around the score that is beyond 2^-40 to "
          "2^40 or negative; plan again for it");
  }
  if (c.workspace.range_bytes) {
    if (!own) own = plan.program;
    if (own->offsets.back() > c.workspace.range_bytes)
      throw Error(
          Code::invalid_problem,
          fmt::format("the ranges of this mask's captured tensors take {} bytes, the plan has room for "
                      "{}: plan again when captured tensors grow",
                      own->offsets.back(), c.workspace.range_bytes));
    place_ranges(*own, static_cast<std::byte*>(workspace) + c.workspace.ranges);
  }
  const ProgramData& program = own ? *own : plan.program;

  // Every kernel waits for the one before it by itself, the caller's included. So the first may begin early
  // too: such a launch takes the host 0.6 us less. Drivers before 12.3 cannot record one.
  const bool overlap = context.driver().version() >= 12030;
  const DeviceContext::Current current(context);
  if (c.prepared()) launch_prepare(plan, f, program.ranges, overlap, stream, current);
  void* arguments[] = {&f, const_cast<std::byte*>(program.params.data()), nullptr};
  plan.main->launch({.grid = {static_cast<unsigned>(c.grid), 1, 1},
                     .block = {static_cast<unsigned>(c.threads), 1, 1},
                     .dynamic_shared_bytes = static_cast<unsigned>(c.smem_bytes),
                     .cluster = c.config.paired ? 2u : 1u,
                     .overlaps_previous = overlap},
                    stream, arguments, current);
  if (c.num_splits > 1) {
    device::CombineParams combine = combine_params(p, plan.sizes, c, f);
    constexpr std::int64_t kRowsPerBlock = 4;
    const std::int64_t rows = std::int64_t{combine.batch} * combine.rows * combine.heads;
    void* parts[] = {&combine, nullptr};
    plan.combine->launch({.grid = {static_cast<unsigned>((rows + kRowsPerBlock - 1) / kRowsPerBlock), 1, 1},
                          .block = {128, 1, 1},
                          .overlaps_previous = overlap},
                         stream, parts, current);
  }
}

}  // namespace bolide::cuda
