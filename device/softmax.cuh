// Online softmax over the columns of S, for the two rows a thread owns. The rows are handled one after the
// other, so that one row's maximum can be searched while the other's exponentials are under way. The rules
// for the exponential and for rescaling are these and no others.
#pragma once
#include "tile.cuh"

namespace bolide::device {

constexpr float kInf = __builtin_bit_cast(float, 0x7f800000u);
constexpr float kNegInf = -kInf;
constexpr float kLn2 = 0.693147180559945f;
constexpr float kHuge = 268435456.f;  // of an exponent's base

// What remains of a thread's two rows. top + log_sum is log(sum exp), or -inf where nothing was seen: in two
// parts, as a sum is lost beside scores beyond 2^28.
struct SoftmaxEnd {
  float norm[2];  // 1 / sum, or 0 where nothing was seen
  float top[2], log_sum[2];
};

struct OnlineSoftmax {
  float scale_log2;                   // softmax scale times log2(e): all exponentials are base two
  float max[2] = {kNegInf, kNegInf};  // of the raw scores seen so far
  float base[2], mult[2];             // what find_max leaves for exponentiate: p = 2^(s * mult - base)
  float sum[2] = {0.f, 0.f};          // this thread's share; finish() adds up the quad's
  float before[2];  // of the tiles before: thousands of equal terms, added one by one, drift

  // Takes row r's new scores into account. Older sums are multiplied by factor; O must be, before it takes
  // more. kWide: scores of any size. A score beyond 2^28 has a product with the scale that rounds by
  // more than the exponential can bear, or overflows; but such scores are equal or worlds apart, and any
  // power of two, which rounds nothing, tells which (contract C14, C15). Otherwise is_beyond() must be asked
  // at the end, and the rows done again.
  template <bool kWide, int r, int kCols>
  BOLIDE_DEVICE void find_max(const Frag<kCols>& s, float& factor) {
    float even = max[r], odd = max[r];  // two chains: the latency of a single one would show
#pragma unroll
    for (int i = 2 * r; i < s.kSize; i += 4) even = fmaxf(even, s.x[i]), odd = fmaxf(odd, s.x[i + 1]);
    float top = fmaxf(even, odd);
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    mult[r] = scale_log2;
    if (kWide && !(fabsf(top * scale_log2) < kHuge))
      mult[r] = __uint_as_float(__float_as_uint(scale_log2) & 0x7f800000u) * 0.5f;
    base[r] = top == kNegInf ? 0.f : top * mult[r];  // a row with nothing visible yet: avoid inf - inf
    // Rounded as the base was that older terms have: 1 where the maximum stays, whatever its product rounds
    // to.
    factor = ptx::ex2(__fmul_rn(max[r], mult[r]) - base[r]);
    before[r] = sum[r], sum[r] = 0.f;
    max[r] = top;
  }

  // Turns row r's scores in columns [kBegin, kEnd) into probabilities, in place. factor: find_max's.
  template <int r, int kBegin, int kEnd, int kCols>
  BOLIDE_DEVICE void exponentiate(Frag<kCols>& s, float factor) {
#pragma unroll
    for (int i = 2 * r + kBegin / 2; i < kEnd / 2; i += 4)
#pragma unroll
      for (int j = i; j < i + 2; ++j) {
        s.x[j] = ptx::ex2(__fmaf_rn(s.x[j], mult[r], -base[r]));
        sum[r] += s.x[j];
      }
    if (kEnd == kCols && kBegin < kEnd) sum[r] = __fmaf_rn(before[r], factor, sum[r]);
  }

  // Row r's scores were too large for steps that were not wide.
  BOLIDE_DEVICE bool is_beyond(int r) const {
    return fabsf(max[r]) < kInf && !(fabsf(max[r] * scale_log2) < kHuge);
  }

  BOLIDE_DEVICE SoftmaxEnd finish(float scale) const {
    SoftmaxEnd end;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float all = sum[r];
      all += __shfl_xor_sync(~0u, all, 1);
      all += __shfl_xor_sync(~0u, all, 2);
      const float top_log2 = max[r] * scale_log2;
      end.top[r] = all == 0.f ? kNegInf : fabsf(top_log2) < kHuge ? top_log2 * kLn2 : max[r] * scale;
      end.log_sum[r] = logf(all);
      end.norm[r] = all == 0.f ? 0.f : ptx::rcp(all);
    }
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
