// The CPU as a back end: serves every problem.
#pragma once
#include <memory>

#include "plan/backend.hpp"

namespace bolide::cpu {

std::unique_ptr<Backend> make_backend(Kernels);

}  // namespace bolide::cpu
