// Compilation in a process of its own, so that a crash of NVRTC costs one kernel and not the caller.
#pragma once
#include <chrono>
#include <optional>
#include <string>

#include "jit/kernel.hpp"
#include "jit/nvrtc.hpp"

namespace bolide::jit {

/// Where the program bolide-compile is.
struct CompilerProgram {
  std::string path;        ///< empty: there is none, kernels are compiled in this process
  bool asked_for = false;  ///< named by the caller or the environment: if it cannot run, that is an error
  std::string why_none;    ///< a sentence if it was looked for and not found

  /// `chosen`, else the environment's BOLIDE_COMPILE (each a path, or "none"), else the program beside this
  /// library, in ../bin from there, or beside the executable.
  static CompilerProgram find(const std::string& chosen);
};

/// compile() in a child process that runs `program` and opens the same NVRTC; the spec must have sources. The
/// child is killed when time is up, and none is left when the call ends. Nothing, with the sentence in
/// `why_not`, if the program cannot be started or is another version's. Throws what compile() throws, and
/// Error{device} if the child crashes, ends without an answer, answers nonsense, or is another NVRTC's. Safe
/// from any number of threads.
std::optional<CompiledKernel> compile_apart(const std::string& program, const Nvrtc& nvrtc,
                                            const KernelSpec& spec, std::chrono::milliseconds timeout,
                                            std::string& why_not);

/// The child's part: reads a request from the socket, compiles, writes the answer. False if there was no
/// request.
bool serve_compilation(int socket);

}  // namespace bolide::jit
