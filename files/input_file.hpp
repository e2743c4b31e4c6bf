// A regular file open for reading by offset.
#pragma once
#include <filesystem>
#include <span>
#include <string>

#include "files/tensor_file.hpp"

namespace bolide::files {

/// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_;
};

/// Throws Error{file}: the path, escaped, then the sentence.
[[noreturn]] void fail(const std::string& path, const std::string& sentence);
/// "No such file or directory (errno 2)"
std::string system_reason(int error_number);
/// "a directory", "a pipe", ... for the mode of a stat.
const char* kind_of_file(unsigned mode);

class InputFile {
 public:
  /// Never blocks, whatever the path names. Throws unless it is a regular file of at least one byte.
  explicit InputFile(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  ///< in bytes, when opened
  /// Fills `out` from byte `offset` on; throws when the file ends before.
  void read(std::uint64_t offset, std::span<std::byte> out) const;
  /// The first bytes of the file, at most `count`.
  std::string head(std::size_t count) const;
  [[noreturn]] void fail(const std::string& sentence) const { files::fail(path_, sentence); }

 private:
  std::string path_;
  Descriptor descriptor_;
  std::uint64_t size_ = 0;
};

Contents parse_safetensors(const InputFile& file);
Contents parse_npy(const InputFile& file);

inline constexpr std::string_view kNpyMagic = "\x93NUMPY";

}  // namespace bolide::files
