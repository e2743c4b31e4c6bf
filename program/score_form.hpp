// Scores that kernels compute in fewer instructions than they are written with: what a graph shows of them.
#pragma once
#include <optional>
#include <vector>

#include "device/program.cuh"
#include "program/graph.hpp"

namespace bolide::program {

/// A number of keys as a Float, or its magnitude: what may be found from that of a row's first key, since
/// conversions share the unit that exponentials need.
struct Distance {
  int keys;        ///< an Int value, one more or one less from key to key
  bool magnitude;  ///< of it
};
/// Of value i. `steps`: by value, how an Int changes from one key to the next, where that is by 1 or -1
/// everywhere; else 0.
std::optional<Distance> distance_of(const Graph& graph, const std::vector<int>& steps, int i);

/// A score as after * core(before * score): kernels have a factor before a score and one behind it already.
struct ScoreCore {
  struct Factor {
    int number = -1;       ///< a constant, or none: 1
    bool divides = false;  ///< it is 1 / number
  };
  int root = -1, score = -1;  ///< values: the core, and what stands for the score in it
  Factor before, after;       ///< between 2^-40 and 2^40 in magnitude, after above 0
};
ScoreCore score_core(const Graph& graph, int root);
/// `cap` or `fast_cap` where the core is a tanh, or tanh_fast, of the score times a factor alone; else `any`.
ScoreForm form_of(const Graph& graph, const ScoreCore& core);

/// The score, plus what a row decides alone, plus a distance times what a row decides alone.
struct ScoreAlongRow {
  struct Term {
    int value;
    bool negative;
  };
  std::vector<Term> rest;
  int factor = -1;        ///< a value, or none: 1
  int keys = -1;          ///< Distance::keys
  bool negative = false;  ///< factor times keys is to be subtracted
};
/// The magnitude of a distance is one where `mask` (a value, or -1) leaves one sign visible.
std::optional<ScoreAlongRow> score_along_row(const Graph& graph, const std::vector<int>& steps, int root,
                                             int mask);

}  // namespace bolide::program
