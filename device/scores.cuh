// Scores on their way to exponents. Most are computed in place: S holds them, but for Program::after. Two
// forms are late: S keeps what the multiply gave, and the exponent itself makes the score of it, a line along
// a row in 1.7 instructions instead of 3, a cap in 6 instead of 14. A key is hidden there by a NaN which is
// not the one that wgmma gives, so that what a row adds never reaches it.
#pragma once
#include "program.cuh"
#include "tile.cuh"

namespace bolide::device {

constexpr float kInf = __builtin_bit_cast(float, 0x7f800000u);
constexpr float kNegInf = -kInf;
constexpr float kLowest = __builtin_bit_cast(float, 0xff7fffffu);
constexpr float kSteep = 2.f;  // of an exponent from one key to the next

// In place: an element of S is a score. What the forms have in common is said here.
struct InPlace {
  static constexpr bool kLate = false;           // S holds products
  static constexpr bool kFlattensTiles = false;  // any tile may have to be looked through by flatten()
  BOLIDE_DEVICE static float hidden() { return kNegInf; }
  BOLIDE_DEVICE static bool is_hidden(float x) { return x == kNegInf; }

  template <class Program>
  BOLIDE_DEVICE void begin(const typename Program::Params&, Point, Point, float, float) {}
  BOLIDE_DEVICE void begin_tile(float, int) {}
  BOLIDE_DEVICE void clear() {}  // what follows has S of 0
  // What an element of row r, the i-th of this thread, is as a score: to look for the greatest.
  BOLIDE_DEVICE float score(float x, int, int) const { return x; }
  BOLIDE_DEVICE static float of_greatest(float score) { return score; }
  template <int r, bool kHides, int kCols>
  BOLIDE_DEVICE void flatten(Frag<kCols>&, float, bool) {}
  BOLIDE_DEVICE bool is_steep(int) const { return false; }

  struct Row {
    float mult, base;
    BOLIDE_DEVICE float exponent(float x, int) const { return __fmaf_rn(x, mult, -base); }
  };
  BOLIDE_DEVICE Row row(int, float mult, float base) const { return {mult, base}; }
};

struct Late {
  static constexpr bool kLate = true;
  BOLIDE_DEVICE static float hidden() { return __uint_as_float(0x7fc0dea1u); }
  BOLIDE_DEVICE static bool is_hidden(float x) { return __float_as_uint(x) == __float_as_uint(hidden()); }
};

// The product times scale, plus rest, plus a distance times factor: see Program::along(). One instruction
// more than none; rows that are steep, or beyond kHuge, are flattened: S gets the scores, rounded as such.
struct Lines : Late {
  static constexpr bool kFlattensTiles = false;
  Along along[2];  // of a row, from the sequence's first key on
  struct Line {
    float scale, rest, factor, distance;
  } line[2];  // and in this tile
  bool steep[2] = {};

  // a, b: where this thread's rows begin; scale: the softmax scale.
  template <class Program>
  BOLIDE_DEVICE void begin(const typename Program::Params& program, Point a, Point b, float, float) {
    along[0] = Program::along(program, a), along[1] = Program::along(program, b);
  }
  BOLIDE_DEVICE void begin_tile(float scale, int first_key) {
#pragma unroll
    for (int r = 0; r < 2; ++r)
      line[r] = {scale, along[r].rest, along[r].factor, static_cast<float>(along[r].distance + first_key)};
  }
  BOLIDE_DEVICE void clear() { line[0] = line[1] = {}; }
  BOLIDE_DEVICE float score(float x, int r, int i) const {
    const float distance = line[r].distance + static_cast<float>(Frag<8>::col_of(i, 0));
    const float z = __fmaf_rn(distance, line[r].factor, __fmaf_rn(x, line[r].scale, line[r].rest));
    return is_hidden(x) ? kNegInf : z;
  }
  BOLIDE_DEVICE static float of_greatest(float score) { return score; }
  template <int r, bool kHides, int kCols>
  BOLIDE_DEVICE void flatten(Frag<kCols>& s, float scale_log2, bool huge) {
    const bool too_steep = !(fabsf(scale_log2 * line[r].factor) <= kSteep), flat = too_steep || huge;
    if (!BOLIDE_RARELY(__any_sync(~0u, flat))) return;
#pragma unroll
    for (int i = 2 * r; i < s.kSize; i += 4)
#pragma unroll
      for (int j = i; j < i + 2; ++j) s.x[j] = flat ? score(s.x[j], r, j) : s.x[j];
    if (flat) line[r] = {1.f, 0.f, 0.f, 0.f};
    steep[r] |= too_steep;
  }
  BOLIDE_DEVICE bool is_steep(int r) const { return steep[r]; }

  // A thread's columns are 0, 1, 8 and 9 of every 16. Those share the line's height over the base, which is
  // found first: near the maximum it is small, whatever both are (rounded beside them, scores of 32,768 keys
  // that rise by 0.5 a key had the error of f16 outputs at 2.1 times its floor, simulated, instead of 1.5).
  struct Row {
    float scale, factor, distance, rest;
    BOLIDE_DEVICE float exponent(float x, int i) const {
      const float height = __fmaf_rn(distance + static_cast<float>(i / 8 * 16), factor, rest);
      const int column = Frag<8>::col_of(i % 8, 0);  // 0, 1, 8 or 9
      return __fmaf_rn(x, scale, __fmaf_rn(static_cast<float>(column), factor, height));
    }
  };
  BOLIDE_DEVICE Row row(int r, float mult, float base) const {
    return {mult * line[r].scale, mult * line[r].factor, line[r].distance,
            __fmaf_rn(mult, line[r].rest, -base)};
  }
};

// tanh of the product times before. Where it is small it is an odd polynomial of the product, whose last step
// is the exponent's: 6 instructions instead of 16. A row of which a thread's products are not all small is
// flattened, in this tile and in this thread: S gets the tanh, whose polynomial is a line. Who else is in the
// warp changes no bit. kFast: every other eight columns take the tanh of the exponential unit, which has
// time.
template <bool kFast>
struct Caps : Late {
  using Small = math::SmallTanh<kFast>;
  static constexpr bool kFlattensTiles = true;
  // Of the exponent's factor: beyond, the errors of polynomial and tanh, 2^-21.6 (kFast: 2^-11) of it,
  // would part a row's exponents from its base.
  static constexpr float kMost = kFast ? 0x1p10f : 0x1p16f;
  float before;
  float limit;  // of a product that is small; negative: none is
  float first;  // the first term, rounded once: what four roundings take the lse shows
  bool is_flat[2];

  template <class Program>
  BOLIDE_DEVICE void begin(const typename Program::Params& program, Point, Point, float scale,
                           float scale_log2) {
    before = scale * Program::before(program);
    float last = fabsf(scale_log2 * before);  // the last term; the first is in range, as factors are
    for (int n = 1; n < Small::kTerms; ++n) last *= before * before;
    first = static_cast<float>(1.4426950408889634 * Small::term(0) * Program::after(program) * scale *
                               Program::before(program));
    const bool fits = fabsf(scale_log2) < kMost && last > 0x1p-110f && last < 0x1p110f;
    limit = fits ? Small::kLimit / fabsf(before) : -1.f;
  }
  BOLIDE_DEVICE void begin_tile(float, int) {}
  BOLIDE_DEVICE void clear() {}
  BOLIDE_DEVICE static constexpr bool by_unit(int i) { return kFast && i / 4 % 2 == 1; }
  BOLIDE_DEVICE static float tanh(float x) {
    if constexpr (kFast) return math::tanh_fast(x);
    else return math::tanh(x);
  }
  // What grows with the score: one tanh for all. An infinite product is a score, too.
  BOLIDE_DEVICE float score(float x, int, int) const {
    return is_hidden(x) ? kNegInf : fmaxf(x * before, kLowest);
  }
  BOLIDE_DEVICE static float of_greatest(float score) { return tanh(score); }
  template <int r, bool kHides, int kCols>
  BOLIDE_DEVICE void flatten(Frag<kCols>& s, float, bool) {
    float even = 0.f, odd = 0.f;  // what is hidden, being NaN, is not looked at
#pragma unroll
    for (int i = 2 * r; i < s.kSize; i += 4)
      if (!by_unit(i)) even = fmaxf(even, fabsf(s.x[i])), odd = fmaxf(odd, fabsf(s.x[i + 1]));
    is_flat[r] = !(fmaxf(even, odd) <= limit);
    if (!BOLIDE_RARELY(__any_sync(~0u, is_flat[r]))) return;
#pragma unroll
    for (int i = 2 * r; i < s.kSize; i += 4)
#pragma unroll
      for (int j = i; j < i + 2; ++j)
        if (!by_unit(i)) {
          const bool hidden = kHides && is_hidden(s.x[j]);
          s.x[j] = ptx::selp(is_flat[r] && !hidden, tanh(s.x[j] * before), s.x[j]);
        }
  }
  BOLIDE_DEVICE bool is_steep(int) const { return false; }

  struct Row {
    float before, mult, base, terms[Small::kTerms];
    BOLIDE_DEVICE float exponent(float x, int i) const {
      if (by_unit(i)) return __fmaf_rn(tanh(x * before), mult, -base);
      const float square = x * x;
      float slope = terms[Small::kTerms - 1];
#pragma unroll
      for (int n = Small::kTerms - 2; n >= 0; --n) slope = __fmaf_rn(slope, square, terms[n]);
      return __fmaf_rn(x, slope, -base);
    }
  };
  BOLIDE_DEVICE Row row(int r, float mult, float base) const {
    Row row{before, mult, base};
    float power = first;  // mult is what it was made of: exponents so large that it is not are flat
    row.terms[0] = is_flat[r] ? mult : first;
#pragma unroll
    for (int n = 1; n < Small::kTerms; ++n) {
      power *= before * before;
      row.terms[n] = is_flat[r] ? 0.f : static_cast<float>(Small::term(n)) * power;
    }
    return row;
  }
};

template <ScoreForm kForm>
using ScoresFor = Select<
    kForm == ScoreForm::along, Lines,
    Select<kForm == ScoreForm::cap, Caps<false>, Select<kForm == ScoreForm::fast_cap, Caps<true>, InPlace>>>;

}  // namespace bolide::device
