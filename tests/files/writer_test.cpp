// The writers: every element type comes back, and a path is either untouched or complete.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>

#include "files/output_file.hpp"
#include "tests/files/support.hpp"

namespace bolide::files {
namespace {

using WriterTest = FilesTest;

constexpr DType kAll[] = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64,    DType::i32,
                          DType::i16, DType::i8,  DType::u32, DType::u8,   DType::boolean};

// Bytes that differ from each other, valid for any element type (0 and 1 for bool).
std::vector<unsigned char> some_bytes(DType dtype, std::int64_t count) {
  std::vector<unsigned char> bytes(static_cast<std::size_t>(count * size_of(dtype)));
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<unsigned char>(dtype == DType::boolean ? i % 3 == 1 : i * 37 + 11);
  return bytes;
}

std::vector<unsigned char> bytes_in(const Tensor& tensor) {
  const auto* data = static_cast<const unsigned char*>(tensor.data);
  return std::vector<unsigned char>(data, data + tensor.count() * size_of(tensor.dtype));
}

TEST_F(WriterTest, EveryTypeComesBackFromSafetensors) {
  std::vector<std::vector<unsigned char>> bytes;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (DType dtype : kAll) bytes.push_back(some_bytes(dtype, 6));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    tensors.emplace_back(name_of(kAll[i]),
                         Tensor(static_cast<const void*>(bytes[i].data()), kAll[i], Dims{2, 3}));
  }
  const Metadata metadata{{"format", "pt"}, {"a \"quoted\"\n key", "\xc3\xbc"}};
  write_safetensors(folder() / "a.safetensors", tensors, metadata);
  const TensorFile file = open_tensors(folder() / "a.safetensors");
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), std::size(kAll));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const OwnedTensor read = file.read(name_of(kAll[i]));
    EXPECT_EQ(read.view.dtype, kAll[i]);
    EXPECT_EQ(read.view.shape, (Dims{2, 3}));
    EXPECT_EQ(bytes_in(read.view), bytes[i]);
    EXPECT_EQ(file.info(name_of(kAll[i])).offset % size_of(kAll[i]), 0u) << "must lie aligned in the file";
  }
  EXPECT_EQ(num_entries(), 1u);
}

TEST_F(WriterTest, EveryTypeComesBackFromNpy) {
  for (DType dtype : kAll) {
    const std::vector<unsigned char> bytes = some_bytes(dtype, 6);
    for (const Dims& shape : {Dims{6}, Dims{3, 2}, Dims{1, 6, 1}, Dims{1, 1, 1, 1, 1, 1, 2, 3}}) {
      const Tensor tensor(static_cast<const void*>(bytes.data()), dtype, shape);
      if (dtype == DType::bf16) {
        EXPECT_TRUE(says(refusal(Code::invalid_argument, [&] { write_npy(folder() / "no.npy", tensor); }),
                         ".npy has no type for bf16"));
        continue;
      }
      const auto path = folder() / (std::string(name_of(dtype)) + ".npy");
      write_npy(path, tensor);
      const OwnedTensor read = read_npy(path);
      EXPECT_EQ(read.view.dtype, dtype);
      EXPECT_EQ(read.view.shape, shape);
      EXPECT_EQ(bytes_in(read.view), bytes);
      EXPECT_EQ((bytes_of(path).size() - bytes.size()) % 64, 0u) << "the data begins at a multiple of 64";
    }
  }
  EXPECT_FALSE(std::filesystem::exists(folder() / "no.npy"));
}

TEST_F(WriterTest, RankZeroAndEmptyTensorsComeBack) {
  const float value = 2.5f;
  write_npy(folder() / "a.npy", Tensor(&value, Dims{}));
  EXPECT_EQ(values_of<float>(read_npy(folder() / "a.npy").view), (std::vector<float>{2.5f}));
  const Tensor empty(static_cast<const void*>(nullptr), DType::f32, Dims{4, 0, 3});
  write_npy(folder() / "b.npy", empty);
  EXPECT_EQ(read_npy(folder() / "b.npy").view.shape, (Dims{4, 0, 3}));
  write_safetensors(folder() / "c.safetensors", {{"", empty}, {"scalar", Tensor(&value, Dims{})}});
  EXPECT_EQ(open_tensors(folder() / "c.safetensors").read("").view.shape, (Dims{4, 0, 3}));
  write_safetensors(folder() / "d.safetensors", {});
  EXPECT_TRUE(open_tensors(folder() / "d.safetensors").tensors().empty());
}

TEST_F(WriterTest, StridedTensorsAreWrittenContiguous) {
  std::vector<std::int16_t> data(3 * 4 * 5);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::int16_t>(i);
  const std::int16_t* p = data.data();
  struct Case {
    const char* what;
    Tensor tensor;
  };
  const Case cases[] = {
      {"contiguous", Tensor(p, DType::i16, Dims{3, 4, 5})},
      {"transposed", Tensor(p, DType::i16, Dims{3, 4, 5}).transposed(0, 2)},
      {"middle transposed", Tensor(p, DType::i16, Dims{3, 4, 5}).transposed(0, 1)},
      {"negative strides", Tensor(p + 59, DType::i16, Dims{3, 4, 5}, Dims{-20, -5, -1})},
      {"broadcast", Tensor(p, DType::i16, Dims{3, 4, 5}, Dims{0, 5, 1})},
      {"all equal", Tensor(p + 7, DType::i16, Dims{3, 4, 5}, Dims{0, 0, 0})},
      {"every other", Tensor(p, DType::i16, Dims{3, 2, 5}, Dims{20, 10, 1})},
      {"column", Tensor(p + 2, DType::i16, Dims{12, 1}, Dims{5, 77})},
      {"size-1 axes with wild strides", Tensor(p, DType::i16, Dims{1, 3, 1, 20}, Dims{-9, 20, 1000, 1})},
      {"rows with gaps", Tensor(p, DType::i16, Dims{3, 4, 3}, Dims{20, 5, 1})},
  };
  for (const Case& c : cases) {
    std::vector<std::int16_t> wanted;
    Dims shape = c.tensor.shape, strides = c.tensor.strides;
    for (std::int64_t i = 0; i < c.tensor.count(); ++i) {
      std::int64_t rest = i, at = 0;
      for (int axis = shape.rank() - 1; axis >= 0; --axis)
        at += rest % shape[axis] * strides[axis], rest /= shape[axis];
      wanted.push_back(static_cast<const std::int16_t*>(c.tensor.data)[at]);
    }
    write_npy(folder() / "a.npy", c.tensor);
    const OwnedTensor read = read_npy(folder() / "a.npy");
    EXPECT_EQ(read.view.shape, shape) << c.what;
    EXPECT_EQ(values_of<std::int16_t>(read.view), wanted) << c.what;
  }
}

TEST_F(WriterTest, LargeTensorsPassTheBuffer) {
  std::vector<std::int32_t> data(3'000'000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::int32_t>(i * 2654435761u);
  write_safetensors(folder() / "a.safetensors",
                    {{"whole", Tensor(data.data(), Dims{3000, 1000})},
                     {"turned", Tensor(data.data(), Dims{3000, 1000}).transposed(0, 1)}});
  const TensorFile file = open_tensors(folder() / "a.safetensors");
  EXPECT_EQ(values_of<std::int32_t>(file.read("whole").view), data);
  const std::vector<std::int32_t> turned = values_of<std::int32_t>(file.read("turned").view);
  for (std::size_t i = 0; i < data.size(); i += 997) ASSERT_EQ(turned[i], data[i % 3000 * 1000 + i / 3000]);
}

TEST_F(WriterTest, WhatAFormatCannotHoldIsRefusedAndNothingIsWritten) {
  const float value = 1;
  const Tensor good(&value, Dims{1});
  const auto message = [&](const std::vector<std::pair<std::string, Tensor>>& tensors,
                           const Metadata& metadata = {}) {
    return refusal(
        Code::invalid_argument, [&] { write_safetensors(folder() / "a.safetensors", tensors, metadata); },
        Cost{.bytes = 32 << 20});
  };
  EXPECT_TRUE(says(message({{"a", good}, {"b", good}, {"a", good}}), "two tensors are named 'a'"));
  EXPECT_TRUE(says(message({{"__metadata__", good}}), "'__metadata__'"));
  EXPECT_TRUE(says(message({{"\xff", good}}), "not valid UTF-8"));
  EXPECT_TRUE(says(message({{"a", good}}, {{"k", "\xff"}}), "not valid UTF-8"));
  EXPECT_TRUE(says(message({{"a", Tensor()}}), "tensor 'a' is absent"));
  EXPECT_TRUE(says(message({{"a", Tensor(&value, Dims{1}, Device::cuda(0))}}), "CUDA device"));
  EXPECT_TRUE(says(message({{"a", Tensor(&value, Dims{-1})}}), "shape [-1]"));
  EXPECT_TRUE(says(message({{"a", Tensor(&value, DType::f32, Dims{1LL << 40, 1LL << 40}, Dims{0, 0})}}),
                   "below 2^60"));
  EXPECT_TRUE(says(message({{"a", Tensor(static_cast<const void*>(nullptr), DType::f32, Dims{2})}}),
                   "8 bytes at a null address"));
  EXPECT_TRUE(
      says(message({{std::string(kMaxSafetensorsHeaderBytes, 'a'), good}}), "at most 8388608 are read"));
  EXPECT_TRUE(says(message(std::vector<std::pair<std::string, Tensor>>(kMaxTensors + 1)),
                   "65537 tensors are too many"));
  EXPECT_TRUE(
      says(refusal(Code::invalid_argument, [&] { write_npy(folder() / "a.npy", Tensor()); }), "is absent"));
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(WriterTest, BoolsAreWrittenAsZeroOrOne) {
  const unsigned char bytes[] = {0, 1, 2, 255};
  write_npy(folder() / "a.npy", Tensor(static_cast<const void*>(bytes), DType::boolean, Dims{4}));
  EXPECT_EQ(values_of<bool>(read_npy(folder() / "a.npy").view), (std::vector<bool>{false, true, true, true}));
}

TEST_F(WriterTest, T143_AnExistingFileIsReplacedWholeAndKeepsItsPermissions) {
  const auto path = file("a.npy", "old");
  std::filesystem::permissions(path, std::filesystem::perms(0640));
  std::filesystem::create_hard_link(path, folder() / "other name");
  const float value = 1;
  write_npy(path, Tensor(&value, Dims{1}));
  EXPECT_EQ(read_npy(path).view.count(), 1);
  EXPECT_EQ(static_cast<int>(std::filesystem::status(path).permissions()), 0640);
  EXPECT_EQ(bytes_of(folder() / "other name"), "old") << "written in place: a reader could see half of it";
  EXPECT_EQ(num_entries(), 2u);
}

TEST_F(WriterTest, T143_ALinkIsReplacedAndItsTargetUntouched) {
  file("precious", "do not touch");
  std::filesystem::create_symlink("precious", folder() / "a.npy");
  std::filesystem::create_symlink("nowhere", folder() / "b.npy");
  const float value = 1;
  for (const char* name : {"a.npy", "b.npy"}) {
    write_npy(folder() / name, Tensor(&value, Dims{1}));
    EXPECT_FALSE(std::filesystem::is_symlink(folder() / name));
    EXPECT_EQ(read_npy(folder() / name).view.count(), 1);
  }
  EXPECT_EQ(bytes_of(folder() / "precious"), "do not touch");
  EXPECT_EQ(num_entries(), 3u);
}

// No device is named itself, only by a link in the scratch folder: a broken writer run as root would replace
// it.
TEST_F(WriterTest, T143_DevicesPipesAndDirectoriesAreNotReplaced) {
  const float value = 1;
  const auto message = [&](const std::filesystem::path& path) {
    return refusal(Code::file, [&] { write_npy(path, Tensor(&value, Dims{1})); });
  };
  ASSERT_EQ(::mkfifo((folder() / "pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("/dev/null", folder() / "null");
  const int stream = ::open((folder() / "redirected").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  std::filesystem::create_symlink("/proc/self/fd/" + std::to_string(stream), folder() / "stdout");
  EXPECT_TRUE(says(message(folder() / "pipe"), "exists and is a pipe"));
  EXPECT_TRUE(says(message(folder() / "null"), "is a link to a character device"));
  EXPECT_TRUE(says(message(folder() / "stdout"), "is a link to a stream of this process"));
  ::close(stream);
  EXPECT_TRUE(says(message(folder()), "exists and is a directory"));
  EXPECT_TRUE(says(message(folder() / ""), "names a directory"));
  EXPECT_TRUE(says(message(folder() / ".."), "names a directory"));
  EXPECT_TRUE(says(message(""), "names a directory"));
  EXPECT_TRUE(says(message(folder() / "missing" / "a.npy"), "its directory", "No such file"));
  EXPECT_TRUE(says(message(folder() / "pipe" / "a.npy"), "Not a directory"));
  EXPECT_TRUE(says(message(folder() / std::string(300, 'a')), "too long"));
  EXPECT_TRUE(says(message((folder() / "a.npy").string() + std::string("\0.x", 3)), "zero byte"));
  EXPECT_EQ(num_entries(), 4u);
}

TEST_F(WriterTest, T143_ARenameThatFailsLeavesNothing) {
  const auto write = [&] {
    OutputFile output(folder() / "a.npy");
    output.write("bytes");
    std::filesystem::create_directory(folder() / "a.npy");  // comes between the check and the rename
    output.commit();
  };
  EXPECT_TRUE(says(refusal(Code::file, write), "cannot be completed", "Is a directory"));
  EXPECT_EQ(num_entries(), 1u);
}

// Root may write anywhere, so the directory is tried as another user.
TEST_F(WriterTest, T143_ADirectoryThatIsNotWritableIsAnError) {
  const auto path = file("kept.npy", "old");
  const auto protected_path = file("protected.npy", "old");
  std::filesystem::permissions(protected_path, std::filesystem::perms(0444));
  const bool is_root = ::geteuid() == 0;
  const float value = 1;
  std::string new_file, read_only;
  const auto as_user = [&](const std::filesystem::path& target, int folder_mode) {
    ::chmod(folder().c_str(), static_cast<mode_t>(folder_mode));
    EXPECT_EQ(is_root ? ::seteuid(65534) : 0, 0);
    const std::string message = refusal(Code::file, [&] { write_npy(target, Tensor(&value, Dims{1})); });
    EXPECT_EQ(is_root ? ::seteuid(0) : 0, 0);
    ::chmod(folder().c_str(), 0700);
    return message;
  };
  EXPECT_TRUE(says(as_user(folder() / "new.npy", 0555), "no file can be created", "Permission denied"));
  EXPECT_TRUE(says(as_user(protected_path, 0777), "not yours to overwrite"));
  EXPECT_EQ(bytes_of(path), "old");
  EXPECT_EQ(bytes_of(protected_path), "old");
  EXPECT_EQ(num_entries(), 2u);
}

// A limit on file sizes makes write() fail in the middle, as a full disk does.
TEST_F(WriterTest, T143_AFullDiskLeavesNothingAndKeepsTheOldFile) {
  const auto old = file("old.safetensors", "old");
  const std::vector<float> data(2'000'000, 1.0f);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 3'000'000, .rlim_max = before.rlim_max};
  auto* const handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string messages[] = {
      refusal(
          Code::file,
          [&] {
            write_safetensors(old, {{"a", Tensor(data.data(), Dims{2'000'000})}});
          },
          Cost{.bytes = 2 << 20}),
      refusal(
          Code::file,
          [&] {
            write_npy(folder() / "new.npy", Tensor(data.data(), Dims{1000, 2000}).transposed(0, 1));
          },
          Cost{.bytes = 2 << 20})};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  for (const std::string& message : messages)
    EXPECT_TRUE(says(message, "nothing is left behind", "too large"));
  EXPECT_EQ(bytes_of(old), "old");
  EXPECT_EQ(num_entries(), 1u);
}

}  // namespace
}  // namespace bolide::files
