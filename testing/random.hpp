// Random numbers that are the same on every machine, and numbers found by counting: value i of a seed.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace bolide::testing {

/// A bijection of 64 bits that leaves no visible pattern (SplitMix64's finaliser; Steele, Lea, Flood 2014).
constexpr std::uint64_t scramble(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}
constexpr std::uint64_t scramble(std::uint64_t a, std::uint64_t b) { return scramble(scramble(a) ^ b); }

/// In [0, 1).
inline double unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }
/// Standard normal.
inline double normal(std::uint64_t bits) {
  const double radius = std::sqrt(-2 * std::log(1 - unit(bits)));
  return radius * std::cos(2 * std::numbers::pi * unit(scramble(bits)));
}

/// A stream of random numbers.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(scramble(seed)) {}
  std::uint64_t bits() { return scramble(state_++); }
  double uniform() { return unit(bits()); }
  /// In [low, high], both included; low when high < low.
  std::int64_t between(std::int64_t low, std::int64_t high) {
    if (high <= low) return low;
    return low + static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(double probability) { return uniform() < probability; }
  /// Log-uniform in [low, high], low >= 1.
  std::int64_t log_between(std::int64_t low, std::int64_t high) {
    const double x = std::exp(std::log(static_cast<double>(low)) +
                              uniform() * std::log(static_cast<double>(high + 1) / static_cast<double>(low)));
    return std::min(high, std::max(low, static_cast<std::int64_t>(x)));
  }

 private:
  std::uint64_t state_;
};

}  // namespace bolide::testing
