// What is compiled and what comes out: the request with its full key, the machine code with the compiler's
// report.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bolide::jit {

/// A set of headers held in memory, closed under #include. Immutable, shared by the requests that use it.
class SourceSet {
 public:
  struct File {
    std::string name, text;  ///< the name as #include "..." writes it
  };
  explicit SourceSet(std::vector<File> files);
  const std::vector<File>& files() const { return files_; }
  /// Hexadecimal SHA-256 of all names and texts, in order of names.
  const std::string& digest() const { return digest_; }

 private:
  std::vector<File> files_;
  std::string digest_;
};

/// The folder device/ as it was when the library was built.
const std::shared_ptr<const SourceSet>& device_sources();

/// The library's version, as CMake knows it. Part of every key.
extern const char* const kLibraryVersion;

/// A request for one kernel.
struct KernelSpec {
  std::shared_ptr<const SourceSet> sources;  ///< all that may be included, and nothing else can be
  std::string source;                        ///< the translation unit: includes, the program's text
  std::string name;  ///< one instantiation, as C++ writes it: "fwd_sm90<FwdConfig{.head_dim = 128}, Program>"
  std::string architecture = "sm_90a";
  std::vector<std::string> options = {};  ///< for the compiler, beyond those every kernel gets

  /// Every input of the compilation but the compiler itself, as bytes: two requests are the same kernel if
  /// and only if these are equal. (The sources are in it by their digest.)
  std::string key() const;
};

/// The compiler that made a kernel. A driver serves kernels of its own major version and of earlier ones.
struct Toolchain {
  int major = 0, minor = 0;
  std::string build;  ///< the library's build id, since several builds share a version
  std::string text() const;
  friend bool operator==(const Toolchain&, const Toolchain&) = default;
};

/// What ptxas said about a kernel.
struct CompileReport {
  int registers = 0;    ///< per thread
  int stack_bytes = 0;  ///< local memory per thread: arrays that stayed in memory, spills
  int spill_store_bytes = 0, spill_load_bytes = 0;
  int static_shared_bytes = 0;
  int barriers = 0;
  std::vector<std::string> remarks;  ///< lines on lost speed: wgmma serialized, a wait injected, C75xx
  double seconds = 0;                ///< that the compilation took

  /// Empty if the kernel is as intended: no spill, no local memory, no remark. Else a sentence.
  std::string complaint() const;
};

/// Machine code, ready for cuModuleLoadData.
struct CompiledKernel {
  std::string name;          ///< the request's
  std::string lowered_name;  ///< the function's name in the module
  std::string architecture;
  std::string sources_digest;
  Toolchain toolchain;
  std::string cubin;
  CompileReport report;
};

/// A compiled kernel as bytes and back. Bytes that are not exactly one kernel give nothing.
std::string to_bytes(const CompiledKernel& kernel);
std::optional<CompiledKernel> kernel_from_bytes(std::string_view bytes);

/// Reads the log of ptxas -v: the properties of lowered_name, spills and stack summed over every function of
/// the log, remarks. `seconds` is left alone.
CompileReport read_ptxas_log(std::string_view log, std::string_view lowered_name);

}  // namespace bolide::jit
