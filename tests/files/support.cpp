// What the tests of the file readers share.
#include "tests/files/support.hpp"

#include <stdlib.h>

#include <atomic>
#include <ctime>
#include <fstream>
#include <new>
#include <sstream>

// Every allocation of this program passes here, so that a test can see that a lying header allocates nothing.
namespace {
std::atomic<std::size_t> g_largest_allocation{0};

void* allocate(std::size_t bytes, std::size_t alignment) {
  std::size_t seen = g_largest_allocation;
  while (bytes > seen && !g_largest_allocation.compare_exchange_weak(seen, bytes)) {}
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  return rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded);
}
}  // namespace

void* operator new(std::size_t bytes) {
  if (void* memory = allocate(bytes, alignof(std::max_align_t))) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  if (void* memory = allocate(bytes, static_cast<std::size_t>(alignment))) return memory;
  throw std::bad_alloc();
}
// The library's own forms without exceptions would do, but not those of a sanitizer, which do not call the
// above.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace bolide::files {
namespace {

// A sanitizer multiplies the time of everything.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
constexpr double kSlowdown = 20;
#else
constexpr double kSlowdown = 1;
#endif

double thread_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <class Integer>
std::string little_endian(Integer value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

}  // namespace

FilesTest::FilesTest() {
  std::string name = (std::filesystem::temp_directory_path() / "bolide-files-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no scratch folder can be made at " + name);
  folder_ = name;
}

FilesTest::~FilesTest() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::filesystem::path FilesTest::file(const std::string& name, const std::string& bytes) const {
  std::ofstream(folder_ / name, std::ios::binary) << bytes;
  return folder_ / name;
}

std::size_t FilesTest::num_entries() const {
  const std::filesystem::directory_iterator entries(folder_);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string safetensors(const std::string& header, const std::string& data) {
  return little_endian<std::uint64_t>(header.size()) + header + data;
}

std::string npy(std::string header, const std::string& data, int major) {
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += {static_cast<char>(major), '\0'};
  bytes += major == 1 ? little_endian<std::uint16_t>(static_cast<std::uint16_t>(header.size()))
                      : little_endian<std::uint32_t>(static_cast<std::uint32_t>(header.size()));
  return bytes + header + data;
}

std::string npy_of(const std::string& descr, const std::string& shape, const std::string& data) {
  return npy("{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }", data);
}

std::string refusal(Code code, const std::function<void()>& call, const Cost& most) {
  const double most_seconds = most.seconds * kSlowdown;
  double fewest_seconds = most_seconds;
  std::string message;
  // Up to three times: on a busy machine one measurement says little.
  for (int attempt = 0; attempt < 3 && fewest_seconds >= most_seconds; ++attempt) {
    g_largest_allocation = 0;
    const double begin = thread_seconds();
    try {
      call();
      ADD_FAILURE() << "accepted what must be refused";
      return {};
    } catch (const Error& error) {
      fewest_seconds = std::min(fewest_seconds, thread_seconds() - begin);
      message = error.what();
      EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << message;
    } catch (const std::exception& other) {
      ADD_FAILURE() << "an exception other than bolide::Error: " << other.what();
      return {};
    }
    EXPECT_LE(g_largest_allocation, most.bytes) << message;
  }
  EXPECT_LT(fewest_seconds, most_seconds) << message;
  return message;
}

std::string bad_file(const std::filesystem::path& path, const Cost& most) {
  const auto read_all = [&] {
    const TensorFile file = open_tensors(path);
    for (const TensorInfo& info : file.tensors()) file.read(info.name);
  };
  const std::string message = refusal(Code::file, read_all, most);
  EXPECT_TRUE(says(message, path.filename().string()));
  return message;
}

}  // namespace bolide::files
