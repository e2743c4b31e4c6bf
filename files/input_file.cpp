// Opens only regular files, never blocks, and reads with pread so that truncation is an error, not a signal.
#include "files/input_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace bolide::files {

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

void fail(const std::string& path, const std::string& sentence) {
  throw Error(Code::file, fmt::format("'{}': {}", printable(path, 1000), sentence));
}

std::string system_reason(int error_number) {
  return fmt::format("{} (errno {})", std::generic_category().message(error_number), error_number);
}

const char* kind_of_file(unsigned mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISBLK(mode)) return "a block device";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISLNK(mode)) return "a symbolic link";
  return "of an unknown kind";
}

InputFile::InputFile(const std::filesystem::path& path) : path_(path.string()) {
  if (path_.find('\0') != std::string::npos) fail("the path contains a zero byte; no file has such a name");
  // O_NONBLOCK: opening a pipe without a writer must return, so that the check below can refuse it.
  descriptor_ = Descriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!descriptor_) fail(fmt::format("cannot be opened for reading: {}", system_reason(errno)));
  struct stat facts {};
  if (::fstat(descriptor_.get(), &facts) != 0)
    fail(fmt::format("cannot be examined: {}", system_reason(errno)));
  if (!S_ISREG(facts.st_mode)) {
    fail(fmt::format("is {}; tensors are read from regular files only, so copy it into one first",
                     kind_of_file(facts.st_mode)));
  }
  if (facts.st_size <= 0) fail("is empty (0 bytes); a .safetensors or .npy file has at least a header");
  size_ = static_cast<std::uint64_t>(facts.st_size);
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  constexpr std::size_t kPiece = std::size_t{1} << 30;
  std::size_t done = 0;
  while (done < out.size()) {
    const ::ssize_t got = ::pread(descriptor_.get(), out.data() + done, std::min(out.size() - done, kPiece),
                                  static_cast<::off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(fmt::format("cannot be read at byte {}: {}", offset + done, system_reason(errno)));
    if (got == 0) {
      fail(fmt::format("ends at byte {} but had {} bytes when opened; it was truncated while being read",
                       offset + done, size_));
    }
    done += static_cast<std::size_t>(got);
  }
}

std::string InputFile::head(std::size_t count) const {
  std::string bytes(std::min<std::uint64_t>(count, size_), '\0');
  read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

}  // namespace bolide::files
