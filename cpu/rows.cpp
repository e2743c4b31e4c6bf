// Reads lengths and tables, checks that they stay inside their tensors, and finds rows.
#include "cpu/rows.hpp"

#include <bolide/error.hpp>

#include <fmt/core.h>

namespace bolide::cpu {
namespace {

std::int64_t integer(const Tensor& t, std::int64_t i) {
  const std::int64_t at = t.offset(i);
  return t.dtype == DType::i64 ? static_cast<const std::int64_t*>(t.data)[at]
                               : static_cast<const std::int32_t*>(t.data)[at];
}

[[noreturn]] void leaves(const std::string& sentence) { throw Error(Code::invalid_problem, sentence); }

// A length that must lie in [0, limit].
std::int64_t bounded(const Tensor& t, const char* name, std::int64_t b, std::int64_t limit,
                     const char* what) {
  const std::int64_t n = integer(t, b);
  if (n < 0 || n > limit)
    leaves(fmt::format("{}[{}] is {}; it must lie between 0 and {}, {}", name, b, n, limit, what));
  return n;
}

void check_offsets(const Packed& packed, std::int64_t batch, std::int64_t total, std::int64_t longest,
                   const char* name) {
  const Tensor& cu = packed.cu_seqlens;
  if (integer(cu, 0) != 0) leaves(fmt::format("{}[0] is {}; it must be 0", name, integer(cu, 0)));
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t begin = integer(cu, b), end = integer(cu, b + 1);
    if (end < begin || end > total)
      leaves(fmt::format("{}[{}] is {} after {}; offsets must not decrease nor exceed the {} rows", name,
                         b + 1, end, begin, total));
    if (end - begin > longest)
      leaves(fmt::format("sequence {} of {} has {} rows, more than its max_seqlen of {}", b, name,
                         end - begin, longest));
  }
}

}  // namespace

Rows::Rows(const ForwardProblem& p, const Sizes& sizes) : p_(p), sizes_(sizes) {
  if (auto* packed = std::get_if<Packed>(&p.queries))
    check_offsets(*packed, sizes.batch, p.q.size(0), sizes.rows_q, "cu_seqlens_q");
  if (auto* packed = std::get_if<Packed>(&p.keys))
    check_offsets(*packed, sizes.batch, p.k.size(0), sizes.rows_kv, "cu_seqlens_kv");
  if (auto* pages = std::get_if<Paged>(&p.keys); pages && pages->indptr && integer(pages->indptr, 0) != 0)
    leaves(fmt::format("indptr[0] is {}; it must be 0", integer(pages->indptr, 0)));
  for (std::int64_t b = 0; b < sizes.batch; ++b) check(b);
}

void Rows::check(std::int64_t b) const {
  const std::int64_t capacity = key_capacity(b);
  if (p_.seqused_q) bounded(p_.seqused_q, "seqused_q", b, query_span(b).rows, "the rows of that sequence");
  if (p_.seqused_kv) bounded(p_.seqused_kv, "seqused_kv", b, capacity, "the rows that sequence has room for");
  const std::int64_t rows = key_span(b).rows;
  if (p_.leftpad) bounded(p_.leftpad, "leftpad", b, rows, "the used rows of that sequence");
  if (!is_paged(p_.keys)) return;
  for (std::int64_t i = 0; i * sizes_.page_rows < rows; ++i)
    if (page(b, i) < 0 || page(b, i) >= p_.k.size(0))
      leaves(fmt::format("page {} of sequence {} is number {}; k has pages 0 to {}", i, b, page(b, i),
                         p_.k.size(0) - 1));
}

// First row and number of rows in the tensor, used or not.
Rows::Span Rows::query_span(std::int64_t b) const {
  auto* packed = std::get_if<Packed>(&p_.queries);
  if (!packed) return {0, sizes_.rows_q};
  const std::int64_t begin = integer(packed->cu_seqlens, b);
  return {begin, integer(packed->cu_seqlens, b + 1) - begin};
}

// Rows that the sequence's keys have room for.
std::int64_t Rows::key_capacity(std::int64_t b) const {
  if (auto* packed = std::get_if<Packed>(&p_.keys))
    return integer(packed->cu_seqlens, b + 1) - integer(packed->cu_seqlens, b);
  auto* pages = std::get_if<Paged>(&p_.keys);
  if (!pages || pages->table) return sizes_.rows_kv;
  const std::int64_t begin = integer(pages->indptr, b), end = integer(pages->indptr, b + 1);
  if (end < begin || end > pages->indices.size(0))
    leaves(fmt::format("indptr[{}] is {} after {}; it must not decrease nor exceed the {} indices", b + 1,
                       end, begin, pages->indices.size(0)));
  if ((end - begin) * sizes_.page_rows > sizes_.rows_kv)
    leaves(fmt::format("sequence {} lists {} pages, more than max_pages allows ({})", b, end - begin,
                       sizes_.rows_kv / sizes_.page_rows));
  return (end - begin) * sizes_.page_rows;
}

// Rows of a sequence given by page lists: all of its pages but the last are full.
std::int64_t Rows::listed_rows(std::int64_t b) const {
  const Paged& pages = std::get<Paged>(p_.keys);
  const std::int64_t room = key_capacity(b);
  if (room == 0) return 0;
  return room - sizes_.page_rows +
         bounded(pages.last_page_len, "last_page_len", b, sizes_.page_rows, "the rows of a page");
}

// First row and used rows, leftpad included.
Rows::Span Rows::key_span(std::int64_t b) const {
  auto* packed = std::get_if<Packed>(&p_.keys);
  const std::int64_t begin = packed ? integer(packed->cu_seqlens, b) : 0;
  if (p_.seqused_kv) return {begin, integer(p_.seqused_kv, b)};
  auto* pages = std::get_if<Paged>(&p_.keys);
  return {begin, pages && pages->indptr ? listed_rows(b) : key_capacity(b)};
}

std::int64_t Rows::page(std::int64_t b, std::int64_t i) const {
  const Paged& pages = std::get<Paged>(p_.keys);
  if (!pages.table) return integer(pages.indices, integer(pages.indptr, b) + i);
  return static_cast<const std::int32_t*>(pages.table.data)[pages.table.offset(b, i)];
}

Sequence Rows::sequence(std::int64_t b) const {
  auto start_of = [b](const Start& s) { return s.per_sequence ? integer(s.per_sequence, b) : s.value; };
  Sequence s;
  s.len_q = p_.seqused_q ? integer(p_.seqused_q, b) : query_span(b).rows;
  s.len_kv = key_span(b).rows - (p_.leftpad ? integer(p_.leftpad, b) : 0);
  s.key_start = start_of(p_.key_start);
  if (auto* given = std::get_if<Start>(&p_.query_start)) s.query_start = start_of(*given);
  else if (std::holds_alternative<TopLeft>(p_.query_start)) s.query_start = 0;
  else s.query_start = s.key_start + s.len_kv - s.len_q;
  return s;
}

Slot Rows::query(std::int64_t b, std::int64_t i) const {
  if (is_packed(p_.queries)) return {0, query_span(b).begin + i};
  return {b, i};
}

Slot Rows::key(std::int64_t b, std::int64_t j) const {
  if (p_.leftpad) j += integer(p_.leftpad, b);
  if (is_paged(p_.keys)) return {page(b, j / sizes_.page_rows), j % sizes_.page_rows};
  if (is_packed(p_.keys)) return {0, key_span(b).begin + j};
  return {b, j};
}

}  // namespace bolide::cpu
