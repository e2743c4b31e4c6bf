// What went wrong without stopping anybody: sentences kept for the caller to show, since the library never
// prints.
#pragma once
#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

namespace bolide::jit {

/// A thread-safe list of distinct sentences, the first 32 of them: a cache that fails for every kernel for
/// the same reason says so once.
class Problems {
 public:
  void add(std::string sentence) {
    std::lock_guard lock(mutex_);
    if (list_.size() < 32 && std::find(list_.begin(), list_.end(), sentence) == list_.end())
      list_.push_back(std::move(sentence));
  }
  std::vector<std::string> list() const {
    std::lock_guard lock(mutex_);
    return list_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> list_;
};

}  // namespace bolide::jit
