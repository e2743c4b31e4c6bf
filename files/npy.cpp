// The .npy format (numpy.lib.format, versions 1.0 to 3.0): magic, a header that is a Python literal, the
// data.
#include <fmt/core.h>

#include <array>
#include <limits>

#include "files/elements.hpp"

namespace bolide::files {
namespace {

struct NamedType {
  std::string_view descr;
  DType dtype;
};
constexpr std::array<NamedType, 10> kTypes{{{"<f8", DType::f64},
                                            {"<f4", DType::f32},
                                            {"<f2", DType::f16},
                                            {"<i8", DType::i64},
                                            {"<i4", DType::i32},
                                            {"<i2", DType::i16},
                                            {"|i1", DType::i8},
                                            {"<u4", DType::u32},
                                            {"|u1", DType::u8},
                                            {"|b1", DType::boolean}}};

// Reads exactly {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } in any order of the keys. Nothing
// is evaluated; whatever is not of this form is refused at its byte.
class HeaderParser {
 public:
  HeaderParser(const InputFile& file, std::string_view text) : file_(file), text_(text) { parse(); }

  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;

 private:
  void parse();
  std::string string(const char* what);
  bool truth();
  void tuple();
  std::int64_t size();
  void skip_spaces() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  char peek() {
    skip_spaces();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) unexpected(fmt::format("'{}'", c));
  }
  bool take_word(std::string_view word) {
    skip_spaces();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  [[noreturn]] void unexpected(const std::string& wanted) {
    skip_spaces();
    const std::string found =
        at_ < text_.size() ? fmt::format("\"{}\"", printable(text_.substr(at_), 20)) : std::string("its end");
    file_.fail(
        fmt::format("the .npy header has {} at its byte {} where {} belongs; it must be "
                    "{{'descr': ..., 'fortran_order': ..., 'shape': (...)}}",
                    found, at_, wanted));
  }

  const InputFile& file_;
  std::string_view text_;
  std::size_t at_ = 0;
};

void HeaderParser::parse() {
  bool has_descr = false, has_order = false, has_shape = false;
  expect('{');
  while (!take('}')) {
    const std::string key = string("a key");
    bool* const seen = key == "descr"           ? &has_descr
                       : key == "fortran_order" ? &has_order
                       : key == "shape"         ? &has_shape
                                                : nullptr;
    if (seen == nullptr) {
      file_.fail(fmt::format("the .npy header has the key '{}'; only descr, fortran_order and shape exist",
                             printable(key, 40)));
    }
    if (std::exchange(*seen, true))
      file_.fail(fmt::format("the .npy header has the key '{}' twice; keys must differ", key));
    expect(':');
    if (seen == &has_descr) descr = string("an element type such as '<f4'");
    else if (seen == &has_order) fortran_order = truth();
    else tuple();
    if (!take(',') && peek() != '}') unexpected("',' or '}'");
  }
  if (peek() != '\0' || at_ != text_.size()) unexpected("the end of the header");
  if (!has_descr || !has_order || !has_shape) {
    file_.fail(fmt::format("the .npy header has no '{}'; it needs descr, fortran_order and shape",
                           !has_descr   ? "descr"
                           : !has_order ? "fortran_order"
                                        : "shape"));
  }
}

std::string HeaderParser::string(const char* what) {
  const char quote = peek();
  if (quote == '[' || quote == '(' || quote == '{') {
    file_.fail(
        "has a structured element type (fields); save each field as an array of its own: np.save(path, "
        "a['field'])");
  }
  if (quote != '\'' && quote != '"') unexpected(what);
  const std::size_t end = text_.find(quote, at_ + 1);
  const std::string_view value = text_.substr(at_ + 1, end == std::string_view::npos ? end : end - at_ - 1);
  if (end == std::string_view::npos || value.find_first_of("\\\n") != std::string_view::npos) {
    unexpected(fmt::format("{} in plain quotes", what));
  }
  at_ = end + 1;
  return std::string(value);
}

bool HeaderParser::truth() {
  if (take_word("True")) return true;
  if (take_word("False")) return false;
  unexpected("True or False");
}

void HeaderParser::tuple() {
  expect('(');
  bool has_comma = false;
  while (!take(')')) {
    if (shape.size() == kMaxRank)
      file_.fail(fmt::format("has more than {} dimensions, the most that are supported", kMaxRank));
    shape.push_back(size());
    if (take(',')) has_comma = true;
    else if (peek() != ')') unexpected("',' or ')'");
  }
  if (shape.size() == 1 && !has_comma)
    file_.fail(fmt::format("its shape ({}) is a number, not a tuple; one dimension is written ({},)",
                           shape[0], shape[0]));
}

std::int64_t HeaderParser::size() {
  if (peek() == '-')
    file_.fail(fmt::format("has a negative dimension, {}", printable(text_.substr(at_), 20)));
  const std::size_t begin = at_;
  std::int64_t value = 0;
  for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, text_[at_] - '0', &value)) {
      file_.fail(fmt::format("has a dimension of {}; at most 2^63 - 1", printable(text_.substr(begin), 40)));
    }
  }
  if (at_ == begin) unexpected("a size");
  return value;
}

// The DType, or the reason and the way out.
DType type_of(const InputFile& file, std::string_view descr) {
  for (const NamedType& type : kTypes) {
    if (type.descr == descr) return type.dtype;
  }
  const std::string shown = printable(descr, 40);
  const char kind = descr.size() > 1 ? descr[1] : '\0';
  if (descr.starts_with('>')) {
    file.fail(
        fmt::format("has element type '{}', big-endian; save it little-endian: "
                    "np.save(path, a.astype(a.dtype.newbyteorder('<')))",
                    shown));
  }
  if (kind == 'O' || descr == "O") {
    file.fail(
        "has element type '|O': pickled Python objects, which are never unpickled; save numbers: "
        "np.save(path, a.astype('f4'))");
  }
  if (descr == "<V2" || descr == "|V2") {
    file.fail(
        fmt::format("has element type '{}', 2 raw bytes, as bfloat16 arrays are saved; .npy has no bfloat16, "
                    "so save it in "
                    "a .safetensors file, or as float32: np.save(path, a.astype('f4'))",
                    shown));
  }
  if (descr == "<u2") {
    file.fail(
        "has element type '<u2', uint16, which bolide has not; save integers as int32: np.save(path, "
        "a.astype('i4')), "
        "and the bits of a bfloat16 in a .safetensors file, because .npy has no bfloat16");
  }
  std::string supported;
  for (const NamedType& type : kTypes)
    supported += fmt::format("{}{}", supported.empty() ? "" : " ", type.descr);
  file.fail(
      fmt::format("has element type '{}'; supported are {}: convert it with a.astype(...) before np.save",
                  shown, supported));
}

}  // namespace

Contents parse_npy(const InputFile& file) {
  constexpr std::uint64_t kVersionEnd = 8;
  std::array<unsigned char, 12> start{};
  const std::uint64_t start_bytes = std::min<std::uint64_t>(start.size(), file.size());
  file.read(0, std::as_writable_bytes(std::span(start)).first(start_bytes));
  const auto begins_with_magic =
      std::string_view(reinterpret_cast<const char*>(start.data()), start_bytes).starts_with(kNpyMagic);
  if (!begins_with_magic || start_bytes < 10) {
    file.fail(fmt::format("is no .npy file, or is cut short: it has {} bytes and {} with \\x93NUMPY",
                          file.size(), begins_with_magic ? "begins" : "does not begin"));
  }
  const int major = start[6], minor = start[7];
  if (major < 1 || major > 3 || minor != 0) {
    file.fail(fmt::format("has .npy format version {}.{}; 1.0, 2.0 and 3.0 are read", major, minor));
  }
  const int length_bytes = major == 1 ? 2 : 4;
  std::uint64_t header_bytes = 0;
  for (int i = length_bytes - 1; i >= 0; --i) header_bytes = header_bytes << 8 | start[kVersionEnd + i];
  const std::uint64_t header_begin = kVersionEnd + length_bytes;
  const std::uint64_t rest = file.size() - std::min(file.size(), header_begin);
  if (header_bytes > rest || header_bytes > kMaxNpyHeaderBytes) {
    file.fail(fmt::format("says that its header has {} bytes; {} follow, and a header has at most {}",
                          header_bytes, rest, kMaxNpyHeaderBytes));
  }
  std::string text(header_bytes, '\0');
  file.read(header_begin, std::as_writable_bytes(std::span(text)));
  const HeaderParser header(file, text);
  const DType dtype = type_of(file, header.descr);
  if (header.fortran_order && header.shape.size() > 1) {
    file.fail("is stored in Fortran order; save it in C order: np.save(path, np.ascontiguousarray(a))");
  }
  const auto bytes = checked_bytes(header.shape, 8u * size_of(dtype));
  if (!bytes)
    file.fail(fmt::format("has shape {}, whose size does not fit in 61 bits", shape_text(header.shape)));
  const std::uint64_t data_begin = header_begin + header_bytes;
  if (file.size() - data_begin != *bytes) {
    file.fail(fmt::format("holds {} bytes of data, but shape {} of '{}' takes {}; {}",
                          file.size() - data_begin, shape_text(header.shape), header.descr, *bytes,
                          file.size() - data_begin < *bytes ? "the file is truncated, or its header lies"
                                                            : "bytes after the data are not allowed"));
  }
  TensorInfo info{std::filesystem::path(file.path()).stem().string(),
                  header.descr,
                  dtype,
                  Dims(header.shape),
                  data_begin,
                  *bytes};
  return {Format::npy, {std::move(info)}, {}};
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  require_writable(path.string(), "the tensor", tensor);
  std::string_view descr;
  for (const NamedType& type : kTypes) {
    if (type.dtype == tensor.dtype) descr = type.descr;
  }
  if (descr.empty()) {
    throw Error(
        Code::invalid_argument,
        fmt::format("'{}': .npy has no type for {}; write a .safetensors file, or convert to f32 first",
                    printable(path.string(), 1000), name_of(tensor.dtype)));
  }
  std::string shape;
  for (std::int64_t size : tensor.shape) shape += fmt::format("{}{}", size, tensor.rank() == 1 ? "," : ", ");
  if (tensor.rank() > 1) shape.resize(shape.size() - 2);
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, shape);
  // Magic, version and length take 10 bytes; the data begins at a multiple of 64.
  header.append(63 - (10 + header.size()) % 64, ' ').push_back('\n');
  OutputFile file(path);
  file.write(kNpyMagic);
  file.write(std::string_view("\x01\x00", 2));
  const char length[] = {static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
  file.write(std::string_view(length, 2));
  file.write(header);
  write_elements(file, tensor);
  file.commit();
}

}  // namespace bolide::files
