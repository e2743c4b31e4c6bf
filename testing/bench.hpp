// How long a case takes: copies of it in turn, so that no cache keeps what the next call reads, timed on the
// device.
#pragma once
#include <bolide/context.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "testing/case.hpp"
#include "testing/memory.hpp"

namespace bolide::testing {

struct BenchOptions {
  int samples = 30;              ///< of which the median and the spread are taken
  double sample_seconds = 2e-3;  ///< at least so long is a sample: as many calls as that takes
};

/// Seconds are of one call.
struct Timing {
  std::string path;
  std::size_t workspace_bytes = 0;
  int copies = 1;                        ///< of all tensors, used in turn
  int calls = 0;                         ///< of a sample
  double median = 0, low = 0, high = 0;  ///< the median, and the 10th and 90th percentile
  std::optional<double> host;            ///< CUDA: what a call costs the calling thread
  double pairs = 0;                      ///< visible (query, key) pairs over all query heads
  bool pairs_sampled = false;            ///< estimated from a part of the rows
  double flops = 0;                      ///< 2 pairs (head_dim + head_dim_v): the field's convention
  double bytes = 0;                      ///< q, the used rows of k and v, and out, once each
};

/// The forward of a case, set up to be timed as often as wanted. On a CUDA device calls are recorded as a
/// graph and timed by events, on the CPU by the clock. Context and memory must outlive it.
class TimedForward {
 public:
  /// Throws Error{refused} for backward cases and what else the context refuses.
  TimedForward(const Case&, const Context&, Memory&);
  ~TimedForward();
  TimedForward(const TimedForward&) = delete;
  TimedForward& operator=(const TimedForward&) = delete;
  Timing time(const BenchOptions& = {});

 private:
  struct Parts;
  const std::unique_ptr<Parts> parts_;
};

/// Bytes read and written per second by copying 1 GiB of the device's memory (CUDA), or 256 MiB on one thread
/// (CPU).
double copy_bytes_per_second(Device device);

}  // namespace bolide::testing
