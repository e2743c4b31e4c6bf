// What holds for every text and every program it gives: asked by the fuzzer, and by a test of mutated texts.
#pragma once
#include <string>
#include <string_view>

namespace bolide::testing {

/// Reads the text as a mask and as a score. What parses must print and parse back the same, classify a few
/// tiles as its points say, give CUDA text that holds no name of its own, and have derivatives that evaluate.
/// Returns "" or what does not hold; throws nothing but what a defect throws.
std::string broken_property(std::string_view text);

/// Counts of texts that parsed, so that a test knows it reached more than errors.
struct PropertyCounts {
  int masks = 0, scores = 0;
};
PropertyCounts& property_counts();

}  // namespace bolide::testing
