// Random masks and scores: texts with captured tensors, drawn from a list and from the grammar.
#pragma once
#include "testing/case.hpp"
#include "testing/random.hpp"

namespace bolide::testing {

/// Sets c.mask and what it captures. `may_gather_by_q`: contract C3 refuses such programs under an unstated
/// query start. Sizes of c must be drawn already.
void draw_mask(Case& c, Random&, bool may_gather_by_q);
/// Sets c.score likewise. Scores grow at most linearly and have no kink at 0, so that float64 evaluations
/// agree.
void draw_score(Case& c, Random&, bool may_gather_by_q);

/// True if a let is a tensor of floats that the score mentions.
bool has_gradient(const Case& c, const Let& let);

/// True if a text reads a table at an index that depends on q.
bool gathers_by_q(std::string_view program);

}  // namespace bolide::testing
