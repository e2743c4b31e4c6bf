// What the tests of jit/ share: a folder that goes away, requests, the compiler that is faked or real.
#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "jit/kernel.hpp"

namespace bolide::jit::testing {

namespace fs = std::filesystem;

/// A private folder, removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "bolide_test_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code error;
    fs::permissions(path_, fs::perms::owner_all, error);
    fs::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Sets an environment variable (null: unsets it) and puts the old value back.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = getenv(name)) had_ = true, old_ = old;
    if (value) setenv(name, value, 1);
    else unsetenv(name);
  }
  ~Environment() {
    if (had_) setenv(name_.c_str(), old_.c_str(), 1);
    else unsetenv(name_.c_str());
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::string name_, old_;
  bool had_ = false;
};

inline std::string read_file(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}
inline void write_file(const std::string& path, const std::string& bytes) {
  fs::remove(
      path);  // a new file: ext4 writes a truncated one to the disk at once, thousands of times in some tests
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}
inline std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

inline KernelSpec request(const std::string& name) {
  static const auto sources = std::make_shared<const SourceSet>(
      std::vector<SourceSet::File>{{"a.cuh", "#pragma once\ntemplate <int> struct A {};\n"}});
  return {.sources = sources, .source = "#include \"a.cuh\"\n", .name = name};
}

}  // namespace bolide::jit::testing
