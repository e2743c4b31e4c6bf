// What back ends make of tile classes.
#pragma once
#include <cstdint>

namespace bolide {

/// What is made of tile classes. The results have the same bits.
enum class Classes : std::uint8_t {
  on,       ///< interval analysis; the CPU decides at points what that leaves open
  off,      ///< every tile's mask is evaluated at points
  partial,  ///< every tile is loaded and masked, whatever the points say
};

/// How kernels treat tiles; anything but the defaults is for tests.
struct TileOptions {
  Classes classes = Classes::on;
  bool counts = false;  ///< kernels count them by class (device/work.hpp: TileCounts)
};

}  // namespace bolide
