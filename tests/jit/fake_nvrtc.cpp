// A compiler for the tests, found through BOLIDE_NVRTC: its machine code is a copy of what it was given, and
// names with certain words in them make it fail, hang or lie.
#include <atomic>
#include <chrono>
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

std::string code(const Program& p) { return "\177FAKE" + p.inputs + p.name + std::string(2000, 'x'); }

}  // namespace

extern "C" {

std::atomic<int> fake_nvrtc_compilations{0};

int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0, 0; }
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
  if (asks(p, "hang"))
    while (!p.cancel(p.payload, nullptr)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (asks(p, "hang")) return 16;
  if (asks(p, "stubborn")) std::this_thread::sleep_for(std::chrono::seconds(20));
  if (asks(p, "slow")) std::this_thread::sleep_for(std::chrono::milliseconds(30));
  p.log = asks(p, "wrong") ? "kernel.cu(1): error: wrong" : "";
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
