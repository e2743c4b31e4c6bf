// Reads files of case lines, and names the line that is wrong.
#include "cli/case_file.hpp"

#include <fmt/core.h>

#include <filesystem>
#include <fstream>

#include "files/tensor_file.hpp"

namespace bolide::cli {

void each_case(std::istream& text, const std::string& name,
               const std::function<void(const testing::Case&)>& visit) {
  int number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos || line.starts_with('#')) continue;
    testing::Case c;
    try {
      c = testing::Case::parse(line);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}, line {}: {}", name, number, error.what()));
    }
    visit(c);
  }
}

void read_cases(const std::string& path, std::vector<testing::Case>& cases) {
  const std::string shown = files::printable(path);
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path))
    throw Error(Code::file, fmt::format("{}: there is no file of case lines here that can be read", shown));
  each_case(file, shown, [&](const testing::Case& c) { cases.push_back(c); });
  if (file.bad()) throw Error(Code::file, fmt::format("{} could not be read to its end", shown));
}

}  // namespace bolide::cli
