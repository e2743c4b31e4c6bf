// The functions of a Float, one struct each, as in operators.cuh: spelling, types, value, bounds, derivative.
#pragma once
#include "spec.cuh"

namespace bolide::op {

struct Sqrt {
  static constexpr Spec spec{"Sqrt", "sqrt", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::sqrt(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return range_rising_above(0.0f, a, eval<float>);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E& out, const X&) {
    return chain(E(0.5) / out, d);
  }
};
struct Rsqrt {
  static constexpr Spec spec{"Rsqrt", "rsqrt", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return divide(T(1), math::sqrt(a));
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    if (!(a.lo > 0) || infinite(a)) return anything<float>();
    return loosened({eval(a.hi), eval(a.lo), a.nan});
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E& out, const X&) {
    return chain(E(-0.5) * out * sqr(out), d);
  }
};
struct Exp {
  static constexpr Spec spec{"Exp", "exp", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::exp(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return clipped(range_rising(a, eval<float>), 0.0f, Limits<float>::kMost);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E& out, const X&) {
    return chain(out, d);
  }
};
struct Exp2 {
  static constexpr Spec spec{"Exp2", "exp2", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::exp2(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return clipped(range_rising(a, eval<float>), 0.0f, Limits<float>::kMost);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E& out, const X&) {
    return chain(E(math::kLn2) * out, d);
  }
};
struct Log {
  static constexpr Spec spec{"Log", "log", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::log(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return range_rising_above(0.0f, a, eval<float>);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X& x) {
    return chain(E(1) / x.f(0), d);
  }
};
struct Log2 {
  static constexpr Spec spec{"Log2", "log2", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::log2(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return range_rising_above(0.0f, a, eval<float>);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X& x) {
    return chain(E(1 / math::kLn2) / x.f(0), d);
  }
};
struct Log1p {
  static constexpr Spec spec{"Log1p", "log1p", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::log1p(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return range_rising_above(-1.0f, a, eval<float>);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X& x) {
    return chain(E(1) / (E(1) + x.f(0)), d);
  }
};
struct Tanh {
  static constexpr Spec spec{"Tanh", "tanh", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::tanh(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return clipped(range_rising(a, eval<float>), -1.0f, 1.0f);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E& out, const X&) {
    return chain(E(1) - sqr(out), d);
  }
};
// Within 2^-10.5 of tanh, relative, whoever computes it: a GPU takes its own approximation.
struct TanhFast {
  static constexpr Spec spec{"TanhFast", "tanh_fast", 0, "f>f", false, kTanhFastError};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::tanh_fast(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    const float least = eval(a.lo), most = eval(a.hi);
    return clipped(loosened({least - magnitude(least) * kSlack, most + magnitude(most) * kSlack, a.nan}),
                   -1.0f, 1.0f);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E& out, const X&) {
    return chain(E(1) - sqr(out), d);
  }

 private:
  static constexpr float kSlack = 2 * kTanhFastError;  // an end may be off one way, a point the other
};
struct Sigmoid {
  static constexpr Spec spec{"Sigmoid", "sigmoid", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return divide(T(1), add(T(1), math::exp(-a)));
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return clipped(range_rising(a, eval<float>), 0.0f, 1.0f);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E& out, const X&) {
    return chain(out * (E(1) - out), d);
  }
};
struct Erf {
  static constexpr Spec spec{"Erf", "erf", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::erf(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) {
    return clipped(range_rising(a, eval<float>), -1.0f, 1.0f);
  }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X& x) {
    return chain(E(math::kTwoOverSqrtPi) * exp(-sqr(x.f(0))), d);
  }
};
struct Sin {
  static constexpr Spec spec{"Sin", "sin", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::sin(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) { return range_wave(a); }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X& x) {
    return chain(cos(x.f(0)), d);
  }
};
struct Cos {
  static constexpr Spec spec{"Cos", "cos", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::cos(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) { return range_wave(a); }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E& d, const E&, const X& x) {
    return -chain(sin(x.f(0)), d);
  }
};
struct Pow {
  static constexpr Spec spec{"Pow", "pow", 0, "ff>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a, T b) {
    return math::pow(a, b);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float>, Range<float>) { return anything<float>(); }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int i, const E& d, const E& out, const X& x) {
    if (i == 0) return chain(x.f(1) * pow(x.f(0), x.f(1) - E(1)), d);
    return chain(chain(log(x.f(0)), out), d);
  }
};
struct Floor {
  static constexpr Spec spec{"Floor", "floor", 0, "f>f"};
  template <class T>
  BOLIDE_DEVICE static T eval(T a) {
    return math::floor(a);
  }
  BOLIDE_DEVICE static Range<float> bounds(Range<float> a) { return {eval(a.lo), eval(a.hi), a.nan}; }
  template <class E, class X>
  BOLIDE_DEVICE static E derive(int, const E&, const E&, const X&) {
    return E(0);
  }
};

}  // namespace bolide::op
