// The order memory, pack, disk, compiler; one compilation per kernel; packs; what a bad compiler can do. The
// compiler is the fake one.
#include "jit/kernel_store.hpp"

#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <bolide/error.hpp>
#include <set>
#include <thread>

#include "jit/compile.hpp"
#include "jit/entry.hpp"
#include "jit/nvrtc.hpp"
#include "tests/jit/support.hpp"

namespace bolide::jit {
namespace {

using testing::Environment;
using testing::Folder;
using testing::names_in;
using testing::read_file;
using testing::request;
using testing::write_file;

int compilations() {
  void* library = dlopen(FAKE_NVRTC, RTLD_NOW);
  return *static_cast<std::atomic<int>*>(dlsym(library, "fake_nvrtc_compilations"));
}

std::string failure_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

class KernelStoreTest : public ::testing::Test {
 protected:
  KernelStoreOptions options() const { return {.cache_folder = folder / "cache"}; }
  Folder folder;
  Environment fake{"BOLIDE_NVRTC", FAKE_NVRTC}, here{"BOLIDE_COMPILE", "none"};
};

TEST_F(KernelStoreTest, MemoryThenDiskThenCompiler) {
  const int before = compilations();
  {
    KernelStore store(options());
    const auto first = store.get(request("k<1>"));
    EXPECT_EQ(first->name, "k<1>");
    EXPECT_EQ(first->toolchain.major, 13);
    EXPECT_EQ(store.get(request("k<1>")), first);
    EXPECT_EQ(store.statistics().compiled, 1u);
    EXPECT_EQ(store.statistics().stored, 1u);
    EXPECT_EQ(store.statistics().from_memory, 1u);
  }
  KernelStore store(options());
  EXPECT_EQ(store.get(request("k<1>"))->cubin.substr(0, 5), "\177FAKE");
  EXPECT_EQ(store.statistics().from_disk, 1u);
  EXPECT_EQ(compilations() - before, 1);
  EXPECT_TRUE(store.statistics().problems.empty());
}

// T121, T122: every input of a compilation is part of the key, and the key is the request's alone.
TEST_F(KernelStoreTest, T121_EveryInputMakesAnotherKernel) {
  KernelStore store(options());
  const KernelSpec base = request("k<1>");
  std::vector<KernelSpec> all(8, base);
  all[1].name = "k<2>";
  all[2].source += "// more\n";
  all[3].architecture = "sm_100a";
  all[4].options = {"-lineinfo"};
  all[5].options = {"-line", "info"};
  all[7].options = {"-lineinf"};
  all[6].sources = std::make_shared<const SourceSet>(std::vector<SourceSet::File>{{"a.cuh", "// changed\n"}});
  std::set<std::string> keys, codes;
  for (const KernelSpec& spec : all) keys.insert(spec.key()), codes.insert(store.get(spec)->cubin);
  EXPECT_EQ(keys.size(), all.size());
  EXPECT_EQ(names_in(folder / "cache").size(), all.size());
  EXPECT_EQ(codes.size(), all.size() - 1) << "the fake joins options; only keys tell 4 from 5";
  EXPECT_EQ(request("k<1>").key(), base.key());
  EXPECT_NE(base.key().find(kLibraryVersion), std::string::npos);
}

// T122: an entry made by another build of the compiler is not used.
TEST_F(KernelStoreTest, T122_TheCompilerIsPartOfTheDiskKey) {
  KernelStore(options()).get(request("k<1>"));
  const std::string path = folder / "cache/" + names_in(folder / "cache").at(0);
  const std::string entry = read_file(path);
  EXPECT_NE(read_entry(entry)->key.find("nvrtc 13.0 build "), std::string::npos);
  CompiledKernel other = *kernel_from_bytes(read_entry(entry)->payload);
  other.toolchain.build = "another";
  write_file(path, make_entry(read_entry(entry)->key, to_bytes(other)));
  KernelStore store(options());
  EXPECT_EQ(store.get(request("k<1>"))->toolchain.build == "another", false);
  EXPECT_EQ(store.statistics().rejected, 1u);
}

// T123: code and its description are one payload; an entry made of A's code under B's name is refused.
TEST_F(KernelStoreTest, T123_AnotherKernelsPayloadIsRefused) {
  KernelStore(options()).get(request("k<1>"));
  const std::string path = folder / "cache/" + names_in(folder / "cache").at(0);
  const std::string entry = read_file(path);
  const CompiledKernel other = *KernelStore({.use_disk = false}).get(request("k<2>"));
  write_file(path, make_entry(read_entry(entry)->key, to_bytes(other)));
  KernelStore store(options());
  EXPECT_EQ(store.get(request("k<1>"))->name, "k<1>");
  EXPECT_EQ(store.statistics().rejected, 1u);
  EXPECT_EQ(store.statistics().compiled, 1u);
}

// T136: a changed byte of machine code never reaches the driver.
TEST_F(KernelStoreTest, T136_TamperedMachineCodeIsCompiledAgain) {
  const std::string good = KernelStore(options()).get(request("k<1>"))->cubin;
  const std::string path = folder / "cache/" + names_in(folder / "cache").at(0);
  std::string bytes = read_file(path);
  bytes[bytes.find("\177FAKE") + 100] ^= 1;
  write_file(path, bytes);
  KernelStore store(options());
  EXPECT_EQ(store.get(request("k<1>"))->cubin, good);
  EXPECT_EQ(store.statistics().compiled, 1u);
  EXPECT_EQ(store.statistics().rejected, 1u);
  ASSERT_EQ(store.statistics().problems.size(), 1u);
  EXPECT_EQ(list_cache(store.disk()).at(0).fault, "") << "replaced by the good one";
}

TEST_F(KernelStoreTest, ManyThreadsOneCompilation) {
  const int before = compilations();
  KernelStore store(options());
  std::vector<std::thread> threads;
  std::vector<KernelStore::Kernel> seen(32);
  for (std::size_t t = 0; t < seen.size(); ++t)
    threads.emplace_back([&, t] { seen[t] = store.get(request("slow" + std::to_string(t % 2))); });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(compilations() - before, 2);
  for (std::size_t t = 0; t < seen.size(); ++t) EXPECT_EQ(seen[t], seen[t % 2]);
  EXPECT_EQ(store.statistics().from_memory, 30u);
}

// T129: names of any kind are keys, never file names.
TEST_F(KernelStoreTest, T129_NamesAreHashed) {
  KernelStore store(options());
  for (const std::string& name :
       {std::string("../../x"), std::string("/etc/passwd"), std::string(4096, 'k'), std::string("ключ")})
    EXPECT_EQ(store.get(request(name))->name, name);
  for (const std::string& file : names_in(folder / "cache")) EXPECT_EQ(file.size(), 64 + 7u) << file;
  for (const std::string& name :
       {std::string(""), std::string("k\0x", 3), std::string("k\nx"), std::string("k;"), std::string("#k")})
    EXPECT_THROW(store.get(request(name)), Error) << name;
}

TEST_F(KernelStoreTest, APackServesWithoutACompiler) {
  const std::vector<KernelSpec> list = {request("k<1>"), request("k<2>"), request("k<1>")};
  KernelStore(options()).write_pack(folder / "kernels.pack", list);
  EXPECT_EQ(Pack::read(folder / "kernels.pack").items().size(), 2u);

  const Environment none("BOLIDE_NVRTC", "none");
  KernelStore store({.driver_major = 13, .use_disk = false});
  const std::string before = failure_of([&] { store.get(list[0]); });
  EXPECT_NE(before.find("none of the 0 packs"), std::string::npos) << before;
  EXPECT_NE(before.find("pip install nvidia-cuda-nvrtc"), std::string::npos) << before;
  store.load_pack(folder / "kernels.pack");
  EXPECT_EQ(store.get(list[0])->name, "k<1>");
  EXPECT_EQ(store.get(list[1])->name, "k<2>");
  EXPECT_EQ(store.statistics().from_pack, 2u);

  KernelSpec newer = list[0];
  newer.sources = std::make_shared<const SourceSet>(std::vector<SourceSet::File>{{"a.cuh", "// newer\n"}});
  EXPECT_NE(failure_of([&] { store.get(newer); }).find("another version of the library"), std::string::npos);
  KernelSpec other = list[0];
  other.architecture = "sm_100a";
  EXPECT_THROW(store.get(other), Error);

  KernelStore old_driver({.driver_major = 12, .use_disk = false});
  old_driver.load_pack(folder / "kernels.pack");
  EXPECT_THROW(old_driver.get(list[0]), Error) << "CUDA 13 code under a CUDA 12 driver";
}

// T125 for packs: damage anywhere is found when the pack is loaded.
TEST_F(KernelStoreTest, T125_ADamagedPackIsRefusedWhole) {
  KernelStore({.use_disk = false}).write_pack(folder / "p", std::vector{request("k<1>"), request("k<2>")});
  const std::string good = read_file(folder / "p");
  EXPECT_EQ(Pack::parse(good, "p").items().size(), Pack::read(folder / "p").items().size());
  EXPECT_EQ(names_in(folder.path()).size(), 1u) << "no temporary is left";
  const auto expect_refusal = [&](const std::string& bytes, std::size_t at) {
    EXPECT_NE(failure_of([&] { Pack::parse(bytes, "p"); }).find("not a pack"), std::string::npos) << at;
  };
  for (std::size_t n = 0; n < good.size(); ++n) {
    if (n % 7 == 0) expect_refusal(good.substr(0, n), n);
    std::string bad = good;
    bad[n] = static_cast<char>(bad[n] ^ 1 << n % 8);
    expect_refusal(bad, n);
  }
  expect_refusal(good + "x", good.size());
  EXPECT_NE(failure_of([&] { Pack::read(folder / "q"); }).find("does not exist"), std::string::npos);
  EXPECT_NE(failure_of([&] { Pack::write(folder / "no/such/p", {}); }).find("cannot be written"),
            std::string::npos);
}

// T133: a compiler that fails, gives nothing, hangs or will not stop costs one kernel and no other.
TEST_F(KernelStoreTest, T133_ABadCompilerCostsOneKernel) {
  KernelStoreOptions quick = options();
  quick.compile_timeout = std::chrono::milliseconds(50);
  KernelStore store(quick);
  EXPECT_NE(failure_of([&] { store.get(request("wrong")); }).find("kernel.cu(1): error: wrong"),
            std::string::npos);
  EXPECT_NE(failure_of([&] { store.get(request("nothing")); }).find("no machine code"), std::string::npos);
  auto start = std::chrono::steady_clock::now();
  EXPECT_NE(failure_of([&] { store.get(request("hang")); }).find("given up"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(1900))
      << "it stops when asked";
  start = std::chrono::steady_clock::now();
  EXPECT_NE(failure_of([&] { store.get(request("stubborn")); }).find("given up"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_EQ(store.get(request("k<1>"))->name, "k<1>");
  EXPECT_EQ(store.statistics().failed, 4u);
  EXPECT_EQ(names_in(folder / "cache").size(), 1u) << "no failure is cached";
}

TEST_F(KernelStoreTest, PrepareKeepsTheOrderAndTheErrors) {
  KernelStore store(options());
  std::vector<KernelSpec> list;
  for (int i = 0; i < 20; ++i) list.push_back(request((i == 7 ? "wrong" : "slow") + std::to_string(i)));
  std::set<std::size_t> told;
  const auto outcomes =
      store.prepare(list, 4, [&](std::size_t i, const KernelStore::Outcome&) { told.insert(i); });
  ASSERT_EQ(outcomes.size(), 20u);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(outcomes[i].kernel == nullptr, i == 7);
    EXPECT_EQ(outcomes[i].error.empty(), i != 7);
    if (outcomes[i].kernel) {
      EXPECT_EQ(outcomes[i].kernel->name, list[i].name);
    }
  }
  EXPECT_EQ(told.size(), 20u);
  EXPECT_NE(failure_of([&] { store.write_pack(folder / "p", list); }).find("wrong7"), std::string::npos);
}

TEST_F(KernelStoreTest, WithoutAHomeKernelsAreCompiledAndOneSentenceSaysSo) {
  const Environment a("BOLIDE_CACHE_DIR", nullptr), b("XDG_CACHE_HOME", nullptr), c("HOME", nullptr);
  KernelStore store;
  EXPECT_EQ(store.get(request("k<1>"))->name, "k<1>");
  EXPECT_EQ(store.statistics().stored, 0u);
  EXPECT_EQ(store.statistics().problems.size(), 1u);
}

// T130's last line of defence: nothing but the sources in memory can be included, however it is written.
TEST_F(KernelStoreTest, T130_ForeignIncludesNeverReachTheCompiler) {
  const int before = compilations();
  KernelStore store(options());
  for (const char* text :
       {"#include \"/etc/passwd\"", "#include <a.cuh>", "# include  \"b.cuh\"",
        "#inc\\\nlude \"/etc/passwd\"", "%:include \"/etc/passwd\"", "#/**/include \"/etc/passwd\"",
        "#include MACRO", "#include_next \"a.cuh\"", "#if __has_include(\"/etc/passwd\")",
        "#import \"a.cuh\"", "#embed \"a.cuh\"", "#include"}) {
    KernelSpec spec = request("k<1>");
    spec.source = std::string("#include \"a.cuh\"\n") + text + "\n";
    EXPECT_NE(failure_of([&] { store.get(spec); }).find("sources in memory"), std::string::npos) << text;
  }
  KernelSpec nul = request("k<1>");
  nul.source += '\0';
  EXPECT_NE(failure_of([&] { store.get(nul); }).find("NUL"), std::string::npos);
  EXPECT_EQ(compilations(), before);
  KernelSpec fine = request("k<1>");
  fine.source += "int includes, include_me, import;  // we include nothing\n#include\t\"a.cuh\"\n";
  EXPECT_EQ(store.get(fine)->name, "k<1>");
}

// T124 through the whole store: processes that compile one kernel, some of them killed.
TEST_F(KernelStoreTest, T124_ProcessesShareOneKernel) {
  std::vector<pid_t> children;
  for (int i = 0; i < 64; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      KernelStore store(options());
      const auto kernel = store.get(request("slow"));
      _exit(kernel->name == "slow" && store.statistics().problems.empty() ? 0 : 1);
    }
    children.push_back(child);
  }
  for (std::size_t i = 0; i < children.size(); i += 4) usleep(3000), kill(children[i], SIGKILL);
  for (pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
    }
  }
  KernelStore store(options());
  store.get(request("slow"));
  EXPECT_EQ(store.statistics().from_disk, 1u);
  EXPECT_EQ(names_in(folder / "cache").size(), 1u);
}

TEST_F(KernelStoreTest, ANewerCompilerThanTheDriverIsPassedOver) {
  const std::string why = failure_of([] { Nvrtc::open(12); });
  EXPECT_NE(why.find("compiles for CUDA 13, the driver serves CUDA 12"), std::string::npos) << why;
  EXPECT_EQ(Nvrtc::open(14)->toolchain().major, 13);
}

}  // namespace
}  // namespace bolide::jit
