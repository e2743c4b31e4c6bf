// The options that state a problem over tensors of files: shared by `run` and `explain`.
#pragma once
#include <bolide/context.hpp>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/inputs.hpp"

namespace CLI {
class App;
}

namespace bolide::cli {

/// What was typed. Empty text: not given.
struct ProblemOptions {
  std::vector<std::string> files;
  std::string q = "q", k = "k", v = "v", layout = "bshd";
  std::string cu_seqlens_q, cu_seqlens_kv, seqused_q, seqused_kv, leftpad;
  std::optional<std::int64_t> max_seqlen_q, max_seqlen_kv, max_pages;
  std::string page_table, page_indptr, page_indices, last_page_len;
  std::optional<float> scale;
  std::string mask, score;
  std::vector<std::string> tensors, numbers, grads;
  std::string query_start = "bottom_right", key_start = "0";
  std::string out_dtype, grad_dtype, dout, dlse;
  std::string device = "cpu";
};

void add_problem_options(CLI::App& app, ProblemOptions& options);

/// "cpu", "cuda" or "cuda:1". Throws Error{invalid_argument}.
Device parse_device(const std::string& text);

/// A tensor the command allocated: `view` in the library's order of axes, `stored` the same memory row-major
/// in the order of the files. The memory is untouched until someone writes.
struct Result {
  std::string name;
  Tensor view, stored;
  std::unique_ptr<void, decltype(&std::free)> memory{nullptr, &std::free};

  /// Whether backward writes it.
  bool of_backward() const { return name != "out" && name != "lse"; }
  std::size_t bytes() const { return static_cast<std::size_t>(stored.count()) * size_of(stored.dtype); }
};

/// A problem over tensors of files, with room for its results. Views point into itself.
class FileProblem {
 public:
  /// Opens the files and reads what the options name. Throws Error{file}, {invalid_argument}, {expression}
  /// and, for ranks that fit no layout, {invalid_problem}; whatever else is wrong, the library says when it
  /// plans.
  explicit FileProblem(const ProblemOptions& options);

  bool has_backward() const { return static_cast<bool>(backward_.dout); }
  const ForwardProblem& forward() const { return backward_.forward; }
  const BackwardProblem& backward() const { return backward_; }
  /// The problem with each of its tensors, captured ones too, replaced by what `place` answers for it.
  BackwardProblem placed(const std::function<Tensor(const Tensor&)>& place) const;
  /// out and lse; then, when there is a dout, dq, dk, dv and the gradients of captured tensors.
  const std::deque<Result>& results() const { return results_; }
  /// The tensor of a reference, axes in the library's order if it has the layout of q.
  Tensor tensor(const std::string& option, const std::string& reference, bool in_layout);
  const Inputs& inputs() const { return inputs_; }
  /// A tensor of q's layout with its axes in the order of the files.
  Tensor as_stored(const Tensor& tensor) const { return lay_out(tensor); }
  /// Bytes of the results of one direction.
  std::size_t result_bytes(bool backward) const;

 private:
  void read_layouts(const ProblemOptions&);
  void read_programs(const ProblemOptions&);
  void read_starts(const ProblemOptions&);
  void allocate_results(const ProblemOptions&);
  void allocate_captured_gradients(const ProblemOptions&);
  Tensor lay_out(const Tensor& tensor) const;
  Tensor optional_i32(const std::string& option, const std::string& reference);
  Tensor allocate(const std::string& name, DType dtype, const Dims& shape, bool in_layout);

  Inputs inputs_;
  bool heads_first_ = false;
  std::string mask_, score_;  // texts
  Bindings bindings_;
  std::vector<std::string> grads_;  // names of bindings, in the order of backward_.dcaptured
  BackwardProblem backward_;
  std::deque<Result> results_;
};

}  // namespace bolide::cli
