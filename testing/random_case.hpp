// Random cases over the whole space of combinations, reproducible from two numbers.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "testing/case.hpp"

namespace bolide::testing {

/// Keeps draws to those with the given values of options (coverage.hpp names both): "op=bwd,varlen_bwd
/// kv=paged". An empty filter keeps everything.
class Filter {
 public:
  Filter() = default;
  /// Throws Error{invalid_argument} that names the option or value and lists what there is.
  static Filter parse(std::string_view text);
  bool matches(const Case&) const;

 private:
  std::vector<std::pair<std::size_t, std::vector<std::string>>> wanted_;
};

/// Case number `index` of `seed`. None contradicts itself and none is refused. Throws Error{invalid_argument}
/// when a hundred thousand draws give nothing that matches.
Case draw(std::uint64_t seed, std::uint64_t index, const Filter& filter = {});

}  // namespace bolide::testing
