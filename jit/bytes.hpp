// Little-endian numbers and length-prefixed strings in a byte string: how keys, entries and packs are
// written.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace bolide::jit {

/// Appends fields. Every string is preceded by its length, so that no two lists of fields give the same
/// bytes.
class ByteWriter {
 public:
  void number(std::uint64_t value) {
    for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>(value >> 8 * i);
  }
  void string(std::string_view text) { number(text.size()), bytes_ += text; }
  void raw(std::string_view bytes) { bytes_ += bytes; }
  std::size_t size() const { return bytes_.size(); }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads them back from bytes of unknown origin. Reading past the end gives zeros and empty strings and makes
/// ok() false for good; nothing is allocated.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && rest_.empty(); }
  std::string_view raw(std::uint64_t count) {
    if (!ok_ || count > rest_.size()) return ok_ = false, std::string_view();
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }
  std::uint64_t number() {
    std::uint64_t value = 0;
    int shift = 0;
    for (char c : raw(8)) value |= std::uint64_t{static_cast<unsigned char>(c)} << shift, shift += 8;
    return value;
  }
  std::string_view string() { return raw(number()); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace bolide::jit
