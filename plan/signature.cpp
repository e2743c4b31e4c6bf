// Folds a problem's plan-relevant facts into 128 bits.
#include "plan/signature.hpp"

#include <algorithm>
#include <bit>

#include "program/facts.hpp"

namespace bolide {
namespace {

// Of a mask or a score; 0 if it is absent.
template <class Program>
std::uint64_t hash_of(const Program& program, const Program& known, std::uint64_t known_hash) {
  if (!program) return 0;
  if (known && known.expr().node() == program.expr().node()) return known_hash;
  return program::structure_hash(program.expr());
}

struct Folder {
  const KnownPrograms& known;
  Signature s = {};

  void fold(std::uint64_t x) {  // two multiply-rotate lanes with different odd constants
    s.lo = std::rotl((s.lo ^ x) * 0x9e3779b97f4a7c15, 29);
    s.hi = std::rotl((s.hi + x) * 0xc2b2ae3d27d4eb4f, 31) ^ s.lo;
  }
  void fold(const Tensor& t) {
    fold(t.present);
    if (!t) return;
    fold(static_cast<std::uint64_t>(t.dtype) << 32 | static_cast<std::uint64_t>(t.device.kind) << 16 |
         static_cast<std::uint64_t>(t.device.ordinal));
    fold(t.rank());
    for (int i = 0; i < t.rank(); ++i) fold(t.shape[i]), fold(t.strides[i]);
    fold(t.data == nullptr);
    // The widest access the pointer allows, up to 16 bytes.
    fold(std::countr_zero(reinterpret_cast<std::uintptr_t>(t.data) | 16));
  }
  void fold(const Start& start) { fold(start.per_sequence); }
  void fold(const Packed& p) { fold(p.cu_seqlens), fold(p.max_seqlen); }
  void fold(const Paged& p) {
    fold(p.table), fold(p.indptr), fold(p.indices), fold(p.last_page_len), fold(p.max_pages);
  }
  void fold(const Dense&) {}
  void fold(const BottomRight&) {}
  void fold(const TopLeft&) {}
  template <class... Kinds>
  void fold(const std::variant<Kinds...>& v) {
    fold(v.index());
    std::visit([this](const auto& x) { fold(x); }, v);
  }
  void fold(const ForwardProblem& p) {
    for (const Tensor* t : {&p.q, &p.k, &p.v, &p.out, &p.lse, &p.seqused_q, &p.seqused_kv, &p.leftpad})
      fold(*t);
    fold(p.queries), fold(p.keys), fold(p.query_start), fold(p.key_start);
    fold(p.scale ? std::bit_cast<std::uint32_t>(*p.scale) : ~std::uint64_t{0});
    fold(hash_of(p.mask, known.mask, known.mask_hash));
    fold(hash_of(p.score, known.score, known.score_hash));
  }
};

}  // namespace

KnownPrograms::KnownPrograms(const ForwardProblem& p)
    : mask(p.mask), score(p.score), mask_hash(hash_of(p.mask, {}, 0)), score_hash(hash_of(p.score, {}, 0)) {}

Signature signature(const ForwardProblem& p, const KnownPrograms& known) {
  Folder f{known};
  f.fold(p);
  return f.s;
}

Signature signature(const BackwardProblem& p, const KnownPrograms& known) {
  Folder f{known};
  f.fold(p.forward);
  for (const Tensor* t : {&p.dout, &p.dlse, &p.dq, &p.dk, &p.dv}) f.fold(*t);
  f.fold(p.dcaptured.size());
  if (p.dcaptured.empty()) return f.s;
  // Which of the score's tensors each is, and its shape: the program's hash knows neither.
  const std::vector<Tensor> captured =
      p.forward.score ? program::facts(p.forward.score.expr()).captured : std::vector<Tensor>();
  for (const CapturedGradient& g : p.dcaptured) {
    const auto same = [&](const Tensor& t) { return program::same_view(t, g.captured); };
    f.fold(std::find_if(captured.begin(), captured.end(), same) - captured.begin());
    f.fold(g.captured), f.fold(g.gradient);
  }
  return f.s;
}

}  // namespace bolide
