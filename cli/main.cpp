// bolide: exact attention from the command line. Parses, runs one subcommand, turns Errors into exit codes.
#include <CLI/CLI.hpp>
#include <bolide/error.hpp>
#include <cstdio>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "cli/commands.hpp"
#include "cli/exit_codes.hpp"
#include "files/tensor_file.hpp"

namespace bolide::cli {
namespace {

constexpr const char* kExamples = R"help(
Examples:
  bolide run qkv.safetensors --mask "kv <= q && q - kv < 1024" -o out.safetensors
  bolide run q.npy k.npy v.npy --layout bhsd --json
  bolide explain qkv.safetensors --mask "kv <= q"
  bolide mask "kv <= q && q - kv < 1024" --sq 8192 --skv 8192
  bolide check --count 1000 --seed 1

Exit codes: 0 done, 1 a check failed, 2 bad arguments or expression, 3 bad file,
            4 the combination is refused, 5 device trouble.
`bolide COMMAND --help` lists the options of a command, with examples.)help";

// Descriptions of options in lines of at most 70 columns.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_desc(const CLI::Option* option) const override {
    constexpr std::size_t kColumns = 70;
    std::string text;
    std::size_t column = 0;
    std::istringstream words(option->get_description());
    for (std::string word; words >> word; column += word.size()) {
      const bool fits = column + 1 + word.size() <= kColumns;
      if (column > 0) text += fits ? ' ' : '\n';
      column = fits && column > 0 ? column + 1 : 0;
      text += word;
    }
    return text;
  }
};

// What --json promises even when the arguments do not parse: {"error": {...}} on stdout.
int report(Code code, const std::string& sentence, bool json) {
  std::fprintf(stderr, "bolide: %s\n", sentence.c_str());
  if (json) {
    const nlohmann::ordered_json error = {
        {"error", {{"code", code_name(code)}, {"exit", exit_code(code)}, {"sentence", sentence}}}};
    std::puts(error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  }
  return exit_code(code);
}

bool asks_for_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--json") == 0) return true;
  return false;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"Exact attention: softmax(score(scale * q k^T), masked) v for tensors from files."};
  app.name("bolide");
  app.set_version_flag("--version", "bolide " BOLIDE_VERSION);
  app.require_subcommand(1);
  app.footer(kExamples);
  app.formatter(std::make_shared<HelpFormatter>());
  app.get_formatter()->column_width(34);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  Action action;
  add_run(app, action);
  add_check(app, action);
  add_bench(app, action);
  add_explain(app, action);
  add_mask(app, action);
  add_cache(app, action);
  add_pack(app, action);
  add_info(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked_for_text) {  // --help, --version
    return app.exit(asked_for_text);
  } catch (const CLI::ParseError& error) {
    if (app.get_subcommands().empty() && app.remaining_size() > 0) {
      std::string names;
      for (const CLI::App* command : app.get_subcommands({})) names += " " + command->get_name();
      throw Error(Code::invalid_argument,
                  files::printable(app.remaining().front()) + " is no command; there are" + names);
    }
    std::string command = "bolide";
    for (const CLI::App* chosen : app.get_subcommands()) command += " " + chosen->get_name();
    throw Error(Code::invalid_argument, std::string(error.what()) + ". See: " + command + " --help");
  }
  return action();
}

int run_command(int argc, char** argv) {
  const bool json = asks_for_json(argc, argv);
  try {
    const int code = parse_and_run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout))
      throw Error(Code::file, "standard output could not be written");
    return code;
  } catch (const Error& error) {
    return report(error.code(), error.what(), json);
  } catch (const std::bad_alloc&) {
    return report(Code::device, "this machine has not enough memory for the problem; nothing was written",
                  json);
  } catch (const std::exception& error) {
    return report(Code::device, std::string("unexpected trouble: ") + error.what(), json);
  }
}

}  // namespace
}  // namespace bolide::cli

int main(int argc, char** argv) { return bolide::cli::run_command(argc, argv); }
