// Which tiles of a row or column of tiles must be looked at, by the mask's interval analysis.
#pragma once
#include <optional>

#include "cpu/tiled.hpp"
#include "program/classify.hpp"

namespace bolide::cpu {

/// Tiles [begin, end) of one class, counted along the row or column of tiles; the tiles between runs show
/// nothing.
struct TileRun {
  std::int64_t begin, end;
  bool all;  ///< every pair is visible; else the points decide
};

/// A mask ready to classify. Shared by threads.
class TileMask {
 public:
  TileMask(const Mask&, Classes);
  bool mentions_b = false, mentions_h = false;
  Classes classes() const { return classes_; }

 private:
  friend class TileRuns;
  Classes classes_;
  bool present_;
  std::optional<program::Classifier> classifier_;
};

/// A thread's runs of the last box it asked about: boxes of batch entries and heads that the mask does not
/// tell apart are classified once.
class TileRuns {
 public:
  /// `memory` holds a run for each tile of the longest row or column.
  TileRuns(const TileMask& mask, TileRun* memory) : mask_(mask), runs_(memory) {}
  /// The box is one tile high or one tile wide. The span lives until the next call.
  std::span<const TileRun> find(program::TileBox box);
  std::int64_t interval_evaluations() const { return counts_.interval_evaluations; }

 private:
  const TileMask& mask_;
  TileRun* runs_;
  std::int64_t count_ = 0;
  std::optional<program::TileBox> last_;
  program::ClassifierCounts counts_;
};

}  // namespace bolide::cpu
