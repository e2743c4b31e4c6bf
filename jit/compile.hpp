// One compilation: a request in, machine code and the compiler's report out.
#pragma once
#include <bolide/error.hpp>
#include <chrono>
#include <memory>

#include "jit/kernel.hpp"
#include "jit/nvrtc.hpp"

namespace bolide::jit {

/// Compiles one kernel on a thread of its own, so that a compiler that hangs costs the caller `timeout` and
/// no more: then it is asked to stop, and left behind if it does not. Nothing outside the request can be
/// included. Throws Error{device} with the compiler's words if the text does not compile, or if time runs
/// out, and Error{invalid_argument} if a text includes what is not among the sources. Safe from any number of
/// threads.
CompiledKernel compile(std::shared_ptr<const Nvrtc> nvrtc, const KernelSpec& spec,
                       std::chrono::milliseconds timeout);

/// The options that every kernel is compiled with by NVRTC of that major version, before the request's own.
std::vector<std::string> compiler_options(const KernelSpec& spec, int toolchain_major);

/// The Error{device} of a compilation that took too long.
Error compilation_given_up(const KernelSpec& spec, std::chrono::milliseconds timeout);

}  // namespace bolide::jit
