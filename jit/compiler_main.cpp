// bolide-compile: compiles one kernel for the process that started it, over the socket on standard input.
#include <signal.h>
#include <sys/prctl.h>

#include "jit/compiler_process.hpp"

int main() {
  // The thread that started this process waits for it; if that is killed, nobody wants the kernel.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return bolide::jit::serve_compilation(0) ? 0 : 1;
}
