// Symbolic derivatives of score programs.
#pragma once
#include "program/node.hpp"

namespace bolide::program {

/// d e / d score as an expression of the same leaves: 1 for the score itself, 0 where e does not depend on
/// it. At kinks: abs has slope 0 at 0; of a tie min and max take the first operand, so clamp has slope 1 at
/// its bounds; an unused branch of where contributes nothing, whatever its slope.
Expr derivative_by_score(const Expr& e);

/// How the gradient of a captured tensor is summed over (q, kv), read off the index of one gather.
enum class Reduction {
  everything,  ///< the index depends on neither q nor kv: one sum per batch entry and head at most
  along_keys,  ///< not on kv: a row sum
  along_rows,  ///< not on q: a column sum
  diagonal,    ///< only on q - kv
  dense,       ///< q and kv are indices by themselves: one element per pair, no sum within a head
  scatter,     ///< anything else
};

/// One gather of a captured float tensor: d e / d (its element at `indices`) is `slope`. A tensor that is
/// read twice has two; the gradients of both add up.
struct TableSlope {
  Captured table;
  std::vector<Expr> indices;  ///< Int, to be clamped into the table as the gather is
  Expr slope;                 ///< Float, of the same leaves as e
  Reduction reduction;
};
/// Reverse mode over e, a score. Gathers whose slope is 0 everywhere are left out.
std::vector<TableSlope> derivatives_by_tables(const Expr& e);

}  // namespace bolide::program
