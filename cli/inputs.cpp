// Finds tensors by name in the files of the command line.
#include "cli/inputs.hpp"

#include <fmt/core.h>

#include <limits>

#include "cli/elements.hpp"

namespace bolide::cli {

namespace {

bool ends_with(const std::string& text, const char* end) { return std::string_view(text).ends_with(end); }

// The name of a .npy file's only tensor does not matter when the file is named itself.
const std::string& only_name(const files::TensorFile& file) { return file.tensors().at(0).name; }

}  // namespace

Inputs::File& Inputs::file(const std::string& path) {
  for (File& f : files_)
    if (f.path == path) return f;
  files_.push_back({path, files::open_tensors(path)});
  return files_.back();
}

void Inputs::open(const std::string& path) {
  File* opened = &file(path);
  for (const File* f : searched_)
    if (f == opened) return;
  searched_.push_back(opened);
}

Tensor Inputs::read(File& file, const std::string& name) {
  const std::string key = file.path + ":" + name;
  auto found = read_.find(key);
  if (found == read_.end()) found = read_.emplace(key, file.content.read(name)).first;
  return found->second.view;
}

Tensor Inputs::get(const std::string& option, const std::string& reference) {
  File* holder = nullptr;
  for (File* f : searched_) {
    if (!f->content.contains(reference)) continue;
    if (holder)
      throw Error(
          Code::invalid_argument,
          fmt::format(
              "{} {}: both {} and {} have a tensor of this name; say FILE.npy or FILE.safetensors:NAME",
              option, files::printable(reference), files::printable(holder->path),
              files::printable(f->path)));
    holder = f;
  }
  if (holder) return read(*holder, reference);
  if (ends_with(reference, ".npy")) {
    File& npy = file(reference);
    return read(npy, only_name(npy.content));
  }
  if (const auto colon = reference.find(".safetensors:"); colon != std::string::npos) {
    const std::size_t path_length = colon + std::string_view(".safetensors").size();
    return read(file(reference.substr(0, path_length)), reference.substr(path_length + 1));
  }
  throw Error(Code::invalid_argument, fmt::format("{} {}: no tensor of this name; {}", option,
                                                  files::printable(reference), listing()));
}

Tensor Inputs::get_i32(const std::string& option, const std::string& reference) {
  const Tensor t = get(option, reference);
  if (t.dtype == DType::i32) return t;
  if (!is_integer(t.dtype))
    throw Error(Code::invalid_problem,
                fmt::format("{} {} has elements of type {}; lengths and tables are integers", option,
                            files::printable(reference), name_of(t.dtype)));
  std::vector<std::int32_t>& values = converted_.emplace_back();
  values.reserve(t.count());
  for_each_element(t.shape, [&](const Index& at) {
    const std::int64_t value = integer_at(t, at);
    if (value < std::numeric_limits<std::int32_t>::min() || value > std::numeric_limits<std::int32_t>::max())
      throw Error(Code::invalid_problem, fmt::format("{} {} holds {}, which does not fit in 32 bits", option,
                                                     files::printable(reference), value));
    values.push_back(static_cast<std::int32_t>(value));
  });
  return Tensor(values.data(), t.shape);
}

std::vector<std::string> Inputs::paths() const {
  std::vector<std::string> all;
  for (const File& f : files_) all.push_back(f.path);
  return all;
}

std::string Inputs::listing() const {
  if (searched_.empty())
    return "no input file is given: give one, or refer to a tensor as FILE.npy or FILE.safetensors:NAME";
  constexpr std::size_t kMost = 40;
  std::string text;
  for (const File* f : searched_) {
    text += fmt::format("{}{} has", text.empty() ? "" : "; ", files::printable(f->path));
    const auto& tensors = f->content.tensors();
    if (tensors.empty()) text += " no tensors";
    for (std::size_t i = 0; i < tensors.size() && i < kMost; ++i)
      text += fmt::format("{} {}", i ? "," : "", files::printable(tensors[i].name, 80));
    if (tensors.size() > kMost) text += fmt::format(" and {} more", tensors.size() - kMost);
  }
  return text;
}

}  // namespace bolide::cli
