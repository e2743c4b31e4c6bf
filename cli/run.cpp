// `bolide run`: computes a problem over tensors of files.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "cli/commands.hpp"
#include "cli/device_problem.hpp"
#include "cli/elements.hpp"
#include "cli/exit_codes.hpp"
#include "cli/problem_options.hpp"
#include "cli/progress.hpp"
#include "cli/run_report.hpp"
#include "cli/visible_pairs.hpp"
#include "cli/written_rows.hpp"

namespace bolide::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples = R"help(
The output file holds out, with --lse also lse, with --dout also dq, dk and dv, in the order of axes of
--layout, with --grad NAME also dNAME; lse is [batch, heads, rows] or, packed, [heads, rows]. It appears
whole or not at all.
TFLOP/s counts the visible (query, key) pairs only.

Examples:
  bolide run qkv.safetensors --mask "kv <= q && q - kv < 1024" -o out.safetensors
  bolide run qkv.safetensors --mask "doc[q] == doc[kv]" --tensor doc=doc.npy --expect out --tolerance 1e-3
  bolide run q.npy k.npy v.npy --layout bhsd --score "30 * tanh(score / 30)" --json
  bolide run step.safetensors --cu-seqlens-q cu --page-table pages --seqused-kv used --mask "kv <= q"
  bolide run train.safetensors --mask "kv <= q" --dout dout -o grads.safetensors --expect dq=dq_ref
  bolide run train.safetensors --score "score + t[h, q - kv + 9]" --tensor t --dout dout --grad t)help";

struct RunOptions {
  ProblemOptions problem;
  std::string output;
  bool lse = false, json = false;
  std::vector<std::string> expect;
  std::optional<double> tolerance;
};

struct Expected {
  std::string result, reference;
  Tensor values;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool is_npy(const std::string& path) { return fs::path(path).extension() == ".npy"; }

// Everything that would make the writing fail after the computing, as far as it can be known before.
void check_output(const RunOptions& o, const FileProblem& problem) {
  if (o.output.empty()) {
    if (o.lse)
      throw Error(Code::invalid_argument, "--lse writes lse, but there is no output file; add -o FILE");
    return;
  }
  const fs::path path(o.output);
  const std::string shown = files::printable(o.output);
  if (path.extension() != ".npy" && path.extension() != ".safetensors")
    throw Error(Code::invalid_argument,
                fmt::format("--output {} ends in neither .safetensors nor .npy", shown));
  if (is_npy(o.output) && (o.lse || problem.has_backward()))
    throw Error(Code::invalid_argument,
                fmt::format("--output {}: a .npy file holds one tensor; write .safetensors for out with {}",
                            shown, o.lse ? "lse" : "gradients"));
  if (is_npy(o.output) && problem.forward().out.dtype == DType::bf16)
    throw Error(
        Code::invalid_argument,
        fmt::format("--output {}: .npy has no bf16; write .safetensors, or f32 with --out-dtype f32", shown));
  std::error_code ignored;
  for (const std::string& input : problem.inputs().paths())
    if (fs::equivalent(path, input, ignored))
      throw Error(Code::invalid_argument,
                  fmt::format("--output {} is also an input; it would be replaced. Write elsewhere", shown));
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, ignored))
    throw Error(Code::file,
                fmt::format("--output {}: {} is not a folder", shown, files::printable(folder.string())));
}

const Result* find_result(const FileProblem& problem, const std::string& name) {
  for (const Result& r : problem.results())
    if (r.name == name) return &r;
  return nullptr;
}

// lse and gradients of captured tensors have axes of their own.
bool has_layout(const std::string& result) {
  return result == "out" || result == "dq" || result == "dk" || result == "dv";
}

std::vector<Expected> read_expected(const RunOptions& o, FileProblem& problem) {
  if (o.tolerance && o.expect.empty())
    throw Error(Code::invalid_argument, "--tolerance says how far --expect may be; there is no --expect");
  if (o.tolerance && !(*o.tolerance >= 0))
    throw Error(Code::invalid_argument, "--tolerance is a largest difference: a number of at least 0");
  std::vector<Expected> all;
  for (const std::string& text : o.expect) {
    Expected e{"out", text, {}};
    for (const char* name : {"out", "lse", "dq", "dk", "dv"})
      if (text.starts_with(std::string(name) + "=")) e = {name, text.substr(std::strlen(name) + 1), {}};
    for (const Result& r : problem.results())
      if (text.starts_with(r.name + "=")) e = {r.name, text.substr(r.name.size() + 1), {}};
    const Result* result = find_result(problem, e.result);
    if (!result)
      throw Error(Code::invalid_argument, fmt::format("--expect {}: there is no {} without --dout",
                                                      files::printable(text), e.result));
    e.values = problem.tensor("--expect", e.reference, has_layout(e.result));
    if (!is_floating(e.values.dtype))
      throw Error(Code::invalid_problem,
                  fmt::format("--expect {} has elements of type {}; results are floating-point numbers",
                              files::printable(e.reference), name_of(e.values.dtype)));
    if (e.values.shape != result->view.shape)
      throw Error(
          Code::invalid_problem,
          fmt::format("--expect {} has shape {}, {} has {}; they must be equal",
                      files::printable(e.reference),
                      shape_text(has_layout(e.result) ? problem.as_stored(e.values).shape : e.values.shape),
                      e.result, shape_text(result->stored.shape)));
    all.push_back(std::move(e));
  }
  return all;
}

// Progress is seen in results on the host; a GPU is done before anybody looks.
std::optional<Progress> progress_of(const Context& context, const char* name, std::function<double()> share) {
  if (context.device().kind != Device::Kind::cpu) return std::nullopt;
  return std::optional<Progress>(std::in_place, name, std::move(share));
}

Timing run_forward(const Context& context, const Plan& plan, const FileProblem& problem,
                   DeviceProblem& placed, const VisiblePairs& visible) {
  const Workspace workspace = placed.workspace(plan.workspace_bytes());
  const auto progress =
      progress_of(context, "forward", share_of_lse_written(problem.forward().lse, visible.row_logs));
  placed.wait();
  const auto start = std::chrono::steady_clock::now();
  context.forward(plan, placed.forward(), workspace, placed.stream());
  placed.wait();
  const double seconds = seconds_since(start);
  placed.fetch_results();
  return {plan.path(), plan.workspace_bytes(), seconds,
          forward_flops(problem.forward(), visible.pairs) / seconds * 1e-12};
}

Timing run_backward(const Context& context, const Plan& plan, const FileProblem& problem,
                    DeviceProblem& placed, const VisiblePairs& visible) {
  const Workspace workspace = placed.workspace(plan.workspace_bytes());
  const auto progress = progress_of(context, "backward", share_of_gradient_written(problem.backward().dq));
  placed.wait();
  const auto start = std::chrono::steady_clock::now();
  context.backward(plan, placed.backward(), workspace, placed.stream());
  placed.wait();
  const double seconds = seconds_since(start);
  placed.fetch_results();
  return {plan.path(), plan.workspace_bytes(), seconds,
          backward_flops(problem.forward(), visible.pairs) / seconds * 1e-12};
}

std::vector<Expectation> judge(const RunOptions& o, const FileProblem& problem,
                               const std::vector<Expected>& expected) {
  std::vector<Expectation> all;
  for (const Expected& e : expected) {
    const Comparison c = compare(find_result(problem, e.result)->view, e.values);
    all.push_back({e.result, e.reference, c, !o.tolerance || c.max_abs <= *o.tolerance});
  }
  return all;
}

std::vector<std::string> write_results(const RunOptions& o, const FileProblem& problem) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::vector<std::string> names;
  for (const Result& r : problem.results()) {
    if (r.name == "lse" && !o.lse) continue;
    tensors.emplace_back(r.name, r.stored);
    names.push_back(r.name);
  }
  if (is_npy(o.output)) files::write_npy(o.output, tensors.front().second);
  else files::write_safetensors(o.output, tensors);
  return names;
}

int run(const RunOptions& o) {
  const Context context(parse_device(o.problem.device));
  FileProblem problem(o.problem);
  check_output(o, problem);
  // What is refused is refused before anything is copied or filled.
  (void)context.plan(DeviceProblem(problem, context.device(), DeviceProblem::Purpose::plan).forward());
  for (const Result& r : problem.results())
    std::memset(r.memory.get(), 0xff, r.bytes());  // NaN of every type
  DeviceProblem placed(problem, context.device(), DeviceProblem::Purpose::run);
  const Plan plan = context.plan(placed.forward());
  std::optional<Plan> backward_plan;
  if (problem.has_backward()) backward_plan = context.plan(placed.backward());
  const std::vector<Expected> expected = read_expected(o, problem);

  RunReport report;
  const VisiblePairs visible = count_visible_pairs(Context(Device::cpu()), problem.forward());
  report.visible_pairs = visible.pairs;
  report.forward = run_forward(context, plan, problem, placed, visible);
  if (backward_plan) report.backward = run_backward(context, *backward_plan, problem, placed, visible);
  report.lse = range_of(problem.forward().lse);
  report.expectations = judge(o, problem, expected);
  if (!o.output.empty()) report.output = o.output, report.written = write_results(o, problem);

  const auto format = o.json ? report_json : report_text;
  fmt::print("{}", format(report, o.problem, problem));
  for (const Expectation& e : report.expectations)
    if (!e.within_tolerance) return kCheckFailed;
  return kDone;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("run", "Computes attention for tensors from files");
  const auto options = std::make_shared<RunOptions>();
  add_problem_options(*command, options->problem);
  const char* group = "Results";
  command
      ->add_option("-o,--output", options->output,
                   "Where to write the results: .safetensors, or .npy for out alone")
      ->type_name("FILE")
      ->group(group);
  command->add_flag("--lse", options->lse, "Write lse too: natural logarithms, f32")->group(group);
  command
      ->add_option(
          "--expect", options->expect,
          "Compares out (or RESULT: out, lse, dq, dk, dv, dNAME) with a tensor and says how far it is. "
          "Repeatable")
      ->type_name("[RESULT=]TENSOR")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  command
      ->add_option("--tolerance", options->tolerance, "Exit 1 if a compared element differs by more than X")
      ->type_name("X")
      ->group(group);
  command->add_flag("--json", options->json, "One JSON object per line on stdout (fields: docs/command.md)")
      ->group(group);
  command->footer(kExamples);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace bolide::cli
