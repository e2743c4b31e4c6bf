// `bolide explain`: which path serves a problem, with what memory, or which rule refuses it.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <filesystem>

#include "cli/commands.hpp"
#include "cli/device_problem.hpp"
#include "cli/exit_codes.hpp"
#include "cli/json_text.hpp"
#include "cli/problem_options.hpp"
#include "testing/case.hpp"
#include "testing/setup.hpp"

namespace bolide::cli {
namespace {

constexpr const char* kExamples = R"help(
Instead of files, one case line states the problem (docs/cases.md).

Examples:
  bolide explain qkv.safetensors --mask "kv <= q"
  bolide explain "varlen_fwd bf16 b=3 hq=8 hkv=2 sq=1 skv=100..999 d=128 kv=paged:64" --json)help";

struct ExplainOptions {
  ProblemOptions problem;
  bool json = false;
};

struct Answer {
  const char* operation;
  Explanation explanation;
  std::size_t result_bytes;
};

// A case line starts with the name of an operation, and no file has the line as its name.
bool is_case(const std::vector<std::string>& words) {
  if (words.empty() || std::filesystem::exists(words.front())) return false;
  const std::string first = words.front().substr(0, words.front().find(' '));
  for (const char* operation : {"fwd", "varlen_fwd", "bwd", "varlen_bwd", "fwd_kvcache"})
    if (first == operation) return true;
  return false;
}

std::vector<Answer> explain_files(const Context& context, const ProblemOptions& options) {
  const FileProblem problem(options);
  const DeviceProblem placed(problem, context.device(), DeviceProblem::Purpose::plan);
  const std::size_t forward_bytes = problem.result_bytes(false);
  std::vector<Answer> answers{{"forward", context.explain(placed.forward()), forward_bytes}};
  if (problem.has_backward())
    answers.push_back({"backward", context.explain(placed.backward()), problem.result_bytes(true)});
  return answers;
}

std::size_t bytes_of(const std::vector<Tensor>& tensors) {
  std::size_t bytes = 0;
  for (const Tensor& t : tensors)
    if (t) bytes += static_cast<std::size_t>(t.count()) * size_of(t.dtype);
  return bytes;
}

std::vector<Answer> explain_case(const Context& context, const std::string& line) {
  const testing::Case c = testing::Case::parse(line);
  testing::NoMemory memory(context.device());
  const testing::Setup setup(c, testing::Fill::untouched, memory);
  const BackwardProblem& p = setup.placed();
  std::vector<Answer> answers{
      {"forward", context.explain(p.forward), bytes_of({p.forward.out, p.forward.lse})}};
  if (!c.backward()) return answers;
  std::vector<Tensor> gradients{p.dq, p.dk, p.dv};
  for (const CapturedGradient& g : p.dcaptured) gradients.push_back(g.gradient);
  answers.push_back({"backward", context.explain(p), bytes_of(gradients)});
  return answers;
}

void print_text(const Answer& a, const std::string& device) {
  if (!a.explanation.served) return;  // main says the sentence
  fmt::print("{} on {}\n{}results: {} bytes\n", a.operation, device, a.explanation.text(), a.result_bytes);
}

void print_json(const Answer& a, const std::string& device) {
  using Json = nlohmann::ordered_json;
  const Explanation& e = a.explanation;
  Json details = Json::array();
  for (const auto& [name, value] : e.details) details.push_back({{"name", name}, {"value", value}});
  const Json object = {{"command", "explain"},
                       {"operation", a.operation},
                       {"device", device},
                       {"served", e.served},
                       {"path", e.served ? Json(e.path) : Json(nullptr)},
                       {"code", e.served ? Json(nullptr) : Json(code_name(e.code))},
                       {"refusal", e.served ? Json(nullptr) : Json(e.refusal)},
                       {"workspace_bytes", e.workspace_bytes},
                       {"result_bytes", a.result_bytes},
                       {"details", std::move(details)}};
  fmt::print("{}", json_line(object));
}

// Options that a case line states itself.
void refuse_problem_options(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    if (option->count() > 0 && name != "files" && name != "--json" && name != "--device")
      throw Error(Code::invalid_argument,
                  fmt::format("{} belongs to problems over files; a case line states the whole "
                              "problem itself",
                              name));
  }
}

int explain(const ExplainOptions& o, const CLI::App& command) {
  const Context context(parse_device(o.problem.device));
  std::vector<Answer> answers;
  if (is_case(o.problem.files)) {
    refuse_problem_options(command);
    std::string line;
    for (const std::string& word : o.problem.files) line += line.empty() ? word : " " + word;
    answers = explain_case(context, line);
  } else {
    answers = explain_files(context, o.problem);
  }
  int code = kDone;
  for (const Answer& a : answers) {
    if (o.json) print_json(a, o.problem.device);
    else print_text(a, o.problem.device);
    if (a.explanation.served) continue;
    if (code == kDone) fmt::print(stderr, "bolide: {} is refused: {}\n", a.operation, a.explanation.refusal);
    if (code == kDone) code = exit_code(a.explanation.code);
  }
  return code;
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("explain", "Says which path serves a problem, or which rule refuses it");
  const auto options = std::make_shared<ExplainOptions>();
  add_problem_options(*command, options->problem);
  command->add_flag("--json", options->json, "One JSON object per line on stdout (fields: docs/command.md)");
  command->footer(kExamples);
  command->callback(
      [options, command, &action] { action = [options, command] { return explain(*options, *command); }; });
}

}  // namespace bolide::cli
