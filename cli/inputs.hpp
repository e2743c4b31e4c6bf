// The tensors a command reads from .safetensors and .npy files, found by name.
#pragma once
#include <bolide/tensor.hpp>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "files/tensor_file.hpp"

namespace bolide::cli {

/// Open files and the tensors read from them so far. Tensors live as long as this does. A reference to a
/// tensor is NAME (in one of the files of the command line), FILE.npy, or FILE.safetensors:NAME.
class Inputs {
 public:
  /// Opens a file whose tensors may be referred to by name. Throws Error{file}.
  void open(const std::string& path);

  /// Reads the tensor, once. Throws Error{file} for damage, Error{invalid_argument} for a name that no file
  /// has (listing those there are) or that several have. `option` says in messages who asks.
  Tensor get(const std::string& option, const std::string& reference);

  /// Like get, but int64 and other integers become int32, the type of lengths and tables; a value that does
  /// not fit is an error.
  Tensor get_i32(const std::string& option, const std::string& reference);

  /// The paths of all files opened so far.
  std::vector<std::string> paths() const;

 private:
  struct File {
    std::string path;
    files::TensorFile content;
  };
  File& file(const std::string& path);
  Tensor read(File& file, const std::string& name);
  std::string listing() const;

  std::deque<File> files_;                          // in order of opening; addresses are stable
  std::vector<File*> searched_;                     // those of the command line
  std::map<std::string, files::OwnedTensor> read_;  // by "path:name"
  std::deque<std::vector<std::int32_t>> converted_;
};

}  // namespace bolide::cli
