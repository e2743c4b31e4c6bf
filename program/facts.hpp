// What a plan needs to know about a program without evaluating it.
#pragma once
#include "program/node.hpp"

namespace bolide::program {

struct Facts {
  bool uses_b = false, uses_h = false, uses_q = false, uses_kv = false, uses_len_q = false,
       uses_len_kv = false;
  bool uses_score = false;
  bool gathers_by_q = false, gathers_by_kv = false;  ///< some table's index depends on q, on kv
  int nodes = 0, depth = 0;                          ///< distinct values, height
  int divisions = 0, gathers = 0;                    ///< distinct // and %, reads of tables
  int functions = 0;                                 ///< distinct functions of floats alone: tanh, exp, log
  bool computes_index = false;   ///< some table's index is computed from kv, not kv itself
  std::vector<Tensor> captured;  ///< distinct tensors, in order of appearance
};
Facts facts(const Expr& e);

/// The same for expressions that differ only in their numbers and the contents of their tensors, or in the
/// order of operands of commutative operators; element types and ranks count, and so does which numbers are
/// equal.
std::uint64_t structure_hash(const Expr& e);

/// where(condition, x, -inf) at the root of a score is a mask: such conditions join the mask (with &&), and
/// the score keeps x, so that tiles can be skipped. Every other pair is returned as it is.
std::pair<Mask, Score> normalised(const Mask& mask, const Score& score);

}  // namespace bolide::program
