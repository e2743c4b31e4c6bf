// Masks that people use, as text with the tensors they capture, for sequences of 512: what classification is
// judged on.
#pragma once
#include <bolide/program.hpp>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace bolide::testing {

class MaskCatalogue {
 public:
  struct Entry {
    std::string name, text;
    std::int64_t len_q = kLength, len_kv = kLength;
  };
  static constexpr int kLength = 512;
  std::vector<Entry> entries;
  Bindings bindings;

  explicit MaskCatalogue(std::uint64_t seed = 1) : random_(seed) {
    capture_tables();
    entries = {
        {"full", "true"},
        {"causal", "kv <= q"},
        {"causal, bottom right", "kv <= q + (len_kv - len_q)", 256, kLength},
        {"causal window", "q - kv <= 100 && kv <= q"},
        {"symmetric window", "abs(q - kv) <= 100"},
        {"left and right window", "kv >= q - 64 && kv <= q + 32"},
        {"prefix", "kv < 200 || kv <= q"},
        {"prefix, both inside", "(q < 200 && kv < 200) || kv <= q"},
        {"prefix per sequence", "kv < plen[b] || kv <= q"},
        {"documents", "doc[q] == doc[kv]"},
        {"documents, causal", "doc[q] == doc[kv] && kv <= q"},
        {"documents by start", "kv >= offset[doc[q]] && kv <= q"},
        {"documents by bounds", "kv >= start[q] && kv < end[q]"},
        {"documents, shuffled", "shuffled[q] == shuffled[kv]"},
        {"key length", "kv < length[b]"},
        {"key padding", "keep[kv]"},
        {"sink and window", "(kv < 4 || q - kv <= 100) && kv <= q"},
        {"longformer", "abs(q - kv) <= 60 || special[q] || special[kv]"},
        {"dilated window", "abs(q - kv) <= 128 && abs(q - kv) % 4 == 0"},
        {"strided", "kv <= q && ((q - kv) % 8 == 0 || q - kv < 8)"},
        {"block diagonal", "q // 64 == kv // 64"},
        {"block diagonal 96", "q // 96 == kv // 96"},
        {"chunked causal", "q // 128 == kv // 128 && kv <= q"},
        {"block causal", "q // 48 >= kv // 48"},
        {"mini causal", "q % 128 >= kv % 128"},
        {"block diffusion",
         "(q % 256 // 16 == kv % 256 // 16 && (q < 256) == (kv < 256)) || (q % 256 // 16 > kv % 256 // 16 && "
         "q < 256 && kv >= 256) || (q % 256 // 16 >= kv % 256 // 16 && q >= 256 && kv >= 256)"},
        {"neighbourhood",
         "abs(clamp(q // 16, 2, 29) - kv // 16) <= 2 && abs(clamp(q % 16, 2, 13) - kv % 16) <= 2"},
        {"sliding tile",
         "abs(clamp(q // 64 // 4, 1, 6) - kv // 64 // 4) <= 1 && abs(q // 64 % 4 // 2 - kv // 64 % 4 // 2) "
         "<= 0"},
        {"spatial head", "kv < 32 || q < 32 || abs(q - kv) < 128"},
        {"temporal head", "kv < 32 || q < 32 || abs((q - 32) % 120 - (kv - 32) % 120) < 30"},
        {"images by interval", "q >= interval[image[kv], 0] && q < interval[image[kv], 1]", kLength, 192},
        {"tree", "kv < 448 || (kv >= 448 && ancestor[q, clamp(kv - 448, 0, 63)])", 64, kLength},
        {"draft blocks",
         "kv < 256 || (kv >= 256 && q // 32 == (kv - 256) // 32 && (kv - 256) % 32 <= q % 32)", 256, kLength},
        {"shared prefix",
         "(kv >= offset[doc[q]] && kv <= q) || (doc[q] != parent[doc[q]] && kv >= offset[parent[doc[q]]] && "
         "kv < offset[parent[doc[q]] + 1])"},
        {"images both ways", "kv <= q || (kind[q] == 1 && kind[kv] == 1 && q // 50 == kv // 50)"},
        {"block map", "blocks[q // 64, kv // 64]"},
        {"dense", "dense[q, kv]", 128, 128},
        {"pages", "page[kv // 32] >= 0 && page[kv // 32] * 32 + kv % 32 <= q + 100", 128, kLength},
        {"hole", "kv <= q && !(q >= 128 && q < 300 && kv >= 40 && kv < 128)"},
        {"window per token", "kv <= q && q - kv <= width[q]"},
        {"threshold", "kv >= threshold[kv]"},
        {"pattern per head", "where(h % 2 == 0, kv <= q && q - kv <= 32, kv <= q)"},
        {"stream", "(q >= 4 && kv <= 4) || (kv <= q && q - kv <= 256)"},
        {"tautology", "q < kv || kv <= q"},
        {"columns", "!((q >= below[kv]) || q < above[kv])"},
        {"quadratic", "q * q >= kv * 300"},
        {"checkerboard", "(q ^ kv) & 1 == 0"},
        {"xor blocks", "(q >> 6 ^ kv >> 6) < 2"},
        {"batched in one", "q // 128 == kv // 128 && kv % 128 <= q % 128"},
        {"vertical and slash", "kv <= q && (vertical[kv] || slash[q - kv])"},
        {"striped", "q * 4 + 1 >= kv * 4 + 3"},
        {"positions", "position[q] >= position[kv]"},
        {"axial", "q // 32 == kv // 32 || q % 32 == kv % 32"},
        {"shifted windows", "q // 64 == kv // 64 && region[q % 64] == region[kv % 64]"},
        {"frames", "q // 64 >= kv // 64 && abs(q % 64 - kv % 64) <= 16"},
        {"wide dilation", "(q - kv) % 96 == 0"},
        {"log sparse", "kv <= q && q - kv & q - kv - 1 == 0"},
        {"squared window", "(q - kv) * (q - kv) <= 10000"},
        {"cancelling", "kv + (q - kv) >= kv"},
        {"contradiction", "q - kv >= 40 && q - kv <= 20"},
    };
  }

 private:
  template <class T>
  void table(const std::string& name, std::vector<T> values, const Dims& shape, DType dtype = dtype_of<T>) {
    auto kept = std::make_shared<std::vector<T>>(std::move(values));
    bindings.values.emplace(name, Tensor(kept->data(), dtype, shape));
    owners_.push_back(kept);
  }
  int below(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
  template <class F>
  std::vector<std::int32_t> ints(int n, F f) {
    std::vector<std::int32_t> v(n);
    for (int i = 0; i < n; ++i) v[i] = static_cast<std::int32_t>(f(i));
    return v;
  }
  template <class F>
  std::vector<std::uint8_t> flags(int n, F f) {
    std::vector<std::uint8_t> v(n);
    for (int i = 0; i < n; ++i) v[i] = f(i) ? 1 : 0;
    return v;
  }

  void capture_tables() {
    constexpr int kChoices[] = {7, 20, 33, 64, 90, 128}, n = kLength;
    std::vector<int> offsets{0}, ids;
    while (offsets.back() < n) {
      const int size = std::min(kChoices[below(6)], n - offsets.back());
      ids.insert(ids.end(), size, static_cast<int>(offsets.size()) - 1);
      offsets.push_back(offsets.back() + size);
    }
    const int documents = static_cast<int>(offsets.size()) - 1;
    std::vector<int> shuffled = ids, position(n);
    std::shuffle(shuffled.begin(), shuffled.end(), random_);
    for (int i = 0; i < n; ++i) position[i] = i < n / 2 ? i : 2 * n - i;
    table("plen", ints(2, [](int i) { return i ? 150 : 37; }), {2});
    table("length", ints(2, [](int i) { return i ? 500 : 300; }), {2});
    table("doc", ints(n, [&](int i) { return ids[i]; }), {n});
    table("offset", ints(documents + 1, [&](int i) { return offsets[i]; }), {documents + 1});
    table("start", ints(n, [&](int i) { return offsets[ids[i]]; }), {n});
    table("end", ints(n, [&](int i) { return offsets[ids[i] + 1]; }), {n});
    table("parent", ints(documents, [&](int i) { return i < documents / 2 ? 0 : documents / 2; }),
          {documents});
    table("shuffled", ints(n, [&](int i) { return shuffled[i]; }), {n});
    table("keep", flags(n, [](int i) { return i < 380; }), {n}, DType::boolean);
    table("special", flags(n, [](int i) { return i < 3 || i == 300; }), {n}, DType::boolean);
    table("interval", ints(6, [](int i) { return std::array{0, 200, 100, 300, 260, 512}[i]; }), {3, 2});
    table("image", ints(192, [](int i) { return i / 64; }), {192});
    std::vector<std::uint8_t> ancestor(64 * 64);
    for (int i = 0; i < 64; ++i) {
      const int parent = i ? std::max(0, i - 6) + below(i - std::max(0, i - 6)) : 0;
      for (int j = 0; j < 64; ++j) ancestor[i * 64 + j] = (i && ancestor[parent * 64 + j]) || i == j;
    }
    table("ancestor", ancestor, {64, 64}, DType::boolean);
    table("kind", ints(n, [](int i) { return i / 50 % 2; }), {n});
    table("blocks", flags(64, [&](int i) { return below(10) < 3 || i / 8 == i % 8; }), {8, 8},
          DType::boolean);
    table("dense", flags(128 * 128, [&](int) { return below(2); }), {128, 128}, DType::boolean);
    table("page", ints(16, [](int i) { return i < 10 ? std::array{5, 2, -1, 7, 0, 1, -1, 3, 4, 6}[i] : -1; }),
          {16});
    table("width", ints(n, [&](int) { return below(61); }), {n});
    table("threshold", ints(n, [&](int) { return below(n / 2 + 1); }), {n});
    table("below", ints(n, [&](int i) { return std::min(n, i + 100); }), {n});
    table("above", ints(n, [](int i) { return std::max(0, i - 20); }), {n});
    table("vertical", flags(n, [&](int i) { return i < 2 || below(100) == 0; }), {n}, DType::boolean);
    table("slash", flags(n, [&](int i) { return i < 40 || below(100) == 0; }), {n}, DType::boolean);
    table("position", ints(n, [&](int i) { return position[i]; }), {n});
    table("region", ints(64, [](int i) { return i / 8 >= 4 ? 1 : 0; }), {64});
  }

  std::mt19937_64 random_;
  std::vector<std::shared_ptr<void>> owners_;
};

}  // namespace bolide::testing
