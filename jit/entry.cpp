// Writing and checking the one file format of compiled kernels.
#include "jit/entry.hpp"

#include "jit/bytes.hpp"
#include "jit/sha256.hpp"

namespace bolide::jit {
namespace {

constexpr std::string_view kMagic = "bolidekn";
constexpr std::uint64_t kFormat = 1;

std::string digest_of(std::string_view bytes) {
  const Digest digest = sha256(bytes);
  return std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
}

}  // namespace

std::string make_entry(std::string_view key, std::string_view payload) {
  ByteWriter out;
  out.raw(kMagic), out.number(kFormat);
  out.raw(digest_of(key)), out.raw(digest_of(payload));
  out.number(key.size()), out.number(payload.size());
  out.raw(key), out.raw(payload);
  return out.take();
}

std::optional<EntryView> read_entry(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.raw(kMagic.size()) != kMagic || in.number() != kFormat) return std::nullopt;
  const std::string_view key_digest = in.raw(32), payload_digest = in.raw(32);
  const std::uint64_t key_bytes = in.number(), payload_bytes = in.number();
  EntryView entry;
  entry.key = in.raw(key_bytes), entry.payload = in.raw(payload_bytes);
  if (!in.at_end() || digest_of(entry.key) != key_digest || digest_of(entry.payload) != payload_digest)
    return std::nullopt;
  return entry;
}

}  // namespace bolide::jit
