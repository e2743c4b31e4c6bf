// The masks of the catalogue, each as text and as C++, and the tensors they capture.
#include "tests/program/catalogue.hpp"

#include <bolide/error.hpp>

#include <algorithm>
#include <cctype>
#include <numeric>
#include <random>

#include "testing/captured.hpp"
#include "tests/program/plain_integer.hpp"

namespace bolide::testing {

namespace {

constexpr int kLength = 512;
using Ints = std::vector<std::int32_t>;
using Flags = std::vector<std::uint8_t>;

template <class F>
Ints ints_of(int n, F f) {
  Ints v(n);
  for (int i = 0; i < n; ++i) v[i] = static_cast<std::int32_t>(f(i));
  return v;
}
template <class F>
Flags flags_of(int n, F f) {
  Flags v(n);
  for (int i = 0; i < n; ++i) v[i] = f(i) ? 1 : 0;
  return v;
}

class Dice {
 public:
  int below(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
  std::mt19937_64& engine() { return random_; }

 private:
  std::mt19937_64 random_{1};
};

}  // namespace

template <class T>
Tensor Catalogue::add(const std::string& name, std::vector<T> values, const Dims& shape, DType dtype,
                      const std::string& generator) {
  auto kept = std::make_shared<std::vector<T>>(std::move(values));
  const Tensor tensor(kept->data(), dtype, shape);
  tables_.push_back({name, tensor, generator, kept});
  return tensor;
}

const Tensor& Catalogue::table(const char* name) const {
  for (const CatalogueTable& t : tables_)
    if (t.name == name) return t.tensor;
  throw Error(Code::invalid_argument, std::string("the catalogue has no table ") + name);
}

Bindings Catalogue::bindings() const {
  Bindings all;
  for (const CatalogueTable& t : tables_) all.values.emplace(t.name, t.tensor);
  return all;
}

void Catalogue::add_documents() {
  Dice dice;
  constexpr int kSizes[] = {7, 20, 33, 64, 90, 128}, n = kLength;
  std::vector<int> offsets{0}, ids;
  while (offsets.back() < n) {
    const int size = std::min(kSizes[dice.below(6)], n - offsets.back());
    ids.insert(ids.end(), size, static_cast<int>(offsets.size()) - 1);
    offsets.push_back(offsets.back() + size);
  }
  const int documents = static_cast<int>(offsets.size()) - 1;
  std::vector<int> shuffled = ids;
  std::shuffle(shuffled.begin(), shuffled.end(), dice.engine());
  const auto integers = [&](const char* name, Ints values, const char* generator) {
    const Dims shape{static_cast<std::int64_t>(values.size())};
    add(name, std::move(values), shape, DType::i32, generator);
  };
  integers("doc", ints_of(n, [&](int i) { return ids[i]; }), "runs(512)");
  integers("offset", ints_of(documents + 1, [&](int i) { return offsets[i]; }), "randint(0,512,20)");
  integers("start", ints_of(n, [&](int i) { return offsets[ids[i]]; }), "randint(0,300,512)");
  integers("end", ints_of(n, [&](int i) { return offsets[ids[i] + 1]; }), "randint(200,513,512)");
  integers("parent", ints_of(documents, [&](int i) { return i < documents / 2 ? 0 : documents / 2; }),
           "randint(0,10,20)");
  integers("shuffled", ints_of(n, [&](int i) { return shuffled[i]; }), "randint(0,10,512)");
  integers("prompt", ints_of(documents, [&](int i) { return (offsets[i + 1] - offsets[i]) / 3; }),
           "randint(0,40,20)");
  add("batched", ints_of(2 * n, [&](int i) { return i < n ? ids[i] : i % n / 100; }), {2, n}, DType::i32,
      "runs(2,512)");
  integers("cu_q", ints_of(3, [](int i) { return std::array{0, 200, 512}[i]; }), "randint(0,200,3)");
  integers("cu_kv", ints_of(3, [](int i) { return std::array{0, 256, 512}[i]; }), "randint(0,200,3)");
}

void Catalogue::add_positions() {
  Dice dice;
  constexpr int n = kLength;
  const auto integers = [&](const char* name, Ints values, const char* generator) {
    const Dims shape{static_cast<std::int64_t>(values.size())};
    add(name, std::move(values), shape, DType::i32, generator);
  };
  const auto flags = [&](const char* name, Flags values, const Dims& shape, const char* generator) {
    add(name, std::move(values), shape, DType::boolean, generator);
  };
  integers("prefix", ints_of(2, [](int i) { return i ? 37 : 150; }), "randint(0,300,2)");
  integers("length", ints_of(2, [](int i) { return i ? 500 : 300; }), "randint(0,512,2)");
  integers("length_q", ints_of(2, [](int i) { return i ? 512 : 400; }), "randint(200,300,2)");
  integers("cached", ints_of(2, [](int i) { return i ? 200 : 44; }), "randint(0,200,2)");
  integers("width", ints_of(n, [&](int) { return dice.below(61); }), "randint(0,61,512)");
  integers("threshold", ints_of(n, [&](int) { return dice.below(n / 2 + 1); }), "randint(0,257,512)");
  integers("position", ints_of(n, [](int i) { return i < n / 2 ? i : 2 * n - i; }), "randint(0,512,512)");
  integers("region", ints_of(64, [](int i) { return i / 8 >= 4 ? 1 : 0; }), "randint(0,2,64)");
  integers("lts", ints_of(n, [n](int i) { return std::min(n, i + 60); }), "randint(0,512,512)");
  integers("lte", ints_of(n, [n](int i) { return std::min(n, i + 220); }), "randint(0,512,512)");
  integers("uts", ints_of(n, [](int i) { return std::max(0, i - 150); }), "randint(0,300,512)");
  integers("ute", ints_of(n, [](int i) { return std::max(0, i - 20); }), "randint(0,512,512)");
  flags("keep", flags_of(2 * n, [](int i) { return i % n < (i < n ? 380 : 200); }), {2, n},
        "randbool(0.8,2,512)");
  flags("special", flags_of(n, [](int i) { return i < 3 || i == 300; }), {n}, "randbool(0.1,512)");
  flags("vertical", flags_of(n, [&](int i) { return i < 2 || dice.below(100) == 0; }), {n},
        "randbool(0.1,512)");
  flags("slash", flags_of(n, [&](int i) { return i < 40 || dice.below(100) == 0; }), {n},
        "randbool(0.1,512)");
  flags("heavy", flags_of(n, [&](int i) { return i < 4 || dice.below(8) == 0; }), {n}, "randbool(0.2,512)");
  flags("blocks", flags_of(64, [&](int i) { return dice.below(10) < 3 || i / 8 == i % 8; }), {8, 8},
        "randbool(0.4,8,8)");
  flags("dense", flags_of(128 * 128, [&](int) { return dice.below(2); }), {128, 128},
        "randbool(0.5,128,128)");
  std::vector<std::uint32_t> words(128 * 4);
  for (std::uint32_t& w : words) w = static_cast<std::uint32_t>(dice.engine()() & dice.engine()());
  add("bits", words, {128, 4}, DType::u32, "randint(0,4294967296,128,4):u32");
}

void Catalogue::add_images_and_pages() {
  Dice dice;
  const auto integers = [&](const char* name, Ints values, const char* generator) {
    const Dims shape{static_cast<std::int64_t>(values.size())};
    add(name, std::move(values), shape, DType::i32, generator);
  };
  integers("kind", ints_of(kLength, [](int i) { return i / 50 % 2; }), "randint(0,2,512)");
  integers("image", ints_of(192, [](int i) { return i / 64; }), "randint(0,3,192)");
  add("interval", ints_of(6, [](int i) { return std::array{0, 200, 100, 300, 260, 512}[i]; }), {3, 2},
      DType::i32, "randint(0,512,3,2)");
  Flags ancestor(64 * 64);
  for (int i = 0; i < 64; ++i) {
    const int parent = i ? std::max(0, i - 6) + dice.below(i - std::max(0, i - 6)) : 0;
    for (int j = 0; j < 64; ++j) ancestor[i * 64 + j] = (i && ancestor[parent * 64 + j]) || i == j;
  }
  add("ancestor", ancestor, {64, 64}, DType::boolean, "randbool(0.4,64,64)");
  integers("page",
           ints_of(16, [](int i) { return i < 10 ? std::array{5, 2, -1, 7, 0, 1, -1, 3, 4, 6}[i] : -1; }),
           "randint(-1,9,16)");
  integers("owner", ints_of(16, [](int i) { return std::array{0, 2, 1, 0, 1, 2, 0, 1}[i % 8]; }),
           "randint(0,3,16)");
  integers(
      "logical",
      ints_of(16, [](int i) { return std::array{0, 0, 0, 1, 1, 1, 2, 2, 3, 2, -1, 4, 3, -1, -1, 3}[i]; }),
      "randint(-1,6,16)");
  integers("request", ints_of(128, [](int i) { return i < 50 ? 0 : i < 90 ? 1 : 2; }), "randint(0,3,128)");
  integers("token", ints_of(128, [](int i) { return i < 50   ? i + 60
                                                    : i < 90 ? i
                                                             : i - 90; }),
           "randint(0,200,128)");
}

namespace {

using IntTables = PlainTable<IntTable>;
using BoolTables = PlainTable<BoolTable>;

template <class Lambda>
CatalogueMask entry(const char* id, const char* name, const char* text, const char* code,
                    const Lambda& lambda) {
  return {id,
          name,
          text,
          code,
          Mask(lambda),
          [lambda](std::int64_t b, std::int64_t h, std::int64_t q, std::int64_t kv) {
            return BoolExpr(lambda(Plain(b), Plain(h), Plain(q), Plain(kv)));
          }};
}

}  // namespace

// One entry: the stringised lambda is the C++ that docs/gallery.md shows.
#define BOLIDE_ENTRY(id, name, text, ...) masks_.push_back(entry(id, name, text, #__VA_ARGS__, __VA_ARGS__))

Catalogue::Catalogue() {
  add_documents();
  add_positions();
  add_images_and_pages();
  const auto integers = [&](const char* name) { return IntTables(table(name), ints(table(name), name)); };
  const auto booleans = [&](const char* name) { return BoolTables(table(name), bools(table(name), name)); };
  const IntTables doc = integers("doc"), offset = integers("offset"), start = integers("start"),
                  end = integers("end"), parent = integers("parent"), shuffled = integers("shuffled"),
                  prompt = integers("prompt"), batched = integers("batched"), cu_q = integers("cu_q"),
                  cu_kv = integers("cu_kv"), prefix = integers("prefix"), length = integers("length"),
                  length_q = integers("length_q"), cached = integers("cached"), width = integers("width"),
                  threshold = integers("threshold"), position = integers("position"),
                  region = integers("region"), lts = integers("lts"), lte = integers("lte"),
                  uts = integers("uts"), ute = integers("ute"), kind = integers("kind"),
                  image = integers("image"), interval = integers("interval"), page = integers("page"),
                  owner = integers("owner"), logical = integers("logical"), request = integers("request"),
                  token = integers("token"), bits = integers("bits");
  const BoolTables keep = booleans("keep"), special = booleans("special"), vertical = booleans("vertical"),
                   slash = booleans("slash"), heavy = booleans("heavy"), blocks = booleans("blocks"),
                   dense = booleans("dense"), ancestor = booleans("ancestor");
  const auto sized = [&](std::int64_t len_q, std::int64_t len_kv) {
    masks_.back().len_q = len_q, masks_.back().len_kv = len_kv;
  };
  BOLIDE_ENTRY("M01", "everything", "true", [](auto, auto, auto, auto) { return BoolExpr(true); });
  BOLIDE_ENTRY("M02", "causal", "kv <= q", [](auto, auto, auto q, auto kv) { return kv <= q; });
  BOLIDE_ENTRY("M03", "causal from the bottom right, stated by lengths", "kv <= q + (len_kv - len_q)",
               [](auto, auto, auto q, auto kv) { return kv <= q + (leaf::len_kv - leaf::len_q); });
  sized(256, 512);
  BOLIDE_ENTRY("M04", "causal sliding window", "q - kv <= 100 && kv <= q",
               [](auto, auto, auto q, auto kv) { return q - kv <= 100 && kv <= q; });
  BOLIDE_ENTRY("M05", "symmetric window", "abs(q - kv) <= 100",
               [](auto, auto, auto q, auto kv) { return abs(q - kv) <= 100; });
  BOLIDE_ENTRY("M06", "left and right window", "kv >= q - 64 && kv <= q + 32",
               [](auto, auto, auto q, auto kv) { return kv >= q - 64 && kv <= q + 32; });
  BOLIDE_ENTRY("M07", "prefix-LM", "kv < 200 || kv <= q",
               [](auto, auto, auto q, auto kv) { return kv < 200 || kv <= q; });
  BOLIDE_ENTRY("M08", "prefix-LM, both inside", "(q < 200 && kv < 200) || kv <= q",
               [](auto, auto, auto q, auto kv) { return (q < 200 && kv < 200) || kv <= q; });
  BOLIDE_ENTRY("M09", "prefix-LM with a prefix per sequence", "kv < prefix[b] || kv <= q",
               [=](auto b, auto, auto q, auto kv) { return kv < prefix[b] || kv <= q; });
  BOLIDE_ENTRY("M10", "packed documents", "doc[q] == doc[kv]",
               [=](auto, auto, auto q, auto kv) { return doc[q] == doc[kv]; });
  BOLIDE_ENTRY("M10b", "packed documents per batch entry", "batched[b, q] == batched[b, kv]",
               [=](auto b, auto, auto q, auto kv) { return batched(b, q) == batched(b, kv); });
  BOLIDE_ENTRY("M11", "packed documents, causal", "doc[q] == doc[kv] && kv <= q",
               [=](auto, auto, auto q, auto kv) { return doc[q] == doc[kv] && kv <= q; });
  BOLIDE_ENTRY("M12", "the same by the document's start", "kv >= offset[doc[q]] && kv <= q",
               [=](auto, auto, auto q, auto kv) { return kv >= offset[doc[q]] && kv <= q; });
  BOLIDE_ENTRY("M13", "documents by their bounds", "kv >= start[q] && kv < end[q]",
               [=](auto, auto, auto q, auto kv) { return kv >= start[q] && kv < end[q]; });
  BOLIDE_ENTRY("M14", "shuffled document numbers", "shuffled[q] == shuffled[kv]",
               [=](auto, auto, auto q, auto kv) { return shuffled[q] == shuffled[kv]; });
  BOLIDE_ENTRY("M15", "padding by lengths", "kv < length[b] && q < length_q[b]",
               [=](auto b, auto, auto q, auto kv) { return kv < length[b] && q < length_q[b]; });
  BOLIDE_ENTRY("M16", "key-padding tensor", "keep[b, kv]",
               [=](auto b, auto, auto, auto kv) { return keep(b, kv); });
  BOLIDE_ENTRY("M17", "attention sink and window", "(kv < 4 || q - kv <= 100) && kv <= q",
               [](auto, auto, auto q, auto kv) { return (kv < 4 || q - kv <= 100) && kv <= q; });
  BOLIDE_ENTRY("M18", "Longformer", "abs(q - kv) <= 60 || special[q] || special[kv]",
               [=](auto, auto, auto q, auto kv) { return abs(q - kv) <= 60 || special[q] || special[kv]; });
  BOLIDE_ENTRY("M19", "dilated window", "abs(q - kv) <= 128 && abs(q - kv) % 4 == 0",
               [](auto, auto, auto q, auto kv) { return abs(q - kv) <= 128 && abs(q - kv) % 4 == 0; });
  BOLIDE_ENTRY("M20", "strided (Sparse Transformer)", "kv <= q && ((q - kv) % 8 == 0 || q - kv < 8)",
               [](auto, auto, auto q, auto kv) { return kv <= q && ((q - kv) % 8 == 0 || q - kv < 8); });
  BOLIDE_ENTRY("M21", "block diagonal", "q // 64 == kv // 64",
               [](auto, auto, auto q, auto kv) { return floor_div(q, 64) == floor_div(kv, 64); });
  BOLIDE_ENTRY("M22", "block diagonal, blocks of 96", "q // 96 == kv // 96",
               [](auto, auto, auto q, auto kv) { return floor_div(q, 96) == floor_div(kv, 96); });
  BOLIDE_ENTRY(
      "M23", "chunked causal (Llama 4)", "q // 128 == kv // 128 && kv <= q",
      [](auto, auto, auto q, auto kv) { return floor_div(q, 128) == floor_div(kv, 128) && kv <= q; });
  BOLIDE_ENTRY("M24", "block causal", "q // 48 >= kv // 48",
               [](auto, auto, auto q, auto kv) { return floor_div(q, 48) >= floor_div(kv, 48); });
  BOLIDE_ENTRY("M25", "mini causal", "q % 128 >= kv % 128",
               [](auto, auto, auto q, auto kv) { return q % 128 >= kv % 128; });
  BOLIDE_ENTRY("M26", "block diffusion (BD3-LM)",
               "(q % 256 // 16 == kv % 256 // 16 && (q < 256) == (kv < 256)) || "
               "(q % 256 // 16 > kv % 256 // 16 && q < 256 && !(kv < 256)) || "
               "(q % 256 // 16 >= kv % 256 // 16 && !(q < 256) && !(kv < 256))",
               [](auto, auto, auto q, auto kv) {
                 const auto q_block = floor_div(q % 256, 16), kv_block = floor_div(kv % 256, 16);
                 const auto q_noised = q < 256, kv_noised = kv < 256;
                 return (q_block == kv_block && q_noised == kv_noised) ||
                        (q_block > kv_block && q_noised && !kv_noised) ||
                        (q_block >= kv_block && !q_noised && !kv_noised);
               });
  BOLIDE_ENTRY("M27", "2-D neighbourhood (NATTEN), 16 columns",
               "abs(clamp(q // 16, 2, 29) - kv // 16) <= 2 && abs(clamp(q % 16, 2, 13) - kv % 16) <= 2",
               [](auto, auto, auto q, auto kv) {
                 return abs(clamp(floor_div(q, 16), 2, 29) - floor_div(kv, 16)) <= 2 &&
                        abs(clamp(q % 16, 2, 13) - kv % 16) <= 2;
               });
  BOLIDE_ENTRY("M28", "2-D neighbourhood, stored in 4 x 4 tiles",
               "abs(clamp(q // 16 % 8 * 4 + q % 4, 2, 29) - (kv // 16 % 8 * 4 + kv % 4)) <= 2 && "
               "abs(clamp(q // 128 * 4 + q % 16 // 4, 2, 13) - (kv // 128 * 4 + kv % 16 // 4)) <= 2",
               [](auto, auto, auto q, auto kv) {
                 const auto x = [](auto p) { return floor_div(p, 16) % 8 * 4 + p % 4; };
                 const auto y = [](auto p) { return floor_div(p, 128) * 4 + floor_div(p % 16, 4); };
                 return abs(clamp(x(q), 2, 29) - x(kv)) <= 2 && abs(clamp(y(q), 2, 13) - y(kv)) <= 2;
               });
  BOLIDE_ENTRY("M29", "2-D neighbourhood, stored in Morton order",
               "abs(clamp((q & 1) | (q >> 1 & 2) | (q >> 2 & 4) | (q >> 3 & 8) | (q >> 4 & 16), 2, 29) - "
               "((kv & 1) | (kv >> 1 & 2) | (kv >> 2 & 4) | (kv >> 3 & 8) | (kv >> 4 & 16))) <= 2 && "
               "abs(clamp((q >> 1 & 1) | (q >> 2 & 2) | (q >> 3 & 4) | (q >> 4 & 8), 2, 13) - "
               "((kv >> 1 & 1) | (kv >> 2 & 2) | (kv >> 3 & 4) | (kv >> 4 & 8))) <= 2",
               [](auto, auto, auto q, auto kv) {
                 const auto x = [](auto p) {
                   return (p & 1) | (p >> 1 & 2) | (p >> 2 & 4) | (p >> 3 & 8) | (p >> 4 & 16);
                 };
                 const auto y = [](auto p) {
                   return (p >> 1 & 1) | (p >> 2 & 2) | (p >> 3 & 4) | (p >> 4 & 8);
                 };
                 return abs(clamp(x(q), 2, 29) - x(kv)) <= 2 && abs(clamp(y(q), 2, 13) - y(kv)) <= 2;
               });
  BOLIDE_ENTRY("M30", "sliding tile attention, 2-D",
               "abs(clamp(q // 64 // 4, 1, 6) - kv // 64 // 4) <= 1 && "
               "abs(q // 64 % 4 // 2 - kv // 64 % 4 // 2) <= 0",
               [](auto, auto, auto q, auto kv) {
                 const auto row = [](auto p) { return floor_div(floor_div(p, 64), 4); };
                 const auto column = [](auto p) { return floor_div(floor_div(p, 64) % 4, 2); };
                 return abs(clamp(row(q), 1, 6) - row(kv)) <= 1 && abs(column(q) - column(kv)) <= 0;
               });
  BOLIDE_ENTRY("M30b", "sliding tile attention, 3-D and text",
               "q >= 448 || kv >= 448 || (abs(clamp(q // 128, 1, 2) - kv // 128) <= 1 && "
               "abs(q // 32 % 4 // 2 - kv // 32 % 4 // 2) <= 0 && abs(q // 32 % 2 - kv // 32 % 2) <= 1)",
               [](auto, auto, auto q, auto kv) {
                 const auto frame = [](auto p) { return floor_div(p, 128); };
                 const auto row = [](auto p) { return floor_div(floor_div(p, 32) % 4, 2); };
                 const auto column = [](auto p) { return floor_div(p, 32) % 2; };
                 return q >= 448 || kv >= 448 ||
                        (abs(clamp(frame(q), 1, 2) - frame(kv)) <= 1 && abs(row(q) - row(kv)) <= 0 &&
                         abs(column(q) - column(kv)) <= 1);
               });
  BOLIDE_ENTRY("M31", "spatial head (Sparse VideoGen)", "kv < 32 || q < 32 || abs(q - kv) < 128",
               [](auto, auto, auto q, auto kv) { return kv < 32 || q < 32 || abs(q - kv) < 128; });
  BOLIDE_ENTRY("M32", "temporal head (Sparse VideoGen)",
               "kv < 32 || q < 32 || abs((q - 32) % 120 - (kv - 32) % 120) < 30",
               [](auto, auto, auto q, auto kv) {
                 return kv < 32 || q < 32 || abs((q - 32) % 120 - (kv - 32) % 120) < 30;
               });
  BOLIDE_ENTRY("M33", "images seen by an interval of text (Flamingo)",
               "q >= interval[image[kv], 0] && q < interval[image[kv], 1]", [=](auto, auto, auto q, auto kv) {
                 return q >= interval(image[kv], 0) && q < interval(image[kv], 1);
               });
  sized(512, 192);
  BOLIDE_ENTRY("M34", "tree of drafts (Medusa, EAGLE)",
               "kv < 448 || (kv >= 448 && ancestor[q, clamp(kv - 448, 0, 63)])",
               [=](auto, auto, auto q, auto kv) {
                 return kv < 448 || (kv >= 448 && ancestor(q, clamp(kv - 448, 0, 63)));
               });
  sized(64, 512);
  BOLIDE_ENTRY("M35", "blocks of drafts in training",
               "kv < 256 || (kv >= 256 && q // 32 == (kv - 256) // 32 && (kv - 256) % 32 <= q % 32)",
               [](auto, auto, auto q, auto kv) {
                 return kv < 256 || (kv >= 256 && floor_div(q, 32) == floor_div(kv - 256, 32) &&
                                     (kv - 256) % 32 <= q % 32);
               });
  sized(256, 512);
  BOLIDE_ENTRY(
      "M36", "shared prefix (GRPO)",
      "(kv >= offset[doc[q]] && kv <= q) || (doc[q] != parent[doc[q]] && kv >= offset[parent[doc[q]]] && "
      "kv < offset[parent[doc[q]] + 1])",
      [=](auto, auto, auto q, auto kv) {
        const auto own = doc[q], shared = parent[doc[q]];
        return (kv >= offset[own] && kv <= q) ||
               (own != shared && kv >= offset[shared] && kv < offset[shared + 1]);
      });
  BOLIDE_ENTRY("M37", "images both ways, text causal (PaliGemma)",
               "kv <= q || (kind[q] == 1 && kind[kv] == 1 && q // 50 == kv // 50)",
               [=](auto, auto, auto q, auto kv) {
                 return kv <= q || (kind[q] == 1 && kind[kv] == 1 && floor_div(q, 50) == floor_div(kv, 50));
               });
  BOLIDE_ENTRY("M38", "block map (MoBA, NSA, VSA)", "blocks[q // 64, kv // 64]",
               [=](auto, auto, auto q, auto kv) { return blocks(floor_div(q, 64), floor_div(kv, 64)); });
  BOLIDE_ENTRY("M39", "any mask as a tensor", "dense[q, kv]",
               [=](auto, auto, auto q, auto kv) { return dense(q, kv); });
  sized(128, 128);
  BOLIDE_ENTRY("M39b", "any mask, 32 keys to a word", "(bits[q, kv >> 5] >> (kv & 31) & 1) != 0",
               [=](auto, auto, auto q, auto kv) { return (bits(q, kv >> 5) >> (kv & 31) & 1) != 0; });
  sized(128, 128);
  BOLIDE_ENTRY("M40", "any mask over physical pages",
               "page[kv // 32] >= 0 && page[kv // 32] * 32 + kv % 32 <= q + 100",
               [=](auto, auto, auto q, auto kv) {
                 const auto logical_page = page[floor_div(kv, 32)];
                 return logical_page >= 0 && logical_page * 32 + kv % 32 <= q + 100;
               });
  sized(128, 512);
  BOLIDE_ENTRY(
      "M41", "causal without a rectangle", "kv <= q && !(q >= 128 && q < 300 && kv >= 40 && kv < 128)",
      [](auto, auto, auto q, auto kv) { return kv <= q && !(q >= 128 && q < 300 && kv >= 40 && kv < 128); });
  BOLIDE_ENTRY("M42", "window per token", "kv <= q && q - kv <= width[q]",
               [=](auto, auto, auto q, auto kv) { return kv <= q && q - kv <= width[q]; });
  BOLIDE_ENTRY("M43", "threshold per key", "kv >= threshold[kv]",
               [=](auto, auto, auto, auto kv) { return kv >= threshold[kv]; });
  BOLIDE_ENTRY(
      "M44", "pattern per head", "where(h % 2 == 0, kv <= q && q - kv <= 32, kv <= q)",
      [](auto, auto h, auto q, auto kv) { return where(h % 2 == 0, kv <= q && q - kv <= 32, kv <= q); });
  BOLIDE_ENTRY("M44b", "some heads local", "kv <= q && (h >= 1 || q - kv < 64)",
               [](auto, auto h, auto q, auto kv) { return kv <= q && (h >= 1 || q - kv < 64); });
  BOLIDE_ENTRY("M45", "A-shape (StreamingLLM)", "(q >= 4 && kv <= 4) || (kv <= q && q - kv <= 256)",
               [](auto, auto, auto q, auto kv) { return (q >= 4 && kv <= 4) || (kv <= q && q - kv <= 256); });
  BOLIDE_ENTRY("M46", "everything, in disguise", "q < kv || kv <= q",
               [](auto, auto, auto q, auto kv) { return q < kv || kv <= q; });
  BOLIDE_ENTRY("M47", "four bounds per key (FlashMask)",
               "!((q >= lts[kv] && q < lte[kv]) || (q >= uts[kv] && q < ute[kv]))",
               [=](auto, auto, auto q, auto kv) {
                 return !((q >= lts[kv] && q < lte[kv]) || (q >= uts[kv] && q < ute[kv]));
               });
  BOLIDE_ENTRY("M48", "nonlinear", "q * q >= kv * 300",
               [](auto, auto, auto q, auto kv) { return q * q >= kv * 300; });
  BOLIDE_ENTRY("M49", "checkerboard", "(q ^ kv) & 1 == 0",
               [](auto, auto, auto q, auto kv) { return ((q ^ kv) & 1) == 0; });
  BOLIDE_ENTRY("M50", "XOR of blocks", "(q >> 6 ^ kv >> 6) < 2",
               [](auto, auto, auto q, auto kv) { return (q >> 6 ^ kv >> 6) < 2; });
  BOLIDE_ENTRY("M51", "a mask within each document",
               "doc[q] == doc[kv] && kv - offset[doc[kv]] <= q - offset[doc[q]]",
               [=](auto, auto, auto q, auto kv) {
                 return doc[q] == doc[kv] && kv - offset[doc[kv]] <= q - offset[doc[q]];
               });
  BOLIDE_ENTRY("M52", "a batch in one sequence", "q // 128 == kv // 128 && kv % 128 <= q % 128",
               [](auto, auto, auto q, auto kv) {
                 return floor_div(q, 128) == floor_div(kv, 128) && kv % 128 <= q % 128;
               });
  BOLIDE_ENTRY("M53", "vertical and slash (MInference)", "kv <= q && (vertical[kv] || slash[q - kv])",
               [=](auto, auto, auto q, auto kv) { return kv <= q && (vertical[kv] || slash[q - kv]); });
  BOLIDE_ENTRY("M54", "long sink and window", "(kv < 64 || q - kv < 128) && kv <= q",
               [](auto, auto, auto q, auto kv) { return (kv < 64 || q - kv < 128) && kv <= q; });
  BOLIDE_ENTRY("M55", "BigBird",
               "blocks[q // 64, kv // 64] || abs(q // 64 - kv // 64) <= 1 || q < 64 || kv < 64",
               [=](auto, auto, auto q, auto kv) {
                 const auto row = floor_div(q, 64), column = floor_div(kv, 64);
                 return blocks(row, column) || abs(row - column) <= 1 || q < 64 || kv < 64;
               });
  BOLIDE_ENTRY("M56", "tokens that were kept (H2O, SnapKV)", "heavy[kv] && kv <= q",
               [=](auto, auto, auto q, auto kv) { return heavy[kv] && kv <= q; });
  BOLIDE_ENTRY("M58", "striped context parallelism", "q * 4 + 1 >= kv * 4 + 3",
               [](auto, auto, auto q, auto kv) { return q * 4 + 1 >= kv * 4 + 3; });
  BOLIDE_ENTRY("M59", "any global positions (zigzag)", "position[q] >= position[kv]",
               [=](auto, auto, auto q, auto kv) { return position[q] >= position[kv]; });
  BOLIDE_ENTRY("M60", "chunked prefill", "kv <= q + cached[b] && kv < length[b]",
               [=](auto b, auto, auto q, auto kv) { return kv <= q + cached[b] && kv < length[b]; });
  sized(256, 512);
  BOLIDE_ENTRY("M61", "prefix-LM within documents",
               "doc[q] == doc[kv] && (kv - start[kv] < prompt[doc[q]] || kv <= q)",
               [=](auto, auto, auto q, auto kv) {
                 return doc[q] == doc[kv] && (kv - start[kv] < prompt[doc[q]] || kv <= q);
               });
  BOLIDE_ENTRY(
      "M62", "axial: row or column", "q // 32 == kv // 32 || q % 32 == kv % 32",
      [](auto, auto, auto q, auto kv) { return floor_div(q, 32) == floor_div(kv, 32) || q % 32 == kv % 32; });
  BOLIDE_ENTRY("M63", "shifted windows (Swin)", "q // 64 == kv // 64 && region[q % 64] == region[kv % 64]",
               [=](auto, auto, auto q, auto kv) {
                 return floor_div(q, 64) == floor_div(kv, 64) && region[q % 64] == region[kv % 64];
               });
  BOLIDE_ENTRY("M64", "frames causal, window in space", "q // 64 >= kv // 64 && abs(q % 64 - kv % 64) <= 16",
               [](auto, auto, auto q, auto kv) {
                 return floor_div(q, 64) >= floor_div(kv, 64) && abs(q % 64 - kv % 64) <= 16;
               });
  BOLIDE_ENTRY("M65", "dilation wider than a tile", "(q - kv) % 96 == 0",
               [](auto, auto, auto q, auto kv) { return (q - kv) % 96 == 0; });
  BOLIDE_ENTRY("M66", "logarithmically sparse", "kv <= q && q - kv & q - kv - 1 == 0",
               [](auto, auto, auto q, auto kv) { return kv <= q && ((q - kv) & (q - kv - 1)) == 0; });
  BOLIDE_ENTRY("M67", "window by a square", "(q - kv) * (q - kv) <= 10000",
               [](auto, auto, auto q, auto kv) { return (q - kv) * (q - kv) <= 10000; });
  BOLIDE_ENTRY("M68", "causal, in disguise", "kv + (q - kv) >= kv",
               [](auto, auto, auto q, auto kv) { return kv + (q - kv) >= kv; });
  BOLIDE_ENTRY("M69", "nothing, in disguise", "q - kv >= 40 && q - kv <= 20",
               [](auto, auto, auto q, auto kv) { return q - kv >= 40 && q - kv <= 20; });
  BOLIDE_ENTRY("M70", "documents by index into packed tokens", "doc[q + cu_q[b]] == doc[kv + cu_kv[b]]",
               [=](auto b, auto, auto q, auto kv) { return doc[q + cu_q[b]] == doc[kv + cu_kv[b]]; });
  sized(200, 256);
  BOLIDE_ENTRY("M70b", "window per packed token", "kv <= q && q - kv <= width[q + cu_q[b]]",
               [=](auto b, auto, auto q, auto kv) { return kv <= q && q - kv <= width[q + cu_q[b]]; });
  sized(200, 256);
  BOLIDE_ENTRY("M71", "requests over a pool of pages",
               "where(logical[kv // 32] >= 0, owner[kv // 32] == request[q] && logical[kv // 32] * 32 + kv % "
               "32 <= token[q], false)",
               [=](auto, auto, auto q, auto kv) {
                 const auto slot = floor_div(kv, 32);
                 return where(logical[slot] >= 0,
                              owner[slot] == request[q] && logical[slot] * 32 + kv % 32 <= token[q], false);
               });
  sized(128, 512);
}

std::vector<std::pair<std::string, std::string>> score_tables() {
  return {{"slopes", "slopes(h)"},
          {"emb", "randn(32,h)"},
          {"rel", "randn(129)"},
          {"relh", "randn(h,33)"},
          {"swin", "randn(h,20)"},
          {"index", "randint(0,20,sq,skv)"},
          {"bias", "randn(b,h,sq,skv)"},
          {"pair", "randn(h,sq,skv)"},
          {"by_batch", "randn(b)"},
          {"by_head", "randn(h)"},
          {"by_query", "randn(sq)"},
          {"by_key", "randn(skv)"},
          {"gain", "uniform(0.5,1.5,h)"},
          {"temperature", "uniform(0.5,1.5,sq)"},
          {"weight", "uniform(0.5,1.5,skv)"},
          {"cosine", "randn(81)"},
          {"r1", "uniform(0.5,1.5)"},
          {"r2", "uniform(0.5,1.5)"},
          {"w", "randn(2)"},
          {"u", "randn(2)"},
          {"v", "randn(2)"},
          {"forget", "randn(b,h,n)"},
          {"c2p", "randn(b,h,sq,16)"},
          {"p2c", "randn(b,h,skv,16)"},
          {"spatial", "randn(h,8)"},
          {"distance", "randint(0,8,b,sq,skv)"},
          {"edge", "randn(2,h,12)"},
          {"path", "randint(0,12,sq,skv,2)"},
          {"hops", "randint(0,3,sq,skv)"},
          {"doc", "runs(n)"},
          {"near", "randn(h)"},
          {"far", "randn(h)"},
          {"pad", "randbool(0.2,skv)"},
          {"selective", "uniform(0,2,b,sq,skv)"},
          {"a", "uniform(0.5,1.5)"}};
}

std::vector<CatalogueScore> catalogue_scores() {
  return {
      {"S01", "identity", "score"},
      {"S02", "a factor", "1.5 * score"},
      {"S02b", "twice", "score + score"},
      {"S03", "soft cap", "20 * tanh(score / 20)"},
      {"S04", "ALiBi", "score + slopes[h] * (kv - q)"},
      {"S04b", "ALiBi by formula", "score + exp2(-8.0 * (h + 1) / 2) * (kv - q)"},
      {"S05", "symmetric ALiBi", "score - slopes[h] * abs(q - kv)"},
      {"S06", "distance", "score + abs(q - kv)"},
      {"S06b", "distance, clamped", "score + 2 * clamp(abs(q - kv), 0, 4)"},
      {"S07", "T5 buckets",
       "score + emb[where(kv <= q, 0, 16) + where(abs(q - kv) < 8, abs(q - kv), "
       "min(8 + int(log(abs(q - kv) / 8.0) * 2.8854), 15)), h]"},
      {"S07b", "buckets by a table", "score + rel[clamp(kv - q + 64, 0, 128)]"},
      {"S08", "relative position per head", "score + relh[h, clamp(q - kv, -16, 16) + 16]"},
      {"S09", "Swin: relative index of two positions", "score + swin[h, index[q, kv]]"},
      {"S10", "full bias", "score + bias[b, h, q, kv]"},
      {"S10b", "pair bias of all batch entries", "score + pair[h, q, kv]"},
      {"S11", "bias of the batch entry", "score + by_batch[b]"},
      {"S11b", "bias of the head and the query", "score + by_head[h] + by_query[q]"},
      {"S11c", "bias of the key", "score + by_key[kv]"},
      {"S12", "scale of the head", "score * gain[h]"},
      {"S12b", "temperature of the query", "score * temperature[q]"},
      {"S12c", "log-n", "score * log(q + 2) / log(40.0)"},
      {"S13", "square", "score * score"},
      {"S13b", "square, weighed", "score * score * weight[kv]"},
      {"S14", "Sandwich", "score + cosine[q - kv + 40] * gain[h]"},
      {"S15", "Kerple", "score - r1 * log(1 + r2 * abs(q - kv))"},
      {"S16", "FIRE",
       "score + v[0] * relu(w[0] * (log1p(abs(q - kv)) / log1p(max(q, 8))) + u[0]) + "
       "v[1] * relu(w[1] * (log1p(abs(q - kv)) / log1p(max(q, 8))) + u[1])"},
      {"S17", "Forgetting Transformer", "score + forget[b, h, q] - forget[b, h, kv]"},
      {"S18", "DeBERTa",
       "score + c2p[b, h, q, clamp(q - kv, -8, 7) + 8] + p2c[b, h, kv, clamp(kv - q, -8, 7) + 8]"},
      {"S19", "Graphormer, spatial", "score + spatial[h, distance[b, q, kv]]"},
      {"S19b", "Graphormer, edges",
       "score + (where(hops[q, kv] > 0, edge[0, h, path[q, kv, 0]], 0.0) + "
       "where(hops[q, kv] > 1, edge[1, h, path[q, kv, 1]], 0.0)) / max(hops[q, kv], 1)"},
      {"S21", "log of gelu", "log(gelu(score) + 1.5)"},
      {"S21b", "log of relu", "log(relu(score) + 0.5)"},
      {"S21c", "log of sigmoid", "log(sigmoid(score) + 0.1)"},
      {"S22", "clamp (QK-clip)", "clamp(score, -0.6, 0.55)"},
      {"S23", "twice near the diagonal", "where(abs(q - kv) <= 8, 2 * score, score)"},
      {"S23b", "checkerboard", "where((q ^ kv) & 1 == 1, score / 2, 2 * score)"},
      {"S23c", "XOR bias", "score + ((q ^ kv) & 255) * 0.001"},
      {"S24", "causal as a score", "where(kv <= q, score, -inf)"},
      {"S24b", "inverse causal as a score", "where(kv <= q, -inf, score)"},
      {"S24c", "window as a score", "where(kv <= q && q - kv < 9, score, -inf)"},
      {"S24d", "blocks as a score", "where(q // 8 == kv // 8, score, -inf)"},
      {"S25", "sine of cosine", "sin(cos(score))"},
      {"S25b", "trigonometry and a bias", "cos(score) * sin(score) + tan(by_batch[b])"},
      {"S25c", "offset of the head", "score + h"},
      {"S26", "near and far documents", "where(doc[q] == doc[kv], score + near[h], score + far[h])"},
      {"S27", "key padding as a bias", "score - 10000.0 * float(pad[kv])"},
      {"S28", "selective attention", "score - selective[b, q, kv]"},
      {"S29", "many buffers",
       "score * gain[h] + by_batch[b] + by_query[q] + by_key[kv] + 0.1 * rel[clamp(q - kv + 64, 0, 128)]"},
      {"S30", "a scalar", "score * a"},
  };
}

namespace {

// Whether an expression's text uses a name.
bool uses(const std::string& text, const std::string& name) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    const std::size_t end = at + name.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> catalogue_cases() {
  const char* types[] = {"f32", "bf16", "f16"};
  std::vector<std::string> lines;
  const Catalogue catalogue;
  for (const CatalogueMask& m : catalogue.masks()) {
    std::string lets;
    for (const CatalogueTable& t : catalogue.tables())
      if (uses(m.text, t.name)) lets += " let " + t.name + "=" + t.generator;
    // Rows in the middle: the parts of a mask differ there.
    const std::int64_t rows = 24, start = std::min<std::int64_t>(m.len_q / 2, 200);
    lines.push_back(std::string("bwd ") + types[lines.size() % 3] + lets + (uses(m.text, "b") ? " b=2" : "") +
                    (uses(m.text, "h") ? " hq=2" : "") + " sq=" + std::to_string(rows) +
                    " skv=" + std::to_string(m.len_kv) + " d=8 start=" + std::to_string(start) + " mask=\"" +
                    m.text + "\"");
  }
  for (const CatalogueScore& s : catalogue_scores()) {
    std::string lets, gradients;
    for (const auto& [name, generator] : score_tables()) {
      if (!uses(s.text, name)) continue;
      lets += " let " + name + "=" + generator;
      if (is_floating(parse_generator(name, generator).dtype))
        gradients += (gradients.empty() ? " dlse=yes dcaptured=" : ",") + name;
    }
    lines.push_back(std::string("bwd ") + types[lines.size() % 3] + lets +
                    " b=2 hq=2 sq=24 skv=40 d=8 start=top_left score=\"" + s.text + "\"" + gradients);
  }
  return lines;
}

}  // namespace bolide::testing
