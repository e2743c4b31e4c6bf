// Tells the formats apart, refuses foreign ones by name, and reads single tensors.
#include "files/tensor_file.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <new>
#include <numeric>

#include "files/input_file.hpp"

namespace bolide::files {
namespace {

constexpr std::size_t kAlignment = 64;

std::string lower_extension(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  for (char& c : extension) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return extension;
}

// A safetensors header length that this reader takes has zeros from its 4th byte on, which no pickle, zip or
// HDF5 file has; this tells a header of 0x280 bytes from a pickle, which also begins with 0x80 0x02.
bool looks_like_safetensors(std::string_view head) {
  return head.size() >= 9 && head.substr(4, 4) == std::string_view("\0\0\0\0", 4) && head[8] == '{';
}

// What a file in another format is, with the way out, or nothing.
std::string foreign_format(std::string_view head, const std::string& extension) {
  if (head.starts_with("PK\x03\x04") || head.starts_with("PK\x05\x06")) {
    if (head.find(".npy") != std::string_view::npos || extension == ".npz") {
      return "a .npz archive; save each array in a file of its own with np.save, or all in one .safetensors "
             "file";
    }
    if (head.find("data.pkl") != std::string_view::npos || extension == ".pt" || extension == ".pth") {
      return "a PyTorch file, which holds a pickle: a program, never run here; save the tensors with "
             "safetensors.torch.save_file";
    }
    return "a zip archive; extract it first";
  }
  const bool is_pickle = head.size() >= 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5;
  constexpr std::array kPickleExtensions{".pkl", ".pickle", ".pt", ".pth",
                                         ".ckpt"};  // protocol 0 is plain text
  if (is_pickle ||
      std::find(kPickleExtensions.begin(), kPickleExtensions.end(), extension) != kPickleExtensions.end()) {
    return "a Python pickle (or a PyTorch file made of one): a program, never run here; save the tensors "
           "with "
           "safetensors.torch.save_file or np.save";
  }
  if (head.starts_with("\x89HDF\r\n")) return "an HDF5 file; convert its arrays with np.save";
  if (head.starts_with("GGUF")) return "a GGUF model; convert its tensors to .safetensors";
  if (head.starts_with("\x1f\x8b")) return "compressed with gzip; decompress it first";
  if (head.starts_with("\x28\xb5\x2f\xfd")) return "compressed with zstd; decompress it first";
  return {};
}

std::shared_ptr<std::byte[]> allocate(const InputFile& file, const std::string& what, std::uint64_t bytes) {
  const std::uint64_t rounded =
      std::max<std::uint64_t>((bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  auto* memory =
      static_cast<std::byte*>(::operator new (rounded, std::align_val_t{kAlignment}, std::nothrow));
  if (memory == nullptr)
    file.fail(fmt::format("{} needs {} bytes, which this machine cannot allocate", what, rounded));
  return {memory, [](std::byte* p) { ::operator delete (p, std::align_val_t{kAlignment}); }};
}

}  // namespace

std::uint64_t default_memory_limit() {
  const std::uint64_t generous = std::uint64_t{64} << 30;
  const long pages = ::sysconf(_SC_PHYS_PAGES), page_bytes = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return generous;
  return std::min(generous, static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes));
}

TensorFile::TensorFile(std::shared_ptr<const InputFile> file, Contents contents, const Limits& limits)
    : file_(std::move(file)),
      contents_(std::move(contents)),
      by_name_(contents_.tensors.size()),
      limits_(limits) {
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(),
            [this](std::uint32_t a, std::uint32_t b) { return tensors()[a].name < tensors()[b].name; });
  const auto twice = std::adjacent_find(
      by_name_.begin(), by_name_.end(),
      [this](std::uint32_t a, std::uint32_t b) { return tensors()[a].name == tensors()[b].name; });
  if (twice != by_name_.end()) {
    file_->fail(fmt::format("the header has tensor '{}' twice; names must differ",
                            printable(tensors()[*twice].name)));
  }
}

const std::string& TensorFile::path() const { return file_->path(); }

const TensorInfo* TensorFile::find(std::string_view name) const {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [this](std::uint32_t i, std::string_view n) { return tensors()[i].name < n; });
  return found != by_name_.end() && tensors()[*found].name == name ? &tensors()[*found] : nullptr;
}

const TensorInfo& TensorFile::info(std::string_view name) const {
  if (const TensorInfo* found = find(name)) return *found;
  constexpr std::size_t kShown = 8;
  std::string names;
  for (std::size_t i = 0; i < std::min(kShown, tensors().size()); ++i) {
    names += fmt::format("{}'{}'", i == 0 ? "" : ", ", printable(tensors()[i].name, 60));
  }
  file_->fail(fmt::format("has no tensor '{}'; it has {}{}{}", printable(name), tensors().size(),
                          tensors().empty() ? "" : ": " + names, tensors().size() > kShown ? ", ..." : ""));
}

OwnedTensor TensorFile::read(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  const std::string what = fmt::format("tensor '{}'", printable(tensor.name));
  if (!tensor.dtype) {
    file_->fail(fmt::format(
        "{} has element type {}, which bolide has not; convert it before saving, to F32 for example", what,
        printable(tensor.dtype_name, 40)));
  }
  if (tensor.bytes > limits_.memory_bytes) {
    file_->fail(fmt::format("{} takes {} bytes, the memory limit is {}; raise the limit or save a part of it",
                            what, tensor.bytes, limits_.memory_bytes));
  }
  auto storage = allocate(*file_, what, tensor.bytes);
  const std::span<std::byte> bytes(storage.get(), static_cast<std::size_t>(tensor.bytes));
  file_->read(tensor.offset, bytes);
  if (*tensor.dtype == DType::boolean) {  // any other byte read as a C++ bool is undefined behaviour
    const auto bad = std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; });
    if (bad != bytes.end()) {
      file_->fail(fmt::format("{} is of bool, but its element {} is the byte {}; only 0 and 1 are", what,
                              bad - bytes.begin(), static_cast<int>(*bad)));
    }
  }
  return {tensor.name, Tensor(static_cast<const void*>(storage.get()), *tensor.dtype, tensor.shape),
          std::move(storage)};
}

TensorFile open_tensors(const std::filesystem::path& path, const Limits& limits) {
  auto file = std::make_shared<const InputFile>(path);
  const std::string head = file->head(256);
  const std::string extension = lower_extension(file->path());
  if (head.starts_with(kNpyMagic)) return TensorFile(file, parse_npy(*file), limits);
  if (!looks_like_safetensors(head)) {
    const std::string foreign = foreign_format(head, extension);
    if (!foreign.empty()) file->fail("is " + foreign);
    if (extension == ".npy")
      return TensorFile(file, parse_npy(*file), limits);  // to say what a .npy file needs
  }
  return TensorFile(file, parse_safetensors(*file), limits);
}

OwnedTensor read_npy(const std::filesystem::path& path, const Limits& limits) {
  const TensorFile file = open_tensors(path, limits);
  if (file.format() != Format::npy) {
    files::fail(
        file.path(),
        "is a .safetensors file where a .npy file is wanted; name a tensor of it, or save that with np.save");
  }
  return file.read(file.tensors().front().name);
}

}  // namespace bolide::files
