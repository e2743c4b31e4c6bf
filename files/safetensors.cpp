// The .safetensors format: 8 bytes of header length, a JSON header, the data without holes.
// (https://github.com/huggingface/safetensors, "Format"; the header grammar here is as strict as its
// reference.)
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "files/elements.hpp"

namespace bolide::files {
namespace {

static_assert(std::endian::native == std::endian::little, "both formats are read and written little-endian");

constexpr std::uint64_t kPrefixBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

struct NamedType {
  std::string_view name;
  std::uint64_t bits;
  std::optional<DType> dtype;
};
constexpr std::array<NamedType, 20> kTypes{{
    {"F64", 64, DType::f64}, {"F32", 32, DType::f32}, {"F16", 16, DType::f16},     {"BF16", 16, DType::bf16},
    {"I64", 64, DType::i64}, {"I32", 32, DType::i32}, {"I16", 16, DType::i16},     {"I8", 8, DType::i8},
    {"U32", 32, DType::u32}, {"U8", 8, DType::u8},    {"BOOL", 8, DType::boolean}, {"U64", 64, {}},
    {"U16", 16, {}},         {"C64", 64, {}},         {"F8_E4M3", 8, {}},          {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},      {"F6_E2M3", 6, {}},      {"F6_E3M2", 6, {}},          {"F4", 4, {}},
}};

const NamedType* type_named(std::string_view name) {
  const auto* found =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const NamedType& t) { return t.name == name; });
  return found == kTypes.end() ? nullptr : found;
}

// Receives the header's JSON event by event, so that nesting, counts and keys are refused where they appear
// and nothing is built that the grammar does not have:
//   { "__metadata__": {string: string, ...},
//     name: {"dtype": string, "shape": [n, ...], "data_offsets": [begin, end]}, ... }
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const InputFile& file) : file_(file) {}

  std::vector<TensorInfo> tensors;  // offsets still relative to the data
  Metadata metadata;

  bool null() override { unexpected("null"); }
  bool boolean(bool value) override { unexpected(value ? "true" : "false"); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool number_integer(number_integer_t value) override {
    unexpected(fmt::format("the negative number {}", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    unexpected(fmt::format("{}, no whole number below 2^64,", printable(text, 40)));
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::list) unexpected(fmt::format("the number {}", value));
    if (list_->size() == list_limit_) {
      refuse_tensor(fmt::format("more than {} numbers in \"{}\"{}", list_limit_, field_,
                                list_ == &shape_ ? "; at most 8 dimensions are supported" : ""));
    }
    list_->push_back(value);
    return true;
  }
  bool string(string_t& value) override {
    if (place_ == Place::metadata) metadata[key_] = std::move(value);
    else if (place_ == Place::tensor && field_ == "dtype") tensors.back().dtype_name = std::move(value);
    else unexpected(fmt::format("the string \"{}\"", printable(value, 40)));
    return true;
  }
  bool start_object(std::size_t) override {
    if (place_ == Place::outside) place_ = Place::top;
    else if (place_ == Place::top) place_ = key_ == kMetadataKey ? Place::metadata : Place::tensor;
    else unexpected("an object");
    return true;
  }
  bool key(string_t& name) override {
    if (place_ == Place::top) start_entry(name);
    else if (place_ == Place::metadata) start_metadata(name);
    else start_field(name);
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) finish_tensor();
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || field_ == "dtype") unexpected("an array");
    place_ = Place::list;
    list_ = field_ == "shape" ? &shape_ : &offsets_;
    list_limit_ = field_ == "shape" ? kMaxRank : 2;
    return true;
  }
  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }
  // The parser's own text quotes raw bytes of the file, so it is not repeated.
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception&) override {
    file_.fail(fmt::format("the header is not valid JSON in UTF-8 at its byte {}, near \"{}\"", position,
                           printable(token, 40)));
  }

 private:
  enum class Place { outside, top, metadata, tensor, list };

  [[noreturn]] void unexpected(const std::string& what) {
    const std::string where =
        place_ == Place::outside || place_ == Place::top
            ? (key_.empty() ? "the header" : fmt::format("the entry '{}'", printable(key_)))
            : (place_ == Place::metadata ? fmt::format("\"__metadata__\", key '{}'", printable(key_))
                                         : fmt::format("tensor '{}', field \"{}\"", printable(key_), field_));
    file_.fail(
        fmt::format("{} holds {} where the format has none (a header is one object; each tensor an object of "
                    "dtype, shape "
                    "and data_offsets; \"__metadata__\" strings only)",
                    where, what));
  }
  [[noreturn]] void refuse_tensor(const std::string& what) {
    file_.fail(fmt::format("tensor '{}' has {}", printable(key_), what));
  }
  void start_entry(string_t& name) {
    if (name == kMetadataKey) {
      if (std::exchange(has_metadata_, true))
        file_.fail("the header has \"__metadata__\" twice; keys must differ");
    } else {
      if (tensors.size() == kMaxTensors) {
        file_.fail(fmt::format("the header names more than {} tensors, the most that are read", kMaxTensors));
      }
      tensors.emplace_back().name = name;
      shape_.clear(), offsets_.clear();
      has_dtype_ = has_shape_ = has_offsets_ = false;
    }
    key_ = std::move(name);
    field_.clear();
  }
  void start_metadata(string_t& name) {
    if (metadata.size() == kMaxTensors) {
      file_.fail(
          fmt::format("\"__metadata__\" has more than {} entries, the most that are read", kMaxTensors));
    }
    if (!metadata.emplace(name, "").second) {
      file_.fail(fmt::format("\"__metadata__\" has the key '{}' twice; keys must differ", printable(name)));
    }
    key_ = std::move(name);
  }
  void start_field(string_t& name) {
    bool* const seen = name == "dtype"          ? &has_dtype_
                       : name == "shape"        ? &has_shape_
                       : name == "data_offsets" ? &has_offsets_
                                                : nullptr;
    if (seen == nullptr) {
      refuse_tensor(
          fmt::format("a field '{}'; only dtype, shape and data_offsets exist", printable(name, 40)));
    }
    if (std::exchange(*seen, true))
      refuse_tensor(fmt::format("the field \"{}\" twice; keys must differ", name));
    field_ = std::move(name);
  }
  void finish_tensor();

  const InputFile& file_;
  Place place_ = Place::outside;
  string_t key_, field_;  // of the entry, and of the tensor's field, being read
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::vector<std::uint64_t> shape_, offsets_;
  std::vector<std::uint64_t>* list_ = nullptr;
  std::size_t list_limit_ = 0;
};

void HeaderReader::finish_tensor() {
  if (!has_dtype_ || !has_shape_ || !has_offsets_) {
    refuse_tensor(fmt::format("no {}; each tensor needs dtype, shape and data_offsets",
                              !has_dtype_   ? "dtype"
                              : !has_shape_ ? "shape"
                                            : "data_offsets"));
  }
  if (offsets_.size() != 2)
    refuse_tensor(fmt::format("{} data_offsets; there are two, begin and end", offsets_.size()));
  if (offsets_[0] > offsets_[1]) {
    refuse_tensor(
        fmt::format("data_offsets [{}, {}]; the begin must not exceed the end", offsets_[0], offsets_[1]));
  }
  TensorInfo& info = tensors.back();
  std::vector<std::int64_t> shape;
  for (std::uint64_t size : shape_) {
    if (size > std::numeric_limits<std::int64_t>::max())
      refuse_tensor(fmt::format("a dimension of {}; at most 2^63 - 1", size));
    shape.push_back(static_cast<std::int64_t>(size));
  }
  const NamedType* type = type_named(info.dtype_name);
  const auto bytes = checked_bytes(shape, type != nullptr ? type->bits : 8);
  if (!bytes) {
    refuse_tensor(fmt::format("shape {} of {}, which is no whole number of bytes below 2^61",
                              shape_text(shape), printable(info.dtype_name, 40)));
  }
  info.shape = Dims(shape);
  info.offset = offsets_[0];
  info.bytes = offsets_[1] - offsets_[0];
  if (type == nullptr) return;  // of an unknown element type only the offsets can be checked
  info.dtype = type->dtype;
  if (*bytes != info.bytes) {
    refuse_tensor(fmt::format("{} bytes by its data_offsets [{}, {}], but shape {} of {} takes {}",
                              info.bytes, offsets_[0], offsets_[1], shape_text(shape), info.dtype_name,
                              *bytes));
  }
}

// Sorts the tensors by their data and refuses holes, overlaps and a file that is shorter or longer than its
// tensors: every byte belongs to exactly one of them, so nothing can hide in between.
void require_full_coverage(const InputFile& file, std::vector<TensorInfo>& tensors,
                           std::uint64_t data_begin) {
  const auto by_data = [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  };
  if (!std::is_sorted(tensors.begin(), tensors.end(), by_data)) {
    std::stable_sort(tensors.begin(), tensors.end(), by_data);
  }
  const std::uint64_t data_bytes = file.size() - data_begin;
  std::uint64_t covered = 0;
  for (const TensorInfo& info : tensors) {
    if (info.offset != covered) {
      file.fail(
          fmt::format("tensor '{}' begins at byte {} of the data, but the tensors before it end at {}; {}",
                      printable(info.name), info.offset, covered,
                      info.offset > covered ? "the data must have no holes" : "tensors must not overlap"));
    }
    covered = info.offset + info.bytes;
  }
  if (covered != data_bytes) {
    file.fail(fmt::format("holds {} bytes of data, but its header describes {}; {}", data_bytes, covered,
                          covered > data_bytes ? "the file is truncated, or its header lies"
                                               : "bytes that belong to no tensor are not allowed"));
  }
  for (TensorInfo& info : tensors) info.offset += data_begin;
}

// What the JSON parser would let pass or be slow to refuse: it takes a zero byte outside a string for the end
// of the text, behind which bytes could hide; and it reads a number to its end before it says that it is none
// of ours, which takes 0.1 s for 8 million digits.
void refuse_traps(const InputFile& file, std::span<const char> header) {
  constexpr int kMostDigits = 4096;
  int digits = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const char c = header[i];
    if (c == '\0') file.fail(fmt::format("the header has a zero byte at its byte {}; JSON has none", i + 1));
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    if (digits > kMostDigits)
      file.fail(fmt::format("the header has more than {} digits in a row", kMostDigits));
  }
}

}  // namespace

Contents parse_safetensors(const InputFile& file) {
  if (file.size() < kPrefixBytes + 2) {
    file.fail(fmt::format(
        "is {} bytes long; a .safetensors file has at least 10 (8 of header length and \"{{}}\"), "
        "and a .npy file begins with \\x93NUMPY",
        file.size()));
  }
  std::uint64_t header_bytes = 0;
  file.read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  const std::uint64_t rest = file.size() - kPrefixBytes;
  if (header_bytes > rest || header_bytes > kMaxSafetensorsHeaderBytes || header_bytes < 2) {
    file.fail(fmt::format(
        "says that its header has {} bytes; after the length {} bytes follow, and a header has 2 to {}. "
        "It is no .safetensors or .npy file, or it is damaged",
        header_bytes, rest, kMaxSafetensorsHeaderBytes));
  }
  char first = 0;
  file.read(kPrefixBytes, std::as_writable_bytes(std::span(&first, 1)));
  if (first != '{') {
    file.fail(fmt::format(
        "its header begins with '{}', not with '{{'; it is no .safetensors file, or it is damaged",
        printable(std::string_view(&first, 1))));
  }
  std::vector<char> header(header_bytes);
  file.read(kPrefixBytes, std::as_writable_bytes(std::span(header)));
  refuse_traps(file, header);
  HeaderReader reader(file);
  nlohmann::json::sax_parse(header.data(), header.data() + header.size(), &reader);
  require_full_coverage(file, reader.tensors, kPrefixBytes + header_bytes);
  return {Format::safetensors, std::move(reader.tensors), std::move(reader.metadata)};
}

namespace {

using Tensors = std::vector<std::pair<std::string, Tensor>>;

[[noreturn]] void refuse_to_write(const std::string& path, const std::string& sentence) {
  throw Error(Code::invalid_argument, fmt::format("'{}': {}", printable(path, 1000), sentence));
}

void require_distinct_names(const std::string& path, const Tensors& tensors) {
  if (tensors.size() > kMaxTensors) {
    refuse_to_write(path, fmt::format("{} tensors are too many for one file; at most {} fit", tensors.size(),
                                      kMaxTensors));
  }
  std::vector<std::string_view> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    refuse_to_write(path, fmt::format("two tensors are named '{}'; names must differ", printable(*twice)));
  if (std::binary_search(names.begin(), names.end(), kMetadataKey)) {
    refuse_to_write(path, "no tensor may be named '__metadata__'; the format keeps that name for itself");
  }
}

// The header, padded with spaces so that the data begins at a multiple of 8 bytes.
std::string header_text(const std::string& path, const Tensors& tensors,
                        const std::vector<std::size_t>& order, const Metadata& metadata) {
  auto header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[std::string(kMetadataKey)] = metadata;
  std::vector<std::pair<std::string, nlohmann::ordered_json>> entries;
  std::uint64_t begin = 0;
  for (std::size_t i : order) {
    const auto& [name, tensor] = tensors[i];
    const std::uint64_t end =
        begin + require_writable(path, fmt::format("tensor '{}'", printable(name)), tensor);
    const auto* type = std::find_if(kTypes.begin(), kTypes.end(),
                                    [&](const NamedType& t) { return t.dtype == tensor.dtype; });
    const std::vector<std::int64_t> shape(tensor.shape.begin(), tensor.shape.end());
    entries.emplace_back(name, nlohmann::ordered_json{
                                   {"dtype", type->name}, {"shape", shape}, {"data_offsets", {begin, end}}});
    begin = end;
  }
  // Appended as a list: an ordered_json looks for the key among all the others at each insertion.
  auto& object = header.get_ref<nlohmann::ordered_json::object_t&>();
  for (auto& [name, entry] : entries)
    object.std::vector<nlohmann::ordered_json::object_t::value_type>::emplace_back(std::move(name),
                                                                                   std::move(entry));
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    refuse_to_write(path,
                    "a tensor's name or a metadata string is not valid UTF-8; the format holds UTF-8 only");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kMaxSafetensorsHeaderBytes) {
    refuse_to_write(
        path,
        fmt::format("its header would take {} bytes, at most {} are read; use fewer tensors or shorter names",
                    text.size(), kMaxSafetensorsHeaderBytes));
  }
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const Tensors& tensors, const Metadata& metadata) {
  require_distinct_names(path.string(), tensors);
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return size_of(tensors[a].second.dtype) > size_of(tensors[b].second.dtype);
  });
  const std::string header = header_text(path.string(), tensors, order, metadata);
  const std::uint64_t header_bytes = header.size();
  OutputFile file(path);
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(header);
  for (std::size_t i : order) write_elements(file, tensors[i].second);
  file.commit();
}

}  // namespace bolide::files
