// Samples rows of a result that is being computed.
#include "cli/written_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace bolide::cli {
namespace {

constexpr std::int64_t kSamples = 4096;

template <class Word>
std::function<double()> watch(std::vector<const Word*> words, Word before) {
  return [words = std::move(words), before] {
    if (words.empty()) return 0.0;
    const auto done = std::count_if(words.begin(), words.end(), [before](const Word* word) {
      const Word now = __atomic_load_n(word, __ATOMIC_RELAXED);
      return now != before && now != static_cast<Word>(~Word{0});
    });
    return static_cast<double>(done) / static_cast<double>(words.size());
  };
}

// Addresses of the first elements of sampled rows of a tensor whose results fill their memory without gaps.
template <class Word>
std::vector<const Word*> sample_rows(const Tensor& t) {
  const std::int64_t row = std::max<std::int64_t>(t.size(t.rank() - 1), 1), rows = t.count() / row;
  const std::int64_t step = std::max<std::int64_t>(rows / kSamples, 1);
  std::vector<const Word*> words;
  for (std::int64_t i = 0; i < rows; i += step) words.push_back(static_cast<const Word*>(t.data) + i * row);
  return words;
}

}  // namespace

std::function<double()> share_of_lse_written(const Tensor& lse, const std::vector<float>& row_logs) {
  const auto rows = static_cast<std::int64_t>(row_logs.size());
  const std::int64_t step = std::max<std::int64_t>(rows / kSamples, 1);
  std::vector<const std::uint32_t*> words;
  for (std::int64_t i = 0; i < rows; i += step)
    if (std::isfinite(row_logs[i])) words.push_back(static_cast<const std::uint32_t*>(lse.data) + i);
  constexpr std::uint32_t kMinusInfinity = 0xff800000;
  return watch(std::move(words), kMinusInfinity);
}

std::function<double()> share_of_gradient_written(const Tensor& gradient) {
  if (size_of(gradient.dtype) == 2) return watch(sample_rows<std::uint16_t>(gradient), std::uint16_t{0});
  return watch(sample_rows<std::uint32_t>(gradient), std::uint32_t{0});
}

}  // namespace bolide::cli
