// What `bolide run` found, and how it says so.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/compare.hpp"
#include "cli/problem_options.hpp"

namespace bolide::cli {

struct Expectation {
  std::string result;     ///< out, lse, dq, dk, dv or dNAME
  std::string reference;  ///< the tensor expected, as typed
  Comparison comparison;
  bool within_tolerance = true;
};

/// The range of lse over rows that see a key.
struct LseRange {
  std::optional<double> min, max;  ///< of finite values; absent if there are none
  std::int64_t rows = 0, empty_rows = 0, nan_rows = 0;
};

/// One direction.
struct Timing {
  std::string path;
  std::size_t workspace_bytes = 0;
  double seconds = 0, tflops = 0;
};

struct RunReport {
  Timing forward;
  std::optional<Timing> backward;
  std::int64_t visible_pairs = 0;
  LseRange lse;
  std::vector<Expectation> expectations;
  std::string output;                ///< the file written; empty: none
  std::vector<std::string> written;  ///< its tensors
};

LseRange range_of(const Tensor& lse);

/// For people, and one JSON object on one line for each direction (docs/command.md).
std::string report_text(const RunReport& report, const ProblemOptions& options, const FileProblem& problem);
std::string report_json(const RunReport& report, const ProblemOptions& options, const FileProblem& problem);

}  // namespace bolide::cli
