// Paths that are no regular file, files that change, foreign formats, names that attack the terminal.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/files/support.hpp"

namespace bolide::files {
namespace {

using HostileTest = FilesTest;

TEST_F(HostileTest, T140_AFileTruncatedAfterOpeningIsAnError) {
  std::string data(1 << 16, 'x');
  const auto npy_path = file("a.npy", npy_of("|u1", "(65536,)", data));
  const TensorFile array = open_tensors(npy_path);
  std::filesystem::resize_file(npy_path, 5000);
  EXPECT_TRUE(
      says(refusal(Code::file, [&] { array.read("a"); }), "ends at byte 5000", "truncated while being read"));
  const auto path =
      file("b.safetensors",
           safetensors("{\"b\":{\"dtype\":\"U8\",\"shape\":[65536],\"data_offsets\":[0,65536]}}", data));
  const TensorFile tensors = open_tensors(path);
  std::filesystem::resize_file(path, 0);
  EXPECT_TRUE(says(refusal(Code::file, [&] { tensors.read("b"); }), "ends at byte"));
}

TEST_F(HostileTest, T141_OnlyRegularFilesAreRead) {
  const auto pipe = folder() / "pipe.npy";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(says(bad_file(pipe), "is a pipe; tensors are read from regular files only"));
  std::filesystem::create_symlink(pipe, folder() / "link.npy");
  EXPECT_TRUE(says(bad_file(folder() / "link.npy"), "is a pipe"));
  EXPECT_TRUE(says(bad_file("/dev/zero"), "is a character device"));
  EXPECT_TRUE(says(bad_file("/dev/null"), "is a character device"));
  EXPECT_TRUE(says(bad_file(folder()), "is a directory"));
  EXPECT_TRUE(says(bad_file(file("none.npy", "")), "is empty (0 bytes)"));
  EXPECT_TRUE(says(bad_file(folder() / "missing.npy"), "No such file or directory"));
  EXPECT_TRUE(says(refusal(Code::file, [] { open_tensors(""); }), "No such file or directory"));
  EXPECT_TRUE(says(
      refusal(Code::file, [&] { open_tensors((folder() / "none.npy").string() + std::string("\0.npy", 5)); }),
      "zero byte"));
  std::filesystem::create_symlink(folder() / "loop", folder() / "loop");
  EXPECT_TRUE(says(bad_file(folder() / "loop"), "symbolic links"));
}

TEST_F(HostileTest, T141_ASocketIsRefused) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string path = (folder() / "socket").string();
  ASSERT_LT(path.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  bad_file(path);
  ::close(socket);
}

TEST_F(HostileTest, LinksToRegularFilesAreFollowed) {
  file("a.npy", npy_of("|u1", "(1,)", "x"));
  std::filesystem::create_symlink("a.npy", folder() / "link.npy");
  EXPECT_EQ(read_npy(folder() / "link.npy").name, "link");
}

TEST_F(HostileTest, T141_ASparseFileOfATerabyteIsRefusedAtOnce) {
  constexpr std::uint64_t kTerabyte = std::uint64_t{1} << 40;
  const auto sparse = [&](const std::string& name, const std::string& bytes, std::uint64_t size) {
    const auto path = file(name, bytes);
    std::filesystem::resize_file(path, size);
    return path;
  };
  EXPECT_TRUE(says(bad_file(sparse("a.safetensors", "", kTerabyte)), "header has 0 bytes"));
  EXPECT_TRUE(says(bad_file(sparse("b.npy", "", kTerabyte)), "does not begin with"));
  std::string header = safetensors("{");
  header[2] = '\x80';  // a header of 8 MiB and 1 byte, then one of 1 byte less
  EXPECT_TRUE(says(bad_file(sparse("c.safetensors", header, kTerabyte)), "header has 8388609 bytes"));
  header[0] = '\0';
  EXPECT_TRUE(
      says(bad_file(sparse("d.safetensors", header, kTerabyte), Cost{.bytes = kMaxSafetensorsHeaderBytes}),
           "zero byte"));
  // Valid, but larger than the limit: listed, and refused before anything is allocated.
  const std::string large = npy_of("<f4", "(274877906944,)", "");
  EXPECT_TRUE(says(bad_file(sparse("e.npy", large, kTerabyte + large.size())),
                   "takes 1099511627776 bytes, the memory limit is"));
}

TEST_F(HostileTest, TheMemoryLimitIsHonoured) {
  const auto path = file("a.npy", npy_of("<f4", "(256,)", std::string(1024, 'x')));
  EXPECT_EQ(read_npy(path, Limits{.memory_bytes = 1024}).view.count(), 256);
  EXPECT_TRUE(
      says(refusal(
               Code::file, [&] { read_npy(path, Limits{.memory_bytes = 1023}); }, Cost{.bytes = 1000}),
           "takes 1024 bytes, the memory limit is 1023"));
  EXPECT_GT(default_memory_limit(), std::uint64_t{1} << 20);
  EXPECT_LE(default_memory_limit(), std::uint64_t{64} << 30);
}

TEST_F(HostileTest, T142_NamesAreEscapedInMessages) {
  const std::string name =
      "\\u001b[2J\\u001b]0;owned\\u0007\\nfake: all is well\\u009b31m\\u202edrowssap \\u0000 \\u00fc";
  const auto entry = [&](const char* shape) {
    return "{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":" + shape + ",\"data_offsets\":[0,1]}}";
  };
  const std::string shown =
      "\\x1b[2J\\x1b]0;owned\\x07\\nfake: all is well\\xc2\\x9b31m\\xe2\\x80\\xaedrowssap \\x00 \xc3\xbc'";
  EXPECT_TRUE(says(bad_file(file("a.safetensors", safetensors(entry("[2]"), "x"))), shown));
  const TensorFile tensors = open_tensors(file("b.safetensors", safetensors(entry("[1]"), "x")));
  EXPECT_TRUE(says(refusal(Code::file, [&] { tensors.read("\x1b[31mq"); }), "no tensor '\\x1b[31mq'",
                   "it has 1: '\\x1b[2J"));
  EXPECT_TRUE(says(refusal(Code::file, [&] { open_tensors(folder() / "x\n\x1b[31m.npy"); }),
                   "x\\n\\x1b[31m.npy': cannot be opened"));
  // The JSON parser's account of its last token is of raw bytes: here an 8-bit control and no UTF-8 at all.
  EXPECT_TRUE(says(bad_file(file("e.safetensors", safetensors("{\"\x7f\xc2\x9b\xff\""))),
                   "\\x7f\\xc2\\x9b\\xff", Not{"\x7f"}, Not{"\xff"}, Not{"\x9b"}));
  for (const char* bad : {"\x1b[31m", "\"\x1b[31m", "{\x1b[31m", "{'\x1b[31m': 1}",
                          "{'descr': '\x1b[31m', 'fortran_order': False, 'shape': ()}",
                          "{'descr': '<f4', 'fortran_order': \x1b[31m", "{'shape': (-\x1b[31m"}) {
    EXPECT_TRUE(says(bad_file(file("c.npy", npy(bad))), "\\x1b[31m", Not{"\x1b"}));
    EXPECT_TRUE(says(bad_file(file("d.safetensors", safetensors(std::string("{\"") + bad))), Not{"\x1b"}));
  }
}

TEST_F(HostileTest, PrintableTextIsOneSafeLine) {
  EXPECT_EQ(printable("q.npy"), "q.npy");
  EXPECT_EQ(printable("a\tb\r\n\\"), "a\\tb\\r\\n\\\\");
  EXPECT_EQ(printable("\xc3\xbc \xe2\x82\xac \xf0\x9f\x99\x82"), "\xc3\xbc \xe2\x82\xac \xf0\x9f\x99\x82");
  EXPECT_EQ(printable("\xc3 \xff \xc0\x80 \xed\xa0\x80 \xf5"),
            "\\xc3 \\xff \\xc0\\x80 \\xed\\xa0\\x80 \\xf5");
  EXPECT_EQ(printable("\x7f \xc2\x85 \xe2\x80\xa8 \xe2\x81\xa6 \xef\xbb\xbf"),
            "\\x7f \\xc2\\x85 \\xe2\\x80\\xa8 \\xe2\\x81\\xa6 \\xef\\xbb\\xbf");
  EXPECT_EQ(printable(std::string(1000, 'a'), 10), "aaaaaaaaaa...");
  EXPECT_EQ(printable("aaaaaaaaaa", 10), "aaaaaaaaaa");
}

TEST_F(HostileTest, T144_ForeignFormatsAreRefusedByName) {
  const auto message = [&](const std::string& name, const std::string& bytes) {
    return bad_file(file(name, bytes));
  };
  const std::string zip("PK\x03\x04\x14\0\0\0\0\0\0\0!\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0", 30);
  EXPECT_TRUE(says(message("a.npz", zip + "q.npy" + std::string(100, 'x')), ".npz archive"));
  EXPECT_TRUE(says(message("a.safetensors", zip + "q.npy"), ".npz archive"));
  EXPECT_TRUE(
      says(message("empty.npz", std::string("PK\x05\x06", 4) + std::string(18, '\0')), ".npz archive"));
  EXPECT_TRUE(says(message("a.bin", zip + "archive/data.pkl"), "PyTorch", "never run here"));
  EXPECT_TRUE(says(message("a.zip", zip + "notes.txt"), "a zip archive"));
  EXPECT_TRUE(says(message("legacy.pt", "\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19."), "pickle"));
  for (int protocol = 2; protocol <= 5; ++protocol) {
    const std::string pickle =
        std::string("\x80") + static_cast<char>(protocol) + "cposix\nsystem\n(S'touch owned'\ntR.";
    for (const char* name : {"a.npy", "a.safetensors", "a.pkl", "a"}) {
      EXPECT_TRUE(says(message(name, pickle), "pickle", "never run here"));
    }
  }
  EXPECT_TRUE(says(message("text.pkl", "cposix\nsystem\n(S'touch owned'\ntR."), "pickle"));
  EXPECT_TRUE(says(message("text.PT", "cposix\nsystem\n(S'touch owned'\ntR."), "pickle"));
  EXPECT_TRUE(says(message("a.npy", "\x89HDF\r\n\x1a\n        "), "HDF5"));
  EXPECT_TRUE(says(message("a.gguf", std::string("GGUF\3\0\0\0\0\0\0\0", 12)), "GGUF"));
  EXPECT_TRUE(says(message("a.npy.gz", "\x1f\x8b\x08 and more bytes"), "gzip"));
  EXPECT_TRUE(
      says(message("a.txt", "just some text, long enough to be a header"), "no .safetensors or .npy file"));
}

}  // namespace
}  // namespace bolide::files
