// Named lists of cases to time: the tables of docs/performance.md.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "testing/case.hpp"

namespace bolide::testing {

struct Suite {
  const char* name;
  const char* what;
};
/// forward, programs, layouts, decode.
std::span<const Suite> suites();

/// The cases of a suite. Throws Error{invalid_argument} with the names there are.
std::vector<Case> suite_cases(const std::string& name);

}  // namespace bolide::testing
