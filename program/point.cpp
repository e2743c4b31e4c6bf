// Evaluation at a single point by plain recursion.
#include "program/point.hpp"

#include <algorithm>

#include "program/signature.hpp"

namespace bolide::program {

namespace {

template <class F, char C>
CppType<F, C> get(const Value<F>& v) {
  if constexpr (C == 'b') return v.boolean;
  else if constexpr (C == 'i') return v.integer;
  else return v.floating;
}
template <class F>
Value<F> wrap(bool v) {
  return {.boolean = v};
}
template <class F>
Value<F> wrap(std::int64_t v) {
  return {.integer = v};
}
template <class F>
Value<F> wrap(F v) {
  return {.floating = v};
}

template <class O, class F, char R, char... A, std::size_t... I>
Value<F> call(Signature<R, A...> signature, std::span<const Value<F>> v, std::index_sequence<I...>) {
  return wrap<F>(invoke<O, F>(signature, get<F, A>(v[I])...));
}

template <class F>
struct PointEvaluator {
  const Row& row;
  std::int64_t kv;
  F score;

  Value<F> operator()(const Node& n) const {
    switch (n.op) {
      case Op::b: return {.integer = row.b};
      case Op::h: return {.integer = row.h};
      case Op::q: return {.integer = row.q};
      case Op::kv: return {.integer = kv};
      case Op::len_q: return {.integer = row.len_q};
      case Op::len_kv: return {.integer = row.len_kv};
      case Op::score: return {.floating = score};
      case Op::constant: return {n.integer != 0, n.integer, static_cast<F>(n.floating)};
      case Op::gather: return gather(n);
      default: break;
    }
    Value<F> values[3];
    Type types[3];
    for (std::size_t i = 0; i < n.args.size(); ++i) {
      values[i] = (*this)(*n.args[i]);
      types[i] = n.args[i]->type;
    }
    return apply<F>(n.op, {types, n.args.size()}, {values, n.args.size()});
  }

 private:
  Value<F> gather(const Node& n) const {
    std::int64_t indices[kMaxRank] = {};
    for (std::size_t i = 0; i < n.args.size(); ++i) indices[i] = (*this)(*n.args[i]).integer;
    const Tensor& t = n.captured.tensor;
    if (n.type == Type::boolean) return {.boolean = element<bool>(t, indices)};
    if (n.type == Type::integer) return {.integer = element<std::int64_t>(t, indices)};
    return {.floating = element<F>(t, indices)};
  }
};

template <class F>
Value<F> eval(const Expr& e, Type wanted, const Row& row, std::int64_t kv, F score) {
  if (e.type() != wanted) {
    throw Error(Code::expression, std::string("the expression is ") + name_of(e.type()) + ", " +
                                      name_of(wanted) + " is wanted here");
  }
  return PointEvaluator<F>{row, kv, score}(*e.node());
}

}  // namespace

template <class F>
Value<F> apply(Op op, std::span<const Type> types, std::span<const Value<F>> operands) {
  return visit(op, [&]<class O>(O) {
    Value<F> result;
    for_each_signature([&]<char R, char... A>(Signature<R, A...> signature) {
      if constexpr (contains(O::spec.signature, Signature<R, A...>::text)) {
        if (signature.fits(types)) {
          result = call<O, F>(signature, operands, std::make_index_sequence<sizeof...(A)>());
        }
      }
    });
    return result;
  });
}
template Value<float> apply(Op, std::span<const Type>, std::span<const Value<float>>);
template Value<double> apply(Op, std::span<const Type>, std::span<const Value<double>>);

template <class Result>
Result element(const Tensor& t, const std::int64_t* indices) {
  std::int64_t at = 0;
  for (int axis = 0; axis < t.rank(); ++axis) {
    if (t.shape[axis] <= 0) return Result(0);
    at += std::clamp<std::int64_t>(indices[axis], 0, t.shape[axis] - 1) * t.strides[axis];
  }
  const auto load = [&]<class T>(const T* data) {
    if constexpr (std::is_same_v<T, f16> || std::is_same_v<T, bf16>)
      return static_cast<Result>(float(data[at]));
    else return static_cast<Result>(data[at]);
  };
  switch (t.dtype) {
    case DType::f64: return load(static_cast<const double*>(t.data));
    case DType::f32: return load(static_cast<const float*>(t.data));
    case DType::f16: return load(static_cast<const f16*>(t.data));
    case DType::bf16: return load(static_cast<const bf16*>(t.data));
    case DType::i64: return load(static_cast<const std::int64_t*>(t.data));
    case DType::i32: return load(static_cast<const std::int32_t*>(t.data));
    case DType::i16: return load(static_cast<const std::int16_t*>(t.data));
    case DType::i8: return load(static_cast<const std::int8_t*>(t.data));
    case DType::u32: return load(static_cast<const std::uint32_t*>(t.data));
    case DType::u8: return load(static_cast<const std::uint8_t*>(t.data));
    case DType::boolean: return static_cast<Result>(static_cast<const std::uint8_t*>(t.data)[at] != 0);
  }
  return Result(0);
}
template bool element(const Tensor&, const std::int64_t*);
template std::int64_t element(const Tensor&, const std::int64_t*);
template float element(const Tensor&, const std::int64_t*);
template double element(const Tensor&, const std::int64_t*);

bool eval_mask_point(const Expr& e, const Row& row, std::int64_t kv) {
  return eval<float>(e, Type::boolean, row, kv, 0).boolean;
}
double eval_score_point(const Expr& e, const Row& row, std::int64_t kv, double score) {
  return eval<double>(e, Type::floating, row, kv, score).floating;
}
float eval_score_point_f32(const Expr& e, const Row& row, std::int64_t kv, float score) {
  return eval<float>(e, Type::floating, row, kv, score).floating;
}
std::int64_t eval_int_point(const Expr& e, const Row& row, std::int64_t kv) {
  return eval<float>(e, Type::integer, row, kv, 0).integer;
}

}  // namespace bolide::program
