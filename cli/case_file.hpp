// Files of case lines.
#pragma once
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "testing/case.hpp"

namespace bolide::cli {

/// Calls visit with each case of a text as it is read; empty lines and those that start with # are skipped.
/// Throws what Case::parse throws, with `name` and the line's number.
void each_case(std::istream& text, const std::string& name,
               const std::function<void(const testing::Case&)>& visit);

/// Adds the cases of a file. Throws Error{file}, and what each_case throws.
void read_cases(const std::string& path, std::vector<testing::Case>& cases);

}  // namespace bolide::cli
