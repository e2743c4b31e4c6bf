// A case: one line of text that names an attention problem completely, contents of every tensor included.
#pragma once
#include <bolide/error.hpp>
#include <bolide/tensor.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bolide::testing {

/// A number for each sequence: absent, one for all, a list, or a range to draw from.
struct Spread {
  std::vector<std::int64_t> values;  ///< none: absent; one: the same for all; two with `range`: the bounds
  bool range = false;                ///< drawn for each sequence from [values[0], values[1]]

  Spread() = default;
  Spread(std::int64_t same) : values{same} {}
  Spread(std::int64_t low, std::int64_t high) : values{low, high}, range(true) {}
  explicit operator bool() const { return !values.empty(); }
  bool varies() const { return values.size() > 1; }
  std::int64_t largest() const;
  friend bool operator==(const Spread&, const Spread&) = default;
};

enum class Operation : std::uint8_t { fwd, varlen_fwd, bwd, varlen_bwd, fwd_kvcache };
enum class Rows : std::uint8_t { dense, packed };
enum class Keys : std::uint8_t { dense, packed, paged, pagelist };
enum class PageOrder : std::uint8_t { shuffled, ordered, shared };
enum class MemoryOrder : std::uint8_t { bshd, bhsd, mixed };
enum class Strides : std::uint8_t { none, gaps, odd, expand, reverse };
/// What the elements of q, k, v, dout hold. `count` is the count test's (contract C17); no key names it.
enum class Data : std::uint8_t { normal, uniform, outliers, large, tiny, ties, zero_q, nan, count };

/// How the first position is given (contract C3).
struct Position {
  enum Kind : std::uint8_t { bottom_right, top_left, number, per_sequence } kind = bottom_right;
  Spread value;
  friend bool operator==(const Position&, const Position&) = default;
};

/// A captured tensor or number: `let name=text`.
struct Let {
  std::string name, text;
  friend bool operator==(const Let&, const Let&) = default;
};

/// The fields are the keys of docs/cases.md, in words.
struct Case {
  Operation operation = Operation::fwd;
  DType dtype = DType::bf16;
  std::int64_t batch = 1, heads_q = 1, heads_kv = 1, head_dim = 64, head_dim_v = 64;
  Spread rows_q = 1, rows_kv = 1;
  Rows queries = Rows::dense;
  Keys keys = Keys::dense;
  std::int64_t page_rows = 64;
  PageOrder pages = PageOrder::shuffled;
  Spread seqused_q, seqused_kv, leftpad;
  Position query_start, key_start{Position::number, 0};
  std::string scale;  ///< as written, so that it prints as it was read; empty: 1 / sqrt(head_dim)
  std::string mask, score;
  std::vector<Let> lets;
  std::vector<std::string> dcaptured;  ///< lets whose gradients are wanted
  bool out_f32 = false, lse = true, dlse = false, dout_f32 = false, grad_f32 = false;
  bool cu_i64 = false, max_seqlen = false;
  std::int64_t tail = 0;
  MemoryOrder layout = MemoryOrder::bshd;
  Strides strides = Strides::none;
  std::int64_t offset = 0;
  Data data = Data::normal;
  std::uint64_t seed = 0;

  /// Throws Error{invalid_argument} that names the key, its value and what is allowed.
  static Case parse(std::string_view line);
  /// The canonical line: parse(text()) == *this. Keys at their defaults are left out.
  std::string text() const;
  /// Throws as parse does where keys contradict each other.
  void validate() const;

  bool backward() const { return operation == Operation::bwd || operation == Operation::varlen_bwd; }
  bool paged() const { return keys == Keys::paged || keys == Keys::pagelist; }
  bool packed() const { return queries == Rows::packed || keys == Keys::packed; }
  friend bool operator==(const Case&, const Case&) = default;
};

/// One key of the language: docs/cases.md has a line for each.
struct Key {
  std::string name, values, meaning;
  std::function<bool(Case&, std::string_view)> set;  ///< false: not an allowed value
  std::function<std::string(const Case&)> get;       ///< "" when at its default
};
const std::vector<Key>& keys();

const char* name_of(Operation);
/// A non-negative or negative integer that is the whole text.
bool parse_integer(std::string_view text, std::int64_t& value);
/// True if a program's text has the name as a word of its own.
bool mentions(std::string_view program, std::string_view name);

}  // namespace bolide::testing
