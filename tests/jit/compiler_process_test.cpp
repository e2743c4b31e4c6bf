// A compiler that crashes, exits, answers nonsense or hangs in a process of its own costs one kernel. The
// program is the real one, the compiler in it the fake one.
#include "jit/compiler_process.hpp"

#include <dlfcn.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <bolide/error.hpp>
#include <thread>

#include "jit/bytes.hpp"
#include "jit/kernel_store.hpp"
#include "tests/jit/support.hpp"

namespace bolide::jit {
namespace {

using testing::Environment;
using testing::Folder;
using testing::names_in;
using testing::request;

int compilations_here() {
  void* library = dlopen(FAKE_NVRTC, RTLD_NOW);
  return *static_cast<std::atomic<int>*>(dlsym(library, "fake_nvrtc_compilations"));
}

bool no_child_is_left() { return waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD; }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class CompilerProcessTest : public ::testing::Test {
 protected:
  KernelStoreOptions options(const std::string& program = COMPILER_PROGRAM) const {
    return {.cache_folder = folder / "cache", .compiler_program = program};
  }
  // The sentence of one kernel's failure, after which the store must still compile another.
  std::string failure(KernelStore& store, const KernelSpec& spec) {
    std::string sentence = "nothing was thrown";
    try {
      store.get(spec);
    } catch (const Error& error) {
      sentence = error.what();
      EXPECT_EQ(error.code(), Code::device) << sentence;
    }
    EXPECT_TRUE(has(sentence, "`" + spec.name + "`")) << sentence;
    const std::string other = "k<" + std::to_string(++others) + ">";
    EXPECT_EQ(store.get(request(other))->name, other);
    EXPECT_TRUE(no_child_is_left()) << sentence;
    return sentence;
  }
  Folder folder;
  Environment fake{"BOLIDE_NVRTC", FAKE_NVRTC}, unnamed{"BOLIDE_COMPILE", nullptr};
  int others = 0;
};

TEST_F(CompilerProcessTest, TheKernelIsTheOneThatThisProcessWouldMake) {
  const int before = compilations_here();
  const auto apart = KernelStore(options()).get(request("k<1>"));
  EXPECT_EQ(compilations_here(), before) << "it was compiled elsewhere";
  EXPECT_EQ(to_bytes(*KernelStore(options("none")).get(request("k<1>"))), to_bytes(*apart))
      << "one key: from the disk";
  EXPECT_EQ(compilations_here(), before);
  const auto here = KernelStore({.use_disk = false, .compiler_program = "none"}).get(request("k<1>"));
  EXPECT_EQ(compilations_here(), before + 1);
  EXPECT_EQ(here->cubin, apart->cubin);
  EXPECT_EQ(here->toolchain, apart->toolchain);
  EXPECT_TRUE(no_child_is_left());
}

// T133: what ended the compiler reaches the reader, and nothing else ends.
TEST_F(CompilerProcessTest, T133_ACrashCostsOneKernel) {
  KernelStore store(options());
  const std::string crash = failure(store, request("segfault"));
  EXPECT_TRUE(has(crash, "signal 11 ended it (Segmentation fault)")) << crash;
  EXPECT_TRUE(has(crash, "BOLIDE_COMPILE=none") && has(crash, FAKE_NVRTC)) << crash;
  EXPECT_TRUE(has(failure(store, request("abort")), "signal 6 ended it (Aborted)"));
  EXPECT_TRUE(has(failure(store, request("out of memory")), "signal 9 ended it (Killed, perhaps for want"));
  EXPECT_TRUE(has(failure(store, request("exit")), "it exited with status 3"));
  EXPECT_TRUE(has(failure(store, request("garbage")), "its answer is not one of bolide-compile"));
  EXPECT_TRUE(has(failure(store, request("half")), "its answer is not one of bolide-compile"));
  EXPECT_EQ(store.statistics().failed, 6u);
  EXPECT_EQ(names_in(folder / "cache").size(), 6u) << "the others'; no failure is cached";
}

TEST_F(CompilerProcessTest, T133_AHangingCompilerIsKilledWhenItsTimeIsUp) {
  KernelStoreOptions quick = options();
  quick.compile_timeout = std::chrono::milliseconds(500);
  KernelStore store(quick);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(has(failure(store, request("stubborn")), "given up"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

// The compiler's own words arrive, the request is checked as ever, and nothing that is open here is open
// there.
TEST_F(CompilerProcessTest, ErrorsArriveAndDescriptorsDoNotLeak) {
  KernelStore store(options());
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const std::string wrong = failure(store, request("wrong"));
  close(pipe_ends[0]), close(pipe_ends[1]);
  EXPECT_TRUE(has(wrong, "kernel.cu(1): error: wrong, descriptors 0 1 2.")) << wrong;
  KernelSpec foreign = request("k<0>");
  foreign.source += "#include \"/etc/passwd\"\n";
  try {
    store.get(foreign);
    ADD_FAILURE() << "it compiled";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::invalid_argument) << error.what();
  }
}

TEST_F(CompilerProcessTest, AnotherCompilerThereIsAnErrorAndNotAWrongKey) {
  KernelStore store(options());
  store.get(request("k<0>"));
  std::string sentence;
  {
    const Environment other("FAKE_NVRTC_MINOR", "7");
    try {
      store.get(request("k<a>"));
    } catch (const Error& error) {
      sentence = error.what();
    }
  }
  EXPECT_TRUE(has(sentence, "nvrtc 13.7 build ") && has(sentence, "nvrtc 13.0 build ")) << sentence;
  EXPECT_EQ(names_in(folder / "cache").size(), 1u);
}

TEST_F(CompilerProcessTest, ListsAreCompiledOnManyThreads) {
  KernelStore store(options());
  std::vector<KernelSpec> list;
  for (int i = 0; i < 24; ++i) list.push_back(request((i == 7 ? "abort" : "k") + std::to_string(i)));
  const auto outcomes = store.prepare(list, 8);
  for (std::size_t i = 0; i < list.size(); ++i) EXPECT_EQ(outcomes[i].kernel == nullptr, i == 7);
  EXPECT_TRUE(has(outcomes[7].error, "signal 6")) << outcomes[7].error;
  EXPECT_TRUE(no_child_is_left());
}

// A program that reads nothing breaks the pipe: SIGPIPE would end this process.
TEST_F(CompilerProcessTest, AProgramThatIsNotOurs) {
  const auto before = signal(SIGPIPE, SIG_DFL);
  KernelStore store(options("/bin/true"));
  KernelSpec large = request("k<0>");
  large.source += "// " + std::string(4 << 20, 'x') + "\n";
  std::string sentence;
  try {
    store.get(large);
  } catch (const Error& error) {
    sentence = error.what();
  }
  signal(SIGPIPE, before);
  EXPECT_TRUE(has(sentence, "it exited with status 0")) << sentence;
  EXPECT_TRUE(no_child_is_left());
}

TEST_F(CompilerProcessTest, ALargeRequestArrives) {
  KernelSpec large = request("k<0>");
  large.source += "// " + std::string(4 << 20, 'x') + "\n";
  EXPECT_GT(KernelStore(options()).get(large)->cubin.size(), 4u << 20) << "the fake's code holds the text";
}

// A host that leaves its children to the system, and one whose threads block every signal.
TEST_F(CompilerProcessTest, TheHostsSignalsDoNotMatter) {
  const auto before = signal(SIGCHLD, SIG_IGN);
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  KernelStoreOptions quick = options();
  quick.compile_timeout = std::chrono::seconds(20);
  KernelStore store(quick);
  const std::string sentence = failure(store, request("abort"));
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  signal(SIGCHLD, before);
  EXPECT_TRUE(has(sentence, "reaps its children itself")) << sentence;
}

TEST_F(CompilerProcessTest, AProgramAskedForByNameMustBeThere) {
  const Environment named("BOLIDE_COMPILE", "/no/such/program");
  KernelStore store(options(""));
  std::string sentence;
  try {
    store.get(request("k<1>"));
  } catch (const Error& error) {
    sentence = error.what();
  }
  EXPECT_TRUE(has(sentence, "/no/such/program cannot be started: No such file")) << sentence;
  EXPECT_EQ(KernelStore(options("none")).get(request("k<1>"))->name, "k<1>")
      << "the caller's word counts first";
}

TEST_F(CompilerProcessTest, WithoutTheProgramKernelsAreCompiledHereAndOneSentenceSaysSo) {
  const CompilerProgram found = CompilerProgram::find("");
  EXPECT_FALSE(found.asked_for);
  EXPECT_EQ(found.path.empty(), !found.why_none.empty());
  KernelStore store(options(""));
  EXPECT_EQ(store.get(request("k<1>"))->name, "k<1>");
  EXPECT_EQ(store.statistics().problems.empty(), !found.path.empty());
  EXPECT_TRUE(CompilerProgram::find("none").why_none.empty()) << "as asked: nothing to tell";
}

TEST_F(CompilerProcessTest, AnotherVersionsRequestIsDeclined) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  ByteWriter inner, framed;
  inner.string("bolide-compile 1"), inner.string("0.0.0");
  framed.string(inner.take());
  const std::string bytes = framed.take();
  ASSERT_EQ(write(ends[0], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  EXPECT_TRUE(serve_compilation(ends[1]));
  char answer[256];
  const ssize_t size = read(ends[0], answer, sizeof(answer));
  ByteReader in(std::string_view(answer, static_cast<std::size_t>(std::max<ssize_t>(size, 0))));
  EXPECT_EQ(in.number(), 2u);
  EXPECT_EQ(in.string(), std::string("it is version ") + kLibraryVersion + "'s");
  close(ends[0]), close(ends[1]);
}

}  // namespace
}  // namespace bolide::jit
