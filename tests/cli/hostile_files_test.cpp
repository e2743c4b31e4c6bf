// Damaged, oversized, lying and foreign files: exit 3, a sentence, no output, no crash, at once.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/tensor_file.hpp"
#include "tests/cli/command.hpp"

namespace bolide::tests {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kMostSeconds = 1.0;  // a sanitised process takes longer to start
#else
constexpr double kMostSeconds = 0.1;
#endif

std::string little_endian(std::uint64_t n) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(n >> (8 * i));
  return bytes;
}

std::string safetensors(const std::string& header, std::size_t data_bytes) {
  return little_endian(header.size()) + header + std::string(data_bytes, '\1');
}

std::string npy(const std::string& header, std::size_t data_bytes) {
  std::string text = header + std::string((64 - (header.size() + 11) % 64) % 64, ' ') + "\n";
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(text.size() & 255) +
         static_cast<char>(text.size() >> 8) + text + std::string(data_bytes, '\1');
}

class HostileFiles : public ::testing::Test {
 protected:
  Folder folder;
  std::string good;

  void SetUp() override {
    const Array<float> x = some_numbers({1, 4, 2, 8}, 1);
    files::write_safetensors(folder / "good", {{"q", x.tensor()}, {"k", x.tensor()}, {"v", x.tensor()}});
    good = text_of(folder / "good");
    std::filesystem::remove(folder / "good");
  }
  void expect_refused(const std::string& name, const std::vector<std::string>& arguments) {
    const std::vector<std::string> before = folder.names();
    const Ran ran = bolide(arguments, {folder.path()});
    EXPECT_EQ(ran.signal, 0) << name;
    EXPECT_EQ(ran.exit, 3) << name << "\n" << ran.err;
    EXPECT_TRUE(ran.err.starts_with("bolide: ")) << name << "\n" << ran.err;
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << name << "\n" << ran.err;
    EXPECT_EQ(ran.err.find('\x1b'), std::string::npos) << name << " reaches the terminal";
    EXPECT_EQ(ran.out, "") << name;
    EXPECT_EQ(folder.names(), before) << name;
    EXPECT_LT(ran.cpu_seconds, kMostSeconds) << name;
  }
  // Refused as the input, and as one more input beside what is asked for.
  void expect_refused_content(const std::string& name, const std::string& content) {
    std::ofstream(folder / "in.safetensors", std::ios::binary) << content;
    expect_refused(name, {"run", "in.safetensors", "-o", "out.safetensors"});
    expect_refused(name + " explained", {"explain", "in.safetensors"});
    std::filesystem::remove(folder / "in.safetensors");
  }
};

TEST_F(HostileFiles, TheGoodFileRuns) {
  std::ofstream(folder / "in.safetensors", std::ios::binary) << good;
  EXPECT_EQ(bolide({"run", "in.safetensors", "-o", "out.safetensors"}, {folder.path()}).exit, 0);
}

TEST_F(HostileFiles, TruncatedAnywhere) {
  const std::size_t header =
      8 + static_cast<unsigned char>(good[0]) + 256 * static_cast<unsigned char>(good[1]);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{8},
                                 std::size_t{9}, header / 2, header - 1, header, header + 1, good.size() - 1})
    expect_refused_content("first " + std::to_string(size) + " bytes", good.substr(0, size));
}

TEST_F(HostileFiles, Oversized) {
  expect_refused_content("a byte too many", good + "x");
  for (const std::uint64_t n : {std::uint64_t{1} << 20, std::uint64_t{1} << 32, ~std::uint64_t{0}})
    expect_refused_content("header of " + std::to_string(n) + " bytes", little_endian(n) + good.substr(8));
  expect_refused_content(
      "2^60 elements",
      safetensors(R"({"q":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,64]}})", 64));
  expect_refused_content(
      "a product beyond 64 bits",
      safetensors(R"({"q":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})", 0));
  expect_refused_content(
      "npy of 2^60 elements",
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }", 64));
}

TEST_F(HostileFiles, ASparseTebibyteIsNotRead) {
  const std::string path = folder / "in.safetensors";
  std::ofstream(path, std::ios::binary) << good;
  ASSERT_EQ(truncate(path.c_str(), off_t{1} << 40), 0);
  expect_refused("sparse", {"run", "in.safetensors", "-o", "out.safetensors"});
}

TEST_F(HostileFiles, Lying) {
  expect_refused_content("overlap", safetensors(R"({"q":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},)"
                                                R"("k":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}})",
                                                24));
  expect_refused_content("hole",
                         safetensors(R"({"q":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}})", 24));
  expect_refused_content("reversed",
                         safetensors(R"({"q":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}})", 16));
  expect_refused_content("size and shape differ",
                         safetensors(R"({"q":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}})", 16));
  expect_refused_content("negative",
                         safetensors(R"({"q":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})", 16));
  expect_refused_content("no object", safetensors("[1, 2]", 0));
  expect_refused_content("no JSON", safetensors("{\"q\": ", 0));
  expect_refused_content("deep", safetensors("{\"q\":" + std::string(100000, '['), 0));
  expect_refused_content(
      "a name that drives terminals",
      safetensors("{\"\\u001b[2J\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,16]}}", 16));
}

TEST_F(HostileFiles, Foreign) {
  expect_refused_content("text", "q,k,v\n1,2,3\n");
  expect_refused_content("pickle", std::string("\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix", 20));
  expect_refused_content("zip", std::string("PK\3\4\x14\0\0\0\0\0", 10) + std::string(100, 'x'));
  expect_refused_content("npy of objects",
                         npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", 16));
  expect_refused_content("npy in column order",
                         npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", 16));
  expect_refused_content("npy of code",
                         npy("{'descr': __import__('os').system('touch hit'), 'shape': (2,), }", 16));
  std::string random(4096, '\0');
  unsigned state = 1;
  for (char& c : random) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  expect_refused_content("noise", random);
}

TEST_F(HostileFiles, NotAFileAtAll) {
  const std::string path = folder / "in.safetensors";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  expect_refused("pipe", {"run", "in.safetensors", "-o", "out.safetensors"});
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  expect_refused("folder", {"run", "in.safetensors", "-o", "out.safetensors"});
  std::filesystem::remove(path);
  expect_refused("absent", {"run", "in.safetensors", "-o", "out.safetensors"});
  expect_refused("zeros without end", {"run", "/dev/zero", "-o", "out.safetensors"});
  std::filesystem::create_symlink("nowhere", path);
  expect_refused("dangling link", {"run", "in.safetensors", "-o", "out.safetensors"});
}

TEST_F(HostileFiles, CapturedTensorsToo) {
  std::ofstream(folder / "in.safetensors", std::ios::binary) << good;
  std::ofstream(folder / "doc.npy", std::ios::binary)
      << npy("{'descr': '<i4', 'fortran_order': False, 'shape': (400,), }", 16);
  expect_refused("captured", {"run", "in.safetensors", "-o", "out.safetensors", "--mask", "doc[kv] == 0",
                              "--tensor", "doc=doc.npy"});
  expect_refused("case file", {"check", "--cases", "absent.txt"});
}

}  // namespace
}  // namespace bolide::tests
