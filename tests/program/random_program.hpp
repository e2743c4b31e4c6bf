// Random well-typed programs over every operator, leaf and a few captured tables: food for the property
// tests.
#pragma once
#include <random>
#include <vector>

#include "program/node.hpp"

namespace bolide::testing {

/// Tables that random programs capture: every element type, odd strides, rank 0.
struct RandomTables {
  std::vector<std::int32_t> documents;
  std::vector<std::int64_t> offsets;
  std::vector<std::uint8_t> flags;
  std::vector<float> floats;
  std::vector<std::int8_t> bytes;
  std::vector<f16> halves;
  std::vector<bf16> brains;
  std::vector<double> doubles;
  std::vector<std::uint32_t> words;
  std::vector<std::int16_t> shorts;
  std::vector<std::uint8_t> small;

  explicit RandomTables(std::mt19937_64& random, int n = 97)
      : offsets(n), flags(4 * n), floats(3 * n), bytes(n) {
    for (int i = 0, id = 0; i < n; ++i) {
      if (random() % 5 == 0) ++id;
      documents.push_back(id);
      offsets[i] = static_cast<std::int64_t>(random() % (2 * n)) - n / 2;
      bytes[i] = static_cast<std::int8_t>(random());
      halves.emplace_back(i % 7 ? floats_between(random) : 1e-6 * i);
      brains.emplace_back(floats_between(random));
      doubles.push_back(i % 9 ? floats_between(random) : 0.1 * i);
      words.push_back(static_cast<std::uint32_t>(random()));
      shorts.push_back(static_cast<std::int16_t>(random()));
      small.push_back(static_cast<std::uint8_t>(random()));
    }
    for (auto& f : flags) f = random() % 3 == 0;
    for (auto& f : floats) f = static_cast<float>(static_cast<int>(random() % 4001) - 2000) / 256;
  }
  std::vector<program::Captured> captured() const {
    const std::int64_t n = static_cast<std::int64_t>(documents.size());
    return {{Tensor(documents.data(), {n}), "doc"},
            {Tensor(offsets.data(), {n}), "off"},
            {Tensor(flags.data(), DType::boolean, {4, n}, {1, 4}), "flag"},
            {Tensor(floats.data() + n, DType::f32, {3, n}, {0, -1}), "bias"},
            {Tensor(bytes.data(), {n}), "tag"},
            {Tensor(floats.data(), DType::f32, {}), "w"},
            {Tensor(halves.data(), {n}), "half"},
            {Tensor(brains.data(), {n}), "brain"},
            {Tensor(doubles.data(), {n}), "precise"},
            {Tensor(words.data(), {n}), "word"},
            {Tensor(shorts.data(), {n}), "short"},
            {Tensor(small.data(), {n}), "small"},
            {Tensor(doubles.data(), {0}), "empty"}};
  }

 private:
  static double floats_between(std::mt19937_64& random) {
    return (static_cast<double>(random() % 4001) - 2000) / 256;
  }
};

class RandomProgram {
 public:
  /// `integer_only` programs use no Float.
  RandomProgram(std::mt19937_64& random, std::vector<program::Captured> tables, bool integer_only = false)
      : random_(random), tables_(std::move(tables)), integer_only_(integer_only) {}

  BoolExpr mask(int size) { return BoolExpr(Expr(grow(Type::boolean, size, false))); }
  FloatExpr score(int size) { return FloatExpr(Expr(grow(Type::floating, size, true))); }
  IntExpr integer(int size) { return IntExpr(Expr(grow(Type::integer, size, false))); }

 private:
  using Nodes = std::vector<program::NodePointer>;
  int below(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }

  std::int64_t number() {
    switch (below(12)) {
      case 0: return -below(40);
      case 1: return below(3000) - 1000;
      case 2: return (std::int64_t{1} << below(63)) - below(3);
      case 3: return 0;
      default: return 1 + below(70);
    }
  }

  program::NodePointer leaf(Type t, bool with_score) {
    using program::Op;
    if (t == Type::floating) {
      if (with_score && below(3)) return program::make_leaf(Op::score);
      return program::make_constant(below(20)  ? (below(4001) - 2000) / 256.0
                                    : below(2) ? 1e300
                                               : 0.1 * below(100));
    }
    if (t == Type::boolean)
      return program::make(program::op_of<op::Less>, {leaf(Type::integer, false), position()});
    return below(4) ? position() : program::make_constant(number());
  }
  program::NodePointer position() {
    constexpr program::Op kOften[] = {program::Op::q,     program::Op::kv,    program::Op::q,
                                      program::Op::kv,    program::Op::h,     program::Op::b,
                                      program::Op::len_q, program::Op::len_kv};
    return program::make_leaf(kOften[below(8)]);
  }

  program::NodePointer grow(Type t, int size, bool with_score) {
    if (size <= 1) return leaf(t, with_score);
    if (below(8) == 0) {
      if (auto gather = grow_gather(t, size)) return gather;
    }
    std::vector<std::pair<program::Op, std::string>> choices;
    for (int i = 0; i < program::Operators::size; ++i) {
      const auto o = static_cast<program::Op>(static_cast<int>(program::Op::operators) + i);
      const std::string list = std::string(program::spec_of(o).signature) + " ";
      for (std::size_t at = 0; at < list.size(); at = list.find(' ', at) + 1) {
        const std::string one = list.substr(at, list.find(' ', at) - at);
        if (one.back() == "bif"[static_cast<int>(t)] &&
            !(integer_only_ && one.find('f') != std::string::npos)) {
          choices.emplace_back(o, one);
        }
      }
    }
    const auto& [o, signature] = choices[below(static_cast<int>(choices.size()))];
    Nodes args;
    const int arity = static_cast<int>(signature.find('>'));
    for (int i = 0; i < arity; ++i) {
      const Type wanted = signature[i] == 'b'   ? Type::boolean
                          : signature[i] == 'i' ? Type::integer
                                                : Type::floating;
      args.push_back(i > 0 && below(6) == 0 && args[0]->type == wanted
                         ? args[0]
                         : grow(wanted, (size - 1) / arity, with_score));
    }
    return program::make(o, std::move(args));
  }

  program::NodePointer grow_gather(Type t, int size) {
    for (int attempt = 0; attempt < 4 && !tables_.empty(); ++attempt) {
      const program::Captured& c = tables_[below(static_cast<int>(tables_.size()))];
      const Type type = c.tensor.dtype == DType::boolean ? Type::boolean
                        : is_integer(c.tensor.dtype)     ? Type::integer
                                                         : Type::floating;
      if (type != t) continue;
      Nodes indices;
      for (int i = 0; i < c.tensor.rank(); ++i)
        indices.push_back(below(2) ? position() : grow(Type::integer, (size - 1) / c.tensor.rank(), false));
      return program::make_gather(c, std::move(indices));
    }
    return nullptr;
  }

  std::mt19937_64& random_;
  std::vector<program::Captured> tables_;
  bool integer_only_;
};

}  // namespace bolide::testing
