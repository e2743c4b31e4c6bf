// Allocates what a case names: strides, gaps and offsets, lengths, pages, captured tensors.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "files/tensor_file.hpp"
#include "testing/elements.hpp"
#include "testing/random.hpp"
#include "testing/setup.hpp"

namespace bolide::testing {
namespace {

std::int64_t sum(const std::vector<std::int64_t>& v) {
  return std::accumulate(v.begin(), v.end(), std::int64_t{0});
}

std::vector<std::int64_t> offsets(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> out{0};
  for (const std::int64_t n : lengths) out.push_back(out.back() + n);
  return out;
}

std::int64_t pages_for(std::int64_t rows, std::int64_t page_rows) {
  return (rows + page_rows - 1) / page_rows;
}

}  // namespace

int Setup::add(const std::string& name, DType type, const Dims& shape, bool output,
               std::initializer_list<int> order, int variant) {
  const bool rows = order.size() > 0;
  const Dims s = rows ? strides(shape, order, output, variant) : contiguous_strides(shape);
  parts_.push_back({Arena(name, type, shape, s, rows ? case_.offset : 0, output, fill_), nullptr, {}});
  return static_cast<int>(parts_.size()) - 1;
}

// Strides of a tensor whose axes lie in memory in `order`, outermost first. Variants keep tensors of one case
// apart, so that using one's stride for another shows.
Dims Setup::strides(const Dims& shape, std::vector<int> order, bool output, int variant) const {
  Dims s = shape;
  const int rank = shape.rank();
  std::int64_t step = 1;
  const bool spread = case_.strides != Strides::none;
  for (int level = rank - 1; level >= 0; --level) {
    const int axis = order[static_cast<std::size_t>(level)];
    s[axis] = step;
    step *= std::max<std::int64_t>(shape[axis], 1);
    if (spread && case_.strides == Strides::odd) step += 2 * ((variant + level) % 3) + (step % 2 ? 2 : 1);
    else if (spread) step += 8 * (1 + (variant + level) % 3);
  }
  if (output) return s;
  if (case_.strides == Strides::expand && rank >= 2) {
    // v over the batch where that is an axis of its own, the others over the heads; row tensors keep their
    // last axis.
    const bool over_batch = variant == 2 && rank == 4 && !case_.paged();
    s[over_batch ? 0 : rank >= 3 ? rank - 2 : 0] = 0;
  }
  if (case_.strides == Strides::reverse)
    for (int axis = 0; axis < (rank == 1 ? 1 : rank - 1); ++axis)
      if ((axis + variant) % 2 == 0 || rank <= 3) s[axis] = -s[axis];
  return s;
}

int Setup::add_integers(const std::string& name, DType type, const std::vector<std::int64_t>& values) {
  const Dims shape{static_cast<std::int64_t>(values.size())};
  const bool gaps = case_.strides == Strides::gaps || case_.strides == Strides::odd,
             back = case_.strides == Strides::reverse;
  parts_.push_back({Arena(name, type, shape, Dims{back ? -1 : gaps ? 2 : 1}, 0, false, fill_), nullptr, {}});
  const Tensor t = parts_.back().arena.host();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t at = t.offset(static_cast<std::int64_t>(i));
    if (type == DType::i64) static_cast<std::int64_t*>(t.data)[at] = values[i];
    else store(t, at, static_cast<double>(values[i]));
  }
  return static_cast<int>(parts_.size()) - 1;
}

void Setup::add_lengths() {
  const DType cu = case_.cu_i64 ? DType::i64 : DType::i32;
  if (case_.queries == Rows::packed) cu_q_ = add_integers("cu_seqlens_q", cu, offsets(lengths_.rows_q));
  if (case_.keys == Keys::packed) cu_kv_ = add_integers("cu_seqlens_kv", cu, offsets(lengths_.rows_kv));
  if (case_.seqused_q) seqused_q_ = add_integers("seqused_q", DType::i32, lengths_.used_q);
  if (case_.leftpad) leftpad_ = add_integers("leftpad", DType::i32, lengths_.leftpad);
  if (case_.query_start.kind == Position::per_sequence)
    query_start_ = add_integers("query_start", DType::i32, lengths_.query_start);
  if (case_.key_start.kind == Position::per_sequence)
    key_start_ = add_integers("key_start", DType::i32, lengths_.key_start);
  // A page table says how many pages there are, not how many rows are used.
  bool full_pages = case_.keys == Keys::paged;
  for (const std::int64_t rows : lengths_.rows_kv)
    full_pages &= rows == lengths_.most_rows_kv && rows % case_.page_rows == 0;
  const bool must =
      case_.operation == Operation::fwd_kvcache && case_.keys != Keys::packed && case_.keys != Keys::pagelist;
  if (case_.seqused_kv || must || (case_.keys == Keys::paged && !full_pages))
    seqused_kv_ = add_integers("seqused_kv", DType::i32, lengths_.used_kv);
  if (case_.paged()) add_pages();
}

// Which page serves which rows. Entries beyond a sequence's used rows keep the fill: nobody may read them
// (C12).
void Setup::add_pages() {
  const std::int64_t rows = case_.page_rows, batch = case_.batch;
  std::vector<std::int64_t> wanted, listed;
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto i = static_cast<std::size_t>(b);
    wanted.push_back(pages_for(lengths_.used_kv[i], rows));
    listed.push_back(pages_for(lengths_.rows_kv[i], rows));
  }
  const std::int64_t pages = sum(wanted) + 2;  // two that no sequence uses
  std::vector<std::int64_t> order(static_cast<std::size_t>(pages));
  std::iota(order.begin(), order.end(), 0);
  Random random(scramble(case_.seed, 20));
  if (case_.pages != PageOrder::ordered)
    for (std::size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1],
                order[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(i) - 1))]);
  std::vector<std::int64_t> used;
  const auto next_page = [&] {
    if (case_.pages == PageOrder::shared && !used.empty() && random.chance(0.5))
      return used[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(used.size()) - 1))];
    used.push_back(order[used.size()]);
    return used.back();
  };
  const auto write = [&](const Tensor& t, std::int64_t at) {
    static_cast<std::int32_t*>(t.data)[at] = static_cast<std::int32_t>(next_page());
  };
  if (case_.keys == Keys::paged) {
    const std::int64_t most = pages_for(lengths_.most_rows_kv, rows) + (seqused_kv_ >= 0 ? 1 : 0);
    const bool natural = case_.strides == Strides::none || case_.strides == Strides::expand;
    Dims s = natural ? Dims{most, 1} : Dims{most + 3, 1};
    if (case_.strides == Strides::reverse) s = {-(most + 3), -1};
    parts_.push_back({Arena("page_table", DType::i32, {batch, most}, s, 0, false, fill_), nullptr, {}});
    table_ = static_cast<int>(parts_.size()) - 1;
    const Tensor t = parts_.back().arena.host();
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t i = 0; i < wanted[static_cast<std::size_t>(b)]; ++i) write(t, t.offset(b, i));
  } else {
    std::vector<std::int64_t> last;
    for (const std::int64_t r : lengths_.rows_kv)
      last.push_back(r == 0 ? 0 : r - (pages_for(r, rows) - 1) * rows);
    const std::vector<std::int64_t> begin = offsets(listed);
    indptr_ = add_integers("indptr", DType::i32, begin);
    last_page_len_ = add_integers("last_page_len", DType::i32, last);
    parts_.push_back({Arena("indices", DType::i32, {begin.back() + 1}, {1}, 0, false, fill_), nullptr, {}});
    indices_ = static_cast<int>(parts_.size()) - 1;
    const Tensor t = parts_.back().arena.host();
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t i = 0; i < wanted[static_cast<std::size_t>(b)]; ++i)
        write(t, begin[static_cast<std::size_t>(b)] + i);
  }
}

namespace {
using Order = std::initializer_list<int>;
// Axes of a row tensor and of lse in memory, outermost first.
Order row_order(MemoryOrder layout, bool packed, int variant) {
  static constexpr std::initializer_list<int> kRows[] = {
      {0, 1, 2, 3}, {0, 2, 1, 3}, {1, 0, 2, 3}, {2, 0, 1, 3}};
  static constexpr std::initializer_list<int> kPacked[] = {{0, 1, 2}, {1, 0, 2}};
  const int i = layout == MemoryOrder::bshd ? 0 : layout == MemoryOrder::bhsd ? 1 : variant;
  return packed ? kPacked[i % 2] : kRows[i % 4];
}
Order number_order(MemoryOrder layout, bool packed) {
  static constexpr std::initializer_list<int> kRows[] = {{0, 1, 2}, {0, 2, 1}, {1, 2, 0}};
  static constexpr std::initializer_list<int> kPacked[] = {{0, 1}, {1, 0}, {1, 0}};
  return packed ? kPacked[static_cast<int>(layout)] : kRows[static_cast<int>(layout)];
}
}  // namespace

void Setup::add_rows() {
  const Case& c = case_;
  const bool packed_q = c.queries == Rows::packed, packed_kv = c.keys == Keys::packed;
  const std::int64_t total_q = sum(lengths_.rows_q) + c.tail, total_kv = sum(lengths_.rows_kv) + c.tail;
  const auto query_shape = [&](std::int64_t dim) {
    return packed_q ? Dims{total_q, c.heads_q, dim} : Dims{c.batch, lengths_.most_rows_q, c.heads_q, dim};
  };
  std::int64_t pages = 2;
  for (const std::int64_t used : lengths_.used_kv) pages += pages_for(used, c.page_rows);
  const auto key_shape = [&](std::int64_t dim) {
    if (packed_kv) return Dims{total_kv, c.heads_kv, dim};
    return c.paged() ? Dims{pages, c.page_rows, c.heads_kv, dim}
                     : Dims{c.batch, lengths_.most_rows_kv, c.heads_kv, dim};
  };
  q_ = add("q", c.dtype, query_shape(c.head_dim), false, row_order(c.layout, packed_q, 0), 0);
  k_ = add("k", c.dtype, key_shape(c.head_dim), false, row_order(c.layout, packed_kv, 1), 1);
  v_ = add("v", c.dtype, key_shape(c.head_dim_v), false, row_order(c.layout, packed_kv, 2), 2);
  out_ = add("out", c.out_f32 ? DType::f32 : c.dtype, query_shape(c.head_dim_v), true,
             row_order(c.layout, packed_q, 3), 3);
  const Dims lse = packed_q ? Dims{c.heads_q, total_q} : Dims{c.batch, c.heads_q, lengths_.most_rows_q};
  if (c.lse) lse_ = add("lse", DType::f32, lse, true, number_order(c.layout, packed_q), 4);
  if (c.dlse) dlse_ = add("dlse", DType::f32, lse, false, number_order(c.layout, packed_q), 5);
}

void Setup::add_gradients() {
  const Case& c = case_;
  const bool packed_q = c.queries == Rows::packed, packed_kv = c.keys == Keys::packed;
  const DType grad = c.grad_f32 ? DType::f32 : c.dtype;
  const auto shape = [&](int part) { return view(part, false).shape; };
  dout_ =
      add("dout", c.dout_f32 ? DType::f32 : c.dtype, shape(out_), false, row_order(c.layout, packed_q, 1), 6);
  dq_ = add("dq", grad, shape(q_), true, row_order(c.layout, packed_q, 2), 7);
  dk_ = add("dk", grad, shape(k_), true, row_order(c.layout, packed_kv, 3), 8);
  dv_ = add("dv", grad, shape(v_), true, row_order(c.layout, packed_kv, 0), 9);
}

void Setup::add_captured() {
  const ShapeNames names{case_.batch,          case_.heads_q,         case_.heads_kv,
                         lengths_.most_rows_q, lengths_.most_rows_kv, case_.head_dim};
  std::uint64_t stream = 40;
  for (const Let& let : case_.lets) {
    const Generator g = parse_generator(let.name, let.text);
    ++stream;
    if (g.kind == Generator::integer) numbers_.emplace_back(let.name, static_cast<std::int64_t>(g.low));
    else if (g.kind == Generator::floating) numbers_.emplace_back(let.name, g.low);
    if (!g.is_tensor()) continue;
    std::optional<files::OwnedTensor> file;
    if (g.kind == Generator::file) file = files::read_npy(g.path);
    const Dims shape = file ? file->view.shape : g.dims(names);
    std::vector<int> order(static_cast<std::size_t>(shape.rank()));
    std::iota(order.begin(), order.end(), 0);
    const DType type = file ? file->view.dtype : g.dtype;
    parts_.push_back(
        {Arena(let.name, type, shape, strides(shape, order, false, 0), 0, false, fill_), nullptr, {}});
    const int part = static_cast<int>(parts_.size()) - 1;
    captured_.emplace_back(let.name, part);
    if (std::find(case_.dcaptured.begin(), case_.dcaptured.end(), let.name) != case_.dcaptured.end()) {
      parts_.push_back({Arena("d" + let.name, case_.grad_f32 ? DType::f32 : type, shape,
                              strides(shape, order, true, 1), case_.offset, true, fill_),
                        nullptr,
                        {}});
      captured_gradients_.emplace_back(part, part + 1);
    }
    if (fill_ == Fill::untouched) continue;
    const Tensor t = view(part, false);
    if (!file) {
      g.fill(t, scramble(case_.seed, stream));
      continue;
    }
    auto from = static_cast<const std::byte*>(file->view.data);
    const auto size = static_cast<std::size_t>(size_of(type));
    for_each_offset(t, [&](std::int64_t at) {
      std::memcpy(static_cast<std::byte*>(t.data) + at * static_cast<std::int64_t>(size), from, size);
      from += size;
    });
  }
}

}  // namespace bolide::testing
