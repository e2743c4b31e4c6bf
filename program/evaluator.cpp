// The tape: one kernel call per value and block of keys.
#include "program/evaluator.hpp"

#include <algorithm>
#include <cstring>

#include "program/derive.hpp"
#include "program/graph.hpp"
#include "program/signature.hpp"

namespace bolide::program {

namespace {

constexpr int kLanes = 256;

// What the leaves read; it stands at the start of the scratch.
struct Context {
  Row row;
  std::int64_t kv = 0;
  const double* score = nullptr;
};
constexpr std::size_t kContextBytes = 64;
static_assert(sizeof(Context) <= kContextBytes);

struct Instruction {
  void (*run)(const Instruction&, std::byte* scratch, int n) = nullptr;
  std::size_t out = 0, in[kMaxRank] = {};  // byte offsets in the scratch
  Tensor table;
  std::int64_t integer = 0;
  double floating = 0;
};

template <class T>
T* slot(std::byte* scratch, std::size_t offset) {
  return reinterpret_cast<T*>(scratch + offset);
}

// One loop per number of operands.
template <class O, class F, char R, char A>
void run_operator(Signature<R, A> signature, const Instruction& x, std::byte* scratch, int n) {
  auto* __restrict out = slot<CppType<F, R>>(scratch, x.out);
  const auto* a = slot<CppType<F, A>>(scratch, x.in[0]);
  for (int i = 0; i < n; ++i) out[i] = invoke<O, F>(signature, a[i]);
}
template <class O, class F, char R, char A, char B>
void run_operator(Signature<R, A, B> signature, const Instruction& x, std::byte* scratch, int n) {
  auto* __restrict out = slot<CppType<F, R>>(scratch, x.out);
  const auto* a = slot<CppType<F, A>>(scratch, x.in[0]);
  const auto* b = slot<CppType<F, B>>(scratch, x.in[1]);
  for (int i = 0; i < n; ++i) out[i] = invoke<O, F>(signature, a[i], b[i]);
}
template <class O, class F, char R, char A, char B, char C>
void run_operator(Signature<R, A, B, C> signature, const Instruction& x, std::byte* scratch, int n) {
  auto* __restrict out = slot<CppType<F, R>>(scratch, x.out);
  const auto* a = slot<CppType<F, A>>(scratch, x.in[0]);
  const auto* b = slot<CppType<F, B>>(scratch, x.in[1]);
  const auto* c = slot<CppType<F, C>>(scratch, x.in[2]);
  for (int i = 0; i < n; ++i) out[i] = invoke<O, F>(signature, a[i], b[i], c[i]);
}

template <class F>
auto kernel_of(Op op, std::span<const Type> types) {
  return visit(op, [&]<class O>(O) {
    decltype(Instruction::run) run = nullptr;
    for_each_signature([&]<char R, char... A>(Signature<R, A...> signature) {
      if constexpr (contains(O::spec.signature, Signature<R, A...>::text)) {
        if (!signature.fits(types)) return;
        run = [](const Instruction& x, std::byte* scratch, int n) {
          run_operator<O, F>(Signature<R, A...>{}, x, scratch, n);
        };
      }
    });
    return run;
  });
}

template <std::int64_t Row::*kMember>
void run_row_leaf(const Instruction& x, std::byte* scratch, int n) {
  std::fill_n(slot<std::int64_t>(scratch, x.out), n, slot<Context>(scratch, 0)->row.*kMember);
}
void run_kv(const Instruction& x, std::byte* scratch, int n) {
  const std::int64_t first = slot<Context>(scratch, 0)->kv;
  std::int64_t* out = slot<std::int64_t>(scratch, x.out);
  for (int i = 0; i < n; ++i) out[i] = first + i;
}
template <class F>
void run_score(const Instruction& x, std::byte* scratch, int n) {
  const double* score = slot<Context>(scratch, 0)->score;
  for (int i = 0; i < n; ++i) slot<F>(scratch, x.out)[i] = static_cast<F>(score[i]);
}
template <class T>
void run_constant(const Instruction& x, std::byte* scratch, int n) {
  T value;
  if constexpr (op::kIsFloat<T>) value = static_cast<T>(x.floating);
  else value = static_cast<T>(x.integer);
  std::fill_n(slot<T>(scratch, x.out), n, value);
}
template <class T>
void run_broadcast(const Instruction& x, std::byte* scratch, int n) {
  std::fill_n(slot<T>(scratch, x.out), n, *slot<T>(scratch, x.in[0]));
}

template <class Result, class Stored>
void run_gather(const Instruction& x, std::byte* scratch, int n) {
  Result* out = slot<Result>(scratch, x.out);
  std::int64_t at[kLanes] = {};
  for (int axis = 0; axis < x.table.rank(); ++axis) {
    const std::int64_t last = x.table.shape[axis] - 1, stride = x.table.strides[axis];
    if (last < 0) {
      std::fill_n(out, n, Result(0));
      return;
    }
    const std::int64_t* index = slot<std::int64_t>(scratch, x.in[axis]);
    for (int i = 0; i < n; ++i) at[i] += std::clamp<std::int64_t>(index[i], 0, last) * stride;
  }
  const Stored* data = static_cast<const Stored*>(x.table.data);
  for (int i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<Stored, f16> || std::is_same_v<Stored, bf16>) out[i] = float(data[at[i]]);
    else out[i] = static_cast<Result>(data[at[i]]);
  }
}

template <class F>
auto gather_of(DType t) -> decltype(Instruction::run) {
  switch (t) {
    case DType::f64: return run_gather<F, double>;
    case DType::f32: return run_gather<F, float>;
    case DType::f16: return run_gather<F, f16>;
    case DType::bf16: return run_gather<F, bf16>;
    case DType::i64: return run_gather<std::int64_t, std::int64_t>;
    case DType::i32: return run_gather<std::int64_t, std::int32_t>;
    case DType::i16: return run_gather<std::int64_t, std::int16_t>;
    case DType::i8: return run_gather<std::int64_t, std::int8_t>;
    case DType::u32: return run_gather<std::int64_t, std::uint32_t>;
    case DType::u8: return run_gather<std::int64_t, std::uint8_t>;
    case DType::boolean: return run_gather<bool, std::uint8_t>;
  }
  return nullptr;
}

template <class F>
auto leaf_of(const Graph::Value& v) -> decltype(Instruction::run) {
  switch (v.op) {
    case Op::b: return run_row_leaf<&Row::b>;
    case Op::h: return run_row_leaf<&Row::h>;
    case Op::q: return run_row_leaf<&Row::q>;
    case Op::kv: return run_kv;
    case Op::len_q: return run_row_leaf<&Row::len_q>;
    case Op::len_kv: return run_row_leaf<&Row::len_kv>;
    case Op::score: return run_score<F>;
    default: break;
  }
  return v.type == Type::boolean   ? run_constant<bool>
         : v.type == Type::integer ? run_constant<std::int64_t>
                                   : run_constant<F>;
}

// Values that change along the row get blocks of kLanes elements, reused after their last reader; the others
// get eight bytes, and a block filled once per call when something along the row reads them.
template <class F>
class Tape {
 public:
  Tape() = default;
  explicit Tape(const Graph& graph) {
    last_use_.assign(graph.values.size(), -1);
    for (std::size_t i = 0; i < graph.values.size(); ++i) {
      for (int a : graph.values[i].args) last_use_[a] = static_cast<int>(i);
    }
    for (int r : graph.roots) last_use_[r] = static_cast<int>(graph.values.size());
    scalar_.resize(graph.values.size());
    block_.assign(graph.values.size(), 0);
    for (std::size_t i = 0; i < graph.values.size(); ++i) {
      if (!graph.values[i].along_keys) row_.push_back(instruction(graph, static_cast<int>(i)));
    }
    for (std::size_t i = 0; i < graph.values.size(); ++i) {
      if (graph.values[i].along_keys) add_along_keys(graph, static_cast<int>(i));
    }
    for (int r : graph.roots) roots_.push_back(block_of(graph, r));
    bytes_ = (bytes_ + 63) / 64 * 64;
  }

  std::size_t bytes() const { return bytes_; }

  // Calls store(first, count, scratch) after each block.
  template <class Store>
  void run(Context context, int n, void* memory, Store&& store) const {
    std::byte* scratch = static_cast<std::byte*>(memory);
    Context& shared = *new (scratch) Context(context);
    for (const Instruction& x : row_) x.run(x, scratch, 1);
    for (const Instruction& x : broadcasts_) x.run(x, scratch, std::min(n, kLanes));
    for (int first = 0; first < n; first += kLanes) {
      const int count = std::min(kLanes, n - first);
      shared.kv = context.kv + first;
      shared.score = context.score + (context.score ? first : 0);
      for (const Instruction& x : along_keys_) x.run(x, scratch, count);
      store(first, count, scratch);
    }
  }
  std::size_t root(int i) const { return roots_[i]; }

 private:
  static std::size_t width(Type t) {
    return t == Type::boolean ? sizeof(bool) : t == Type::integer ? sizeof(std::int64_t) : sizeof(F);
  }
  std::vector<std::size_t>& free_blocks(Type t) { return free_[width(t) == 1 ? 0 : width(t) == 4 ? 1 : 2]; }
  std::size_t fresh(std::size_t bytes) {
    if (bytes > 8) bytes_ = (bytes_ + 63) / 64 * 64;
    return std::exchange(bytes_, bytes_ + bytes);
  }
  std::size_t block(Type t) {
    std::vector<std::size_t>& free = free_blocks(t);
    if (free.empty()) return fresh(kLanes * width(t));
    const std::size_t at = free.back();
    free.pop_back();
    return at;
  }

  // The block of a value, filled from its scalar where it is constant along the row.
  std::size_t block_of(const Graph& graph, int i) {
    const Graph::Value& v = graph.values[i];
    if (block_[i] != 0) return block_[i];
    block_[i] = fresh(kLanes * width(v.type));  // filled before the loop: no reuse
    Instruction x;
    x.run = v.type == Type::boolean   ? run_broadcast<bool>
            : v.type == Type::integer ? run_broadcast<std::int64_t>
                                      : run_broadcast<F>;
    x.in[0] = scalar_[i];
    x.out = block_[i];
    broadcasts_.push_back(x);
    return block_[i];
  }

  Instruction instruction(const Graph& graph, int i) {
    const Graph::Value& v = graph.values[i];
    Instruction x;
    std::vector<Type> types;
    for (std::size_t a = 0; a < v.args.size(); ++a) {
      x.in[a] = v.along_keys ? block_of(graph, v.args[a]) : scalar_[v.args[a]];
      types.push_back(graph.values[v.args[a]].type);
    }
    x.integer = v.integer;
    x.floating = v.floating;
    if (v.table >= 0) x.table = graph.tables[v.table].tensor;
    x.run = v.table >= 0        ? gather_of<F>(x.table.dtype)
            : is_operator(v.op) ? kernel_of<F>(v.op, types)
                                : leaf_of<F>(v);
    x.out = v.along_keys ? block(v.type) : fresh(8);
    (v.along_keys ? block_ : scalar_)[i] = x.out;
    return x;
  }

  void add_along_keys(const Graph& graph, int i) {
    along_keys_.push_back(instruction(graph, i));
    for (int a : graph.values[i].args) {
      if (!graph.values[a].along_keys || last_use_[a] != i) continue;
      last_use_[a] = -1;  // an operand that appears twice is released once
      free_blocks(graph.values[a].type).push_back(block_[a]);
    }
  }

  std::vector<Instruction> row_, broadcasts_, along_keys_;
  std::vector<std::size_t> scalar_, block_, roots_, free_[3];
  std::vector<int> last_use_;
  std::size_t bytes_ = kContextBytes;
};

}  // namespace

struct Evaluator::Tapes {
  Tape<float> mask;
  Tape<double> value, value_and_slope;
};

Evaluator::Evaluator(const Expr& e) {
  Tapes tapes;
  const Graph graph(e);
  for (const Captured& c : graph.tables) {
    if (c.tensor.device != Device::cpu()) {
      throw Error(Code::refused, "the captured tensor " + c.name +
                                     " is on a CUDA device and the program is "
                                     "evaluated on the CPU; capture a tensor in CPU memory");
    }
  }
  if (e.type() != Type::floating) {
    tapes.mask = Tape<float>(graph);
  } else {
    const Expr both[] = {e, derivative_by_score(e)};
    tapes.value = Tape<double>(graph);
    tapes.value_and_slope = Tape<double>(Graph(both));
  }
  tapes_ = std::make_shared<const Tapes>(std::move(tapes));
}

std::size_t Evaluator::scratch_bytes() const {
  return std::max({tapes_->mask.bytes(), tapes_->value.bytes(), tapes_->value_and_slope.bytes()});
}

// The slope, then the indices: in float64 like the program that they come from, so that it is the element
// which the program read.
struct SlopeEvaluator::Tapes {
  Tape<double> tape;
  Dims shape;
};

SlopeEvaluator::SlopeEvaluator(const TableSlope& slope) {
  std::vector<Expr> roots{slope.slope};
  roots.insert(roots.end(), slope.indices.begin(), slope.indices.end());
  tapes_ = std::make_shared<const Tapes>(Tapes{Tape<double>(Graph(roots)), slope.table.tensor.shape});
}

std::size_t SlopeEvaluator::scratch_bytes() const { return tapes_->tape.bytes(); }

void SlopeEvaluator::run(const Row& row, std::int64_t kv_begin, int n, const double* score, double* slope,
                         std::int64_t* element, void* scratch) const {
  const Tape<double>& tape = tapes_->tape;
  const Dims& shape = tapes_->shape;
  tape.run({row, kv_begin, score}, n, scratch, [&](int first, int count, const std::byte* memory) {
    std::memcpy(slope + first, memory + tape.root(0), count * sizeof(double));
    std::fill_n(element + first, count, std::int64_t{0});
    for (int axis = 0; axis < shape.rank(); ++axis) {
      const auto* index = reinterpret_cast<const std::int64_t*>(memory + tape.root(axis + 1));
      for (int i = first; i < first + count; ++i)
        element[i] =
            element[i] * shape[axis] + std::clamp<std::int64_t>(index[i - first], 0, shape[axis] - 1);
    }
  });
}

void Evaluator::mask(const Row& row, std::int64_t kv_begin, int n, std::uint8_t* visible,
                     void* scratch) const {
  const Tape<float>& tape = tapes_->mask;
  tape.run({row, kv_begin, nullptr}, n, scratch, [&](int first, int count, const std::byte* memory) {
    std::memcpy(visible + first, memory + tape.root(0), count);
  });
}

void Evaluator::integers(const Row& row, std::int64_t kv_begin, int n, std::int64_t* value,
                         void* scratch) const {
  const Tape<float>& tape = tapes_->mask;
  tape.run({row, kv_begin, nullptr}, n, scratch, [&](int first, int count, const std::byte* memory) {
    std::memcpy(value + first, memory + tape.root(0), count * sizeof(std::int64_t));
  });
}

void Evaluator::score(const Row& row, std::int64_t kv_begin, int n, double* score, double* derivative,
                      void* scratch) const {
  const Tape<double>& tape = derivative ? tapes_->value_and_slope : tapes_->value;
  tape.run({row, kv_begin, score}, n, scratch, [&](int first, int count, const std::byte* memory) {
    std::memcpy(score + first, memory + tape.root(0), count * sizeof(double));
    if (derivative) std::memcpy(derivative + first, memory + tape.root(1), count * sizeof(double));
  });
}

}  // namespace bolide::program
