// A private folder of entries that survives the process: verified on every load, published whole or not at
// all.
#pragma once
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jit/problems.hpp"

namespace bolide::jit {

/// The folder is trusted only if it is ours: reached without a symbolic link, owned by the effective user,
/// closed to writing by others. Entries likewise, and they must be plain files of one name. Any doubt about
/// an entry is a miss; any doubt about the folder turns the cache off. Both are told in `problems`, never
/// thrown. Safe from any number of threads and processes: writers publish by rename, and nobody needs a lock.
/// Digests stop damage, not an attacker who is the same user.
class DiskCache {
 public:
  /// $BOLIDE_CACHE_DIR, else $XDG_CACHE_HOME/bolide, else $HOME/.cache/bolide. Empty (and `why` says so) for
  /// a set-user-id program, without any of the three, or if the home is another user's. There is no default
  /// in /tmp.
  static std::string default_folder(std::string& why);

  /// Opens the folder, creating what is missing of it with mode 0700, and removes what killed writers left
  /// behind. An empty folder name gives a cache that is off.
  DiskCache(const std::string& folder, std::uint64_t max_bytes, Problems& problems);
  ~DiskCache();
  DiskCache(const DiskCache&) = delete;
  DiskCache& operator=(const DiskCache&) = delete;

  bool is_on() const { return folder_fd_ >= 0; }
  const std::string& folder() const { return folder_; }

  /// The payload that was stored under exactly this key.
  std::optional<std::string> load(std::string_view key);
  /// Publishes an entry, replacing what stood under its name, then removes the least recently used entries
  /// until all fit in max_bytes. False if it could not be stored.
  bool store(std::string_view key, std::string_view payload);

  struct Listed {
    std::string file;
    std::uint64_t bytes = 0;
    std::int64_t used = 0;  ///< seconds since 1970 of the last load or store
    std::string fault;      ///< why it would be a miss; empty for a good entry
    std::string payload;    ///< empty if there is a fault
  };
  /// Every entry of the folder, read and verified, the most recently used first.
  std::vector<Listed> list();
  /// Removes every entry and every leftover; returns how many entries went.
  int clear();

  std::uint64_t num_rejected() const { return num_rejected_; }  ///< loads refused for a doubt
  std::uint64_t num_evicted() const { return num_evicted_; }

 private:
  struct File;
  std::optional<std::string> read_file(const std::string& name, std::string& fault) const;
  bool publish(const std::string& name, std::string_view bytes);
  void remove_leftovers();
  void trim(const std::string& keep);
  std::vector<File> files() const;

  std::string folder_;
  int folder_fd_ = -1;
  std::uint64_t max_bytes_;
  Problems& problems_;
  std::atomic<std::uint64_t> num_rejected_{0}, num_evicted_{0};
};

/// The folder's descriptor after the checks DiskCache describes, or -1 and the reason. With `create`, what is
/// missing is made with mode 0700.
int open_private_folder(const std::string& folder, bool create, std::string& why);

/// Reads a whole plain file through an open folder (or AT_FDCWD): at most max_bytes, no symbolic link, no
/// second name, owned by the effective user and closed to writing by others if `ours`. Nothing and the fault
/// otherwise; a file that does not exist has the fault "".
std::optional<std::string> read_plain_file(int folder_fd, const std::string& name, std::uint64_t max_bytes,
                                           bool ours, std::string& fault);

}  // namespace bolide::jit
