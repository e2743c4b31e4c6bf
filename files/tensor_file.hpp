// Tensors in .safetensors and .npy files: listed, read and written. Every file is taken for hostile.
#pragma once
#include <bolide/error.hpp>
#include <bolide/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bolide::files {

// Unless said otherwise every call throws Error{Code::file}: the path, what was found, both numbers, the
// rule. Names and paths inside a message are escaped, so that a file cannot drive the reader's terminal.

/// Room for kMaxTensors with names of 50 bytes, and little enough that the worst header is refused within 0.1
/// s.
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = std::uint64_t{8} << 20;
inline constexpr std::uint64_t kMaxNpyHeaderBytes = std::uint64_t{64} << 10;
inline constexpr std::size_t kMaxTensors = 65536;

/// 64 GiB, or the machine's memory where that is less.
std::uint64_t default_memory_limit();

struct Limits {
  /// The most bytes one tensor may need; larger ones are refused before anything is allocated.
  std::uint64_t memory_bytes = default_memory_limit();
};

/// What a file says of one tensor.
struct TensorInfo {
  std::string name;        ///< any UTF-8 text, control characters included; printable() makes it safe to show
  std::string dtype_name;  ///< as the file spells it: "BF16" or "<f4"
  std::optional<DType> dtype;  ///< absent when bolide has no such type: listed, but read() refuses it
  Dims shape;
  std::uint64_t offset = 0;  ///< of the first element, in bytes from the start of the file
  std::uint64_t bytes = 0;
};

/// A row-major tensor together with the memory it lies in (64-byte aligned, shared by copies).
struct OwnedTensor {
  std::string name;
  Tensor view;
  std::shared_ptr<std::byte[]> storage;
};

enum class Format { safetensors, npy };
/// What a safetensors file may say of itself under "__metadata__".
using Metadata = std::map<std::string, std::string>;
/// What a header holds.
struct Contents {
  Format format = Format::safetensors;
  std::vector<TensorInfo> tensors;  ///< in the order of their data
  Metadata metadata;
};

class InputFile;

/// An open file whose header has been read and found consistent with itself and with the file's size. No
/// element has been read. It may be read by several threads at once. (open_tensors makes one.)
class TensorFile {
 public:
  TensorFile(std::shared_ptr<const InputFile> file, Contents contents, const Limits& limits);

  const std::string& path() const;
  Format format() const { return contents_.format; }
  const std::vector<TensorInfo>& tensors() const { return contents_.tensors; }
  const Metadata& metadata() const { return contents_.metadata; }
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Throws when the file has no such tensor, naming some that it has.
  const TensorInfo& info(std::string_view name) const;
  /// One tensor, by pread: a file truncated meanwhile is an error, not a signal. Refuses element types that
  /// bolide lacks, tensors above the memory limit, and bool elements other than 0 and 1.
  OwnedTensor read(std::string_view name) const;

 private:
  const TensorInfo* find(std::string_view name) const;
  std::shared_ptr<const InputFile> file_;
  Contents contents_;
  std::vector<std::uint32_t> by_name_;  // indices into tensors, sorted by name
  Limits limits_;
};

/// Opens a .safetensors or .npy file; the content decides which, not the name. The tensor of a .npy file has
/// the file's name without its extension. Links to regular files are followed; anything but a regular file is
/// refused, and so are .npz archives, PyTorch files and pickles, which are recognised but never unpickled.
TensorFile open_tensors(const std::filesystem::path& path, const Limits& limits = {});

/// The tensor of a .npy file (format versions 1 to 3, C order, little-endian, at most 8 dimensions).
OwnedTensor read_npy(const std::filesystem::path& path, const Limits& limits = {});

// The writers: host tensors of any strides, written row-major. The bytes go to a temporary file in the same
// directory, which is synchronised and then renamed: `path` is either untouched or complete, whatever fails.
// An existing regular file is replaced and keeps its permissions; a symbolic link is itself replaced, never
// followed; directories, devices and pipes are refused. Throws Error{invalid_argument} for what the format
// cannot hold, Error{file} when the file cannot be written.

/// Writes the tensors, widest elements first so that each lies aligned to its element size; names must
/// differ.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const Metadata& metadata = {});

/// Writes format version 1.0. bf16 has no .npy type and is refused.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

/// Text safe to show on one line of a terminal: control characters, bytes that are not UTF-8 and the marks
/// that reverse the direction of text become escapes (\n, \x1b); what is longer than max_bytes is cut, with
/// "...".
std::string printable(std::string_view text, std::size_t max_bytes = 200);

}  // namespace bolide::files
