// Layout of a pack: magic, format, number of entries, SHA-256 of the index, the index (begin and length of
// every entry, from the end of the index), the entries as jit/entry.hpp lays them out.
#include "jit/pack.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <bolide/error.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>

#include "jit/bytes.hpp"
#include "jit/disk_cache.hpp"
#include "jit/entry.hpp"
#include "jit/file_descriptor.hpp"
#include "jit/sha256.hpp"

namespace bolide::jit {
namespace {

constexpr std::string_view kMagic = "bolidepk";
constexpr std::uint64_t kFormat = 1;
constexpr std::uint64_t kMaxPackBytes = 4ull << 30, kMaxEntries = 1 << 20;

std::string_view view(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw Error(
      Code::file,
      fmt::format("{} is not a pack that can be used: {}. Make it again with `bolide pack`", path, what));
}

}  // namespace

Pack Pack::read(const std::string& path) {
  std::string fault;
  const std::optional<std::string> bytes = read_plain_file(AT_FDCWD, path, kMaxPackBytes, false, fault);
  if (!bytes)
    throw Error(Code::file,
                fmt::format("{} cannot be read: {}", path, fault.empty() ? "it does not exist" : fault));
  return parse(*bytes, path);
}

Pack Pack::parse(std::string_view bytes, const std::string& path) {
  ByteReader in(bytes);
  if (in.raw(kMagic.size()) != kMagic) damaged(path, "it does not begin as a pack does");
  if (const std::uint64_t format = in.number(); format != kFormat)
    damaged(path, fmt::format("its format is {}, this library reads {}", format, kFormat));
  const std::uint64_t count = in.number();
  if (count > kMaxEntries)
    damaged(path, fmt::format("it claims {} kernels, at most {} are read", count, kMaxEntries));
  const std::string_view digest = in.raw(32), index = in.raw(count * 16);
  if (!in.ok() || view(sha256(index)) != digest) damaged(path, "its index is damaged or cut off");

  Pack pack;
  pack.path_ = path;
  std::uint64_t expected = 0;  // entries follow each other without gaps
  for (ByteReader at(index); !at.at_end();) {
    const std::uint64_t begin = at.number(), length = at.number();
    const std::string_view entry_bytes = in.raw(length);
    if (begin != expected || !in.ok()) damaged(path, fmt::format("entry {} is cut off", pack.items_.size()));
    expected += length;
    const std::optional<EntryView> entry = read_entry(entry_bytes);
    std::optional<CompiledKernel> kernel = entry ? kernel_from_bytes(entry->payload) : std::nullopt;
    if (!kernel) damaged(path, fmt::format("entry {} is damaged", pack.items_.size()));
    pack.by_key_[std::string(entry->key)].push_back(pack.items_.size());
    pack.items_.push_back({std::string(entry->key), std::make_shared<CompiledKernel>(std::move(*kernel))});
  }
  if (!in.at_end()) damaged(path, "it goes on after its last entry");
  return pack;
}

void Pack::write(const std::string& path, const std::vector<Item>& items) {
  ByteWriter index, entries;
  for (const Item& item : items) {
    const std::string entry = make_entry(item.key, to_bytes(*item.kernel));
    index.number(entries.size()), index.number(entry.size());
    entries.raw(entry);
  }
  const std::string index_bytes = index.take();
  ByteWriter out;
  out.raw(kMagic), out.number(kFormat), out.number(items.size());
  out.raw(view(sha256(index_bytes))), out.raw(index_bytes), out.raw(entries.take());
  const std::string bytes = out.take();

  const std::string temporary = fmt::format("{}.new-{:08x}", path, std::random_device{}());
  FileDescriptor file(open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644));
  const auto fail = [&](const std::string& what) {
    const int error = errno;
    if (file) unlink(temporary.c_str());
    throw Error(Code::file,
                fmt::format("the pack {} cannot be written: {}: {}", path, what, std::strerror(error)));
  };
  if (!file) fail("creating " + temporary);
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(file.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("writing");
    done += static_cast<std::size_t>(n);
  }
  if (fsync(file.get()) != 0) fail("fsync");
  if (std::rename(temporary.c_str(), path.c_str()) != 0) fail("renaming");
}

std::shared_ptr<const CompiledKernel> Pack::find(const std::string& key, int driver_major) const {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  std::shared_ptr<const CompiledKernel> best;  // the newest toolkit the driver serves
  for (std::size_t i : found->second) {
    const auto& kernel = items_[i].kernel;
    const int major = kernel->toolchain.major;
    if ((driver_major == 0 || major <= driver_major) && (!best || major > best->toolchain.major))
      best = kernel;
  }
  return best;
}

bool Pack::has_outdated(const KernelSpec& spec) const {
  for (const Item& item : items_)
    if (item.kernel->name == spec.name && item.kernel->architecture == spec.architecture &&
        item.kernel->sources_digest != spec.sources->digest())
      return true;
  return false;
}

}  // namespace bolide::jit
