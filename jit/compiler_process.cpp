// The child process of a compilation: found, started, talked to, ended; and what it does in there.
#include "jit/compiler_process.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bolide/error.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "jit/bytes.hpp"
#include "jit/compile.hpp"
#include "jit/file_descriptor.hpp"

namespace bolide::jit {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kProtocol = "bolide-compile 1";
constexpr std::size_t kLongestAnswer = 256u << 20;
enum AnswerKind : std::uint64_t { kKernel = 0, kFailed = 1, kDeclined = 2 };

std::string request_bytes(const Nvrtc& nvrtc, const KernelSpec& spec) {
  ByteWriter out;
  out.string(kProtocol), out.string(kLibraryVersion), out.string(nvrtc.path());
  out.string(spec.source), out.string(spec.name), out.string(spec.architecture);
  const auto strings = [&](const std::vector<std::string>& list) {
    out.number(list.size());
    for (const std::string& text : list) out.string(text);
  };
  strings(spec.options), strings(compiler_options(spec, nvrtc.toolchain().major));
  out.number(spec.sources->files().size());
  for (const SourceSet::File& f : spec.sources->files()) out.string(f.name), out.string(f.text);
  ByteWriter framed;
  framed.string(out.take());
  return framed.take();
}

// The child of one compilation. Its end is waited for, whoever leaves early. The host may reap every child
// itself or ignore SIGCHLD: then how this one ended stays unknown.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  ~Child() {
    if (!ended()) kill(pid_, SIGKILL);
    for (int status; !over_ && waitpid(pid_, &status, 0) < 0 && errno == EINTR;) continue;
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool ended() {
    if (over_) return true;
    int status = 0;
    const pid_t pid = waitpid(pid_, &status, WNOHANG);
    if (pid == pid_) status_ = status;
    return over_ = pid != 0;
  }

  // A process closes its sockets a little before its end can be seen.
  std::string how_it_ended() {
    const Clock::time_point late = Clock::now() + std::chrono::seconds(1);
    while (!ended() && Clock::now() < late) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (!over_) return "it closed its end and went on";
    if (!status_) return "how it ended is unknown, since this process reaps its children itself";
    if (WIFEXITED(*status_)) return fmt::format("it exited with status {}", WEXITSTATUS(*status_));
    const int number = WTERMSIG(*status_);
    const char* words = sigdescr_np(number);
    return fmt::format("signal {} ended it ({}{})", number, words ? words : "unknown",
                       number == SIGKILL ? ", perhaps for want of memory" : "");
  }

 private:
  const pid_t pid_;
  bool over_ = false;
  std::optional<int> status_;
};

// posix_spawn shares the caller's memory until exec, so no lock or thread of the host is copied. The child
// gets the socket as standard input and nothing else that is open here; its own words go nowhere, since the
// library never prints. It stands in a process group of its own: a Ctrl-C at the terminal is for the host.
int start(const std::string& program, int socket, pid_t& pid) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files), posix_spawnattr_init(&attributes);
  int error = posix_spawn_file_actions_adddup2(&files, socket, 0);
  for (int fd : {1, 2})
    if (!error) error = posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_WRONLY, 0);
  if (!error) error = posix_spawn_file_actions_addclosefrom_np(&files, 3);
  sigset_t none, all;
  sigemptyset(&none), sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none), posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::string name = program;
  char* const arguments[] = {name.data(), nullptr};
  if (!error) error = posix_spawn(&pid, program.c_str(), &files, &attributes, arguments, environ);
  posix_spawn_file_actions_destroy(&files), posix_spawnattr_destroy(&attributes);
  return error;
}

// Sends the request and collects the answer until the child closes its end or ends; false if time is up. A
// child that ends leaves the socket open if another thread of the host forked at the wrong moment: hence the
// look at the child itself.
bool converse(int socket, Child& child, std::string_view request, Clock::time_point deadline,
              std::string& answer) {
  char buffer[1 << 16];
  while (answer.size() <= kLongestAnswer) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd ready{socket, static_cast<short>(request.empty() ? POLLIN : POLLIN | POLLOUT), 0};
    const int events = poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(left, 100)));
    const bool ended = events == 0 && child.ended();
    if (events > 0 && (ready.revents & POLLOUT)) {
      const ssize_t sent = send(socket, request.data(), request.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) request.remove_prefix(static_cast<std::size_t>(sent));
      else if (errno != EAGAIN && errno != EINTR) request = {};
    }
    const ssize_t got = recv(socket, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got > 0) answer.append(buffer, static_cast<std::size_t>(got));
    else if (got == 0 || ended || (errno != EAGAIN && errno != EINTR)) return true;
  }
  return true;
}

// What a child says that it should not, or no longer can.
Error broken(const KernelSpec& spec, const std::string& program, const Nvrtc& nvrtc,
             const std::string& what) {
  return Error(Code::device,
               fmt::format("compiling `{}` for {} failed: {} (with {}): {}. Other kernels are not affected; "
                           "BOLIDE_NVRTC chooses another compiler, and BOLIDE_COMPILE=none compiles in this "
                           "process",
                           spec.name, spec.architecture, program, nvrtc.path(), what));
}

std::vector<std::string> read_strings(ByteReader& in) {
  std::vector<std::string> list;
  for (std::uint64_t count = in.number(); count > 0 && in.ok(); --count) list.emplace_back(in.string());
  return list;
}

std::string answer_to(std::string_view request) {
  ByteWriter out;
  ByteReader in(request);
  const auto decline = [&](std::string_view why) {
    return out.number(kDeclined), out.string(why), out.take();
  };
  if (in.string() != kProtocol || in.string() != kLibraryVersion)
    return decline(fmt::format("it is version {}'s", kLibraryVersion));
  const std::string path(in.string());
  KernelSpec spec;
  spec.source = in.string(), spec.name = in.string(), spec.architecture = in.string();
  spec.options = read_strings(in);
  const std::vector<std::string> all_options = read_strings(in);
  std::vector<SourceSet::File> files;
  for (std::uint64_t count = in.number(); count > 0 && in.ok(); --count) {
    const std::string_view name = in.string(), text = in.string();
    files.push_back({std::string(name), std::string(text)});
  }
  if (!in.at_end()) return decline("it cannot read the request");
  spec.sources = std::make_shared<const SourceSet>(std::move(files));
  try {
    const auto nvrtc = Nvrtc::open_file(path);
    if (compiler_options(spec, nvrtc->toolchain().major) != all_options)
      return decline("it compiles with other options");
    // Time is the caller's affair, who kills this process when it is up.
    const std::string kernel = to_bytes(compile(nvrtc, spec, std::chrono::hours(24)));
    return out.number(kKernel), out.string(kernel), out.take();
  } catch (const Error& error) {
    out.number(kFailed), out.number(error.code() == Code::invalid_argument), out.string(error.what());
    return out.take();
  }
}

}  // namespace

CompilerProgram CompilerProgram::find(const std::string& chosen) {
  const char* variable = secure_getenv("BOLIDE_COMPILE");
  const std::string named = !chosen.empty() ? chosen : variable ? variable : "";
  if (named == "none") return {};
  if (!named.empty()) return {.path = named, .asked_for = true};
  std::vector<fs::path> folders;
  Dl_info self;
  // The loader names an executable as its caller wrote it; only an absolute name says where something is.
  if (dladdr(reinterpret_cast<const void*>(&CompilerProgram::find), &self) && self.dli_fname &&
      fs::path(self.dli_fname).is_absolute()) {
    const fs::path folder = fs::path(self.dli_fname).parent_path();
    folders = {folder, folder.parent_path() / "bin"};
  }
  std::error_code error;
  if (const fs::path own = fs::read_symlink("/proc/self/exe", error); !error)
    folders.push_back(own.parent_path());
  for (const fs::path& folder : folders)
    if (const fs::path program = folder / "bolide-compile"; access(program.c_str(), X_OK) == 0)
      return {.path = program};
  return {.why_none =
              "the program bolide-compile is not beside the library or the executable, and "
              "BOLIDE_COMPILE does not name it"};
}

std::optional<CompiledKernel> compile_apart(const std::string& program, const Nvrtc& nvrtc,
                                            const KernelSpec& spec, std::chrono::milliseconds timeout,
                                            std::string& why_not) {
  const Clock::time_point deadline = Clock::now() + timeout;
  int ends[2];
  pid_t pid = 0;
  int error = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) ? errno : 0;
  const FileDescriptor ours(error ? -1 : ends[0]);
  {
    const FileDescriptor theirs(error ? -1 : ends[1]);
    if (!error) error = start(program, theirs.get(), pid);
  }
  if (error) {
    why_not = fmt::format("{} cannot be started: {}", program, std::strerror(error));
    return std::nullopt;
  }
  Child child(pid);
  std::string answer;
  if (!converse(ours.get(), child, request_bytes(nvrtc, spec), deadline, answer))
    throw compilation_given_up(spec, timeout);
  if (answer.empty()) throw broken(spec, program, nvrtc, child.how_it_ended());
  ByteReader in(answer);
  const std::uint64_t kind = in.number();
  const bool invalid = kind == kFailed && in.number() == 1;
  const std::string_view body = in.string();
  if (!in.at_end() || kind > kDeclined)
    throw broken(spec, program, nvrtc, "its answer is not one of bolide-compile; " + child.how_it_ended());
  if (kind == kFailed) throw Error(invalid ? Code::invalid_argument : Code::device, std::string(body));
  if (kind == kDeclined) {
    why_not = fmt::format("{} does not serve version {}: {}", program, kLibraryVersion, body);
    return std::nullopt;
  }
  std::optional<CompiledKernel> kernel = kernel_from_bytes(body);
  if (!kernel || kernel->name != spec.name || kernel->architecture != spec.architecture ||
      kernel->sources_digest != spec.sources->digest())
    throw broken(spec, program, nvrtc, "its answer is not the kernel that was asked for");
  if (kernel->toolchain != nvrtc.toolchain())
    throw broken(spec, program, nvrtc,
                 fmt::format("it compiled with {}, but this process has opened {} there",
                             kernel->toolchain.text(), nvrtc.toolchain().text()));
  return kernel;
}

bool serve_compilation(int socket) {
  std::string received;
  char buffer[1 << 16];
  for (;;) {
    ByteReader in(received);
    const std::string_view request = in.string();
    if (in.ok()) {
      const std::string answer = answer_to(request);
      for (std::string_view rest = answer; !rest.empty();) {
        const ssize_t sent = send(socket, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) return false;
        if (sent > 0) rest.remove_prefix(static_cast<std::size_t>(sent));
      }
      shutdown(socket, SHUT_RDWR);
      return true;
    }
    const ssize_t got = recv(socket, buffer, sizeof(buffer), 0);
    if (got == 0 || (got < 0 && errno != EINTR)) return false;
    if (got > 0) received.append(buffer, static_cast<std::size_t>(got));
  }
}

}  // namespace bolide::jit
