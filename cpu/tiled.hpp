// Attention in tiles of 64 queries by 64 keys: what serves by default. Tiles that a mask hides are not
// loaded, tiles that it shows in full are not masked; memory grows with the rows, not with their product.
#pragma once
#include "plan/backend.hpp"
#include "program/classes.hpp"

namespace bolide::cpu {

inline constexpr int kTileQ = 64, kTileKv = 64;

struct TiledPlan : BackendPlan {
  bool backward = false;
  bool precise = false;  ///< scores in float64
  int heads = 1;         ///< query heads of one block: they share its keys and its mask
  int threads = 1;
  std::size_t scratch_bytes = 0;  ///< of the programs
  std::size_t thread_bytes = 0, shared_bytes = 0;
  std::size_t tile_bytes = 0;  ///< of a thread's: where sums of captured gradients begin
  Classes classes = Classes::on;
};

/// What a call did, in tiles of a query head: a tile that several steps load counts for each.
struct TileCounts {
  std::int64_t masked = 0, unmasked = 0, skipped = 0;
  std::int64_t interval_evaluations = 0;
  std::int64_t loaded() const { return masked + unmasked; }
};

/// out and lse. A row's bits depend on its own sequence alone, not on the number of threads. The counts of
/// the call are added to `counts`, if given.
void tiled_forward(const TiledPlan&, const ForwardProblem&, Workspace, TileCounts* counts = nullptr);
/// dq, dk, dv and dcaptured from the inputs and forward.out. Equal bits whatever the number of threads.
void tiled_backward(const TiledPlan&, const BackwardProblem&, Workspace, TileCounts* counts = nullptr);

/// What the two need; throws nothing but what programs that the CPU cannot evaluate make it throw.
std::shared_ptr<const TiledPlan> plan_tiled(const ForwardProblem&, const Sizes&);
std::shared_ptr<const TiledPlan> plan_tiled(const BackwardProblem&, const Sizes&);

}  // namespace bolide::cpu
