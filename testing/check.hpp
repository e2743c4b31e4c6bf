// The whole check of one case: build, poison, run, compare with the reference, count.
#pragma once
#include <bolide/context.hpp>
#include <functional>
#include <map>
#include <string>

#include "testing/case.hpp"
#include "testing/compare.hpp"
#include "testing/memory.hpp"

namespace bolide::testing {

/// What became of a case.
struct Outcome {
  enum Kind : std::uint8_t { passed, failed, refused } kind = passed;
  std::string line;    ///< reruns the case
  std::string report;  ///< the failure's or the refusal's sentence
  std::string path;    ///< what ran
  double seconds = 0;
  std::map<std::string, Distance> distances;  ///< of each compared tensor, by name
};

/// Runs a case through the context's public calls and judges it by the contract: outputs pre-filled with NaN,
/// guards around every buffer, C12's seven regions poisoned, a second run with the same bytes (D1) and one
/// with other invisible bytes (C12) bit for bit equal, budgets, and the count test (C17). Throws
/// Error{invalid_argument}, {expression} or {file} for what the line asks in vain.
Outcome check(const Case&, const Context&);
/// The same with memory that is kept from case to case (memory_for of the context's device).
Outcome check(const Case&, const Context&, Memory&);

/// The case that counts visible keys (contract C17) under another's layout, lengths and mask: part of its
/// check.
Case count_case(const Case&);

/// A failing case made small: the smallest found that fails too. `attempts` bounds the checks spent.
Case shrink(const Case&, const Context&, int attempts = 200);
/// The same for any notion of failing; it is asked only about cases that do not contradict themselves.
Case shrink(const Case&, const std::function<bool(const Case&)>& fails, int attempts = 200);

/// The budget of large samples: RMSE over floor, pooled by tensor, type, head dimension and number of keys.
class Pool {
 public:
  void add(const Case&, const Outcome&);
  /// Every pool of at least kPooledElements 16-bit elements that exceeds its budget, one a line; empty if
  /// none does.
  std::string failures() const;
  /// The worst ratio over its budget, among the pools that are large enough.
  double worst() const;

 private:
  std::map<std::string, Distance> pools_;
};

}  // namespace bolide::testing
