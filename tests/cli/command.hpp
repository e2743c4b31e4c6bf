// Runs the built command as a stranger would: a process with arguments, and what came of it.
#pragma once
#include <bolide/tensor.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace bolide::tests {

struct Ran {
  int exit = -1;   ///< the exit code; -1 if a signal ended it
  int signal = 0;  ///< the signal
  std::string out, err;
  double cpu_seconds = 0;  ///< of the process, so that a busy machine does not count
};

struct RunSettings {
  std::filesystem::path folder = ".";
  long max_file_bytes = -1;  ///< no file may grow beyond; -1: no limit
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< set on top of the test's own
};

/// Runs `bolide` with these arguments.
Ran bolide(const std::vector<std::string>& arguments, const RunSettings& settings = {});

/// The same with stderr on a terminal of 80 columns; `err` is what it showed. With `stdout_too` it shows
/// both.
Ran bolide_on_terminal(const std::vector<std::string>& arguments, bool stdout_too = false);

/// A folder of its own, removed at the end.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }
  /// Names of what lies in it, sorted.
  std::vector<std::string> names() const;

 private:
  std::filesystem::path path_;
};

/// Row-major values with a shape; the elements' type is T.
template <class T>
struct Array {
  Dims shape;
  std::vector<T> values;

  explicit Array(const Dims& shape) : shape(shape), values(count(shape)) {}
  Array(const Dims& shape, std::vector<T> values) : shape(shape), values(std::move(values)) {}
  Tensor tensor() const { return Tensor(values.data(), shape); }
  static std::size_t count(const Dims& shape) {
    std::size_t n = 1;
    for (const std::int64_t s : shape) n *= static_cast<std::size_t>(s);
    return n;
  }
};

/// Numbers in [-1, 1] that look random and are the same everywhere.
Array<float> some_numbers(const Dims& shape, unsigned seed);

/// The tensor of a file as floats, whatever its type.
Array<float> read_array(const std::string& path, const std::string& name);

inline std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace bolide::tests
