// What a mask costs before anything runs: which tiles are skipped, masked or whole, and how many pairs are
// visible.
#include <bolide/bolide.hpp>
#include <cstdio>
using namespace bolide;

int main() {
  const Mask window = [](auto, auto, auto q, auto kv) { return kv <= q && q - kv < 1024; };
  std::int64_t longest = 0;  // keys of the longest run of whole tiles
  TileVisitor visitor;
  visitor.area = [&](const TileArea& area) {
    if (area.visibility == Visibility::all) longest = std::max(longest, area.kv_end - area.kv_begin);
  };
  const TileCounts tiles =
      classify_tiles(window, {.len_q = 65536, .len_kv = 65536, .tile_q = 128, .tile_kv = 128}, visitor);
  std::printf("%lld tiles skipped, %lld masked, %lld whole; %lld pairs visible; %lld interval evaluations\n",
              static_cast<long long>(tiles.none), static_cast<long long>(tiles.some),
              static_cast<long long>(tiles.all), static_cast<long long>(tiles.visible_pairs),
              static_cast<long long>(tiles.interval_evaluations));
  const std::int64_t expected = 1024 * 1025 / 2 + (65536 - 1024) * std::int64_t{1024};
  return tiles.visible_pairs == expected && tiles.none + tiles.some + tiles.all == 512 * 512 && longest >= 128
             ? 0
             : 1;
}
