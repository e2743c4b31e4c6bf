// Files of case lines.
#pragma once
#include <string>
#include <vector>

#include "testing/case.hpp"

namespace bolide::cli {

/// Adds the cases of a file; empty lines and those that start with # are skipped. Throws Error{file}, and
/// what Case::parse throws with the line's number.
void read_cases(const std::string& path, std::vector<testing::Case>& cases);

}  // namespace bolide::cli
