// A file that appears whole under its name, or not at all.
#pragma once
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "files/input_file.hpp"

namespace bolide::files {

/// Bytes go to a temporary file in the directory of `path` (without a name where the file system can, so that
/// even a killed process leaves nothing); commit() makes it durable and renames it. Destroyed without commit,
/// it removes the temporary file and `path` is as before.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  void examine_target();
  void create_temporary();
  void write_through(std::span<const std::byte> bytes);
  void flush();

  std::string path_, name_;  // name_: the last component of path_
  Descriptor directory_, descriptor_;
  std::string temporary_;                // its name in directory_; empty while it has none
  std::optional<unsigned> permissions_;  // of the regular file that is replaced
  std::vector<std::byte> buffer_;
};

}  // namespace bolide::files
