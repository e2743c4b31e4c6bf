// The subcommands of `bolide`. Each adds its options to the parser; main runs the one that was chosen.
#pragma once
#include <functional>

namespace CLI {
class App;
}

namespace bolide::cli {

/// The chosen subcommand's work. It runs after parsing, prints to stdout, throws Error for trouble, and
/// returns the exit code.
using Action = std::function<int()>;

void add_run(CLI::App& app, Action& action);
void add_check(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_mask(CLI::App& app, Action& action);
void add_cache(CLI::App& app, Action& action);
void add_pack(CLI::App& app, Action& action);
void add_info(CLI::App& app, Action& action);

}  // namespace bolide::cli
