// Many cases at once: each thread checks one after another, with memory and a stream of its own.
#pragma once
#include <functional>
#include <span>

#include "testing/check.hpp"

namespace bolide::testing {

/// Checks every case on `threads` threads (memory_for of the context's device for each). `judge` is told of
/// every outcome, in the order of the cases, on the calling thread; when it answers false, or an outcome was
/// an exception, no further case is begun, and the exception is thrown here.
void check_many(std::span<const Case> cases, const Context& context, int threads,
                const std::function<bool(const Case&, const Outcome&)>& judge);

}  // namespace bolide::testing
