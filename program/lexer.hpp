// Words of the text form: tokens with their place in the line, and errors that point at them with a caret.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bolide::program {

struct Token {
  enum class Kind : std::uint8_t { name, integer, floating, symbol, end };
  Kind kind = Kind::end;
  std::size_t begin = 0, end = 0;  ///< bytes of the text
  std::uint64_t integer = 0;       ///< at most 2^63, which only a unary minus may use
  double floating = 0;
};

/// Throws Error{expression} with `sentence`, the line that holds byte `begin`, and carets under [begin, end).
[[noreturn]] void fail(std::string_view text, std::size_t begin, std::size_t end,
                       const std::string& sentence);

/// The tokens of a text, the last of kind `end`. Throws Error{expression} for a character or a number that
/// the language does not know.
std::vector<Token> tokens_of(std::string_view text);

}  // namespace bolide::program
