// A compiler for the tests, found through BOLIDE_NVRTC: its machine code is a copy of what it was given, and
// names with certain words in them make it fail, hang, crash or lie.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Program {
  std::string inputs, name, log;
  int (*cancel)(void*, void*) = nullptr;
  void* payload = nullptr;
};

Program& get(void* program) { return *static_cast<Program*>(program); }
bool asks(const Program& p, const char* word) { return p.name.find(word) != std::string::npos; }

void end_by(int number) {
  signal(number, SIG_DFL);  // past the sanitizers' handlers
  raise(number);
}

// What would end the caller if it were compiled in there.
void end_the_process(const Program& p) {
  if (asks(p, "segfault")) end_by(SIGSEGV);
  if (asks(p, "abort")) end_by(SIGABRT);
  if (asks(p, "out of memory")) end_by(SIGKILL);
  if (asks(p, "exit")) _exit(3);
  if (asks(p, "garbage")) _exit(write(0, "no answer", 9) == 9 ? 0 : 1);
  if (asks(p, "half")) _exit(write(0, "\0\0\0\0\0\0\0\0\7", 9) == 9 ? 0 : 1);
}

std::string open_descriptors() {
  std::string list = "descriptors";
  for (int fd = 0; fd < 1000; ++fd)
    if (fcntl(fd, F_GETFD) != -1) list.append(" ").append(std::to_string(fd));
  return list + ".";
}

std::string code(const Program& p) { return "\177FAKE" + p.inputs + p.name + std::string(2000, 'x'); }

}  // namespace

extern "C" {

std::atomic<int> fake_nvrtc_compilations{0};

int nvrtcVersion(int* major, int* minor) {
  const char* other = getenv("FAKE_NVRTC_MINOR");
  return *major = 13, *minor = other ? std::atoi(other) : 0, 0;
}
const char* nvrtcGetErrorString(int result) {
  return result == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR";
}
int nvrtcCreateProgram(void** program, const char* source, const char*, int count, const char* const* headers,
                       const char* const* names) {
  auto* p = new Program;
  p->inputs = source;
  for (int i = 0; i < count; ++i) p->inputs += std::string(names[i]) + headers[i];
  return *program = p, 0;
}
int nvrtcDestroyProgram(void** program) { return delete static_cast<Program*>(*program), 0; }
int nvrtcAddNameExpression(void* program, const char* name) { return get(program).name = name, 0; }
int nvrtcSetFlowCallback(void* program, int (*cancel)(void*, void*), void* payload) {
  return get(program).cancel = cancel, get(program).payload = payload, 0;
}
int nvrtcCompileProgram(void* program, int count, const char* const* options) {
  ++fake_nvrtc_compilations;
  Program& p = get(program);
  for (int i = 0; i < count; ++i) p.inputs += options[i];
  end_the_process(p);
  if (asks(p, "hang"))
    while (!p.cancel(p.payload, nullptr)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (asks(p, "hang")) return 16;
  if (asks(p, "stubborn")) std::this_thread::sleep_for(std::chrono::seconds(20));
  if (asks(p, "slow")) std::this_thread::sleep_for(std::chrono::milliseconds(30));
  if (asks(p, "wrong")) p.log = "kernel.cu(1): error: wrong, " + open_descriptors();
  return asks(p, "wrong") ? 6 : 0;
}
int nvrtcGetProgramLogSize(void* program, std::size_t* size) {
  return *size = get(program).log.size() + 1, 0;
}
int nvrtcGetProgramLog(void* program, char* log) { return std::strcpy(log, get(program).log.c_str()), 0; }
int nvrtcGetCUBINSize(void* program, std::size_t* size) {
  return *size = asks(get(program), "nothing") ? 0 : code(get(program)).size(), 0;
}
int nvrtcGetCUBIN(void* program, char* cubin) {
  const std::string bytes = code(get(program));
  return std::memcpy(cubin, bytes.data(), bytes.size()), 0;
}
int nvrtcGetLoweredName(void* program, const char*, const char** lowered) {
  return *lowered = get(program).name.c_str(), 0;
}
}
