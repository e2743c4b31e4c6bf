// `bolide pack`: the kernels of a list of cases, compiled ahead of time into one file.
#include <fmt/core.h>
#include <CLI/CLI.hpp>
#include <bolide/kernels.hpp>

#include <atomic>
#include <chrono>
#include <deque>

#include "cli/case_file.hpp"
#include "cli/commands.hpp"
#include "cli/exit_codes.hpp"
#include "cli/json_text.hpp"
#include "cli/progress.hpp"
#include "files/tensor_file.hpp"
#include "testing/setup.hpp"

namespace bolide::cli {
namespace {

constexpr const char* kExamples = R"help(
Each CASE (docs/cases.md) stands for all problems with its shapes, types, strides, layouts, mask and
score; lengths, numbers and tables' contents do not matter. Compiling needs NVRTC but no GPU. A process
that loads the pack needs neither: BOLIDE_PACK=server.pack (several with colons between them), or
ContextOptions::packs in C++. A pack is code: load only what you trust.

Examples:
  bolide pack server.pack "fwd_kvcache bf16 b=64 hq=32 hkv=8 sq=1 skv=8192 d=128 kv=paged:64 mask=\"kv<=q\""
  bolide pack server.pack --cases tests/cases/gpu.txt --json
  BOLIDE_PACK=server.pack bolide run qkv.safetensors --mask "kv <= q" --device cuda:0)help";

struct PackCommand {
  std::string output, case_file;
  std::vector<std::string> cases;
  PackOptions options;
  bool json = false;
};

int pack(PackCommand o) {
  std::vector<testing::Case> cases;
  for (const std::string& line : o.cases) cases.push_back(testing::Case::parse(line));
  if (!o.case_file.empty()) read_cases(o.case_file, cases);
  if (cases.empty())
    throw Error(Code::invalid_argument, "a pack is made of cases; give some, or a file of them with --cases");
  testing::NoMemory memory(Device::cuda(0));
  std::deque<testing::Setup> setups;
  std::vector<ForwardProblem> problems;
  for (const testing::Case& c : cases) {
    if (c.backward())
      throw Error(
          Code::refused,
          fmt::format("{}: backward problems have no CUDA kernels yet; give forward cases", c.text()));
    setups.emplace_back(c, testing::Fill::untouched, memory);
    problems.push_back(setups.back().placed().forward);
  }
  const auto start = std::chrono::steady_clock::now();
  std::atomic<double> ready = 0;
  o.options.progress = [&](double share) { ready = share; };
  PackSummary made;
  {
    const Progress progress("compile", [&] { return ready.load(); });
    made = write_kernel_pack(o.output, problems, o.options);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (o.json) {
    const nlohmann::ordered_json object = {
        {"command", "pack"},       {"output", o.output},      {"architecture", o.options.architecture},
        {"cases", cases.size()},   {"kernels", made.kernels}, {"compiled", made.compiled},
        {"spilled", made.spilled}, {"bytes", made.bytes},     {"seconds", seconds}};
    fmt::print("{}", json_line(object));
  } else {
    fmt::print("{}: {} kernels for {} cases on {}, {:.1f} MiB; {} compiled now, {:.1f} s\n",
               files::printable(o.output), made.kernels, cases.size(), o.options.architecture,
               static_cast<double>(made.bytes) / (1 << 20), made.compiled, seconds);
  }
  return kDone;
}

}  // namespace

void add_pack(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("pack", "Compiles kernels ahead of time into a file that needs no compiler to load");
  const auto o = std::make_shared<PackCommand>();
  command->add_option("output", o->output, "The pack to write; it appears whole or not at all")
      ->type_name("FILE")
      ->required();
  command->add_option("cases", o->cases, "Problems whose kernels go in, one quoted line each")
      ->type_name("CASE");
  command->add_option("--cases", o->case_file, "A file of case lines; # starts a comment")->type_name("FILE");
  command->add_option("--arch", o->options.architecture, "The GPUs' architecture")
      ->type_name("ARCH")
      ->capture_default_str();
  command
      ->add_option("--multiprocessors", o->options.multiprocessors,
                   "Of the GPU: few queries are split over so many (`bolide info` says; H100 SXM and H200 "
                   "have 132)")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--threads", o->options.threads, "Compile on so many cores (default: all)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", o->json, "One JSON object on stdout (fields: docs/command.md)");
  command->footer(kExamples);
  command->callback([o, &action] { action = [o] { return pack(*o); }; });
}

}  // namespace bolide::cli
