// Every byte of a valid file flipped, replaced, cut or doubled: the readers parse it or refuse it, and never
// do worse.
#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include "tests/files/support.hpp"

namespace bolide::files {
namespace {

class MutationTest : public ::testing::Test {
 protected:
  // The mutants lie in a file in memory: 20,000 of them on a disk take minutes.
  MutationTest() : memory_file_(::memfd_create("mutant", MFD_CLOEXEC)) {}
  ~MutationTest() override { ::close(memory_file_); }

  // Opens the bytes and reads all they list. Only an Error{file} may come of it, and never a tensor whose
  // bytes lie outside the file.
  void survive(const std::string& bytes) {
    ++num_tried;
    ASSERT_EQ(::ftruncate(memory_file_, 0), 0);
    ASSERT_EQ(::pwrite(memory_file_, bytes.data(), bytes.size(), 0), static_cast<::ssize_t>(bytes.size()));
    const std::string path = "/proc/self/fd/" + std::to_string(memory_file_);
    try {
      const TensorFile tensors = open_tensors(path);
      for (const TensorInfo& info : tensors.tensors()) {
        ASSERT_LE(info.offset, bytes.size());
        ASSERT_LE(info.bytes, bytes.size() - info.offset);
        if (!info.dtype) continue;
        const OwnedTensor read = tensors.read(info.name);
        ASSERT_EQ(static_cast<std::uint64_t>(read.view.count() * size_of(read.view.dtype)), info.bytes);
        ASSERT_EQ(std::memcmp(read.view.data, bytes.data() + info.offset, info.bytes), 0);
      }
      ++num_read;
    } catch (const Error& error) {
      ASSERT_EQ(static_cast<int>(error.code()), static_cast<int>(Code::file));
      for (const char* c = error.what(); *c; ++c)
        ASSERT_GE(static_cast<unsigned char>(*c), 0x20) << error.what();
      ++num_refused;
    }
  }

  void mutate(const std::string& good) {
    ASSERT_NO_FATAL_FAILURE(survive(good));
    ASSERT_EQ(num_read, 1);
    for (std::size_t i = 0; i < good.size(); ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string mutant = good;
        mutant[i] = static_cast<char>(mutant[i] ^ (1 << bit));
        ASSERT_NO_FATAL_FAILURE(survive(mutant)) << "byte " << i << ", bit " << bit;
      }
      for (char c : std::string("\0\x1b\xff\x80\"'{}[](),:-09e.\\ \n", 21)) {
        std::string mutant = good;
        mutant[i] = c;
        ASSERT_NO_FATAL_FAILURE(survive(mutant)) << "byte " << i << " replaced";
        mutant.insert(i, 1, good[i]);
        ASSERT_NO_FATAL_FAILURE(survive(mutant)) << "byte " << i << " inserted";
      }
      ASSERT_NO_FATAL_FAILURE(survive(good.substr(0, i))) << "cut to " << i << " bytes";
      ASSERT_NO_FATAL_FAILURE(survive(good.substr(0, i) + good.substr(i + 1))) << "without byte " << i;
      ASSERT_NO_FATAL_FAILURE(survive(good.substr(0, i) + good.substr(i / 2))) << "doubled at " << i;
    }
    std::mt19937 random(1);  // several faults at once, with the same seed each time
    for (int round = 0; round < 2000; ++round) {
      std::string mutant = good;
      for (unsigned faults = 1 + random() % 4; faults > 0; --faults)
        mutant[random() % mutant.size()] = static_cast<char>(random());
      ASSERT_NO_FATAL_FAILURE(survive(mutant)) << "round " << round;
    }
    EXPECT_GT(num_refused, num_tried / 2);
    EXPECT_GT(num_read, 1) << "no mutant was read: the campaign says nothing of reading";
  }

  int num_tried = 0, num_read = 0, num_refused = 0;

 private:
  int memory_file_;
};

TEST_F(MutationTest, Safetensors) {
  mutate(safetensors(
      "{\"__metadata__\":{\"k\":\"v\"},\"q\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
      "\"m\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[12,14]}}",
      std::string("abcdefghijkl\0\1", 14)));
}

TEST_F(MutationTest, NpyVersion1) { mutate(npy_of("<f2", "(2, 3)", "abcdefghijkl")); }

TEST_F(MutationTest, NpyVersion2) {
  mutate(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", std::string("\0\1", 2), 2));
}

}  // namespace
}  // namespace bolide::files
