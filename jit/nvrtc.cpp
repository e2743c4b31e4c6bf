// The search for NVRTC and the loading of its entries.
#include "jit/nvrtc.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <bolide/error.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <vector>

namespace bolide::jit {
namespace {

namespace fs = std::filesystem;

// An empty string for a variable that is not set, and for every variable of a set-user-id program.
std::string environment(const char* name) {
  const char* value = secure_getenv(name);
  return value ? value : "";
}

bool is_nvrtc_file(const std::string& path) {
  const std::string file = fs::path(path).filename();
  return file.starts_with("libnvrtc") && !file.starts_with("libnvrtc-builtins") &&
         file.find(".alt.") == std::string::npos && file.find(".so") != std::string::npos;
}

// Libraries already loaded, whatever they were renamed to by the wheel that brought them.
std::vector<std::string> loaded_in_process() {
  std::vector<std::string> paths;
  const auto visit = [](dl_phdr_info* info, std::size_t, void* out) {
    if (info->dlpi_name && is_nvrtc_file(info->dlpi_name))
      static_cast<std::vector<std::string>*>(out)->emplace_back(info->dlpi_name);
    return 0;
  };
  dl_iterate_phdr(visit, &paths);
  return paths;
}

// The newest libnvrtc.so.* first. A folder that cannot be read holds none.
std::vector<std::string> nvrtc_files_in(const fs::path& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (is_nvrtc_file(it->path())) files.push_back(it->path());
  std::sort(files.rbegin(), files.rend());
  return files;
}

// Subfolders whose names start with `prefix`, the last in order first: python3.12 before python3.11.
std::vector<fs::path> subfolders(const fs::path& folder, std::string_view prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().filename().string().starts_with(prefix)) found.push_back(it->path());
  std::sort(found.rbegin(), found.rend());
  return found;
}

// Where `import` would look: beside this library, on PYTHONPATH, and in the site folders of every prefix that
// may be Python's, the user's and the system's included.
std::vector<fs::path> package_folders() {
  std::vector<fs::path> folders;
  Dl_info self;
  if (dladdr(reinterpret_cast<const void*>(&package_folders), &self) && self.dli_fname)
    folders.push_back(fs::path(self.dli_fname).parent_path().parent_path());
  const std::string python_path = environment("PYTHONPATH");
  for (std::size_t begin = 0; begin < python_path.size();) {
    const std::size_t end = std::min(python_path.find(':', begin), python_path.size());
    if (end > begin) folders.emplace_back(python_path.substr(begin, end - begin));
    begin = end + 1;
  }
  std::vector<fs::path> prefixes;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string value = environment(name); !value.empty()) prefixes.emplace_back(value);
  std::error_code error;
  if (const fs::path program = fs::read_symlink("/proc/self/exe", error); !error)
    prefixes.push_back(program.parent_path().parent_path());
  if (const std::string home = environment("HOME"); !home.empty())
    prefixes.push_back(fs::path(home) / ".local");
  prefixes.insert(prefixes.end(), {"/usr/local", "/usr"});
  for (const fs::path& prefix : prefixes)
    for (const fs::path& python : subfolders(prefix / "lib", "python3"))
      for (const char* site : {"site-packages", "dist-packages"}) folders.push_back(python / site);
  return folders;
}

// NVIDIA's wheels keep the library in nvidia/cu13/lib (CUDA 13) or nvidia/cuda_nvrtc/lib (CUDA 12); conda in
// lib.
std::vector<std::string> in_python_packages() {
  std::vector<std::string> files;
  const auto add = [&](const fs::path& folder) {
    for (std::string& f : nvrtc_files_in(folder)) files.push_back(std::move(f));
  };
  for (const fs::path& site : package_folders()) {
    for (const fs::path& toolkit : subfolders(site / "nvidia", "cu1")) add(toolkit / "lib");
    add(site / "nvidia" / "cuda_nvrtc" / "lib");
  }
  if (const std::string conda = environment("CONDA_PREFIX"); !conda.empty()) add(fs::path(conda) / "lib");
  return files;
}

std::vector<std::string> in_toolkits() {
  std::vector<fs::path> roots;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"})
    if (const std::string value = environment(name); !value.empty()) roots.emplace_back(value);
  for (fs::path& root : subfolders("/usr/local", "cuda")) roots.push_back(std::move(root));
  std::vector<std::string> files;
  for (const fs::path& root : roots)
    for (const char* lib : {"lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"})
      for (std::string& f : nvrtc_files_in(root / lib)) files.push_back(std::move(f));
  return files;
}

// The GNU build id of the library whose code holds `address`, in hexadecimal; "unknown" if it has none.
std::string build_id(const void* address) {
  struct Search {
    std::uintptr_t address;
    std::string id;
  } search{reinterpret_cast<std::uintptr_t>(address), "unknown"};
  const auto visit = [](dl_phdr_info* info, std::size_t, void* out) {
    Search& s = *static_cast<Search*>(out);
    const auto segments = [&](auto&& f) {
      for (int i = 0; i < info->dlpi_phnum; ++i)
        f(info->dlpi_phdr[i], info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    };
    bool here = false;
    segments([&](const auto& p, std::uintptr_t at) {
      here |= p.p_type == PT_LOAD && s.address >= at && s.address - at < p.p_memsz;
    });
    if (!here) return 0;
    segments([&](const auto& p, std::uintptr_t at) {
      if (p.p_type != PT_NOTE) return;
      for (std::uintptr_t note = at; note + sizeof(ElfW(Nhdr)) <= at + p.p_memsz;) {
        const auto* header = reinterpret_cast<const ElfW(Nhdr)*>(note);
        const auto* name = reinterpret_cast<const char*>(header + 1);
        const auto* body = reinterpret_cast<const unsigned char*>(name + (header->n_namesz + 3) / 4 * 4);
        if (header->n_type == NT_GNU_BUILD_ID && header->n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0)
          s.id = fmt::format("{:02x}", fmt::join(body, body + header->n_descsz, ""));
        note = reinterpret_cast<std::uintptr_t>(body + (header->n_descsz + 3) / 4 * 4);
      }
    });
    return 1;
  };
  dl_iterate_phdr(visit, &search);
  return search.id;
}

}  // namespace

// One search: tries candidates in order and remembers why each was passed over.
struct NvrtcLoader {
  int driver_major;
  std::set<std::string> tried;
  std::vector<std::string> reasons;
  std::shared_ptr<const Nvrtc> found;

  bool try_file(const std::string& file) {
    if (!tried.insert(file).second) return false;
    preload_builtins(file);
    void* library =
        dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its threads outlive any scope
    if (!library) return reasons.push_back(fmt::format("{} ({})", file, dlerror())), false;
    std::shared_ptr<Nvrtc> nvrtc(new Nvrtc);
    if (const char* missing = load_entries(library, *nvrtc))
      return reasons.push_back(fmt::format("{} (has no {})", file, missing)), false;
    Toolchain& t = nvrtc->toolchain_;
    if (nvrtc->version(&t.major, &t.minor) != Nvrtc::kSuccess || t.major < Nvrtc::kOldestMajor)
      return reasons.push_back(fmt::format("{} (is version {}.{}; {} or newer is needed)", file, t.major,
                                           t.minor, Nvrtc::kOldestMajor)),
             false;
    if (driver_major > 0 && t.major > driver_major)
      return reasons.push_back(fmt::format("{} (compiles for CUDA {}, the driver serves CUDA {})", file,
                                           t.major, driver_major)),
             false;
    Dl_info info;
    const auto* entry = reinterpret_cast<const void*>(nvrtc->version);
    nvrtc->path_ = dladdr(entry, &info) && info.dli_fname ? info.dli_fname : file;
    // A path relative to the working folder is good for as long as nobody changes that.
    std::error_code error;
    if (fs::exists(nvrtc->path_, error)) nvrtc->path_ = fs::absolute(nvrtc->path_, error).string();
    t.build = build_id(entry);
    preload_builtins(nvrtc->path_);
    found = std::move(nvrtc);
    return true;
  }

  bool try_files(const std::vector<std::string>& files) {
    return std::any_of(files.begin(), files.end(), [&](const std::string& f) { return try_file(f); });
  }

  // NVRTC opens its builtins by bare name and would not find them beside itself; loaded first, they are
  // found.
  static void preload_builtins(const std::string& file) {
    const fs::path folder = fs::path(file).parent_path();
    if (folder.empty()) return;
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename();
      if (name.starts_with("libnvrtc-builtins.so.")) dlopen(it->path().c_str(), RTLD_NOW | RTLD_LOCAL);
    }
  }

  static const char* load_entries(void* library, Nvrtc& n) {
    const char* missing = nullptr;
    const auto load = [&](auto& entry, const char* name, bool optional = false) {
      entry = reinterpret_cast<std::decay_t<decltype(entry)>>(dlsym(library, name));
      if (!entry && !optional) missing = name;
    };
    load(n.version, "nvrtcVersion"), load(n.error_string, "nvrtcGetErrorString");
    load(n.create_program, "nvrtcCreateProgram"), load(n.destroy_program, "nvrtcDestroyProgram");
    load(n.add_name_expression, "nvrtcAddNameExpression"), load(n.compile_program, "nvrtcCompileProgram");
    load(n.log_size, "nvrtcGetProgramLogSize"), load(n.log, "nvrtcGetProgramLog");
    load(n.cubin_size, "nvrtcGetCUBINSize"), load(n.cubin, "nvrtcGetCUBIN");
    load(n.lowered_name, "nvrtcGetLoweredName");
    load(n.set_flow_callback, "nvrtcSetFlowCallback", true);
    return missing;
  }

  // True if the variable settles the matter, found or not.
  bool try_environment() {
    const std::string chosen = environment("BOLIDE_NVRTC");
    if (chosen.empty()) return false;
    if (chosen == "none") return reasons.push_back("nothing else, since BOLIDE_NVRTC is \"none\""), true;
    std::error_code error;
    const bool folder = fs::is_directory(chosen, error);
    const std::vector<std::string> files = folder ? nvrtc_files_in(chosen) : std::vector{chosen};
    if (!try_files(files) && files.empty())
      reasons.push_back(fmt::format("BOLIDE_NVRTC={} (a folder without libnvrtc.so)", chosen));
    return true;
  }

  std::vector<std::string> names_for_the_loader() const {
    std::vector<std::string> names;
    for (int major = driver_major > 0 ? driver_major : Nvrtc::kNewestMajor; major >= Nvrtc::kOldestMajor;
         --major)
      names.push_back(fmt::format("libnvrtc.so.{}", major));
    return names;
  }

  void search() {
    if (environment("BOLIDE_NVRTC") != "none" && try_files(loaded_in_process())) return;
    if (try_environment()) return;
    if (try_files(in_python_packages()) || try_files(names_for_the_loader())) return;
    try_files(in_toolkits());
  }
};

std::shared_ptr<const Nvrtc> Nvrtc::open_file(const std::string& path) {
  NvrtcLoader loader{0, {}, {}, nullptr};
  if (loader.try_file(path)) return loader.found;
  throw Error(Code::device, fmt::format("NVRTC cannot be opened again: {}", fmt::join(loader.reasons, ", ")));
}

std::shared_ptr<const Nvrtc> Nvrtc::open(int driver_major) {
  NvrtcLoader loader{driver_major, {}, {}, nullptr};
  loader.search();
  if (loader.found) return loader.found;
  throw Error(
      Code::device,
      fmt::format("no usable NVRTC, the compiler of GPU kernels. Looked in: the process; BOLIDE_NVRTC; the "
                  "Python packages of VIRTUAL_ENV, CONDA_PREFIX, PYTHONPATH, ~/.local, /usr/local and /usr; "
                  "the loader's path; CUDA_HOME and /usr/local/cuda*. Tried: {}. Install it with `pip "
                  "install nvidia-cuda-nvrtc`, set BOLIDE_NVRTC to its folder, or load a pack of kernels "
                  "compiled elsewhere (`bolide pack`)",
                  loader.reasons.empty() ? "nothing" : fmt::format("{}", fmt::join(loader.reasons, ", "))));
}

}  // namespace bolide::jit
