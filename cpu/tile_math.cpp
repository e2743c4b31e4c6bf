// One text for every vector width: Highway includes this file once for each instruction set it may meet.
#include "cpu/tile_math.hpp"

#include <limits>

// Their vectors have no size at compile time and cannot stand in arrays; such machines have NEON too.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/tile_math.cpp"
// In this order:
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace bolide::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
template <class T>
using Tag = hn::CappedTag<T, kPad>;
// As many floats as Tag<T> has elements.
template <class T>
using Floats = hn::Rebind<float, Tag<T>>;
template <class T>
using Vector = hn::Vec<Tag<T>>;

// As many of From's elements as Tag<T> has, as T.
HWY_INLINE Vector<float> load_as(Tag<float> d, const float* from) { return hn::LoadU(d, from); }
HWY_INLINE Vector<double> load_as(Tag<double> d, const float* from) {
  return hn::PromoteTo(d, hn::LoadU(Floats<double>(), from));
}
// exp, in the type of what it is stored as.
HWY_INLINE void exp_to(Vector<float> x, float* to) { hn::StoreU(hn::Exp(Tag<float>(), x), Tag<float>(), to); }
HWY_INLINE void exp_to(Vector<double> x, float* to) {
  const Floats<double> f;
  hn::StoreU(hn::Exp(f, hn::DemoteTo(f, x)), f, to);
}
HWY_INLINE void exp_to(Vector<double> x, double* to) {
  hn::StoreU(hn::Exp(Tag<double>(), x), Tag<double>(), to);
}

// kRows x kVectors vectors of C stay in registers while k runs.
template <int kRows, int kVectors, bool kWhere, class A, class T>
HWY_INLINE void multiply_panel(const Product<A, T>& p, std::int64_t row, std::int64_t column) {
  const Tag<T> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  Vector<T> sum[kRows][kVectors];
  for (auto& r : sum)
    for (auto& s : r) s = hn::Zero(d);
  const A* a = p.a + row * p.a_row;
  const float* b = p.b + column;
  for (int k = 0; k < p.k; ++k, b += p.b_row) {
    Vector<T> right[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) right[v] = load_as(d, b + v * lanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const std::int64_t at = i * p.a_row + k * p.a_column;
      if constexpr (kWhere) {
        if (!p.where[row * p.a_row + at]) continue;
      }
      const auto left = hn::Set(d, static_cast<T>(a[at]));
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(left, right[v], sum[i][v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      T* c = p.c + (row + i) * p.c_row + column + v * lanes;
      const auto product = hn::Mul(sum[i][v], hn::Set(d, p.factor));
      if (!p.add) hn::StoreU(product, d, c);
      else if (!p.keep) hn::StoreU(hn::Add(hn::LoadU(d, c), product), d, c);
      else hn::StoreU(hn::MulAdd(hn::LoadU(d, c), hn::Set(d, p.keep[row + i]), product), d, c);
    }
}

template <int kVectors, bool kWhere, class A, class T>
HWY_INLINE void multiply_columns(const Product<A, T>& p, std::int64_t column) {
  constexpr int kRows = 6;
  int row = 0;
  for (; row + kRows <= p.m; row += kRows) multiply_panel<kRows, kVectors, kWhere>(p, row, column);
  if (row + 4 <= p.m) multiply_panel<4, kVectors, kWhere>(p, row, column), row += 4;
  if (row + 2 <= p.m) multiply_panel<2, kVectors, kWhere>(p, row, column), row += 2;
  if (row < p.m) multiply_panel<1, kVectors, kWhere>(p, row, column);
}

template <bool kWhere, class A, class T>
HWY_INLINE void multiply_all(const Product<A, T>& p) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(Tag<T>()));
  std::int64_t column = 0;
  for (; column + 2 * lanes <= p.n; column += 2 * lanes) multiply_columns<2, kWhere>(p, column);
  for (; column < p.n; column += lanes) multiply_columns<1, kWhere>(p, column);
}

template <class A, class T>
void multiply_any(const Product<A, T>& p) {
  if (p.where) multiply_all<true>(p);
  else multiply_all<false>(p);
}
void multiply_f32(const Product<float, float>& p) { multiply_any(p); }
void multiply_mixed(const Product<float, double>& p) { multiply_any(p); }
void multiply_f64(const Product<double, double>& p) { multiply_any(p); }

template <class T>
HWY_INLINE void find_maxima_of(const Tile<T>& x, T* max, T* poison) {
  const Tag<T> d;
  const auto infinity = hn::Set(d, std::numeric_limits<T>::infinity()),
             nan = hn::Set(d, std::numeric_limits<T>::quiet_NaN());
  for (int r = 0; r < x.pitch; r += static_cast<int>(hn::Lanes(d))) {
    auto most = hn::LoadU(d, max + r), bad = hn::LoadU(d, poison + r);
    for (int key = 0; key < x.keys; ++key) {
      const auto s = hn::LoadU(d, x.s + static_cast<std::int64_t>(key) * x.pitch + r);
      most = hn::IfThenElse(hn::Gt(s, most), s, most);  // a NaN is not greater
      bad = hn::IfThenElse(hn::Lt(s, infinity), bad, nan);
    }
    hn::StoreU(most, d, max + r), hn::StoreU(bad, d, poison + r);
  }
}
void find_maxima_f32(const Tile<float>& x, float* max, float* poison) { find_maxima_of(x, max, poison); }
void find_maxima_f64(const Tile<double>& x, double* max, double* poison) { find_maxima_of(x, max, poison); }

template <class T, class P>
HWY_INLINE void exponentiate_all(const Tile<T>& x, const T* base, P* p, P* sums) {
  const Tag<T> d;
  const hn::Rebind<P, Tag<T>> dp;
  for (int r = 0; r < x.pitch; r += static_cast<int>(hn::Lanes(d))) {
    const auto from = hn::LoadU(d, base + r);
    auto sum = hn::Zero(dp);
    for (int key = 0; key < x.keys; ++key) {
      const std::int64_t at = static_cast<std::int64_t>(key) * x.pitch + r;
      exp_to(hn::Sub(hn::LoadU(d, x.s + at), from), p + at);
      sum = hn::Add(sum, hn::LoadU(dp, p + at));
    }
    hn::StoreU(sum, dp, sums + r);
  }
}
void exponentiate_f32(const Tile<float>& x, const float* base, float* p, float* sums) {
  exponentiate_all(x, base, p, sums);
}
void exponentiate_mixed(const Tile<double>& x, const double* base, float* p, float* sums) {
  exponentiate_all(x, base, p, sums);
}
void exponentiate_f64(const Tile<double>& x, const double* base, double* p, double* sums) {
  exponentiate_all(x, base, p, sums);
}

template <class T>
HWY_INLINE void weigh_all(const Tile<T>& p, const T* x, T* sums) {
  const Tag<T> d;
  for (int r = 0; r < p.pitch; r += static_cast<int>(hn::Lanes(d))) {
    auto sum = hn::Zero(d);
    for (int key = 0; key < p.keys; ++key) {
      const std::int64_t at = static_cast<std::int64_t>(key) * p.pitch + r;
      const auto weight = hn::LoadU(d, p.s + at);
      const auto term = hn::Mul(weight, hn::LoadU(d, x + at));
      sum = hn::Add(sum, hn::IfThenZeroElse(hn::Eq(weight, hn::Zero(d)), term));
    }
    hn::StoreU(sum, d, sums + r);
  }
}
void weigh_f32(const Tile<float>& p, const float* x, float* sums) { weigh_all(p, x, sums); }
void weigh_f64(const Tile<double>& p, const double* x, double* sums) { weigh_all(p, x, sums); }

template <class T>
HWY_INLINE void differentiate_all(const Slopes<T>& x, T* p, T* d_s) {
  const Tag<T> d;
  const auto scale = hn::Set(d, x.scale), hidden = hn::Set(d, -std::numeric_limits<T>::infinity());
  for (int r = 0; r < x.scores.pitch; r += static_cast<int>(hn::Lanes(d))) {
    const auto base = hn::LoadU(d, x.base + r), shift = hn::LoadU(d, x.shift + r),
               weight = hn::LoadU(d, x.weight + r);
    for (int key = 0; key < x.scores.keys; ++key) {
      const std::int64_t at = static_cast<std::int64_t>(key) * x.scores.pitch + r;
      const auto s = hn::LoadU(d, x.scores.s + at);
      const auto e = hn::Mul(hn::Exp(d, hn::Sub(s, base)), weight);
      auto change = hn::Mul(hn::Sub(hn::LoadU(d, x.d_p + at), shift), scale);
      if (x.slope) change = hn::Mul(change, hn::LoadU(d, x.slope + at));
      const auto is_hidden = hn::Eq(s, hidden);
      hn::StoreU(hn::IfThenZeroElse(is_hidden, e), d, p + at);
      hn::StoreU(hn::IfThenZeroElse(is_hidden, hn::Mul(e, change)), d, d_s + at);
    }
  }
}
void differentiate_f32(const Slopes<float>& x, float* p, float* d_s) { differentiate_all(x, p, d_s); }
void differentiate_f64(const Slopes<double>& x, double* p, double* d_s) { differentiate_all(x, p, d_s); }

HWY_INLINE Vector<float> load(Tag<float> d, const float* from) { return hn::LoadU(d, from); }
// Without instructions for f16 Highway's conversion turns what is too large into finite numbers.
#define BOLIDE_HAS_F16 (HWY_ARCH_ARM || HWY_TARGET <= HWY_AVX2)
HWY_INLINE Vector<float> load(Tag<float> d, const f16* from) {
#if BOLIDE_HAS_F16
  const hn::Rebind<hwy::float16_t, Tag<float>> h;
  return hn::PromoteTo(d, hn::LoadU(h, reinterpret_cast<const hwy::float16_t*>(from)));
#else
  float x[kPad];
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) x[i] = static_cast<float>(from[i]);
  return hn::LoadU(d, x);
#endif
}
HWY_INLINE Vector<float> load(Tag<float> d, const bf16* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::bfloat16_t, Tag<float>>(),
                                    reinterpret_cast<const hwy::bfloat16_t*>(from)));
}
HWY_INLINE void store(Tag<float> d, Vector<float> v, float* to) { hn::StoreU(v, d, to); }
HWY_INLINE void store(Tag<float> d, Vector<float> v, f16* to) {
#if BOLIDE_HAS_F16
  const hn::Rebind<hwy::float16_t, Tag<float>> h;
  hn::StoreU(hn::DemoteTo(h, v), h, reinterpret_cast<hwy::float16_t*>(to));
#else
  float x[kPad];
  hn::StoreU(v, d, x);
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) to[i] = f16(static_cast<double>(x[i]));
#endif
}
#undef BOLIDE_HAS_F16
// Highway cuts the lower half off; here it is rounded away first.
HWY_INLINE void store(Tag<float> d, Vector<float> v, bf16* to) {
  const hn::RebindToUnsigned<Tag<float>> u;
  const hn::Rebind<hwy::bfloat16_t, Tag<float>> h;
  const auto bits = hn::BitCast(u, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1u));
  const auto up = hn::And(hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7fffu))), hn::Set(u, 0xffff0000u));
  const auto nan = hn::BitCast(d, hn::Set(u, 0x7fc00000u));
  const auto rounded = hn::IfThenElse(hn::Eq(v, v), hn::BitCast(d, up), nan);
  hn::StoreU(hn::DemoteTo(h, rounded), h, reinterpret_cast<hwy::bfloat16_t*>(to));
}

template <class E>
HWY_INLINE bool load_row(const E* from, int n, float* to) {
  const Tag<float> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto trace = hn::Zero(d);  // becomes NaN where x * 0 is not 0
  int i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto x = load(d, from + i);
    hn::StoreU(x, d, to + i);
    trace = hn::MulAdd(x, hn::Zero(d), trace);
  }
  if (i < padded(n)) {
    E last[kPad] = {};
    for (int j = i; j < n; ++j) last[j - i] = from[j];
    for (int j = i; j < padded(n); j += lanes) {
      const auto x = load(d, last + (j - i));
      hn::StoreU(x, d, to + j);
      trace = hn::MulAdd(x, hn::Zero(d), trace);
    }
  }
  return hn::AllTrue(d, hn::Eq(trace, trace));
}
bool load_f32(const void* from, int n, float* to) { return load_row(static_cast<const float*>(from), n, to); }
bool load_f16(const void* from, int n, float* to) { return load_row(static_cast<const f16*>(from), n, to); }
bool load_bf16(const void* from, int n, float* to) { return load_row(static_cast<const bf16*>(from), n, to); }

template <class E>
HWY_INLINE void store_row(const float* from, int n, E* to) {
  const Tag<float> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  int i = 0;
  for (; i + lanes <= n; i += lanes) store(d, hn::LoadU(d, from + i), to + i);
  if (i == n) return;
  E last[kPad];
  store(d, hn::LoadU(d, from + i), last);
  for (int j = i; j < n; ++j) to[j] = last[j - i];
}
void store_f32(const float* from, int n, void* to) { store_row(from, n, static_cast<float*>(to)); }
void store_f16(const float* from, int n, void* to) { store_row(from, n, static_cast<f16*>(to)); }
void store_bf16(const float* from, int n, void* to) { store_row(from, n, static_cast<bf16*>(to)); }
const char* name_of_target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace bolide::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bolide::cpu {

HWY_EXPORT(multiply_f32);
HWY_EXPORT(multiply_mixed);
HWY_EXPORT(multiply_f64);
HWY_EXPORT(find_maxima_f32);
HWY_EXPORT(find_maxima_f64);
HWY_EXPORT(exponentiate_f32);
HWY_EXPORT(exponentiate_mixed);
HWY_EXPORT(exponentiate_f64);
HWY_EXPORT(weigh_f32);
HWY_EXPORT(weigh_f64);
HWY_EXPORT(differentiate_f32);
HWY_EXPORT(differentiate_f64);
HWY_EXPORT(load_f32);
HWY_EXPORT(load_f16);
HWY_EXPORT(load_bf16);
HWY_EXPORT(store_f32);
HWY_EXPORT(store_f16);
HWY_EXPORT(store_bf16);
HWY_EXPORT(name_of_target);

void multiply(const Product<float, float>& p) { HWY_DYNAMIC_DISPATCH(multiply_f32)(p); }
void multiply(const Product<float, double>& p) { HWY_DYNAMIC_DISPATCH(multiply_mixed)(p); }
void multiply(const Product<double, double>& p) { HWY_DYNAMIC_DISPATCH(multiply_f64)(p); }
void find_maxima(Tile<float> x, float* max, float* poison) {
  HWY_DYNAMIC_DISPATCH(find_maxima_f32)(x, max, poison);
}
void find_maxima(Tile<double> x, double* max, double* poison) {
  HWY_DYNAMIC_DISPATCH(find_maxima_f64)(x, max, poison);
}
void exponentiate(Tile<float> x, const float* base, float* p, float* sums) {
  HWY_DYNAMIC_DISPATCH(exponentiate_f32)(x, base, p, sums);
}
void exponentiate(Tile<double> x, const double* base, float* p, float* sums) {
  HWY_DYNAMIC_DISPATCH(exponentiate_mixed)(x, base, p, sums);
}
void exponentiate(Tile<double> x, const double* base, double* p, double* sums) {
  HWY_DYNAMIC_DISPATCH(exponentiate_f64)(x, base, p, sums);
}
void weigh(Tile<float> p, const float* x, float* sums) { HWY_DYNAMIC_DISPATCH(weigh_f32)(p, x, sums); }
void weigh(Tile<double> p, const double* x, double* sums) { HWY_DYNAMIC_DISPATCH(weigh_f64)(p, x, sums); }
void differentiate(const Slopes<float>& x, float* p, float* d_s) {
  HWY_DYNAMIC_DISPATCH(differentiate_f32)(x, p, d_s);
}
void differentiate(const Slopes<double>& x, double* p, double* d_s) {
  HWY_DYNAMIC_DISPATCH(differentiate_f64)(x, p, d_s);
}
bool load_floats(DType type, const void* from, int n, float* to) {
  switch (type) {
    case DType::f16: return HWY_DYNAMIC_DISPATCH(load_f16)(from, n, to);
    case DType::bf16: return HWY_DYNAMIC_DISPATCH(load_bf16)(from, n, to);
    default: return HWY_DYNAMIC_DISPATCH(load_f32)(from, n, to);
  }
}
void store_floats(DType type, const float* from, int n, void* to) {
  switch (type) {
    case DType::f16: return HWY_DYNAMIC_DISPATCH(store_f16)(from, n, to);
    case DType::bf16: return HWY_DYNAMIC_DISPATCH(store_bf16)(from, n, to);
    default: return HWY_DYNAMIC_DISPATCH(store_f32)(from, n, to);
  }
}
const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(name_of_target)(); }

}  // namespace bolide::cpu
#endif
