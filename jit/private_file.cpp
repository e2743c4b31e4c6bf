// Opening folders and files that may be hostile: no link is followed, and what is open is what was checked.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "jit/disk_cache.hpp"
#include "jit/file_descriptor.hpp"

namespace bolide::jit {
namespace {

std::string words(int error) { return error == ELOOP ? "it is a symbolic link" : std::strerror(error); }

// One step down. The last folder is opened for reading; those above need to be passed only.
int open_step(int parent, const std::string& name, bool last, bool create) {
  const int flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | (last ? O_RDONLY : O_PATH);
  int fd = openat(parent, name.c_str(), flags);
  if (fd < 0 && errno == ENOENT && create) {
    if (mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST) return -1;
    fd = openat(parent, name.c_str(), flags);
  }
  return fd;
}

// Others may pass through the folders above, and write only where the sticky bit keeps them from renaming
// ours.
std::string doubt_about(const struct stat& s, bool last) {
  if (!last) return (s.st_mode & S_IWOTH) && !(s.st_mode & S_ISVTX) ? "every user may write to it" : "";
  if (s.st_uid != geteuid()) return fmt::format("its owner is user {}, not user {}", s.st_uid, geteuid());
  if (s.st_mode & (S_IWGRP | S_IWOTH))
    return fmt::format("its mode {:o} lets others write", s.st_mode & 07777);
  return "";
}

}  // namespace

int open_private_folder(const std::string& folder, bool create, std::string& why) {
  const auto refuse = [&](const std::string& at, const std::string& reason) {
    why = fmt::format(
        "{} cannot be the kernel cache: {}: {}. Kernels are compiled anew in every process; set "
        "BOLIDE_CACHE_DIR to an absolute path, free of links, of a folder that is yours alone",
        folder, at, reason);
    return -1;
  };
  if (folder.empty() || folder[0] != '/') return refuse("the path", "it is not absolute");
  if (folder.find('\0') != std::string::npos) return refuse("the path", "it holds a NUL character");
  FileDescriptor at(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (std::size_t begin = folder.find_first_not_of('/'); begin != std::string::npos;) {
    const std::size_t end = std::min(folder.find('/', begin), folder.size());
    const std::size_t next = folder.find_first_not_of('/', end);
    const std::string name = folder.substr(begin, end - begin), path = folder.substr(0, end);
    const bool last = next == std::string::npos;
    if (name == "..") return refuse(path, "a path with .. may lead anywhere");
    FileDescriptor down(open_step(at.get(), name, last, create));
    if (!down) {
      const int error = errno;
      struct stat s;
      const bool link = error == ENOTDIR && fstatat(at.get(), name.c_str(), &s, AT_SYMLINK_NOFOLLOW) == 0 &&
                        S_ISLNK(s.st_mode);
      return refuse(path, words(link ? ELOOP : error));
    }
    struct stat s;
    if (fstat(down.get(), &s) != 0) return refuse(path, words(errno));
    if (const std::string doubt = doubt_about(s, last); !doubt.empty()) return refuse(path, doubt);
    at = std::move(down);
    begin = next;
  }
  if (folder.find_first_not_of('/') == std::string::npos) return refuse("the path", "it is the root");
  return at.release();
}

std::optional<std::string> read_plain_file(int folder_fd, const std::string& name, std::uint64_t max_bytes,
                                           bool ours, std::string& fault) {
  fault.clear();
  const auto refuse = [&](std::string reason) { return fault = std::move(reason), std::nullopt; };
  // Without O_NONBLOCK, a FIFO under this name would hang us until somebody writes to it.
  const FileDescriptor file(
      openat(folder_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file) return errno == ENOENT ? refuse("") : refuse(words(errno));
  struct stat s;
  if (fstat(file.get(), &s) != 0) return refuse(words(errno));
  if (!S_ISREG(s.st_mode)) return refuse("it is not a plain file");
  if (s.st_nlink > 1) return refuse("it has a second name (hard link)");
  if (ours && s.st_uid != geteuid())
    return refuse(fmt::format("its owner is user {}, not user {}", s.st_uid, geteuid()));
  if (ours && (s.st_mode & (S_IWGRP | S_IWOTH)))
    return refuse(fmt::format("its mode {:o} lets others write", s.st_mode & 07777));
  if (static_cast<std::uint64_t>(s.st_size) > max_bytes)
    return refuse(fmt::format("its {} bytes are more than the {} that are read", s.st_size, max_bytes));
  std::string bytes(static_cast<std::size_t>(s.st_size), '\0');
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = pread(file.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse(words(errno));
    if (n == 0) return refuse("it shrank while it was read");
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

}  // namespace bolide::jit
