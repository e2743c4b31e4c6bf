// How a forward problem runs on a Hopper GPU, as far as shapes, strides, types and capacities decide it. Pure
// functions: what explain() answers can be tested on a machine without a GPU.
#pragma once
#include <string>
#include <vector>

#include "device/work.hpp"
#include "problem/validate.hpp"

namespace bolide {

/// What a plan needs to know about a device.
struct GpuFacts {
  int multiprocessors = 132;
};

/// Where each part of a forward call's workspace begins, in bytes; parts that the call does not need are
/// empty.
struct ForwardWorkspace {
  std::size_t tile_offsets = 0;  ///< [batch + 2] int: query tiles before each packed sequence
  std::size_t next_work = 0;     ///< int: the work counter
  std::size_t ranges = 0;        ///< least and greatest elements of captured tensors, block by block
  std::size_t range_bytes = 0;
  std::size_t partial_out = 0;  ///< [split, batch, rows, heads, head_dim_v] float; packed: batch 1
  std::size_t partial_lse = 0;  ///< [split, 2, batch, heads, rows] float: greatest score, log of the sum
  std::size_t bytes = 0;
};

/// Who loads the tiles, and why not the faster one.
struct ProducerChoice {
  device::Producer producer = device::Producer::tma;
  int copy_bytes = 16;  ///< gathered: the widest copy that pointers and strides allow
  std::string why;
};
/// The copy engine if every pointer and stride of q, k and v is a positive multiple of 16 bytes and pages, if
/// any, hold a multiple of 8 rows and begin with a sequence's row 0; threads otherwise.
ProducerChoice choose_producer(const ForwardProblem&, const Sizes&);

/// How a tensor of pages, [page, row, heads, columns], that the copy engine can read looks in blocks; nothing
/// if heads are not whole panels of 64 columns apart, or pages not whole blocks of eight rows.
std::optional<device::PageMap> page_map(const Tensor& pages);

/// Everything that shapes decide about a launch.
struct ForwardChoice {
  bool plain = false;          ///< float32: fwd_f32, without tensor cores; else fwd_sm90 of `config`
  device::FwdConfig config{};  ///< fwd_sm90 only
  int pieces = 0;              ///< fwd_f32 only: head_dim_v / 32, rounded up to a power of two
  int tile_q = 0, tile_kv = 0, threads = 0, smem_bytes = 0;
  ProducerChoice producer;
  std::int64_t query_tiles = 0;  ///< most work items without splits
  std::int64_t kv_tiles = 0;     ///< most key tiles of a sequence
  int num_splits = 1;
  int grid = 0;                         ///< thread blocks; 0: there is nothing to write
  int kv_box_rows = 0;                  ///< copy engine: rows of a box of keys
  bool masked = false, scored = false;  ///< kernels have a mask, a score: see kernel_programs
  bool packed = false;                  ///< fwd_prepare counts the tiles first
  bool counted = false;                 ///< a counter deals out the work; fwd_prepare zeroes it first
  ForwardWorkspace workspace;

  /// fwd_prepare runs first.
  bool prepared() const { return counted || workspace.range_bytes > 0; }
  int launches() const { return grid == 0 ? 0 : 1 + (num_splits > 1) + prepared(); }
  std::string splits_text() const;
};
/// Throws Error{refused} for what no kernel serves: element types, head dims and sizes beyond a kernel's
/// reach, and strides of integer tensors that kernels do not read.
ForwardChoice choose_forward(const ForwardProblem&, const Sizes&, const GpuFacts&);

/// Every configuration of fwd_sm90 that choose_forward can answer: what is compiled ahead of time and by the
/// tests. Beside them there is fwd_f32 with 1, 2, 4 ... kMostPieces pieces.
std::vector<device::FwdConfig> every_forward_config();
inline constexpr int kMostPieces = 16;

/// The tile and the block of fwd_f32, as device/fwd_f32.cuh has them.
inline constexpr int kPlainTileQ = 16, kPlainTileKv = 32, kPlainThreads = 256;

/// The configuration as C++ writes it: "bolide::device::FwdConfig{.head_dim = 128, ...}".
std::string config_text(const device::FwdConfig&);

/// The programs that kernels are compiled with: where(condition, x, -inf) at the root of a score is a mask
/// (program::normalised), so that its tiles are skipped; and the score is the identity where the scale is not
/// positive, since kernels with a score scale before they look for the largest score.
struct KernelPrograms {
  Mask mask;
  Score score;
};
KernelPrograms kernel_programs(const ForwardProblem&, const Sizes&);

device::Element element_of(DType);

}  // namespace bolide
