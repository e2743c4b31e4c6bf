// `bolide bench`: how long cases take, what that is per second, and how far it is from the device's own
// limits.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>

#include "cli/case_file.hpp"
#include "cli/commands.hpp"
#include "cli/exit_codes.hpp"
#include "cli/json_text.hpp"
#include "cli/problem_options.hpp"
#include "testing/bench.hpp"
#include "testing/device_memory.hpp"
#include "testing/suites.hpp"

namespace bolide::cli {
namespace {

constexpr const char* kExamples = R"help(
Each case is run with several copies of its tensors in turn, so that the caches hold none of what the next
call reads. On a GPU calls are recorded as a CUDA graph and timed by events; `host` is what a call costs the
calling thread without one. TFLOP/s count 2 (head_dim + head_dim_v) for each visible pair of query and key;
TB/s count q, the used rows of k and v, and out once each, and are judged by the copy bandwidth measured in
the same run.

Examples:
  bolide bench "fwd bf16 b=2 hq=16 hkv=16 sq=4096 skv=4096 d=128 mask=\"kv<=q\"" --device cuda:0
  bolide bench --suite forward --device cuda:0 --json
  bolide bench "fwd f32 b=1 hq=4 hkv=4 sq=256 skv=256 d=64"
  bolide bench "fwd f16 b=8 hq=8 hkv=8 sq=2048 skv=2048 d=64" --device cuda:0 --peak-tflops 800 --json)help";

struct BenchCommand {
  std::vector<std::string> cases, suites;
  std::string case_file;
  std::string device = "cpu";
  int samples = 30;
  std::optional<double> peak_tflops;
  bool json = false, list = false;
};

std::string duration(double seconds) {
  return seconds < 1e-3 ? fmt::format("{:.2f} us", seconds * 1e6) : fmt::format("{:.3f} ms", seconds * 1e3);
}

void print_text(const BenchCommand& o, const testing::Case& c, const testing::Timing& t, double copy) {
  const double tflops = t.flops / t.median * 1e-12, tbytes = t.bytes / t.median * 1e-12;
  fmt::print("{}\n  {}: {} (10 % to 90 %: {} to {}), {} calls a sample, {} copies\n", c.text(), t.path,
             duration(t.median), duration(t.low), duration(t.high), t.calls, t.copies);
  fmt::print("  {:.4g} TFLOP/s over {}{:.4g} visible pairs", tflops, t.pairs_sampled ? "about " : "",
             t.pairs);
  if (o.peak_tflops) fmt::print(" ({:.0f} % of {:g})", 100 * tflops / *o.peak_tflops, *o.peak_tflops);
  fmt::print(", {:.3g} TB/s ({:.0f} % of a copy's {:.3g})", tbytes, 100 * tbytes * 1e12 / copy, copy * 1e-12);
  if (t.host) fmt::print(", host {}", duration(*t.host));
  fmt::print(", workspace {} bytes\n", t.workspace_bytes);
  std::fflush(stdout);
}

void print_json(const BenchCommand& o, const testing::Case& c, const testing::Timing& t, double copy) {
  using Json = nlohmann::ordered_json;
  const double tflops = t.flops / t.median * 1e-12;
  const Json object = {
      {"command", "bench"},
      {"case", c.text()},
      {"device", o.device},
      {"path", t.path},
      {"median_seconds", t.median},
      {"p10_seconds", t.low},
      {"p90_seconds", t.high},
      {"host_seconds", t.host ? Json(*t.host) : Json(nullptr)},
      {"calls_per_sample", t.calls},
      {"samples", o.samples},
      {"copies", t.copies},
      {"pairs", t.pairs},
      {"pairs_sampled", t.pairs_sampled},
      {"tflops", tflops},
      {"share_of_peak_tflops", o.peak_tflops ? Json(tflops / *o.peak_tflops) : Json(nullptr)},
      {"bytes", t.bytes},
      {"terabytes_per_second", t.bytes / t.median * 1e-12},
      {"copy_terabytes_per_second", copy * 1e-12},
      {"workspace_bytes", t.workspace_bytes}};
  fmt::print("{}", json_line(object));
  std::fflush(stdout);
}

int bench(const BenchCommand& o) {
  if (o.samples < 1)
    throw Error(Code::invalid_argument, fmt::format("--samples {} must be at least 1", o.samples));
  if (o.peak_tflops && !(*o.peak_tflops > 0))
    throw Error(Code::invalid_argument, "--peak-tflops must be more than 0");
  if (o.cases.empty() + o.suites.empty() + o.case_file.empty() != 2)
    throw Error(Code::invalid_argument, "say what to time: cases, --suite or --cases");
  std::vector<testing::Case> cases;
  for (const std::string& name : o.suites)
    for (testing::Case& c : testing::suite_cases(name)) cases.push_back(std::move(c));
  for (const std::string& line : o.cases) cases.push_back(testing::Case::parse(line));
  const bool asked_line_by_line = o.case_file == "-";
  if (!o.case_file.empty() && !asked_line_by_line) read_cases(o.case_file, cases);
  if (o.list) {
    const auto print = [](const testing::Case& c) { fmt::print("{}\n", c.text()); };
    std::for_each(cases.begin(), cases.end(), print);
    if (asked_line_by_line) each_case(std::cin, "standard input", print);
    return kDone;
  }
  const Context context(parse_device(o.device));
  const std::unique_ptr<testing::Memory> memory = testing::memory_for(context.device());
  const double copy = testing::copy_bytes_per_second(context.device());
  std::optional<testing::Case> last;
  std::unique_ptr<testing::TimedForward> timed;  // of the last case
  const auto time = [&](const testing::Case& c) {
    if (last != c) {
      timed.reset();  // its memory first
      timed = std::make_unique<testing::TimedForward>(c, context, *memory);
      last = c;
    }
    const testing::Timing t = timed->time({.samples = o.samples});
    if (o.json) print_json(o, c, t, copy);
    else print_text(o, c, t, copy);
  };
  for (const testing::Case& c : cases) time(c);
  if (asked_line_by_line) each_case(std::cin, "standard input", time);
  return kDone;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("bench", "Times cases: median and spread, TFLOP/s, TB/s");
  const auto o = std::make_shared<BenchCommand>();
  command->add_option("cases", o->cases, "Problems, one quoted line each (docs/cases.md)")->type_name("CASE");
  std::string what = "A list of problems instead of cases, may be given many times:";
  for (const testing::Suite& suite : testing::suites())
    what += fmt::format("\n{}: {}", suite.name, suite.what);
  command->add_option("--suite", o->suites, what)->type_name("NAME");
  command
      ->add_option(
          "--cases", o->case_file,
          "A file of case lines, or - for standard input: each is timed as it comes, and one that equals "
          "the line before without being set up anew")
      ->type_name("FILE");
  command->add_option("--device", o->device, "Where to run: cpu, cuda or cuda:N")
      ->type_name("DEVICE")
      ->capture_default_str();
  command->add_option("--samples", o->samples, "Samples to take the median and spread of")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--peak-tflops", o->peak_tflops,
                   "A measured limit of the device to give TFLOP/s as a share of")
      ->type_name("X");
  command->add_flag("--list", o->list, "Print the cases, one a line, and time nothing");
  command->add_flag("--json", o->json, "One JSON object per line on stdout (fields: docs/command.md)");
  command->footer(kExamples);
  command->callback([o, &action] { action = [o] { return bench(*o); }; });
}

}  // namespace bolide::cli
