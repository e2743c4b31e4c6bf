// One kernel in a file: key and payload together, both guarded by digests. The unit of the cache and of
// packs.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace bolide::jit {

/// Layout: magic (8 bytes), format, SHA-256 of the key, SHA-256 of the payload, length of the key, length of
/// the payload, key, payload; numbers are 8 bytes, little-endian. Nothing follows.
std::string make_entry(std::string_view key, std::string_view payload);

struct EntryView {
  std::string_view key, payload;  ///< into the bytes they were read from
};

/// Nothing if a single bit of the bytes is not as make_entry wrote it.
std::optional<EntryView> read_entry(std::string_view bytes);

}  // namespace bolide::jit
