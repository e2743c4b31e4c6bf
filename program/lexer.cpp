// Words of the text form.
#include "program/lexer.hpp"

#include <algorithm>
#include <bolide/error.hpp>
#include <charconv>
#include <cmath>
#include <limits>

namespace bolide::program {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

constexpr std::string_view kTwoLetters[] = {"||", "&&", "==", "!=", "<=", ">=", "<<", ">>", "//", "**"};
constexpr std::string_view kOneLetter = "!<>|^&+-*/%~()[],=?:";

Token number(std::string_view text, std::size_t begin) {
  const char *first = text.data() + begin, *last = text.data() + text.size();
  Token t{Token::Kind::integer, begin};
  const bool hexadecimal = last - first > 2 && first[0] == '0' && (first[1] == 'x' || first[1] == 'X');
  const char* from = hexadecimal ? first + 2 : first;
  auto [end, problem] = std::from_chars(from, last, t.integer, hexadecimal ? 16 : 10);
  if (!hexadecimal && end != last && (*end == '.' || *end == 'e' || *end == 'E' || end == first)) {
    t.kind = Token::Kind::floating;
    const auto parsed = std::from_chars(first, last, t.floating);
    end = parsed.ptr, problem = parsed.ec;
  }
  t.end = static_cast<std::size_t>(end - text.data());
  const bool touches = end != last && (is_letter(*end) || is_digit(*end) || *end == '.');
  if (end == from || touches) fail(text, begin, std::max(t.end, begin + 1), "a number is malformed");
  const bool too_large = t.kind == Token::Kind::integer && t.integer > std::uint64_t{1} << 63;
  if (problem != std::errc{} || too_large) {
    fail(text, begin, t.end, "a number is out of range; Int is 64-bit, Float is a double");
  }
  return t;
}

Token next(std::string_view text, std::size_t at) {
  const char c = text[at];
  if (is_digit(c) || (c == '.' && at + 1 < text.size() && is_digit(text[at + 1]))) return number(text, at);
  if (is_letter(c)) {
    std::size_t end = at;
    while (end < text.size() && (is_letter(text[end]) || is_digit(text[end]))) ++end;
    return {Token::Kind::name, at, end};
  }
  for (std::string_view two : kTwoLetters) {
    if (text.substr(at, 2) == two) return {Token::Kind::symbol, at, at + 2};
  }
  if (kOneLetter.find(c) != kOneLetter.npos) return {Token::Kind::symbol, at, at + 1};
  fail(text, at, at + 1, "this character has no meaning in an expression");
}

}  // namespace

void fail(std::string_view text, std::size_t begin, std::size_t end, const std::string& sentence) {
  constexpr std::size_t kAround = 60;
  begin = std::min(begin, text.size());
  std::size_t line_begin = begin, line_end = begin;
  while (line_begin > 0 && text[line_begin - 1] != '\n' && begin - line_begin < kAround) --line_begin;
  while (line_end < text.size() && text[line_end] != '\n' && line_end - begin < kAround) ++line_end;
  std::string line(text.substr(line_begin, line_end - line_begin));
  for (char& c : line) {
    if (c < ' ' || c > '~') c = c == '\t' ? ' ' : '?';
  }
  const std::size_t carets =
      std::clamp<std::size_t>(std::min(end, line_end) - std::min(begin, end), 1, kAround);
  throw Error(Code::expression, sentence + "\n  " + line + "\n  " + std::string(begin - line_begin, ' ') +
                                    std::string(carets, '^'));
}

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r') {
      ++at;
      continue;
    }
    tokens.push_back(next(text, at));
    at = tokens.back().end;
  }
  tokens.push_back({Token::Kind::end, text.size(), text.size()});
  return tokens;
}

}  // namespace bolide::program
