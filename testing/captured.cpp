// Reads the generators and draws their elements.
#include "testing/captured.hpp"

#include <bolide/error.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "testing/case.hpp"
#include "testing/elements.hpp"
#include "testing/random.hpp"

namespace bolide::testing {
namespace {

struct Form {
  const char* name;
  Generator::Kind kind;
  int numbers;  // leading arguments that are numbers
  DType dtype;
};
constexpr Form kForms[] = {
    {"runs", Generator::runs, 0, DType::i32},
    {"randint", Generator::randint, 2, DType::i32},
    {"randn", Generator::randn, 0, DType::f32},
    {"uniform", Generator::uniform, 2, DType::f32},
    {"randbool", Generator::randbool, 1, DType::boolean},
    {"arange", Generator::arange, 0, DType::i32},
    {"steps", Generator::steps, 1, DType::i32},
    {"slopes", Generator::slopes, 0, DType::f32},
    {"file", Generator::file, 0, DType::f32},
};
constexpr const char* kAllowed =
    "a number, runs(shape), randint(low,high,shape) with high excluded, randn(shape), "
    "uniform(low,high,shape), "
    "randbool(probability,shape), arange(shape), steps(length,shape), slopes(shape), file(path.npy), each "
    "with :type after it if "
    "wanted; a shape is "
    "sizes separated by commas, each a number or one of b h hkv sq skv d n, plus, minus or times a number";

[[noreturn]] void wrong(std::string_view name, std::string_view text) {
  throw Error(Code::invalid_argument,
              fmt::format("let {} has value '{}'; allowed: {}", name, text, kAllowed));
}

bool parse_number(std::string_view text, double& value) {
  const std::string copy(text);
  char* end = nullptr;
  value = std::strtod(copy.c_str(), &end);
  return !copy.empty() && !*end && std::isfinite(value);
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    out.emplace_back(text.substr(0, comma));
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
  }
  return out;
}

// "skv", "17", "skv+1", "2*sq"; negative: not a size.
std::int64_t size_of_text(std::string_view text, const ShapeNames& s) {
  std::int64_t n;
  if (parse_integer(text, n)) return n;
  if (const std::size_t at = text.find_first_of("+-*"); at != std::string_view::npos) {
    const std::int64_t a = size_of_text(text.substr(0, at), s), b = size_of_text(text.substr(at + 1), s);
    if (a < 0 || b < 0 || a > INT32_MAX || b > INT32_MAX) return -1;
    return text[at] == '+' ? a + b : text[at] == '-' ? std::max<std::int64_t>(a - b, 0) : a * b;
  }
  const std::pair<const char*, std::int64_t> names[] = {{"b", s.b},
                                                        {"h", s.h},
                                                        {"hkv", s.hkv},
                                                        {"sq", s.sq},
                                                        {"skv", s.skv},
                                                        {"d", s.d},
                                                        {"n", std::max(s.sq, s.skv)}};
  for (const auto& [name, size] : names)
    if (text == name) return size;
  return -1;
}

bool parse_type(std::string_view text, DType& t) {
  for (int i = 0; i <= static_cast<int>(DType::boolean); ++i)
    if (text == name_of(static_cast<DType>(i))) return t = static_cast<DType>(i), true;
  return false;
}

}  // namespace

Generator parse_generator(std::string_view name, std::string_view text) {
  Generator g;
  std::int64_t n;
  if (parse_integer(text, n)) return g.low = static_cast<double>(n), g;
  if (parse_number(text, g.low)) return g.kind = Generator::floating, g;
  const std::size_t open = text.find('('), close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) wrong(name, text);
  const auto* form = std::find_if(std::begin(kForms), std::end(kForms),
                                  [&](const Form& f) { return text.substr(0, open) == f.name; });
  if (form == std::end(kForms)) wrong(name, text);
  g.kind = form->kind, g.dtype = form->dtype;
  const std::string_view inside = text.substr(open + 1, close - open - 1), after = text.substr(close + 1);
  if (!after.empty() &&
      (after[0] != ':' || !parse_type(after.substr(1), g.dtype) || g.kind == Generator::file))
    wrong(name, text);
  if (g.kind == Generator::file) {
    g.path = inside;
    if (inside.empty()) wrong(name, text);
    return g;
  }
  std::vector<std::string> arguments = split(inside);
  if (static_cast<int>(arguments.size()) < form->numbers + (g.kind == Generator::slopes ? 1 : 0))
    wrong(name, text);
  if (form->numbers >= 1 && !parse_number(arguments[0], g.low)) wrong(name, text);
  if (g.kind == Generator::steps && !(g.low >= 1)) wrong(name, text);
  if (form->numbers == 2 && (!parse_number(arguments[1], g.high) || g.high <= g.low)) wrong(name, text);
  g.shape.assign(arguments.begin() + form->numbers, arguments.end());
  for (const std::string& s : g.shape)
    if (size_of_text(s, {1, 1, 1, 1, 1, 1}) < 0) wrong(name, text);
  if (g.shape.size() > kMaxRank) wrong(name, text);
  return g;
}

Dims Generator::dims(const ShapeNames& names) const {
  std::vector<std::int64_t> sizes;
  for (const std::string& s : shape) sizes.push_back(size_of_text(s, names));
  return Dims(sizes);
}

void Generator::fill(const Tensor& t, std::uint64_t seed) const {
  const bool whole = is_integer(t.dtype) || t.dtype == DType::boolean;
  const std::int64_t last = t.rank() ? std::max<std::int64_t>(t.shape[t.rank() - 1], 1) : 1;
  const double run = 1.0 / static_cast<double>(std::max<std::int64_t>(last / 4, 2));
  std::int64_t i = 0, document = 0;
  for_each_offset(t, [&](std::int64_t at) {
    const std::uint64_t bits = scramble(seed, static_cast<std::uint64_t>(i));
    const std::int64_t column = i++ % last;
    double x = 0;
    switch (kind) {
      case runs:
        document = column == 0 ? 0 : document + (unit(bits) < run);
        x = static_cast<double>(document);
        break;
      case randint: x = std::floor(low + unit(bits) * (high - low)); break;
      case uniform: x = low + unit(bits) * (high - low); break;
      case randn: x = normal(bits); break;
      case randbool: x = unit(bits) < low; break;
      case arange: x = static_cast<double>(column); break;
      case steps: x = std::floor(static_cast<double>(column) / low); break;
      case slopes: x = std::exp2(-8.0 * static_cast<double>(column + 1) / static_cast<double>(last)); break;
      default: break;
    }
    if (t.dtype == DType::u32 || t.dtype == DType::u8) x = std::max(x, 0.0);
    store(t, at, whole && t.dtype != DType::boolean ? std::floor(x) : x);
  });
}

}  // namespace bolide::testing
