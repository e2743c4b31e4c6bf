// Options and values of random cases, and how often each pair of them was drawn.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "testing/case.hpp"

namespace bolide::testing {

/// One choice a case makes. label() gives one of `values`, or "" where the choice does not arise.
struct Option {
  std::string name;
  std::vector<std::string> values;
  std::function<std::string(const Case&)> label;
};
const std::vector<Option>& options();
/// True for values of two options that no case can have together, or that are refused by contract (C3).
bool contradict(const std::string& option_a, const std::string& a, const std::string& option_b,
                const std::string& b);

class Coverage {
 public:
  Coverage();
  void add(const Case&);
  /// Fewest draws among the pairs that can be drawn.
  int least_pair() const;
  /// Every option's values with their counts, then the pairs drawn least.
  std::string table() const;

 private:
  struct Value {
    std::size_t option;
    std::string value;
  };
  bool possible(std::size_t a, std::size_t b) const;
  std::vector<Value> values_;
  std::vector<int> counts_;  // [a][b], a <= b; the diagonal counts values
  int cases_ = 0;
};

}  // namespace bolide::testing
