// Online softmax over the columns of S, for the two rows a thread owns. A row's probabilities are
// 2^(s * mult - base), and its base is not the maximum seen so far but that of the first tile in which it saw
// a key: the sum and the output carry the same factor, so any base will do that keeps them in range. Once all
// rows have theirs a step therefore looks for no maximum, shuffles nothing and scales no output (d64 +17 %,
// d128 +8 %, d256 +10 % at 8192 keys); what it watches is the sum it has anyway. When that grows large, the
// base is raised (relieve); should it grow beyond what may be raised, the item is done again in steps that do
// look for maxima (begin), and in nothing else differ, bit by bit.
#pragma once
#include "scores.cuh"

namespace bolide::device {

constexpr float kLn2 = 0.693147180559945f, kLog2E = 1.44269504088896f;
constexpr float kHuge =
    268435456.f;                    // an exponent whose product with the scale rounds by more than 2^x bears
constexpr float kSteady = 65536.f;  // a base below this can be raised without rounding much
constexpr float kMuch = 256.f;      // of a thread's sum over a tile: then the base is raised
// Of an exponent: a step without maxima raises no base by more. What an exponent rounds by is in the sum for
// good, and in the lse: at 60 it was 1.8e-6, with this it is 0.6e-6 (simulated; 2e-6 is allowed).
constexpr float kFar = 30.f;
constexpr float kFarSum = 0x1p30f;  // 2^kFar: what a sum is then

// What remains of a thread's two rows. top + log_sum is log(sum exp), or -inf where nothing was seen: in two
// parts, as a sum is lost beside bases beyond 2^28.
struct SoftmaxEnd {
  float norm[2];       // 1 / sum, or 0 where nothing was seen
  float top, log_sum;  // of row b in odd lanes, else of row a: a logarithm takes 40 instructions
};

template <class Form>
struct OnlineSoftmax {
  float scale_log2;              // softmax scale times log2(e): all exponentials are base two
  float base[2] = {kInf, kInf};  // +inf: the row has seen nothing yet, and whatever it sees counts nothing
  float sum[2] = {0.f, 0.f};     // this thread's share; finish() adds up the quad's
  float tile_sum[2];             // of the tile under way: thousands of equal terms, added one by one, drift
  u32 flags = 0;                 // coarse and beyond, a bit a row each
  bool waiting = true;  // some row of this warpgroup is without a base, or looks for maxima all along

  Form scores;

  static constexpr u32 kCoarse = 1, kBeyond = 4;  // << r

  // Scores beyond kHuge are equal or worlds apart, and any power of two, which rounds nothing, tells which
  // (contract C14, C15).
  BOLIDE_DEVICE float coarse_scale() const {
    return __uint_as_float(__float_as_uint(scale_log2) & 0x7f800000u) * 0.5f;
  }
  BOLIDE_DEVICE float mult(int r) const { return flags & kCoarse << r ? coarse_scale() : scale_log2; }

  // Late scores that no exponent can be made of become scores first; caps in every tile.
  template <int r, bool kHides, int kCols>
  BOLIDE_DEVICE void flatten(Frag<kCols>& s) {
    scores.template flatten<r, kHides>(s, scale_log2, flags & kCoarse << r);
  }

  // Looks for row r's maximum in a new tile, and moves the base there if the row has seen nothing yet or the
  // base is left too far behind. Returns what older terms are to be multiplied by: O, as the sum is here.
  // again: the item is done again for good. At first a row does not begin with scores of -2^28 and less,
  // which count nothing beside any other; is_beyond() tells if none came. kFar + 1: what moves a base here,
  // by its rounded score, a step without maxima has found beyond, by its sum.
  template <int r, int kCols>
  BOLIDE_DEVICE float begin(const Frag<kCols>& s, bool again) {
    float even = kNegInf, odd = kNegInf;  // two chains: the latency of a single one would show
#pragma unroll
    for (int i = 2 * r; i < s.kSize; i += 4)
      even = fmaxf(even, scores.score(s.x[i], r, i)), odd = fmaxf(odd, scores.score(s.x[i + 1], r, i + 1));
    float top = fmaxf(even, odd);
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    if (top == kNegInf) return 1.f;
    top = scores.of_greatest(top);
    const float was = base[r];
    const bool large = !(fabsf(top * scale_log2) < kHuge), was_coarse = flags & kCoarse << r;
    if (was == kInf) {
      if (large && top < 0.f && !again) {
        flags |= kCoarse << r;
        return 1.f;
      }
    } else if (!(top * mult(r) - was > (fabsf(was) < kSteady ? kFar + 1.f : 0.f))) {
      return 1.f;
    }
    flags &= ~(kCoarse << r);
    if (large) flags |= kCoarse << r;
    base[r] = top * mult(r);
    if (!(fabsf(base[r]) < kSteady)) flags |= kBeyond << r;
    if (was == kInf) return 1.f;
    const float factor = large != was_coarse ? 0.f : ptx::ex2(was - base[r]);
    sum[r] *= factor;
    return factor;
  }

  // Turns row r's scores in columns [kBegin, kEnd) into probabilities, in place, and adds them up. kHides:
  // some may be hidden.
  template <int r, int kBegin, int kEnd, bool kHides, int kCols>
  BOLIDE_DEVICE void exponentiate(Frag<kCols>& s, float mult) {
    if (kBegin == 0) tile_sum[r] = 0.f;
    const auto row = scores.row(r, mult, base[r]);
#pragma unroll
    for (int i = 2 * r + kBegin / 2; i < kEnd / 2; i += 4)
#pragma unroll
      for (int j = i; j < i + 2; ++j) {
        const float exponent = row.exponent(s.x[j], j);
        s.x[j] = ptx::ex2(kHides && Form::kLate && Form::is_hidden(s.x[j]) ? kNegInf : exponent);
        tile_sum[r] += s.x[j];
      }
  }

  // A row's base is to be raised before its probabilities are used. NaN is left to spread.
  BOLIDE_DEVICE bool is_much() const { return fmaxf(tile_sum[0], tile_sum[1]) >= kMuch; }
  BOLIDE_DEVICE void add_tile() { sum[0] += tile_sum[0], sum[1] += tile_sum[1]; }

  // Raises the bases of rows whose sum is_much() to their greatest probability, which becomes 1 and so is not
  // rounded, and scales all that stands on them; add_tile() included. careful: behind a step that looked for
  // maxima, which leaves nothing that cannot be raised.
  template <int kCols, int kOut>
  BOLIDE_DEVICE void relieve(Frag<kCols>& probs, Frag<kOut>& o, bool careful) {
    const float limit = careful ? 0x1p127f : kFarSum;
    float factor[2] = {1.f, 1.f};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float most = tile_sum[r], top = 0.f;
#pragma unroll
      for (int i = 2 * r; i < probs.kSize; i += 4) top = fmaxf(top, fmaxf(probs.x[i], probs.x[i + 1]));
#pragma unroll
      for (int lane = 1; lane <= 2; ++lane)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, lane)),
        top = fmaxf(top, __shfl_xor_sync(~0u, top, lane));
      if (most >= limit) flags |= kBeyond << r;
      else if (most >= kMuch) {
        const float was = base[r];
        base[r] += ptx::lg2(top);
        factor[r] = ptx::ex2(was - base[r]);
        if (!(fabsf(base[r]) < kSteady)) flags |= kBeyond << r;
      }
      sum[r] = (sum[r] + tile_sum[r]) * factor[r];
    }
    scale_rows(probs, factor);
    scale_rows(o, factor);
  }

  // Row r's scores were too large, or grew too fast, for steps that do not look for maxima.
  BOLIDE_DEVICE bool is_beyond(int r) const {
    return flags & kBeyond << r || (base[r] == kInf && flags & kCoarse << r);
  }

  BOLIDE_DEVICE SoftmaxEnd finish(float scale) const {
    SoftmaxEnd end;
    float all[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      all[r] = sum[r] + __shfl_xor_sync(~0u, sum[r], 1);
      all[r] += __shfl_xor_sync(~0u, all[r], 2);
      end.norm[r] = ptx::rcp(all[r] == 0.f ? kInf : all[r]);
    }
    const u32 own = threadIdx.x % 2;
    const float own_sum = own ? all[1] : all[0], own_base = own ? base[1] : base[0];
    const float top = flags & kCoarse << own ? own_base / coarse_scale() * scale : own_base * kLn2;
    end.top = own_sum == 0.f ? kNegInf : top;
    end.log_sum = logf(own_sum);
    return end;
  }
};

// Adds the sink's logit to a row's denominator (contract C6): lse changes, and the output is to be multiplied
// by the result.
BOLIDE_DEVICE float join_sink(float& lse, float sink) {
  if (sink == kNegInf) return 1.f;
  const float keys = lse, top = fmaxf(keys, sink);
  lse = top == kInf ? kInf : top + logf(expf(keys - top) + expf(sink - top));
  if (keys != keys) lse = keys;
  return keys == kNegInf || lse == kInf ? 0.f : expf(keys - lse);
}

}  // namespace bolide::device
