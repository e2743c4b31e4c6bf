// Where the compiler is looked for. Every search runs in a process of its own, since a loaded library stays
// loaded.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bolide/error.hpp>
#include <functional>

#include "jit/nvrtc.hpp"
#include "tests/jit/support.hpp"

namespace bolide::jit {
namespace {

using testing::Environment;
using testing::Folder;
using testing::write_file;

// What Nvrtc::open() gives in a fresh process: the path it found, or the sentence it threw.
std::string found(
    int driver_major = 0, const std::function<void()>& first = [] {}) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    std::string text;
    first();
    try {
      text = Nvrtc::open(driver_major)->path();
    } catch (const Error& error) {
      text = error.what();
    }
    _exit(write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string text(65536, '\0');
  std::size_t size = 0;
  for (ssize_t n; (n = read(ends[0], text.data() + size, text.size() - size)) > 0;)
    size += static_cast<std::size_t>(n);
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return text.substr(0, size);
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class NvrtcSearch : public ::testing::Test {
 protected:
  // A copy of the fake compiler under root / path.
  std::string install(const std::string& path) {
    const std::string file = folder / path;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::filesystem::copy(FAKE_NVRTC, file);
    return file;
  }
  Folder folder;
  Environment unset{"BOLIDE_NVRTC", nullptr}, venv{"VIRTUAL_ENV", nullptr}, conda{"CONDA_PREFIX", nullptr};
};

TEST_F(NvrtcSearch, TheEnvironmentNamesAFileOrAFolder) {
  const std::string file = install("libnvrtc.so.13");
  const Environment as_file("BOLIDE_NVRTC", file.c_str());
  EXPECT_EQ(found(), file);
  const Environment as_folder("BOLIDE_NVRTC", folder.path().c_str());
  EXPECT_EQ(found(), file);
}

TEST_F(NvrtcSearch, AnEnvironmentThatLeadsNowhereIsNamedAndEndsTheSearch) {
  install("lib/python3.99/site-packages/nvidia/cu13/lib/libnvrtc.so.13");
  const Environment prefix("VIRTUAL_ENV", folder.path().c_str());
  std::filesystem::create_directory(folder / "empty");
  const Environment empty("BOLIDE_NVRTC", (folder / "empty").c_str());
  EXPECT_TRUE(has(found(), folder / "empty")) << found();
  const Environment missing("BOLIDE_NVRTC", (folder / "missing.so").c_str());
  EXPECT_TRUE(has(found(), folder / "missing.so")) << found();
  write_file(folder / "empty/libnvrtc.so.13", "not a library");
  const Environment damaged("BOLIDE_NVRTC", (folder / "empty").c_str());
  EXPECT_TRUE(has(found(), folder / "empty/libnvrtc.so.13 (")) << found();
  const Environment none("BOLIDE_NVRTC", "none");
  EXPECT_TRUE(has(found(), "pip install nvidia-cuda-nvrtc")) << found();
  EXPECT_TRUE(has(found(), "BOLIDE_NVRTC is \"none\"")) << found();
}

TEST_F(NvrtcSearch, PythonPackagesOfCuda13And12) {
  const Environment prefix("VIRTUAL_ENV", folder.path().c_str());
  const std::string old = install("lib/python3.99/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
  EXPECT_EQ(found(), old);
  const std::string now = install("lib/python3.99/site-packages/nvidia/cu13/lib/libnvrtc.so.13");
  EXPECT_EQ(found(), now);
}

TEST_F(NvrtcSearch, PythonPathAndConda) {
  const std::string conda_file = install("conda/lib/libnvrtc.so.13");
  const Environment prefix("CONDA_PREFIX", (folder / "conda").c_str());
  EXPECT_EQ(found(), conda_file);
  const std::string file = install("site/nvidia/cu13/lib/libnvrtc.so.13");
  const Environment path("PYTHONPATH", (":/nowhere:" + folder.path() + "/site:").c_str());
  EXPECT_EQ(found(), file);
}

TEST_F(NvrtcSearch, OneThatTheProcessHasLoadedComesFirstWhateverItsName) {
  const std::string loaded = install("lib/libnvrtc-672ee683.so.13"), named = install("named/libnvrtc.so.13");
  const Environment chosen("BOLIDE_NVRTC", named.c_str());
  EXPECT_EQ(found(), named);
  EXPECT_EQ(found(0, [&] { dlopen(loaded.c_str(), RTLD_NOW); }), loaded);
}

TEST_F(NvrtcSearch, ANewerCompilerThanTheDriverIsPassedOver) {
  const std::string file = install("libnvrtc.so.13");
  const Environment chosen("BOLIDE_NVRTC", file.c_str());
  EXPECT_TRUE(has(found(12), "compiles for CUDA 13, the driver serves CUDA 12")) << found(12);
  EXPECT_EQ(found(13), file);
  EXPECT_EQ(found(14), file);
}

}  // namespace
}  // namespace bolide::jit
