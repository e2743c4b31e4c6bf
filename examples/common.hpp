// What the examples share: numbers to work on, memory to work in, and a way to say how far two results
// differ.
#pragma once
#include <bolide/bolide.hpp>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

namespace example {

/// n normally distributed numbers.
inline std::vector<float> noise(std::int64_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& x : values) x = normal(engine);
  return values;
}

/// A workspace for one plan at a time.
class Scratch {
 public:
  explicit Scratch(const bolide::Plan& plan) : blocks_(plan.workspace_bytes() / sizeof(Block) + 1) {}
  operator bolide::Workspace() { return {blocks_.data(), blocks_.size() * sizeof(Block)}; }

 private:
  struct alignas(256) Block {
    char bytes[256];
  };
  std::vector<Block> blocks_;
};

/// The largest difference, relative to the largest value; prints it with what it is of.
inline double difference(const char* what, const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::fmax(most, std::fabs(a[i] - b[i]));
    largest = std::fmax(largest, std::fabs(b[i]));
  }
  std::printf("%s: largest difference %.1e of the largest value\n", what, most / largest);
  return most / largest;
}

}  // namespace example
