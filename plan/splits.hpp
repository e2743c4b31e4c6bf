// Into how many pieces a sequence's keys are cut when queries alone cannot fill the device.
#pragma once
#include <algorithm>
#include <cstdint>

namespace bolide {

/// Cuts the keys of each row of tiles only as far as idle multiprocessors can use, never below min_tiles key
/// tiles a piece; 1 when the tiles of queries already fill three quarters of the multiprocessors, since
/// pieces must be merged.
constexpr int choose_splits(std::int64_t query_tiles, std::int64_t kv_tiles, int multiprocessors,
                            int min_tiles) {
  if (query_tiles <= 0 || 4 * query_tiles > 3 * static_cast<std::int64_t>(multiprocessors)) return 1;
  const std::int64_t idle = multiprocessors / query_tiles, pieces = kv_tiles / std::max(min_tiles, 1);
  return static_cast<int>(std::max<std::int64_t>(1, std::min(idle, pieces)));
}

}  // namespace bolide
