// Kernels compiled ahead of time, many in one file, for machines that have no compiler.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "jit/kernel.hpp"

namespace bolide::jit {

/// A pack in memory, verified. Immutable.
class Pack {
 public:
  struct Item {
    std::string key;  ///< KernelSpec::key()
    std::shared_ptr<const CompiledKernel> kernel;
  };

  /// Reads and verifies the whole file. Throws Error{file} if it cannot be read, is not a pack or is damaged.
  /// A pack is code: load only packs whose origin you trust, as you would a library.
  static Pack read(const std::string& path);

  /// The same from bytes in memory; `path` is for the sentences.
  static Pack parse(std::string_view bytes, const std::string& path);

  /// Writes a pack, whole or not at all: beside the path first, then renamed over it. Throws Error{file}.
  static void write(const std::string& path, const std::vector<Item>& items);

  /// The kernel of a request, if it is here and a driver of this CUDA major version (0: any) can load it.
  std::shared_ptr<const CompiledKernel> find(const std::string& key, int driver_major) const;
  /// True if a kernel of this name and architecture is here, but made from other device sources.
  bool has_outdated(const KernelSpec& spec) const;

  const std::string& path() const { return path_; }
  const std::vector<Item>& items() const { return items_; }

 private:
  std::string path_;
  std::vector<Item> items_;
  std::unordered_map<std::string, std::vector<std::size_t>>
      by_key_;  // one request may be here from several toolkits
};

}  // namespace bolide::jit
