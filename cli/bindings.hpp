// The names that --tensor and --number give to the texts of a command.
#pragma once
#include <bolide/program.hpp>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "cli/inputs.hpp"

namespace bolide::cli {

/// The whole text as a number, or nothing.
template <class T>
std::optional<T> parse_whole(const std::string& text) {
  T value{};
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto [stop, trouble] = std::from_chars(begin, text.data() + text.size(), value);
  if (trouble != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A text that may use names, and what it is called in messages.
struct ProgramText {
  const char* name;
  std::string text;
};

/// `tensors` are NAME=TENSOR or NAME, `numbers` NAME=NUMBER. Throws Error{invalid_argument} for a name that
/// is given twice or that no text uses, and what Inputs::get throws.
Bindings read_bindings(Inputs& inputs, const std::vector<std::string>& tensors,
                       const std::vector<std::string>& numbers, const std::vector<ProgramText>& texts);

/// What parse() gives; its Error{expression} says which text it is of.
template <class Parse>
auto parse_named(const char* name, Parse parse) {
  try {
    return parse();
  } catch (const Error& error) {
    throw Error(error.code(), std::string(name) + ": " + error.what());
  }
}

}  // namespace bolide::cli
