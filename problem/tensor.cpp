// What the public tensor view says when it cannot be made.
#include <bolide/error.hpp>
#include <bolide/tensor.hpp>

#include <fmt/core.h>

namespace bolide {

void Dims::refuse_rank(std::size_t rank) {
  throw Error(Code::invalid_argument,
              fmt::format("a tensor has {} dimensions; at most {} are supported", rank, kMaxRank));
}

}  // namespace bolide
