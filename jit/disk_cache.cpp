// The kernel cache's folder: names, loading, publication by rename, the cap.
#include "jit/disk_cache.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>

#include "jit/entry.hpp"
#include "jit/file_descriptor.hpp"
#include "jit/sha256.hpp"

namespace bolide::jit {
namespace {

constexpr std::uint64_t kMaxEntryBytes = 256u << 20;  // far above any kernel; a larger file is not ours
constexpr const char kDamaged[] = "it is damaged (a digest or a length is wrong)";
constexpr const char kOtherKey[] = "it holds another kernel's key";
constexpr std::string_view kSuffix = ".kernel", kLeftover = ".new-";

std::string file_name(std::string_view key) { return hex(sha256(key)) + std::string(kSuffix); }

bool is_entry_name(std::string_view name) {
  return name.size() == 64 + kSuffix.size() && name.ends_with(kSuffix) &&
         name.find_first_not_of("0123456789abcdef") == 64;
}

std::string environment(const char* name) {
  const char* value = secure_getenv(name);
  return value ? value : "";
}

bool is_ours(const std::string& folder) {
  struct stat s;
  return stat(folder.c_str(), &s) == 0 && s.st_uid == geteuid();
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

struct DiskCache::File {
  std::string name;
  std::uint64_t bytes = 0;
  timespec used{};
};

std::string DiskCache::default_folder(std::string& why) {
  // secure_getenv gives nothing to a set-user-id program, so such a program ends in the last line.
  if (const std::string chosen = environment("BOLIDE_CACHE_DIR"); !chosen.empty()) return chosen;
  for (const auto& [variable, inside] :
       {std::pair{"XDG_CACHE_HOME", "/bolide"}, std::pair{"HOME", "/.cache/bolide"}}) {
    const std::string root = environment(variable);
    if (root.empty()) continue;
    if (is_ours(root) || (std::string_view(variable) == "XDG_CACHE_HOME" && access(root.c_str(), F_OK) != 0))
      return root + inside;
    why = fmt::format(
        "the kernel cache is off: {}={} does not exist or belongs to another user; set BOLIDE_CACHE_DIR",
        variable, root);
    return "";
  }
  why =
      "the kernel cache is off: neither BOLIDE_CACHE_DIR nor XDG_CACHE_HOME nor HOME is set (or the program "
      "is "
      "set-user-id)";
  return "";
}

DiskCache::DiskCache(const std::string& folder, std::uint64_t max_bytes, Problems& problems)
    : folder_(folder), max_bytes_(max_bytes), problems_(problems) {
  if (folder.empty()) return;
  std::string why;
  folder_fd_ = open_private_folder(folder, true, why);
  if (folder_fd_ < 0) problems_.add(why);
  else remove_leftovers();
}

DiskCache::~DiskCache() {
  if (folder_fd_ >= 0) close(folder_fd_);
}

std::optional<std::string> DiskCache::read_file(const std::string& name, std::string& fault) const {
  return read_plain_file(folder_fd_, name, kMaxEntryBytes, true, fault);
}

std::optional<std::string> DiskCache::load(std::string_view key) {
  if (!is_on()) return std::nullopt;
  const std::string name = file_name(key);
  std::string fault;
  if (const std::optional<std::string> bytes = read_file(name, fault)) {
    const std::optional<EntryView> entry = read_entry(*bytes);
    if (entry && entry->key == key) {
      utimensat(folder_fd_, name.c_str(), nullptr,
                AT_SYMLINK_NOFOLLOW);  // for the order of eviction; may fail
      return std::string(entry->payload);
    }
    fault = entry ? kOtherKey : kDamaged;
  }
  if (!fault.empty()) {
    ++num_rejected_;
    problems_.add(fmt::format("{}/{} is not used and the kernel compiled again: {}", folder_, name, fault));
  }
  return std::nullopt;
}

bool DiskCache::store(std::string_view key, std::string_view payload) {
  if (!is_on()) return false;
  const std::string bytes = make_entry(key, payload), name = file_name(key);
  if (bytes.size() > std::min(max_bytes_, kMaxEntryBytes)) {
    problems_.add(fmt::format("a kernel of {} bytes is not cached in {}: the cap is {} bytes", bytes.size(),
                              folder_, std::min(max_bytes_, kMaxEntryBytes)));
    return false;
  }
  if (!publish(name, bytes)) {
    problems_.add(fmt::format("compiled kernels cannot be kept in {}: {}", folder_, std::strerror(errno)));
    return false;
  }
  trim(name);
  return true;
}

// A reader sees the old entry or the new one, whole. The lock marks the file as a living writer's:
// remove_leftovers takes only what it can lock. Should that happen before ours is taken, rename finds nothing
// and we start again.
bool DiskCache::publish(const std::string& name, std::string_view bytes) {
  std::random_device random;
  int error = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const std::string temporary = fmt::format("{}{}-{:08x}{:08x}", kLeftover, getpid(), random(), random());
    const FileDescriptor file(
        openat(folder_fd_, temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return false;
    flock(file.get(), LOCK_EX | LOCK_NB);
    if (write_all(file.get(), bytes) && fsync(file.get()) == 0 &&
        renameat(folder_fd_, temporary.c_str(), folder_fd_, name.c_str()) == 0)
      return true;
    error = errno;
    unlinkat(folder_fd_, temporary.c_str(), 0);
    if (error != ENOENT) break;
  }
  errno = error;
  return false;
}

void DiskCache::remove_leftovers() {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(
      fdopendir(openat(folder_fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), closedir);
  while (const dirent* entry = folder ? readdir(folder.get()) : nullptr) {
    if (!std::string_view(entry->d_name).starts_with(kLeftover)) continue;
    const FileDescriptor file(
        openat(folder_fd_, entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat s;
    if (file && fstat(file.get(), &s) == 0 && S_ISREG(s.st_mode) && flock(file.get(), LOCK_EX | LOCK_NB) == 0)
      unlinkat(folder_fd_, entry->d_name, 0);
  }
}

std::vector<DiskCache::File> DiskCache::files() const {
  std::vector<File> found;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(
      fdopendir(openat(folder_fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), closedir);
  while (const dirent* entry = folder ? readdir(folder.get()) : nullptr) {
    struct stat s;
    if (is_entry_name(entry->d_name) && fstatat(folder_fd_, entry->d_name, &s, AT_SYMLINK_NOFOLLOW) == 0)
      found.push_back({entry->d_name, static_cast<std::uint64_t>(s.st_size), s.st_mtim});
  }
  std::sort(found.begin(), found.end(), [](const File& a, const File& b) {
    return std::tie(b.used.tv_sec, b.used.tv_nsec, a.name) < std::tie(a.used.tv_sec, a.used.tv_nsec, b.name);
  });
  return found;
}

// Down to nine tenths of the cap, so that a full cache is not trimmed at every store.
void DiskCache::trim(const std::string& keep) {
  const std::vector<File> all = files();
  std::uint64_t total = 0;
  for (const File& f : all) total += f.bytes;
  if (total <= max_bytes_) return;
  for (auto f = all.rbegin(); f != all.rend() && total > max_bytes_ / 10 * 9; ++f) {
    if (f->name == keep) continue;
    if (unlinkat(folder_fd_, f->name.c_str(), 0) == 0) ++num_evicted_;
    total -= f->bytes;
  }
}

std::vector<DiskCache::Listed> DiskCache::list() {
  std::vector<Listed> listed;
  if (!is_on()) return listed;
  for (const File& f : files()) {
    Listed entry{.file = f.name, .bytes = f.bytes, .used = f.used.tv_sec, .fault = "", .payload = ""};
    const std::optional<std::string> bytes = read_file(f.name, entry.fault);
    if (!bytes && entry.fault.empty()) continue;  // removed meanwhile
    const std::optional<EntryView> good = bytes ? read_entry(*bytes) : std::nullopt;
    if (bytes && !good) entry.fault = kDamaged;
    if (good && file_name(good->key) != f.name) entry.fault = kOtherKey;
    if (entry.fault.empty()) entry.payload = good->payload;
    listed.push_back(std::move(entry));
  }
  return listed;
}

int DiskCache::clear() {
  if (!is_on()) return 0;
  int removed = 0;
  for (const File& f : files()) removed += unlinkat(folder_fd_, f.name.c_str(), 0) == 0;
  remove_leftovers();
  return removed;
}

}  // namespace bolide::jit
