// From what was typed to a problem over tensors of files, with room for its results.
#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <new>

#include "cli/bindings.hpp"
#include "cli/elements.hpp"
#include "cli/problem_options.hpp"

namespace bolide::cli {
namespace {

DType parse_float_type(const std::string& text) {
  return text == "f32" ? DType::f32 : text == "f16" ? DType::f16 : DType::bf16;
}

[[noreturn]] void refuse_alone(const char* option, const char* needed) {
  throw Error(Code::invalid_argument, fmt::format("{} means nothing without {}", option, needed));
}

// Options that only mean something beside another are refused without it: nothing is silently ignored.
void check_companions(const ProblemOptions& o) {
  const bool lists = !o.page_indptr.empty() || !o.page_indices.empty() || !o.last_page_len.empty();
  if (o.max_seqlen_q && o.cu_seqlens_q.empty()) refuse_alone("--max-seqlen-q", "--cu-seqlens-q");
  if (o.max_seqlen_kv && o.cu_seqlens_kv.empty()) refuse_alone("--max-seqlen-kv", "--cu-seqlens-kv");
  if (o.max_pages && !lists) refuse_alone("--max-pages", "--page-indptr, --page-indices and --last-page-len");
  if (!o.dlse.empty() && o.dout.empty()) refuse_alone("--dlse", "--dout");
  if (!o.grads.empty() && o.dout.empty()) refuse_alone("--grad", "--dout");
  if (!o.grad_dtype.empty() && o.dout.empty()) refuse_alone("--grad-dtype", "--dout");
  if (!o.cu_seqlens_kv.empty() && (lists || !o.page_table.empty()))
    throw Error(Code::invalid_argument,
                "--cu-seqlens-kv packs the keys and page tables page them; give one of the two");
  if (lists && !o.page_table.empty())
    throw Error(Code::invalid_argument, "--page-table and the page lists say the same; give one of the two");
}

}  // namespace

FileProblem::FileProblem(const ProblemOptions& o) : heads_first_(o.layout == "bhsd") {
  check_companions(o);
  for (const std::string& path : o.files) inputs_.open(path);
  ForwardProblem& p = backward_.forward;
  p.q = tensor("--q", o.q, true);
  p.k = tensor("--k", o.k, true);
  p.v = tensor("--v", o.v, true);
  if (!o.dout.empty()) backward_.dout = tensor("--dout", o.dout, true);
  if (!o.dlse.empty()) backward_.dlse = tensor("--dlse", o.dlse, false);
  read_layouts(o);
  p.scale = o.scale;
  read_starts(o);
  read_programs(o);
  allocate_results(o);
}

Tensor FileProblem::lay_out(const Tensor& t) const {
  return heads_first_ && t.rank() >= 3 ? t.transposed(t.rank() - 3, t.rank() - 2) : t;
}

Tensor FileProblem::tensor(const std::string& option, const std::string& reference, bool in_layout) {
  const Tensor t = inputs_.get(option, reference);
  return in_layout ? lay_out(t) : t;
}

Tensor FileProblem::optional_i32(const std::string& option, const std::string& reference) {
  return reference.empty() ? Tensor() : inputs_.get_i32(option, reference);
}

void FileProblem::read_layouts(const ProblemOptions& o) {
  ForwardProblem& p = backward_.forward;
  if (!o.cu_seqlens_q.empty())
    p.queries = Packed{optional_i32("--cu-seqlens-q", o.cu_seqlens_q), o.max_seqlen_q.value_or(0)};
  else if (p.q.rank() == 3)
    throw Error(
        Code::invalid_problem,
        fmt::format("q has shape {}, three dimensions, as packed sequences have; give their starts with "
                    "--cu-seqlens-q, or a q of four dimensions",
                    shape_text(p.q.shape)));
  if (!o.cu_seqlens_kv.empty()) {
    p.keys = Packed{optional_i32("--cu-seqlens-kv", o.cu_seqlens_kv), o.max_seqlen_kv.value_or(0)};
  } else if (!o.page_table.empty()) {
    p.keys = Paged{.table = optional_i32("--page-table", o.page_table)};
  } else if (!o.page_indptr.empty() || !o.page_indices.empty() || !o.last_page_len.empty()) {
    p.keys = Paged{.indptr = optional_i32("--page-indptr", o.page_indptr),
                   .indices = optional_i32("--page-indices", o.page_indices),
                   .last_page_len = optional_i32("--last-page-len", o.last_page_len),
                   .max_pages = o.max_pages.value_or(0)};
  }
  p.seqused_q = optional_i32("--seqused-q", o.seqused_q);
  p.seqused_kv = optional_i32("--seqused-kv", o.seqused_kv);
  p.leftpad = optional_i32("--leftpad", o.leftpad);
}

void FileProblem::read_starts(const ProblemOptions& o) {
  const auto start = [&](const char* option, const std::string& text) -> Start {
    if (const auto value = parse_whole<std::int64_t>(text)) return {.value = *value};
    return {.per_sequence = inputs_.get_i32(option, text)};
  };
  ForwardProblem& p = backward_.forward;
  if (o.query_start == "top_left") p.query_start = TopLeft{};
  else if (o.query_start != "bottom_right") p.query_start = start("--query-start", o.query_start);
  p.key_start = start("--key-start", o.key_start);
}

void FileProblem::read_programs(const ProblemOptions& o) {
  mask_ = o.mask, score_ = o.score;
  bindings_ = read_bindings(inputs_, o.tensors, o.numbers, {{"--mask", o.mask}, {"--score", o.score}});
  ForwardProblem& p = backward_.forward;
  if (!o.mask.empty()) p.mask = parse_named("--mask", [&] { return Mask::parse(o.mask, bindings_); });
  if (!o.score.empty()) p.score = parse_named("--score", [&] { return Score::parse(o.score, bindings_); });
}

BackwardProblem FileProblem::placed(const std::function<Tensor(const Tensor&)>& place) const {
  BackwardProblem to = backward_;
  ForwardProblem& p = to.forward;
  std::vector<Tensor*> tensors{
      &p.q,       &p.k,     &p.v,     &p.out, &p.lse, &p.seqused_q, &p.seqused_kv,
      &p.leftpad, &to.dout, &to.dlse, &to.dq, &to.dk, &to.dv,       &p.key_start.per_sequence};
  if (auto* packed = std::get_if<Packed>(&p.queries)) tensors.push_back(&packed->cu_seqlens);
  if (auto* packed = std::get_if<Packed>(&p.keys)) tensors.push_back(&packed->cu_seqlens);
  if (auto* paged = std::get_if<Paged>(&p.keys))
    for (Tensor* t : {&paged->table, &paged->indptr, &paged->indices, &paged->last_page_len})
      tensors.push_back(t);
  if (auto* start = std::get_if<Start>(&p.query_start)) tensors.push_back(&start->per_sequence);
  for (Tensor* t : tensors)
    if (*t) *t = place(*t);
  Bindings bindings = bindings_;
  for (auto& [name, value] : bindings.values)
    if (auto* t = std::get_if<Tensor>(&value)) *t = place(*t);
  if (p.mask) p.mask = Mask::parse(mask_, bindings);
  if (p.score) p.score = Score::parse(score_, bindings);
  for (std::size_t i = 0; i < grads_.size(); ++i) {
    to.dcaptured[i].captured = std::get<Tensor>(bindings.values.at(grads_[i]));
    to.dcaptured[i].gradient = place(to.dcaptured[i].gradient);
  }
  return to;
}

Tensor FileProblem::allocate(const std::string& name, DType dtype, const Dims& shape, bool in_layout) {
  constexpr std::int64_t kAlignment = 64;
  std::int64_t bytes = size_of(dtype);
  for (const std::int64_t size : shape)
    if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 0), &bytes) ||
        bytes > INT64_MAX - kAlignment)
      throw Error(
          Code::invalid_problem,
          fmt::format("{} would have shape {}: its bytes do not fit in 63 bits", name, shape_text(shape)));
  Result& r = results_.emplace_back();
  r.name = name;
  const auto rounded = static_cast<std::size_t>((bytes + kAlignment) / kAlignment * kAlignment);
  r.memory.reset(std::aligned_alloc(kAlignment, rounded));
  if (!r.memory) throw std::bad_alloc();
  const Tensor permuted = Tensor(r.memory.get(), dtype, shape);
  // lay_out is its own inverse: the shape goes to the files' order, the view comes back.
  r.stored = Tensor(r.memory.get(), dtype, in_layout ? lay_out(permuted).shape : shape);
  r.view = in_layout ? lay_out(r.stored) : r.stored;
  return r.view;
}

void FileProblem::allocate_results(const ProblemOptions& o) {
  ForwardProblem& p = backward_.forward;
  const int rank = p.q.rank();
  const bool packed = std::holds_alternative<Packed>(p.queries);
  // Of a q or v that fits no layout the library speaks when it plans; out only needs some shape until then.
  Dims out = p.q.shape;
  if (rank > 0 && p.v.rank() > 0) out[rank - 1] = p.v.size(p.v.rank() - 1);
  p.out = allocate("out", o.out_dtype.empty() ? p.q.dtype : parse_float_type(o.out_dtype), out, true);
  if (rank == (packed ? 3 : 4))
    p.lse = allocate("lse", DType::f32,
                     packed ? Dims{p.q.size(1), p.q.size(0)} : Dims{p.q.size(0), p.q.size(2), p.q.size(1)},
                     false);
  if (!has_backward()) return;
  const auto gradient = [&](const char* name, const Tensor& of) {
    return allocate(name, o.grad_dtype.empty() ? p.q.dtype : parse_float_type(o.grad_dtype), of.shape, true);
  };
  backward_.dq = gradient("dq", p.q);
  backward_.dk = gradient("dk", p.k);
  backward_.dv = gradient("dv", p.v);
  allocate_captured_gradients(o);
}

// What else a wish for a gradient may be wrong about, the library says when it plans.
void FileProblem::allocate_captured_gradients(const ProblemOptions& o) {
  for (const std::string& name : o.grads) {
    const auto bound = bindings_.values.find(name);
    const Tensor* tensor = bound == bindings_.values.end() ? nullptr : std::get_if<Tensor>(&bound->second);
    if (!tensor)
      throw Error(Code::invalid_argument,
                  fmt::format("--grad {}: no --tensor has this name; add --tensor {}=TENSOR",
                              files::printable(name), files::printable(name)));
    const std::string result = "d" + name;
    for (const Result& r : results_)
      if (r.name == result)
        throw Error(Code::invalid_argument,
                    fmt::format("--grad {}: there is a result {} already; give the tensor another name, once",
                                files::printable(name), files::printable(result)));
    // Other types get a place too: the library refuses them by name.
    const bool keeps_type = is_floating(tensor->dtype) && o.grad_dtype != "f32";
    const Tensor gradient = allocate(result, keeps_type ? tensor->dtype : DType::f32, tensor->shape, false);
    backward_.dcaptured.push_back({*tensor, gradient});
    grads_.push_back(name);
  }
}

std::size_t FileProblem::result_bytes(bool backward) const {
  std::size_t bytes = 0;
  for (const Result& r : results_)
    if (r.of_backward() == backward) bytes += r.bytes();
  return bytes;
}

}  // namespace bolide::cli
