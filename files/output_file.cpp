// Writes beside the target, synchronises, renames: readers never see a partial file.
#include "files/output_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <random>

namespace bolide::files {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

std::string random_name() {
  std::random_device device;
  return fmt::format(".bolide-{:08x}{:08x}.tmp", device(), device());
}

// The path by which linkat gives a nameless file its name.
std::string descriptor_path(int descriptor) { return fmt::format("/proc/self/fd/{}", descriptor); }

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& path)
    : path_(path.string()), name_(path.filename().string()) {
  if (path_.find('\0') != std::string::npos)
    fail(path_, "the path contains a zero byte; no file has such a name");
  if (name_.empty() || name_ == "." || name_ == "..") {
    fail(path_, "names a directory; results are written to a file, so add its name");
  }
  const std::string parent = path.has_parent_path() ? path.parent_path().string() : ".";
  directory_ = Descriptor(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory_) {
    fail(path_, fmt::format("cannot be written: its directory '{}' cannot be opened: {}", printable(parent),
                            system_reason(errno)));
  }
  examine_target();
  create_temporary();
  buffer_.reserve(kBufferBytes);
}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlinkat(directory_.get(), temporary_.c_str(), 0);
}

// Renaming onto a device or a pipe would replace it (as root, even /dev/null), so only regular files and
// links to them may stand at the target.
void OutputFile::examine_target() {
  struct stat facts {};
  if (::fstatat(directory_.get(), name_.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return;
    fail(path_, fmt::format("cannot be written: {}", system_reason(errno)));
  }
  if (S_ISLNK(facts.st_mode)) {
    char target[6] = {};
    const bool is_stream =
        ::readlinkat(directory_.get(), name_.c_str(), target, sizeof target) == sizeof target &&
        std::string_view(target, sizeof target) == "/proc/";
    struct stat behind {};
    const bool exists = ::fstatat(directory_.get(), name_.c_str(), &behind, 0) == 0;
    if (is_stream || (exists && !S_ISREG(behind.st_mode))) {
      fail(path_, fmt::format("is a link to {}; results replace regular files only, so name a new file",
                              is_stream ? "a stream of this process" : kind_of_file(behind.st_mode)));
    }
    return;
  }
  if (!S_ISREG(facts.st_mode)) {
    fail(path_, fmt::format("exists and is {}; results replace regular files only, so name a new file",
                            kind_of_file(facts.st_mode)));
  }
  if (::faccessat(directory_.get(), name_.c_str(), W_OK, AT_EACCESS) != 0) {
    fail(path_,
         fmt::format("exists and is not yours to overwrite: {}; name a new file", system_reason(errno)));
  }
  permissions_ = facts.st_mode & 0777;
}

void OutputFile::create_temporary() {
  descriptor_ = Descriptor(::openat(directory_.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
  if (descriptor_ && ::access(descriptor_path(descriptor_.get()).c_str(), F_OK) == 0) return;
  // The file system has no nameless files, or /proc is missing: a hidden name that the destructor removes.
  const std::string name = random_name();
  descriptor_ = Descriptor(
      ::openat(directory_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!descriptor_) {
    fail(path_,
         fmt::format("cannot be written: no file can be created in its directory: {}", system_reason(errno)));
  }
  temporary_ = name;
}

void OutputFile::write_through(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ::ssize_t done =
        ::write(descriptor_.get(), bytes.data(), std::min(bytes.size(), std::size_t{1} << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) {
      fail(path_, fmt::format("cannot be written, nothing is left behind: {}",
                              system_reason(done < 0 ? errno : EIO)));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void OutputFile::flush() {
  write_through(buffer_);
  buffer_.clear();
}

void OutputFile::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() > kBufferBytes) write_through(bytes);
  else buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void OutputFile::commit() {
  flush();
  const auto must = [this](int result) {
    if (result != 0) {
      fail(path_, fmt::format("cannot be completed, nothing is left behind: {}", system_reason(errno)));
    }
  };
  if (permissions_) must(::fchmod(descriptor_.get(), *permissions_));
  must(::fsync(descriptor_.get()));
  if (temporary_.empty()) {
    const std::string name = random_name();
    must(::linkat(AT_FDCWD, descriptor_path(descriptor_.get()).c_str(), directory_.get(), name.c_str(),
                  AT_SYMLINK_FOLLOW));
    temporary_ = name;
  }
  must(::renameat(directory_.get(), temporary_.c_str(), directory_.get(), name_.c_str()));
  temporary_.clear();
  // The file is whole under its name by now; a directory that cannot be synchronised is no reason to fail.
  const Descriptor readable(::openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (readable) ::fsync(readable.get());
}

}  // namespace bolide::files
