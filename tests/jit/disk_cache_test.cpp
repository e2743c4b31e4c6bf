// The cache's folder under damage, hostile neighbours and full disks: any doubt is a miss, and nothing is
// thrown.
#include "jit/disk_cache.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "jit/entry.hpp"
#include "jit/sha256.hpp"
#include "tests/jit/support.hpp"

namespace bolide::jit {
namespace {

namespace fs = std::filesystem;
using testing::Environment;
using testing::Folder;
using testing::names_in;
using testing::read_file;
using testing::write_file;

constexpr std::uint64_t kCap = 1 << 20;

// Runs `body` in a child process and returns its exit status; -1 if it was killed.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct CacheIn {
  explicit CacheIn(const std::string& folder, std::uint64_t cap = kCap) : cache(folder, cap, problems) {}
  Problems problems;
  DiskCache cache;
  std::string only_problem() const {
    return problems.list().size() == 1 ? problems.list()[0] : "not one problem";
  }
};

class DiskCacheTest : public ::testing::Test {
 protected:
  // The one entry's path after a store of key "key" and payload "payload".
  std::string stored_entry() {
    CacheIn c(folder.path());
    EXPECT_TRUE(c.cache.store("key", "payload"));
    return folder / names_in(folder.path()).at(0);
  }
  Folder folder;
};

TEST_F(DiskCacheTest, WhatIsStoredIsLoadedByAnotherProcessToo) {
  CacheIn c(folder.path());
  EXPECT_FALSE(c.cache.load("key"));
  EXPECT_TRUE(c.cache.store("key", "payload"));
  EXPECT_EQ(c.cache.load("key"), "payload");
  EXPECT_FALSE(c.cache.load("kex"));
  CacheIn again(folder.path());
  EXPECT_EQ(again.cache.load("key"), "payload");
  EXPECT_TRUE(again.cache.store("key", "other payload"));
  EXPECT_EQ(c.cache.load("key"), "other payload");
  EXPECT_TRUE(c.problems.list().empty());
}

TEST_F(DiskCacheTest, FoldersAreMadePrivateWhateverTheUmask) {
  const mode_t old = umask(0);
  CacheIn c(folder / "a/b/c");
  EXPECT_TRUE(c.cache.store("key", "payload"));
  umask(old);
  struct stat s;
  for (const char* made : {"a", "a/b", "a/b/c"}) {
    ASSERT_EQ(stat((folder / made).c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 07777, 0700u) << made;
  }
  ASSERT_EQ(stat((folder / "a/b/c/" + names_in(folder / "a/b/c").at(0)).c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 07777, 0600u);
}

// T125: every truncation, every bit of every byte, and bytes added at the end.
TEST_F(DiskCacheTest, T125_DamageAtAnyOffsetIsAMiss) {
  const std::string path = stored_entry(), good = read_file(path);
  CacheIn c(folder.path());
  const auto expect_miss = [&](const std::string& bytes, const std::string& what) {
    write_file(path, bytes);
    EXPECT_FALSE(c.cache.load("key")) << what;
  };
  for (std::size_t n = 0; n < good.size(); ++n) {
    expect_miss(good.substr(0, n), "cut to " + std::to_string(n));
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[n] = static_cast<char>(bad[n] ^ 1 << bit);
      expect_miss(bad, "bit " + std::to_string(bit) + " of byte " + std::to_string(n));
    }
  }
  expect_miss(good + '\0', "one byte more");
  expect_miss(good + good, "twice");
  EXPECT_EQ(c.cache.num_rejected(), good.size() * 9 + 2);
  EXPECT_EQ(c.problems.list().size(), 1u) << "one sentence, not one per load";
  write_file(path, good);
  EXPECT_EQ(c.cache.load("key"), "payload");
  write_file(path, good.substr(5));
  EXPECT_TRUE(c.cache.store("key", "payload")) << "a damaged entry is replaced";
  EXPECT_EQ(c.cache.load("key"), "payload");
}

// T135: the file of one key's digest holding a perfectly good entry of another.
TEST_F(DiskCacheTest, T135_AnEntryUnderAnotherKeysNameIsAMiss) {
  const std::string path = stored_entry();
  write_file(path, make_entry("another key", "its payload"));
  chmod(path.c_str(), 0600);
  CacheIn c(folder.path());
  EXPECT_FALSE(c.cache.load("key"));
  EXPECT_NE(c.only_problem().find("another kernel's key"), std::string::npos);
  EXPECT_EQ(c.cache.list().at(0).fault, "it holds another kernel's key");
}

// T135: digests that match a forged key cannot be made; a key digest that is simply copied is seen.
TEST_F(DiskCacheTest, T135_ACopiedKeyDigestIsAMiss) {
  const std::string path = stored_entry();
  std::string forged = make_entry("kez", "evil");
  forged.replace(16, 32, read_file(path).substr(16, 32));
  write_file(path, forged);
  CacheIn c(folder.path());
  EXPECT_FALSE(c.cache.load("key"));
}

TEST_F(DiskCacheTest, T127_ASymbolicLinkInThePathTurnsTheCacheOff) {
  fs::create_directory(folder / "real");
  fs::create_directory_symlink(folder / "real", folder / "link");
  for (const char* path : {"link", "link/inside"}) {
    CacheIn c(folder / path);
    EXPECT_FALSE(c.cache.is_on());
    EXPECT_FALSE(c.cache.store("key", "payload"));
    EXPECT_FALSE(c.cache.load("key"));
    EXPECT_NE(c.only_problem().find("symbolic link"), std::string::npos) << c.only_problem();
  }
  EXPECT_TRUE(names_in(folder / "real").empty());
}

TEST_F(DiskCacheTest, T127_AFolderThatOthersMayWriteTurnsTheCacheOff) {
  for (mode_t mode : {0770, 0707, 0777, 01777}) {
    chmod(folder.path().c_str(), mode);
    EXPECT_FALSE(CacheIn(folder.path()).cache.is_on()) << std::oct << mode;
  }
  chmod(folder.path().c_str(), 0777);
  EXPECT_FALSE(CacheIn(folder / "below").cache.is_on()) << "others could replace it";
  chmod(folder.path().c_str(), 01777);
  EXPECT_TRUE(CacheIn(folder / "below").cache.is_on()) << "sticky, like /tmp";
  chmod(folder.path().c_str(), 0755);
  EXPECT_TRUE(CacheIn(folder.path()).cache.is_on());
}

TEST_F(DiskCacheTest, T127_AnotherUsersFolderTurnsTheCacheOff) {
  if (geteuid() != 0) GTEST_SKIP() << "only the superuser can give a folder away";
  ASSERT_EQ(chown(folder.path().c_str(), 12345, 12345), 0);
  CacheIn c(folder.path());
  EXPECT_FALSE(c.cache.is_on());
  EXPECT_NE(c.only_problem().find("owner"), std::string::npos);
  ASSERT_EQ(chown(folder.path().c_str(), 0, 0), 0);
  const std::string path = stored_entry();
  ASSERT_EQ(chown(path.c_str(), 12345, 12345), 0);
  CacheIn entry(folder.path());
  EXPECT_FALSE(entry.cache.load("key"));
  EXPECT_NE(entry.only_problem().find("owner"), std::string::npos);
}

TEST_F(DiskCacheTest, PathsThatLeadAnywhereAreRefused) {
  for (const std::string& path : {std::string("relative/folder"), folder / "a/../b", std::string("/"),
                                  std::string("//"), folder.path() + std::string("/a\0b", 4)}) {
    CacheIn c(path);
    EXPECT_FALSE(c.cache.is_on()) << path;
    EXPECT_EQ(c.problems.list().size(), 1u) << path;
  }
}

// T134: no shell sees the path.
TEST_F(DiskCacheTest, T134_AnyCharacterMayStandInThePath) {
  for (const char* name : {"a b", "$(touch x)", "quote\"'`", "new\nline", ";rm", "ü"}) {
    CacheIn c(folder / name);
    EXPECT_TRUE(c.cache.store("key", "payload")) << name;
    EXPECT_EQ(c.cache.load("key"), "payload") << name;
  }
  EXPECT_EQ(names_in(folder.path()).size(), 6u);
}

TEST_F(DiskCacheTest, T128_LinksPipesAndFoldersInAnEntrysPlaceAreRefusedAndReplaced) {
  const std::string path = stored_entry(), good = read_file(path), aside = folder / "aside";
  write_file(aside, good);
  const std::pair<const char*, std::function<void()>> tricks[] = {
      {"symbolic link", [&] { ASSERT_EQ(symlink(aside.c_str(), path.c_str()), 0); }},
      {"hard link", [&] { ASSERT_EQ(link(aside.c_str(), path.c_str()), 0); }},
      {"plain file", [&] { ASSERT_EQ(mkfifo(path.c_str(), 0600), 0); }},
      {"mode", [&] { write_file(path, good), chmod(path.c_str(), 0620); }},
      {"mode", [&] { write_file(path, good), chmod(path.c_str(), 0602); }},
  };
  for (const auto& [word, trick] : tricks) {
    fs::remove(path);
    trick();
    CacheIn c(folder.path());
    EXPECT_FALSE(c.cache.load("key")) << word;
    EXPECT_NE(c.only_problem().find(word), std::string::npos) << c.only_problem();
    EXPECT_TRUE(c.cache.store("key", "payload")) << word;
    EXPECT_EQ(c.cache.load("key"), "payload") << word;
    EXPECT_EQ(read_file(aside), good) << "never written through";
  }
  fs::remove(path);
  fs::create_directory(path);
  CacheIn c(folder.path());
  EXPECT_FALSE(c.cache.load("key"));
  EXPECT_FALSE(c.cache.store("key", "payload"));
  EXPECT_EQ(c.problems.list().size(), 2u);
}

TEST_F(DiskCacheTest, T128_ALeftoverThatIsALinkOrPipeIsNotTouched) {
  ASSERT_EQ(mkfifo((folder / ".new-1-pipe").c_str(), 0600), 0);
  write_file(folder / "precious", "data");
  ASSERT_EQ(symlink((folder / "precious").c_str(), (folder / ".new-2-link").c_str()), 0);
  EXPECT_TRUE(CacheIn(folder.path()).cache.is_on());
  EXPECT_EQ(names_in(folder.path()).size(), 3u);
  EXPECT_EQ(read_file(folder / "precious"), "data");
}

TEST_F(DiskCacheTest, LeftoversOfTheDeadGoAndOfTheLivingStay) {
  write_file(folder / ".new-1-dead", "half an ent");
  const int living = open((folder / ".new-2-living").c_str(), O_CREAT | O_WRONLY, 0600);
  ASSERT_EQ(flock(living, LOCK_EX), 0);
  EXPECT_TRUE(CacheIn(folder.path()).cache.is_on());
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{".new-2-living"});
  close(living);
}

// T126: without the right to write, and without the right to read.
TEST_F(DiskCacheTest, T126_WithoutRightsKernelsAreUncachedAndOneSentenceSaysSo) {
  stored_entry();
  chmod(folder.path().c_str(), 0755);
  EXPECT_EQ(0, in_child([&] {
              // As another user than the superuser, who may do everything; the folder is given to that user.
              if (geteuid() == 0 && (chown(folder.path().c_str(), 12345, 12345) != 0 || setuid(12345) != 0))
                return 9;
              chmod(folder.path().c_str(), 0500);
              CacheIn c(folder.path());
              if (!c.cache.is_on() || c.cache.store("other", "payload") || c.cache.store("third", "payload"))
                return 1;
              if (c.only_problem().find("Permission denied") == std::string::npos) return 2;
              chmod(folder.path().c_str(), 0);
              CacheIn closed(folder.path());
              return closed.cache.is_on() ||
                             closed.only_problem().find("Permission denied") == std::string::npos
                         ? 3
                         : 0;
            }));
}

// T126: writes fail in the middle, as on a full disk or over a quota.
TEST_F(DiskCacheTest, T126_AWriteThatFailsHalfwayLeavesNothing) {
  EXPECT_EQ(0, in_child([&] {
              signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{1000, 1000};
              setrlimit(RLIMIT_FSIZE, &limit);
              CacheIn c(folder.path());
              if (c.cache.store("key", std::string(5000, 'x')) || c.problems.list().size() != 1) return 1;
              return c.cache.store("small", "payload") && c.cache.load("small") == "payload" ? 0 : 2;
            }));
  EXPECT_EQ(names_in(folder.path()).size(), 1u) << "the small one";
}

// T126: a real full disk and a real read-only one, where the system lets us mount them.
TEST_F(DiskCacheTest, T126_FullAndReadOnlyFileSystems) {
  const int status = in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k,mode=700") != 0)
      return 77;
    {
      CacheIn c(folder.path());
      if (!c.cache.store("key", "payload") || c.cache.store("big", std::string(100000, 'x'))) return 1;
      if (c.only_problem().find("No space left") == std::string::npos || names_in(folder.path()).size() != 1)
        return 2;
    }
    if (mount("tmpfs", folder.path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) != 0) return 77;
    CacheIn c(folder.path());
    if (c.cache.load("key") != "payload" || c.cache.store("other", "payload")) return 3;
    if (c.only_problem().find("Read-only") == std::string::npos) return 4;
    return CacheIn(folder / "below").cache.is_on() ? 5 : 0;
  });
  if (status == 77) GTEST_SKIP() << "file systems cannot be mounted here";
  EXPECT_EQ(status, 0);
}

TEST_F(DiskCacheTest, T126_TheDefaultFolderFollowsTheEnvironmentAndNeverIsInTmp) {
  std::string why;
  const Environment none1("BOLIDE_CACHE_DIR", nullptr), none2("XDG_CACHE_HOME", nullptr),
      none3("HOME", nullptr);
  EXPECT_EQ(DiskCache::default_folder(why), "");
  EXPECT_NE(why.find("HOME"), std::string::npos);
  {
    const Environment home("HOME", folder.path().c_str());
    EXPECT_EQ(DiskCache::default_folder(why), folder / ".cache/bolide");
    const Environment xdg("XDG_CACHE_HOME", (folder / "xdg").c_str());
    EXPECT_EQ(DiskCache::default_folder(why), folder / "xdg/bolide");
    const Environment chosen("BOLIDE_CACHE_DIR", "/chosen");
    EXPECT_EQ(DiskCache::default_folder(why), "/chosen");
  }
  const Environment missing("HOME", (folder / "missing").c_str());
  why.clear();
  EXPECT_EQ(DiskCache::default_folder(why), "");
  EXPECT_NE(why.find("missing"), std::string::npos);
}

TEST_F(DiskCacheTest, TheLeastRecentlyUsedGoFirst) {
  const std::string payload(10000, 'x');
  CacheIn c(folder.path(), 50400);  // four entries of 10097 bytes
  const auto age = [&](const std::string& key, int seconds) {
    const timespec times[2] = {{1000 - seconds, 0}, {1000 - seconds, 0}};
    utimensat(AT_FDCWD, (folder / (hex(sha256(key)) + ".kernel")).c_str(), times, 0);
  };
  for (const char* key : {"a", "b", "c", "d"}) ASSERT_TRUE(c.cache.store(key, payload));
  age("a", 40), age("b", 30), age("c", 20), age("d", 10);
  ASSERT_TRUE(c.cache.load("a"));  // now the most recent
  ASSERT_TRUE(c.cache.store("e", payload));
  EXPECT_EQ(c.cache.num_evicted(), 1u);
  EXPECT_FALSE(c.cache.load("b"));
  for (const char* key : {"a", "c", "d", "e"}) EXPECT_TRUE(c.cache.load(key)) << key;
  EXPECT_FALSE(c.cache.store("huge", std::string(60000, 'x')));
  EXPECT_EQ(names_in(folder.path()).size(), 4u) << "what cannot fit evicts nothing";
}

TEST_F(DiskCacheTest, ClearRemovesEntriesAndNothingElse) {
  CacheIn c(folder.path());
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(c.cache.store(key, "payload"));
  write_file(folder / "precious", "data"), write_file(folder / ".new-1-dead", "half");
  EXPECT_EQ(c.cache.list().size(), 3u);
  EXPECT_EQ(c.cache.clear(), 3);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"precious"});
}

// T124: many writers of one key, killed at random: readers see whole entries only, and nothing is left
// behind.
TEST_F(DiskCacheTest, T124_SixtyFourProcessesOneKeyAndAKiller) {
  const char* wanted = getenv("BOLIDE_TEST_ROUNDS");
  const int rounds = wanted ? atoi(wanted) : 5;
  const std::string payload(200000, 'p');
  for (int round = 0; round < rounds; ++round) {
    std::vector<pid_t> children;
    for (int i = 0; i < 64; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        CacheIn c(folder.path());
        for (int repeat = 0; repeat < 4; ++repeat) {
          const std::optional<std::string> seen = c.cache.load("key");
          if (seen && *seen != payload) _exit(1);
          if (!c.cache.store("key", payload)) _exit(2);
        }
        const bool told = c.cache.num_rejected() > 0 || !c.problems.list().empty();
        _exit(told ? 3 : c.cache.load("key") == payload ? 0 : 4);
      }
      children.push_back(child);
    }
    for (std::size_t i = 0; i < children.size(); i += 3) {
      usleep(static_cast<useconds_t>((i * 2654435761u + round * 977u) % 3000));
      kill(children[i], SIGKILL);
    }
    int finished = 0;
    for (pid_t child : children) {
      int status = 0;
      waitpid(child, &status, 0);
      if (!WIFEXITED(status)) continue;
      EXPECT_EQ(WEXITSTATUS(status), 0);
      ++finished;
    }
    EXPECT_GE(finished, 42);
    CacheIn c(folder.path());
    EXPECT_EQ(c.cache.load("key"), payload);
    EXPECT_EQ(names_in(folder.path()).size(), 1u) << "no debris";
  }
}

}  // namespace
}  // namespace bolide::jit
