// `bolide cache`: the folder of compiled kernels, its entries, and its end.
#include <fmt/core.h>
#include <CLI/CLI.hpp>
#include <bolide/devices.hpp>
#include <bolide/kernels.hpp>

#include <ctime>

#include "cli/commands.hpp"
#include "cli/exit_codes.hpp"
#include "cli/json_text.hpp"
#include "files/tensor_file.hpp"

namespace bolide::cli {
namespace {

constexpr const char* kExamples = R"help(
Kernels are compiled at first use and kept in one folder: $BOLIDE_CACHE_DIR, else
$XDG_CACHE_HOME/bolide, else ~/.cache/bolide. Whatever is doubtful there is compiled again, so
nothing needs this command; it is for looking.

Examples:
  bolide cache
  bolide cache verify
  bolide cache clear
  BOLIDE_CACHE_DIR=/srv/kernels bolide cache list --json)help";

using Json = nlohmann::ordered_json;

struct CacheOptions {
  std::string action = "list";
  bool json = false;
};

Json head(const CacheOptions& o) {
  return {{"command", "cache"}, {"action", o.action}, {"folder", kernel_cache().folder}};
}

std::string time_text(std::int64_t seconds) {
  const auto t = static_cast<std::time_t>(seconds);
  std::tm local{};
  char text[32] = "";
  if (localtime_r(&t, &local)) std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local);
  return text;
}

void print_entry(const CachedKernelInfo& k, const CacheOptions& o) {
  if (o.json) {
    Json object = head(o);
    object["file"] = k.file, object["bytes"] = k.bytes, object["used"] = k.used;
    const auto good = [&](const std::string& text) { return k.fault.empty() ? Json(text) : Json(nullptr); };
    object["name"] = good(k.name), object["architecture"] = good(k.architecture);
    object["toolchain"] = good(k.toolchain);
    object["fault"] = k.fault.empty() ? Json(nullptr) : Json(k.fault);
    fmt::print("{}", json_line(object));
    return;
  }
  fmt::print("{}  {:>9} bytes  used {}  {}\n", k.file.substr(0, 12), k.bytes, time_text(k.used),
             k.fault.empty()
                 ? fmt::format("{}  {}  {}", k.architecture, k.toolchain, files::printable(k.name))
                 : "NOT USABLE: " + k.fault);
}

// Lists every entry, or the damaged ones alone; 1 if `verify` found any.
int look(const CacheOptions& o) {
  const bool verify = o.action == "verify";
  std::int64_t bytes = 0, faults = 0;
  const std::vector<CachedKernelInfo> all = cached_kernels();
  for (const CachedKernelInfo& k : all) {
    bytes += k.bytes, faults += !k.fault.empty();
    if (!verify || !k.fault.empty()) print_entry(k, o);
  }
  if (o.json) {
    Json object = head(o);
    object["entries"] = all.size(), object["total_bytes"] = bytes, object["faults"] = faults;
    fmt::print("{}", json_line(object));
  } else {
    fmt::print("{} kernels, {:.1f} MiB in {}; {} not usable{}\n", all.size(),
               static_cast<double>(bytes) / (1 << 20), files::printable(kernel_cache().folder), faults,
               faults ? ": they are compiled again when they are wanted" : "");
  }
  return verify && faults ? kCheckFailed : kDone;
}

int clear(const CacheOptions& o) {
  const int removed = clear_kernel_cache();
  if (o.json) {
    Json object = head(o);
    object["removed"] = removed;
    fmt::print("{}", json_line(object));
  } else {
    fmt::print("removed {} kernels from {}\n", removed, files::printable(kernel_cache().folder));
  }
  return kDone;
}

int path(const CacheOptions& o) {
  const KernelCacheInfo cache = kernel_cache();
  if (cache.folder.empty()) throw Error(Code::file, cache.why_none);
  fmt::print("{}", o.json ? json_line(head(o)) : cache.folder + "\n");
  return kDone;
}

}  // namespace

void add_cache(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("cache", "Lists, verifies or clears the cache of compiled kernels");
  const auto o = std::make_shared<CacheOptions>();
  command
      ->add_option("action", o->action,
                   "list: every entry; verify: reads all, names the damaged ones, exits 1 if there are any; "
                   "clear: removes all; path: the folder (default: list)")
      ->type_name("ACTION")
      ->check(CLI::IsMember({"list", "verify", "clear", "path"}));
  command->add_flag("--json", o->json, "One JSON object per line on stdout (fields: docs/command.md)");
  command->footer(kExamples);
  command->callback([o, &action] {
    action = [o] { return o->action == "clear" ? clear(*o) : o->action == "path" ? path(*o) : look(*o); };
  });
}

}  // namespace bolide::cli
