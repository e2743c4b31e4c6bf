// A progress bar with an estimate of the time left, for people at a terminal only.
#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace bolide::cli {

/// While it lives, polls `fraction` (of the work done, 0 to 1; it is called from another thread) and draws a
/// bar on stderr once two seconds have passed. Does nothing at all unless stderr is a terminal. Erases the
/// bar when destroyed.
class Progress {
 public:
  Progress(std::string label, std::function<double()> fraction);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  /// Erases the bar until it is drawn again, so that lines for people can be printed.
  void clear();

 private:
  void draw_until_stopped();
  std::string label_;
  std::function<double()> fraction_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false, drawn_ = false;
  std::thread thread_;
};

/// The bar's line, at most `columns` wide: "label  37 % [#####      ]  0:12 left". No estimate before
/// something is done.
std::string progress_line(const std::string& label, double fraction, double seconds, int columns);

}  // namespace bolide::cli
