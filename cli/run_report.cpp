// The words and the JSON of `bolide run`.
#include "cli/run_report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/elements.hpp"
#include "cli/json_text.hpp"

namespace bolide::cli {
namespace {

using Json = nlohmann::ordered_json;

Json tensor_json(const Tensor& t) {
  return {{"dtype", name_of(t.dtype)}, {"shape", std::vector<std::int64_t>(t.shape.begin(), t.shape.end())}};
}

// JSON has no infinities: null stands for one (docs/command.md).
Json number_json(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

bool is_gradient(const std::string& result) { return result != "out" && result != "lse"; }

Json expectations_json(const RunReport& report, bool backward) {
  Json list = Json::array();
  for (const Expectation& e : report.expectations) {
    if (is_gradient(e.result) != backward) continue;
    const Comparison& c = e.comparison;
    list.push_back({{"result", e.result},
                    {"reference", e.reference},
                    {"elements", c.elements},
                    {"max_abs", number_json(c.max_abs)},
                    {"rmse", number_json(c.rmse)},
                    {"rounding_floor", number_json(c.rounding_floor)},
                    {"rmse_in_floors", number_json(c.floors())},
                    {"mismatched_nonfinite", c.mismatched_nonfinite},
                    {"within_tolerance", e.within_tolerance}});
  }
  return list;
}

// Gradients of captured tensors, in the order of --grad.
Json captured_json(const FileProblem& problem) {
  Json list = Json::array();
  for (const Result& r : problem.results()) {
    if (!r.of_backward() || r.name == "dq" || r.name == "dk" || r.name == "dv") continue;
    Json tensor = tensor_json(r.stored);
    tensor["name"] = r.name;
    list.push_back(std::move(tensor));
  }
  return list;
}

Json head_json(const char* operation, const ProblemOptions& o, const Timing& t) {
  return {{"command", "run"}, {"operation", operation}, {"device", o.device}, {"path", t.path}};
}

void add_timing(Json& object, const RunReport& report, const Timing& t) {
  object["workspace_bytes"] = t.workspace_bytes;
  object["seconds"] = t.seconds;
  object["visible_pairs"] = report.visible_pairs;
  object["tflops"] = t.tflops;
}

void add_output(Json& object, const RunReport& report) {
  object["output"] = report.output.empty() ? Json(nullptr) : Json(report.output);
}

std::string time_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.1f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.2f} ms", seconds * 1e3);
  return fmt::format("{:.2f} s", seconds);
}

std::string tensor_line(const char* name, const Tensor& stored, const std::string& from) {
  return fmt::format("  {:<9} {}{}\n", name, describe(stored),
                     from.empty() ? "" : "  from " + files::printable(from));
}

std::string timing_line(const Timing& t, std::int64_t pairs) {
  return fmt::format("  {:<9} {}, {:.3g} TFLOP/s over {} visible pairs\n", "time", time_text(t.seconds),
                     t.tflops, pairs);
}

std::string lse_line(const LseRange& r) {
  std::string text = r.min ? fmt::format("{:.6g} to {:.6g}", *r.min, *r.max) : std::string("no finite value");
  if (r.empty_rows) text += fmt::format("; {} of {} rows see no key", r.empty_rows, r.rows);
  if (r.nan_rows) text += fmt::format("; {} of {} rows are NaN", r.nan_rows, r.rows);
  return fmt::format("  {:<9} {}\n", "lse", text);
}

std::string expectation_line(const Expectation& e) {
  const Comparison& c = e.comparison;
  std::string text = fmt::format("{}: max abs {:.3g}, RMSE {:.3g}", e.result, c.max_abs, c.rmse);
  if (c.rounding_floor > 0) text += fmt::format(" = {:.2f} x the rounding floor", c.floors());
  if (c.mismatched_nonfinite)
    text += fmt::format("; {} of {} elements are NaN or infinite on one side only", c.mismatched_nonfinite,
                        c.elements);
  if (c.max_abs > 0)
    text += fmt::format("; worst at {}: {:.9g}, expected {:.9g}", shape_text(c.worst), c.got, c.expected);
  if (!e.within_tolerance) text += "; ABOVE THE TOLERANCE";
  return fmt::format("  {:<9} {}\n", "expected", text);
}

const Tensor& stored(const FileProblem& problem, const std::string& name) {
  const auto& all = problem.results();
  return std::find_if(all.begin(), all.end(), [&](const Result& r) { return r.name == name; })->stored;
}

}  // namespace

LseRange range_of(const Tensor& lse) {
  LseRange r;
  for_each_element(lse.shape, [&](const Index& at) {
    const double x = number_at(lse, at);
    ++r.rows;
    if (std::isnan(x)) ++r.nan_rows;
    else if (std::isinf(x)) r.empty_rows += x < 0;
    else r.min = std::min(r.min.value_or(x), x), r.max = std::max(r.max.value_or(x), x);
  });
  return r;
}

std::string report_text(const RunReport& report, const ProblemOptions& o, const FileProblem& problem) {
  const ForwardProblem& p = problem.forward();
  std::string text = fmt::format("forward on {}, {}\n", o.device, report.forward.path);
  text += tensor_line("q", problem.as_stored(p.q), o.q);
  text += tensor_line("k", problem.as_stored(p.k), o.k);
  text += tensor_line("v", problem.as_stored(p.v), o.v);
  text += tensor_line("out", stored(problem, "out"), "");
  if (p.mask) text += fmt::format("  {:<9} {}\n", "mask", p.mask.text());
  if (p.score) text += fmt::format("  {:<9} {}\n", "score", p.score.text());
  text += timing_line(report.forward, report.visible_pairs);
  text += lse_line(report.lse);
  for (const Expectation& e : report.expectations)
    if (!is_gradient(e.result)) text += expectation_line(e);
  if (report.backward) {
    text += fmt::format("backward on {}, {}\n", o.device, report.backward->path);
    for (const Result& r : problem.results())
      if (r.of_backward()) text += tensor_line(r.name.c_str(), r.stored, "");
    text += timing_line(*report.backward, report.visible_pairs);
    for (const Expectation& e : report.expectations)
      if (is_gradient(e.result)) text += expectation_line(e);
  }
  if (!report.output.empty()) {
    text += fmt::format("wrote {}:", files::printable(report.output));
    for (const std::string& name : report.written) text += " " + name;
    text += "\n";
  }
  return text;
}

std::string report_json(const RunReport& report, const ProblemOptions& o, const FileProblem& problem) {
  const ForwardProblem& p = problem.forward();
  Json forward = head_json("forward", o, report.forward);
  forward["q"] = tensor_json(problem.as_stored(p.q));
  forward["k"] = tensor_json(problem.as_stored(p.k));
  forward["v"] = tensor_json(problem.as_stored(p.v));
  forward["out"] = tensor_json(stored(problem, "out"));
  forward["mask"] = p.mask ? Json(p.mask.text()) : Json(nullptr);
  forward["score"] = p.score ? Json(p.score.text()) : Json(nullptr);
  add_timing(forward, report, report.forward);
  forward["lse"] = {{"min", report.lse.min ? Json(*report.lse.min) : Json(nullptr)},
                    {"max", report.lse.max ? Json(*report.lse.max) : Json(nullptr)},
                    {"rows", report.lse.rows},
                    {"empty_rows", report.lse.empty_rows},
                    {"nan_rows", report.lse.nan_rows}};
  forward["expect"] = expectations_json(report, false);
  add_output(forward, report);
  std::string text = json_line(forward);
  if (report.backward) {
    Json backward = head_json("backward", o, *report.backward);
    for (const char* name : {"dq", "dk", "dv"}) backward[name] = tensor_json(stored(problem, name));
    backward["dcaptured"] = captured_json(problem);
    add_timing(backward, report, *report.backward);
    backward["expect"] = expectations_json(report, true);
    add_output(backward, report);
    text += json_line(backward);
  }
  return text;
}

}  // namespace bolide::cli
