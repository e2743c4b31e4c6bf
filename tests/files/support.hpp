// What the tests of the file readers share: a scratch folder, files made byte by byte, and the refusal every
// bad file must meet.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "files/tensor_file.hpp"

namespace bolide::files {

/// A new empty folder for each test, removed after it.
class FilesTest : public ::testing::Test {
 protected:
  FilesTest();
  ~FilesTest() override;
  std::filesystem::path folder() const { return folder_; }
  /// The folder's file of this name, written with these bytes.
  std::filesystem::path file(const std::string& name, const std::string& bytes) const;
  /// How many entries the folder has, hidden ones included.
  std::size_t num_entries() const;

 private:
  std::filesystem::path folder_;
};

std::string bytes_of(const std::filesystem::path& path);

/// A .safetensors file of this header and these bytes of data.
std::string safetensors(const std::string& header, const std::string& data = "");
/// A .npy file of this header, padded and ended as the format wants.
std::string npy(std::string header, const std::string& data = "", int major = 1);
/// npy() of a C-order array of this type and shape: "(2, 3)".
std::string npy_of(const std::string& descr, const std::string& shape, const std::string& data);

/// What a refusal may cost: bytes allocated at once, and seconds of this thread's time (more under a
/// sanitizer).
struct Cost {
  std::size_t bytes = 1 << 20;
  double seconds = 0.1;
};
/// The message with which `call` throws Error{code}; fails the test when it does not, or costs more.
std::string refusal(Code code, const std::function<void()>& call, const Cost& most = {});
/// The message that refuses to open the file or to read one of its tensors. It must name the file.
std::string bad_file(const std::filesystem::path& path, const Cost& most = {});

template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  const auto* data = static_cast<const T*>(tensor.data);
  return std::vector<T>(data, data + tensor.count());
}

/// A text that a message must not hold.
struct Not {
  std::string text;
};
inline bool holds(const std::string& message, const std::string& text) {
  return message.find(text) != std::string::npos;
}
inline bool holds(const std::string& message, const Not& none) { return !holds(message, none.text); }

/// Whether the message holds every one of the texts; shows it otherwise.
template <class... Texts>
::testing::AssertionResult says(const std::string& message, const Texts&... texts) {
  if ((holds(message, texts) && ...)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "the message is: " << message;
}

}  // namespace bolide::files
