// A case made real: every tensor with its guards, gaps and fills, and the problem that names them.
#pragma once
#include <bolide/operations.hpp>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "testing/captured.hpp"
#include "testing/case.hpp"
#include "testing/memory.hpp"
#include "testing/reference.hpp"

namespace bolide::testing {

/// The numbers of each sequence, drawn from the case's seed.
struct Lengths {
  std::vector<std::int64_t> rows_q, rows_kv, used_q, used_kv, leftpad, query_start, key_start;
  std::int64_t most_rows_q = 0, most_rows_kv = 0;
};
/// Throws Error{invalid_argument} for listed lengths that leave their rows.
Lengths draw_lengths(const Case&);

/// The problem twice: on the host, where the reference reads it, and in `memory`, where a context runs it.
/// Bytes that no result may depend on (contract C12) hold `fill`, outputs too.
class Setup {
 public:
  /// Throws Error{invalid_argument}, {expression} or {file} for what the case's texts ask in vain. The memory
  /// must outlive the setup, and may be NoMemory for Fill::untouched. `like` is a setup of a case with the
  /// same lengths and mask: what is visible is taken from it.
  Setup(const Case&, Fill, Memory&, const Setup* like = nullptr);
  ~Setup();
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;

  /// Absent gradients unless the case has them.
  const BackwardProblem& host() const { return host_; }
  const BackwardProblem& placed() const { return placed_; }
  const std::vector<testing::Sequence>& sequences() const { return sequences_; }
  const Visibility& visible() const { return visible_; }

  /// Copies every image to the memory: outputs hold the fill again.
  void upload();
  /// Copies everything back. A sentence about bytes that no call may write; empty if they are as they were.
  std::string download();
  /// A host tensor as the last download brought it: the same view of the result as `of` is of the image.
  Tensor result(const Tensor& of) const;
  /// Makes what forward wrote to out and lse an input: backward reads it.
  void keep_forward();

 private:
  struct Part {
    Arena arena;
    void* place = nullptr;
    std::vector<std::byte> after;
  };
  int add(const std::string& name, DType, const Dims& shape, bool output,
          std::initializer_list<int> order = {}, int variant = 0);
  int add_integers(const std::string& name, DType, const std::vector<std::int64_t>& values);
  Dims strides(const Dims& shape, std::vector<int> order, bool output, int variant) const;
  void add_rows();
  void add_gradients();
  void add_pages();
  void add_lengths();
  void add_captured();
  void write_data();
  void write_row(const Tensor& t, int id, std::int64_t at, std::int64_t row);
  Tensor view(int part, bool placed) const;
  BackwardProblem assemble(bool placed) const;
  ForwardProblem make(const FwdArgs&, bool placed) const;

  Case case_;
  Fill fill_;
  Memory& memory_;
  Lengths lengths_;
  std::deque<Part> parts_;
  int q_ = -1, k_ = -1, v_ = -1, out_ = -1, lse_ = -1, dout_ = -1, dlse_ = -1, dq_ = -1, dk_ = -1, dv_ = -1;
  int cu_q_ = -1, cu_kv_ = -1, seqused_q_ = -1, seqused_kv_ = -1, leftpad_ = -1, query_start_ = -1,
      key_start_ = -1;
  int table_ = -1, indptr_ = -1, indices_ = -1, last_page_len_ = -1;
  std::vector<std::pair<std::string, int>> captured_;
  std::vector<std::pair<int, int>> captured_gradients_;  // of a captured tensor, its gradient
  std::vector<std::pair<std::string, Bindings::Value>> numbers_;
  BackwardProblem host_, placed_;
  std::vector<testing::Sequence> sequences_;
  Visibility visible_;
};

}  // namespace bolide::testing
