// Reads --tensor and --number.
#include "cli/bindings.hpp"

#include <fmt/core.h>

#include <cctype>

namespace bolide::cli {
namespace {

using files::printable;

// The names a text uses: letters, digits and underscores that do not start with a digit.
bool mentions(const std::string& text, const std::string& name) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    const std::size_t end = at + name.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return true;
  }
  return false;
}

// NAME=VALUE, or NAME alone for NAME=NAME.
std::pair<std::string, std::string> split_binding(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) return {text, text};
  return {text.substr(0, equals), text.substr(equals + 1)};
}

std::string unused(const std::vector<ProgramText>& texts) {
  if (texts.size() == 1) return fmt::format("{} does not use this name", texts[0].name);
  return fmt::format("neither {} nor {} uses this name", texts[0].name, texts[1].name);
}

}  // namespace

Bindings read_bindings(Inputs& inputs, const std::vector<std::string>& tensors,
                       const std::vector<std::string>& numbers, const std::vector<ProgramText>& texts) {
  Bindings bindings;
  const auto bind = [&](const char* option, const std::string& name, Bindings::Value value) {
    bool used = false;
    for (const ProgramText& t : texts) used |= mentions(t.text, name);
    if (!used)
      throw Error(Code::invalid_argument, fmt::format("{} {}: {}", option, printable(name), unused(texts)));
    if (!bindings.values.emplace(name, std::move(value)).second)
      throw Error(Code::invalid_argument,
                  fmt::format("{} {}: the name is given twice", option, printable(name)));
  };
  for (const std::string& text : tensors) {
    const auto [name, reference] = split_binding(text);
    bind("--tensor", name, inputs.get("--tensor " + name, reference));
  }
  for (const std::string& text : numbers) {
    const auto [name, number] = split_binding(text);
    if (const auto whole = parse_whole<std::int64_t>(number)) bind("--number", name, *whole);
    else if (const auto real = parse_whole<double>(number)) bind("--number", name, *real);
    else throw Error(Code::invalid_argument, fmt::format("--number {} is not NAME=NUMBER", printable(text)));
  }
  return bindings;
}

}  // namespace bolide::cli
