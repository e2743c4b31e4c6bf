// A crew of threads whose outcomes are told in order.
#include "testing/check_many.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "testing/device_memory.hpp"

namespace bolide::testing {
namespace {

struct Answer {
  std::optional<Outcome> outcome;
  std::exception_ptr error;
  bool ready() const { return outcome || error; }
};

// Stops the threads and waits for them, whatever leaves the scope.
struct Crew {
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::condition_variable told;
  std::size_t next = 0, end = 0;
  ~Crew() {
    {
      std::lock_guard lock(mutex);
      next = end;
    }
    for (std::thread& t : threads) t.join();
  }
};

}  // namespace

void check_many(std::span<const Case> cases, const Context& context, int threads,
                const std::function<bool(const Case&, const Outcome&)>& judge) {
  std::vector<Answer> answers(cases.size());
  Crew crew;
  crew.end = cases.size();
  const std::size_t wanted = std::min(static_cast<std::size_t>(std::max(threads, 1)), cases.size());
  const auto work = [&] {
    std::unique_ptr<Memory> memory;
    for (;;) {
      std::size_t i = 0;
      {
        std::lock_guard lock(crew.mutex);
        if (crew.next >= crew.end) return;
        i = crew.next++;
      }
      Answer answer;
      try {
        if (!memory) memory = memory_for(context.device());
        answer.outcome = check(cases[i], context, *memory);
      } catch (const Error& e) {
        answer.error = std::make_exception_ptr(Error(
            e.code(),
            fmt::format("{}; while checking {}{}", e.what(), cases[i].text(),
                        wanted > 1 ? ", with other checks beside it: one thread finds the culprit" : "")));
      } catch (...) {
        answer.error = std::current_exception();
      }
      std::lock_guard lock(crew.mutex);
      answers[i] = std::move(answer);
      crew.told.notify_all();
    }
  };
  for (std::size_t t = 0; t < wanted; ++t) crew.threads.emplace_back(work);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    Answer answer;
    {
      std::unique_lock lock(crew.mutex);
      crew.told.wait(lock, [&] { return answers[i].ready(); });
      answer = std::move(answers[i]);
      answers[i] = {Outcome(), nullptr};
    }
    if (answer.error) std::rethrow_exception(answer.error);
    if (!judge(cases[i], *answer.outcome)) return;
  }
}

}  // namespace bolide::testing
