// `bolide info`: what was built and what it found on this machine.
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <bolide/devices.hpp>

#include "cli/commands.hpp"
#include "cli/exit_codes.hpp"
#include "cli/json_text.hpp"
#include "cli/machine.hpp"
#include "files/tensor_file.hpp"

namespace bolide::cli {
namespace {

constexpr const char* kExamples = R"help(
Examples:
  bolide info
  bolide info --json)help";

using Json = nlohmann::ordered_json;

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

void print_json(const Cpu& cpu, const Gpus& gpus, const KernelCacheInfo& cache) {
  Json found = Json::array();
  for (const GpuInfo& g : gpus.found)
    found.push_back({{"device", fmt::format("cuda:{}", g.device.ordinal)},
                     {"name", g.name},
                     {"architecture", g.architecture},
                     {"multiprocessors", g.multiprocessors},
                     {"memory_bytes", g.memory_bytes}});
  const Json object = {{"command", "info"},
                       {"version", BOLIDE_VERSION},
                       {"build_type", BOLIDE_BUILD_TYPE},
                       {"compiler", BOLIDE_COMPILER},
                       {"cpu", {{"name", cpu.name}, {"features", cpu.features}, {"threads", cpu.threads}}},
                       {"gpus", std::move(found)},
                       {"why_no_gpu", text_or_null(gpus.why_none)},
                       {"cache_folder", text_or_null(cache.folder)},
                       {"why_no_cache", text_or_null(cache.why_none)}};
  fmt::print("{}", json_line(object));
}

void print_text(const Cpu& cpu, const Gpus& gpus, const KernelCacheInfo& cache) {
  fmt::print("bolide {}, {} build by {}\n", BOLIDE_VERSION, BOLIDE_BUILD_TYPE, BOLIDE_COMPILER);
  fmt::print("cpu       {}, {} threads\n", cpu.name.empty() ? "unknown" : cpu.name, cpu.threads);
  fmt::print("features  {}\n",
             cpu.features.empty() ? "none known" : fmt::format("{}", fmt::join(cpu.features, " ")));
  for (const GpuInfo& g : gpus.found)
    fmt::print("cuda:{}    {}, {}, {} multiprocessors, {:.1f} GiB\n", g.device.ordinal, g.name,
               g.architecture, g.multiprocessors, static_cast<double>(g.memory_bytes) / (1 << 30));
  if (gpus.found.empty()) fmt::print("gpus      none: {}\n", gpus.why_none);
  fmt::print("kernels   kept in {}\n",
             cache.folder.empty() ? "memory only: " + cache.why_none : files::printable(cache.folder));
}

int info(bool json) {
  (json ? print_json : print_text)(this_cpu(), find_gpus(), kernel_cache());
  return kDone;
}

}  // namespace

void add_info(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("info", "Says what was built and what this machine has");
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "One JSON object on stdout (fields: docs/command.md)");
  command->footer(kExamples);
  command->callback([json, &action] { action = [json] { return info(*json); }; });
}

}  // namespace bolide::cli
