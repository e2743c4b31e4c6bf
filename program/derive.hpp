// Symbolic derivatives of score programs.
#pragma once
#include "program/node.hpp"

namespace bolide::program {

/// d e / d score as an expression of the same leaves: 1 for the score itself, 0 where e does not depend on
/// it. At kinks: abs has slope 0 at 0; of a tie min and max take the first operand, so clamp has slope 1 at
/// its bounds; an unused branch of where contributes nothing, whatever its slope.
Expr derivative_by_score(const Expr& e);

}  // namespace bolide::program
