// The decisions of a forward launch, each with the sentence that explain() prints.
#include "plan/forward_gpu.hpp"

#include <bolide/error.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <set>

#include "plan/splits.hpp"
#include "program/emit.hpp"
#include "program/facts.hpp"

namespace bolide {
namespace {

using device::FwdConfig;
using device::Producer;
using device::ProgramWeight;
using device::Sequences;

constexpr int kMaxHeadDim = 256;
constexpr std::int64_t kMaxRows = std::int64_t{1} << 28,
                       kMaxHeads = 1 << 20;  // programs compute in 32 bits: program/emit.hpp
constexpr int kMinSplitTiles = 2;
constexpr int kFewKeys = 1024, kFewPackedKeys = 2048;  // work items of no more are short
constexpr int kCopyBytes[] = {16, 4, 2};               // what gathered producers are made for

[[noreturn]] void refuse(const std::string& sentence) { throw Error(Code::refused, sentence); }

// The widest access, up to 16 bytes, that every row of a tensor allows.
int alignment_of(const Tensor& t) {
  auto bits = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(t.data)) | 16;
  for (int i = 0; i + 1 < t.rank(); ++i)
    if (t.shape[i] > 1) bits |= static_cast<std::uint64_t>(t.strides[i] * size_of(t.dtype));
  return 1 << std::countr_zero(bits);
}

// Why the copy engine cannot read a tensor; empty if it can.
std::string copy_engine_objection(const Tensor& t, const char* name) {
  if (t.count() == 0) return fmt::format("{} is empty", name);
  if (const int bytes = alignment_of(t); bytes < 16)
    return fmt::format("{} is aligned to {} bytes only, in its address or a stride; the copy engine needs 16",
                       name, bytes);
  for (int i = 0; i + 1 < t.rank(); ++i) {
    if (t.shape[i] <= 1) continue;
    if (t.strides[i] <= 0)
      return fmt::format("{} has stride {}; the copy engine needs positive ones", name, t.strides[i]);
    if (t.strides[i] >= (std::int64_t{1} << 40) / size_of(t.dtype))
      return fmt::format("{} has stride {}; the copy engine reaches less than 2^40 bytes", name,
                         t.strides[i]);
  }
  return {};
}

void check_head_dims(const ForwardProblem& p, const Sizes& s) {
  const int most = p.q.dtype == DType::f32 ? 32 * kMostPieces : kMaxHeadDim;
  if (s.head_dim > most || s.head_dim_v > most)
    refuse(fmt::format(
        "head_dim is {} and head_dim_v {}; sm_90a kernels of {} serve up to {}: use Device::cpu()",
        s.head_dim, s.head_dim_v, name_of(p.q.dtype), most));
}
void check_reach(const ForwardProblem& p, const Sizes& s) {
  const std::int64_t total_q = is_packed(p.queries) ? p.q.size(0) : s.rows_q;
  const std::int64_t total_kv = is_packed(p.keys) ? p.k.size(0) : s.rows_kv;
  const std::int64_t pages = is_paged(p.keys) ? p.k.size(0) : 0;
  struct {
    std::int64_t n, limit;
    const char* what;
  } const reach[] = {{total_q, kMaxRows, "rows of queries"},
                     {total_kv, kMaxRows, "rows of keys"},
                     {s.batch, kMaxRows, "sequences"},
                     {s.heads_q, kMaxHeads, "heads"},
                     {pages, kMaxRows, "pages"},
                     {s.page_rows, kMaxRows, "rows of a page"}};
  for (const auto& r : reach)
    if (r.n > r.limit)
      refuse(fmt::format("there are {} {}; sm_90a kernels serve up to {}: use Device::cpu()", r.n, r.what,
                         r.limit));
}

// The head dims that kernels are made for. Others take the next: columns beyond the tensors' are zeros in
// shared memory and are not written. 80 and 96 are common, and below 0.8 of the rate of 128 as its guests.
constexpr int kHeadDims[] = {32, 48, 64, 80, 96, 128, 192, 256};
constexpr std::pair<int, int> kMixedHeadDims = {192, 128};  // the one pair with a kernel of its own

std::pair<int, int> kernel_dims(std::int64_t head_dim, std::int64_t head_dim_v) {
  const auto padded = [](std::int64_t d) {
    return *std::find_if(std::begin(kHeadDims), std::end(kHeadDims), [d](int dim) { return dim >= d; });
  };
  const std::pair dims{padded(head_dim), padded(head_dim_v)};
  if (dims == kMixedHeadDims) return dims;
  const int larger = std::max(dims.first, dims.second);
  return {larger, larger};
}

// Copies of less than 16 bytes are slow whatever the program: one kernel, with the registers and the loop
// that any program can live with, serves them all. A scale that is not positive is the identity as a score
// program (kernel_programs), not a configuration.
FwdConfig make_config(std::pair<int, int> dims, device::Element type, device::Element out, Producer producer,
                      int copy_bytes, ProgramWeight weight, Sequences sequences, bool short_items) {
  if (producer == Producer::tma) copy_bytes = 16;
  if (copy_bytes < 16) weight = ProgramWeight::heavy;
  FwdConfig c =
      device::choose_config(dims.first, dims.second, type, out, producer, weight, sequences, short_items);
  c.copy_bytes = copy_bytes;
  // The loop over narrow copies needs more, and consumers of 64 columns can spare it.
  if (copy_bytes < 16 && dims.first <= 64 && dims.second <= 64) c.producer_registers = 64;
  return c;
}

// Splits have a kernel of their own where most of them are (FwdConfig::partial). With three consumers it
// would spill.
bool has_partial(const FwdConfig& c) {
  return c.out_type == device::Element::f32 && c.producer == Producer::tma && !c.rolled_mask &&
         c.consumers() == 2;
}

// Where one box can bring a page's rows of all panels, pages have a kernel of their own (docs/hopper.md, step
// 14). One panel is one box already.
bool has_paged(const FwdConfig& c) {
  return c.producer == Producer::tma && c.head_dim > 64 && c.head_dim % 64 == 0 && c.head_dim_v % 64 == 0;
}

bool is_between_64_and_128(const Sizes& s) {
  const std::int64_t larger = std::max(s.head_dim, s.head_dim_v);
  return larger > 64 && larger <= 128;
}

// Programs that gather or compute much need a producer with more registers: see choose_config.
// The kernels of small head dims, and of large ones by threads, have the fewest to spare: a causal window
// (7 nodes) spills there. A division is long, as numbers are parameters: (q - kv) % 96 spills unrolled. So is
// a function: 20 * tanh(score / 20) spilled 128 bytes at 64, and 8 at 192.
bool is_heavy(std::initializer_list<const Expr*> programs, const Sizes& s, Producer producer) {
  const std::int64_t larger = std::max(s.head_dim, s.head_dim_v);
  const int few_nodes = larger <= 64 || (producer == Producer::gathered && larger > 192) ? 5 : 16;
  int nodes = 0;
  bool gathers = false, functions = false;
  for (const Expr* e : programs)
    if (e) {
      const program::Facts facts = program::facts(*e);
      nodes += facts.nodes + 10 * facts.divisions + 3 * facts.functions;
      gathers |= !facts.captured.empty(), functions |= facts.functions > 0;
    }
  return gathers || nodes > few_nodes || (functions && larger > 128 && larger <= 192);
}

// Masks that 56 registers do not serve where they are classified: those of the catalogue that spilled have 34
// or more by this count.
bool is_very_heavy(const Expr& mask) {
  const program::Facts facts = program::facts(mask);
  return facts.nodes + 3 * facts.divisions + 8 * facts.gathers > 32;
}

// Where consumers hold most, beyond one panel of 64 columns, a score that is heavy alone leaves the producer
// light: its registers are worth more to them. One that gathers has no fewer when light.
ProgramWeight weigh(const Expr* mask, const Expr* score, const Sizes& s, Producer producer) {
  if (mask && is_very_heavy(*mask)) return ProgramWeight::very_heavy;
  const bool heavy_mask = is_heavy({mask}, s, producer);
  if (score && !heavy_mask && program::facts(*score).computes_index) return ProgramWeight::gathering_score;
  const bool by_mask = producer == Producer::tma && is_between_64_and_128(s);
  const bool heavy = by_mask ? heavy_mask : is_heavy({mask, score}, s, producer);
  return heavy ? ProgramWeight::heavy : ProgramWeight::light;
}

ForwardWorkspace lay_out(const ForwardProblem& p, const Mask& mask, const Sizes& s, const ForwardChoice& c) {
  ForwardWorkspace w;
  const auto take = [&w](std::int64_t bytes) {
    const std::size_t at = w.bytes;
    w.bytes += static_cast<std::size_t>((bytes + 255) / 256 * 256);
    return at;
  };
  if (c.grid == 0) return w;
  if (c.packed) w.tile_offsets = take((s.batch + 2) * 4);
  if (c.counted) w.next_work = take(4);
  // Splits have a launch behind the kernel already, and few query tiles that classes could spare work.
  if (mask && c.num_splits == 1) {
    w.range_bytes = program::range_offsets(program::emit(mask, {})).back();
    w.ranges = take(static_cast<std::int64_t>(w.range_bytes));
  }
  if (c.num_splits > 1) {
    const std::int64_t rows = (is_packed(p.queries) ? p.q.size(0) : s.batch * s.rows_q) * s.heads_q;
    w.partial_out = take(c.num_splits * rows * s.head_dim_v * 4);
    w.partial_lse = take(c.num_splits * 2 * rows * 4);
  }
  return w;
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// What a kernel of this configuration may take for granted. Paged: a box is as wide as the tensor, and as the
// kernel's tile.
Sequences sequences_of(const ForwardProblem& p, const Sizes& s, const ForwardChoice& c) {
  if (is_paged(p.keys)) {
    const bool exact = c.config.head_dim == s.head_dim && c.config.head_dim_v == s.head_dim_v;
    return has_paged(c.config) && exact && page_map(p.k) && page_map(p.v) ? Sequences::paged : Sequences::any;
  }
  const auto* query_start = std::get_if<Start>(&p.query_start);
  const bool starts_are_read = p.key_start.per_sequence || (query_start && query_start->per_sequence);
  if (c.num_splits > 1 || p.seqused_q || p.seqused_kv || p.leftpad || starts_are_read) return Sequences::any;
  if (is_packed(p.queries) && is_packed(p.keys)) return Sequences::packed;
  return is_packed(p.queries) || is_packed(p.keys) ? Sequences::any : Sequences::whole;
}

// Packed: on average. With 2048, causal, tiles of 64 gave 590 to 600 TFLOP/s, of 128 547 to 613.
bool has_few_keys(const ForwardProblem& p, const Sizes& s) {
  if (is_packed(p.keys)) return p.k.size(0) <= kFewPackedKeys * s.batch;
  return s.rows_kv <= kFewKeys;
}

// Items of long sequences without a program go through the same keys at the same pace: two of a key head
// share what they load. (Groups of items are key heads, or 1024 heads: see heads_in_l2.) Shorter ones are
// better dealt out by a counter. It saves what reading the L2 cache costs: 2 % at 256, 0 to 7 % at 64
// (docs/hopper.md, step 17), and nothing at 128.
bool has_paired(const FwdConfig& c) {
  const bool one_panel = c.head_dim <= 64 && c.head_dim_v <= 64,
             four = c.head_dim > 192 && c.head_dim_v > 192;
  return c.whole() && !c.rolled_mask && (one_panel || four);
}
bool is_paired(const Sizes& s, const ForwardChoice& c) {
  const std::int64_t group = std::min<std::int64_t>(s.group(), 1024),
                     items = ceil_div(s.rows_q, c.tile_q) * group;
  return has_paired(c.config) && !c.masked && !c.scored && !c.counted && s.rows_kv > kFewKeys &&
         items % 2 == 0 && s.group() % group == 0 && c.grid > 1;
}

// Work items may differ in how many key tiles they visit.
bool uneven_work(const ForwardProblem& p, bool masked) {
  return masked || p.seqused_q || p.seqused_kv || p.leftpad || !std::holds_alternative<Dense>(p.keys);
}

void choose_plain(ForwardChoice& c, const Sizes& s) {
  c.plain = true;
  c.producer = {Producer::gathered, 4, "float32 has no tensor cores of its precision"};
  c.pieces = static_cast<int>(std::bit_ceil(static_cast<unsigned>(ceil_div(s.head_dim_v, 32))));
  c.tile_q = kPlainTileQ, c.tile_kv = kPlainTileKv, c.threads = kPlainThreads;
  c.kv_tiles = ceil_div(s.rows_kv, c.tile_kv);
  c.smem_bytes = static_cast<int>(
      4 * (kPlainTileQ * s.head_dim + kPlainTileKv * (s.head_dim + 1) + kPlainTileKv * s.head_dim_v));
}

void choose_sm90(ForwardChoice& c, const ForwardProblem& p, const KernelPrograms& programs, const Sizes& s,
                 Sequences sequences) {
  c.producer = choose_producer(p, s);
  const Expr *mask = programs.mask ? &programs.mask.expr() : nullptr,
             *score = programs.score ? &programs.score.expr() : nullptr;
  c.config =
      make_config(kernel_dims(s.head_dim, s.head_dim_v), element_of(p.q.dtype), element_of(p.out.dtype),
                  c.producer.producer, c.producer.copy_bytes, weigh(mask, score, s, c.producer.producer),
                  sequences, c.masked && has_few_keys(p, s));
  c.tile_q = c.config.tile_q, c.tile_kv = c.config.tile_kv;
  c.threads = c.config.threads();
  if (c.producer.producer == Producer::tma)
    c.kv_box_rows =
        static_cast<int>(s.page_rows ? std::gcd<std::int64_t>(s.page_rows, c.tile_kv) : c.tile_kv);
  c.kv_tiles = ceil_div(s.rows_kv, c.tile_kv);
}

}  // namespace

device::Element element_of(DType t) {
  return t == DType::f16    ? device::Element::f16
         : t == DType::bf16 ? device::Element::bf16
                            : device::Element::f32;
}

ProducerChoice choose_producer(const ForwardProblem& p, const Sizes& s) {
  ProducerChoice choice;
  const std::pair<const Tensor*, const char*> inputs[] = {{&p.q, "q"}, {&p.k, "k"}, {&p.v, "v"}};
  int common = 16;
  for (auto [t, name] : inputs) {
    common = std::min(common, alignment_of(*t));
    if (choice.why.empty()) choice.why = copy_engine_objection(*t, name);
  }
  for (const int bytes : kCopyBytes)
    if (bytes <= common) {
      choice.copy_bytes = bytes;
      break;
    }
  if (choice.why.empty() && is_paged(p.keys)) {
    if (s.page_rows % 8 != 0)
      choice.why = fmt::format("pages hold {} rows; the copy engine needs a multiple of 8", s.page_rows);
    else if (p.leftpad)
      choice.why = "leftpad may let a sequence begin inside a page, where the copy engine's boxes do not";
  }
  if (!choice.why.empty()) choice.producer = Producer::gathered;
  else choice.why = "every address and stride is a positive multiple of 16 bytes";
  return choice;
}

std::optional<device::PageMap> page_map(const Tensor& t) {
  const std::int64_t pages = t.size(0), heads = t.size(2), block = 8 * t.strides[1];
  if (block <= 0 || t.size(3) % 64 != 0 || t.size(1) % 8 != 0 || (heads > 1 && t.strides[2] % 64 != 0) ||
      (pages > 1 && t.strides[0] % block != 0) || block >= (std::int64_t{1} << 40) / size_of(t.dtype))
    return {};
  const std::int64_t head_panels = heads > 1 ? t.strides[2] / 64 : 0,
                     page_blocks = pages > 1 ? t.strides[0] / block : 0;
  if (heads * head_panels + t.size(3) / 64 > INT32_MAX || pages * page_blocks + t.size(1) / 8 > INT32_MAX)
    return {};
  return device::PageMap{static_cast<int>(head_panels), static_cast<int>(page_blocks)};
}

ForwardChoice choose_forward(const ForwardProblem& p, const Sizes& s, const GpuFacts& gpu) {
  check_head_dims(p, s);
  check_reach(p, s);
  ForwardChoice c;
  const KernelPrograms programs = kernel_programs(p, s);
  c.masked = static_cast<bool>(programs.mask), c.scored = static_cast<bool>(programs.score);
  c.packed = is_packed(p.queries);
  if (p.q.dtype == DType::f32) choose_plain(c, s);
  else choose_sm90(c, p, programs, s, Sequences::any);

  // Packed: every sequence may end in a tile that is not full, and so may the rows behind the last.
  const std::int64_t total = c.packed ? p.q.size(0) : s.rows_q;
  const std::int64_t tiles =
      c.packed ? total / c.tile_q + std::min(s.batch, total) : s.batch * ceil_div(total, c.tile_q);
  c.query_tiles = tiles * s.heads_q;
  c.num_splits = choose_splits(c.query_tiles, c.kv_tiles, gpu.multiprocessors, kMinSplitTiles);
  const std::int64_t work = (tiles + (c.packed && total > 0)) * s.heads_q * c.num_splits;
  if (work > INT32_MAX)
    refuse(fmt::format(
        "there are {} tiles of queries over all heads; a launch serves up to {}: divide the batch", work,
        INT32_MAX));
  c.grid = static_cast<int>(std::min<std::int64_t>(work, (c.plain ? 2 : 1) * gpu.multiprocessors));
  // A counter deals out items of unequal length: worth 8 to 13 % for causal masks on an H200; and short ones,
  // as multiprocessors differ: 2 to 9 % (docs/hopper.md).
  const bool uneven = uneven_work(p, c.masked) || s.rows_kv <= kFewKeys;
  c.counted = c.packed || (!c.plain && uneven && c.num_splits == 1 && work > c.grid);
  if (c.num_splits > 1) {
    c.config.out_type = device::Element::f32;
    c.config.partial = has_partial(c.config) && s.head_dim_v % 2 == 0;
  }
  const Sequences sequences = c.plain ? Sequences::any : sequences_of(p, s, c);
  if (sequences == Sequences::paged) c.config.sequences = sequences;
  else if (sequences != Sequences::any) choose_sm90(c, p, programs, s, sequences);
  if (is_paired(s, c)) {
    c.config.paired = true;
    c.kv_box_rows = c.config.tile_kv / 2;
    c.grid -= c.grid % 2;
  }
  if (!c.plain) c.smem_bytes = c.config.smem_bytes();
  c.workspace = lay_out(p, programs.mask, s, c);
  return c;
}

std::string ForwardChoice::splits_text() const {
  if (num_splits > 1)
    return fmt::format(
        "{}: {} tiles of queries leave multiprocessors idle; partial results in float32 are merged",
        num_splits, query_tiles);
  return fmt::format("1: {} tiles of queries, {} tiles of keys", query_tiles, kv_tiles);
}

std::vector<device::FwdConfig> every_forward_config() {
  std::vector<std::pair<int, int>> dims{kMixedHeadDims};
  for (const int d : kHeadDims) dims.emplace_back(d, d);
  std::vector<FwdConfig> all;
  std::set<std::string> seen;
  const auto add = [&](const FwdConfig& c) {
    if (seen.insert(config_text(c)).second) all.push_back(c);
  };
  for (const auto& d : dims)
    for (const auto type : {device::Element::bf16, device::Element::f16})
      for (const auto out : {type, device::Element::f32})
        for (const auto weight : {ProgramWeight::light, ProgramWeight::gathering_score, ProgramWeight::heavy,
                                  ProgramWeight::very_heavy}) {
          for (const auto sequences : {Sequences::whole, Sequences::packed})
            for (const bool short_items : {true, false}) {
              FwdConfig c = make_config(d, type, out, Producer::tma, 16, weight, sequences, short_items);
              add(c);
              if (has_paired(c) && !short_items) c.paired = true, add(c);
            }
          FwdConfig c = make_config(d, type, out, Producer::tma, 16, weight, Sequences::any, false);
          for (const auto sequences : {Sequences::any, Sequences::paged}) {
            c.sequences = sequences;
            if (c.paged() && !has_paged(c)) continue;
            c.partial = false, add(c);
            if (has_partial(c)) c.partial = true, add(c);
          }
          for (const int bytes : kCopyBytes)
            add(make_config(d, type, out, Producer::gathered, bytes, weight, Sequences::any, false));
        }
  return all;
}

KernelPrograms kernel_programs(const ForwardProblem& p, const Sizes& s) {
  auto [mask, score] = program::normalised(p.mask, p.score);
  if (!score && !(static_cast<float>(s.scale) > 0) && p.q.dtype != DType::f32) score = Score(leaf::score);
  return {mask, score};
}

std::string config_text(const device::FwdConfig& c) {
  const auto element = [](device::Element t) {
    return t == device::Element::f16 ? "f16" : t == device::Element::bf16 ? "bf16" : "f32";
  };
  constexpr const char* kSequences[] = {"any", "whole", "packed", "paged"};
  return fmt::format(
      "bolide::device::FwdConfig{{.head_dim = {}, .head_dim_v = {}, .type = bolide::device::Element::{}, "
      ".out_type = bolide::device::Element::{}, .producer = bolide::device::Producer::{}, .copy_bytes = {}, "
      ".tile_q = {}, .tile_kv = {}, .k_stages = {}, .v_stages = {}, .early_cols = {}, .producer_registers = "
      "{}, "
      ".rolled_mask = {}, .partial = {}, .sequences = bolide::device::Sequences::{}, .paired = {}}}",
      c.head_dim, c.head_dim_v, element(c.type), element(c.out_type),
      c.producer == Producer::tma ? "tma" : "gathered", c.copy_bytes, c.tile_q, c.tile_kv, c.k_stages,
      c.v_stages, c.early_cols, c.producer_registers, c.rolled_mask, c.partial,
      kSequences[static_cast<int>(c.sequences)], c.paired);
}

}  // namespace bolide
