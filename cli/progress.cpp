// Draws the progress bar.
#include "cli/progress.hpp"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace bolide::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kFirst{2000}, kEvery{250};

std::string clock_text(double seconds) {
  const long s = std::lround(std::min(seconds, 359999.0));
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string progress_line(const std::string& label, double fraction, double seconds, int columns) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  const std::string head = fmt::format("{} {:3.0f} % ", label, std::floor(100 * fraction));
  const std::string tail = fraction > 0
                               ? fmt::format(" {} left", clock_text(seconds * (1 - fraction) / fraction))
                               : fmt::format(" {} so far", clock_text(seconds));
  // The last column stays free: a character there would wrap the line on some terminals.
  const int room = std::min(columns - 1 - static_cast<int>(head.size() + tail.size()) - 2, 40);
  std::string line = head;
  if (room >= 5) {
    const int filled = static_cast<int>(room * fraction);
    line += '[';
    line.append(filled, '#').append(room - filled, ' ') += ']';
  }
  line += tail;
  return line.substr(0, std::max(columns - 1, 0));
}

Progress::Progress(std::string label, std::function<double()> fraction)
    : label_(std::move(label)), fraction_(std::move(fraction)) {
  if (isatty(STDERR_FILENO)) thread_ = std::thread([this] { draw_until_stopped(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Progress::clear() {
  const std::lock_guard lock(mutex_);
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::draw_until_stopped() {
  const auto start = Clock::now();
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, drawn_ ? kEvery : kFirst, [this] { return stopped_; })) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    fmt::print(stderr, "\r\x1b[K{}", progress_line(label_, fraction_(), seconds, terminal_columns()));
    std::fflush(stderr);
    drawn_ = true;
  }
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
}

}  // namespace bolide::cli
