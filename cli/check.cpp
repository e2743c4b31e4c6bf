// `bolide check`: cases given as text, or drawn at random, against the reference.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>

#include "cli/case_file.hpp"
#include "cli/commands.hpp"
#include "cli/exit_codes.hpp"
#include "cli/json_text.hpp"
#include "cli/machine.hpp"
#include "cli/problem_options.hpp"
#include "cli/progress.hpp"
#include "testing/check.hpp"
#include "testing/check_many.hpp"
#include "testing/coverage.hpp"
#include "testing/device_memory.hpp"
#include "testing/kernel_budget.hpp"
#include "testing/random_case.hpp"

namespace bolide::cli {
namespace {

constexpr const char* kExamples = R"help(
Without a CASE and --cases, draws random problems over the whole space of combinations. Each is computed
with outputs filled with NaN, guards around every buffer and NaN where nothing may be read, and compared
with a plain reference: pattern of non-finite values, out, LSE, gradients and exact counts of visible keys.
A failing case is shrunk; the line printed reruns it. Of problems too long for the reference it computes a
sample of the rows. Case lines are described in docs/cases.md.

Examples:
  bolide check
  bolide check --count 20000 --seed 1
  bolide check --minutes 5 --filter "kv=paged,pagelist type=bf16"
  bolide check "fwd bf16 b=2 hq=8 hkv=2 sq=1 skv=4097 d=128 kv=paged:64 mask=\"kv<=q\" seed=7"
  bolide check --definition --count 5000
  bolide check --cases tests/cases/masks.txt --keep-going --json)help";

struct CheckOptions {
  std::vector<std::string> cases;
  std::string case_file, filter, device = "cpu";
  std::optional<std::uint64_t> count, seed;
  std::optional<double> minutes;
  std::optional<int> kernels, threads;
  bool coverage = false, json = false, keep_going = false, definition = false;

  bool draws() const { return cases.empty() && case_file.empty(); }
};

constexpr std::uint64_t kDefaultCount = 1000, kDefaultSeed = 1;
constexpr int kDefaultKernels = 300;
// What shrinking a failure on a GPU may cost, where a kernel takes seconds to compile.
constexpr double kShrinkSeconds = 40;
constexpr int kShrinkKernels = 6;

struct Tally {
  std::uint64_t passed = 0, failed = 0, refused = 0;
  double seconds = 0;

  std::uint64_t all() const { return passed + failed + refused; }
  void add(const testing::Outcome& o) {
    (o.kind == testing::Outcome::passed   ? passed
     : o.kind == testing::Outcome::failed ? failed
                                          : refused) += 1;
    seconds += o.seconds;
  }
};

void check_options(const CheckOptions& o) {
  if (!o.draws() && (o.count || o.seed || o.minutes || !o.filter.empty()))
    throw Error(Code::invalid_argument,
                "--count, --seed, --minutes and --filter are for random problems; cases were given");
  if (o.kernels && (!o.draws() || parse_device(o.device).kind == Device::Kind::cpu))
    throw Error(Code::invalid_argument, "--kernels is for random problems on a GPU");
  if (o.threads && parse_device(o.device).kind == Device::Kind::cpu)
    throw Error(Code::invalid_argument, "--threads is for checks on a GPU; on the CPU a case uses all cores");
  if (o.minutes && !(*o.minutes > 0)) throw Error(Code::invalid_argument, "--minutes must be more than 0");
}

std::vector<testing::Case> given_cases(const CheckOptions& o) {
  std::vector<testing::Case> cases;
  for (const std::string& line : o.cases) cases.push_back(testing::Case::parse(line));
  if (!o.case_file.empty()) read_cases(o.case_file, cases);
  return cases;
}

// An argument for a shell.
std::string quoted(const std::string& text) {
  std::string all = "'";
  for (const char c : text) all += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return all + "'";
}

const char* kind_name(testing::Outcome::Kind kind) {
  return kind == testing::Outcome::passed   ? "passed"
         : kind == testing::Outcome::failed ? "failed"
                                            : "refused";
}

class Checker {
 public:
  explicit Checker(const CheckOptions& options)
      : o_(options),
        context_(parse_device(options.device),
                 {.kernels = options.definition ? Kernels::definition : Kernels::fastest}),
        memory_(testing::memory_for(context_.device())) {}
  Device device() const { return context_.device(); }

  // False: stop here.
  bool check(const testing::Case& c, Progress& progress) {
    return judge(c, testing::check(c, context_, *memory_), progress);
  }

  // On a GPU all cores check: the reference takes longer than the device.
  void check_all_on_gpu(std::span<const testing::Case> cases) {
    std::atomic<std::size_t> done = 0;
    Progress progress("check", [&] { return static_cast<double>(done) / static_cast<double>(cases.size()); });
    testing::check_many(cases, context_, o_.threads.value_or(this_cpu().threads),
                        [&](const testing::Case& c, const testing::Outcome& outcome) {
                          ++done;
                          return judge(c, outcome, progress);
                        });
  }

  void add_redrawn(std::uint64_t refused) { redrawn_ += refused; }

  int finish() const {
    const double n = std::max<double>(1, static_cast<double>(tally_.all()));
    const double refused_share = static_cast<double>(tally_.refused) / n, mean = tally_.seconds / n;
    if (o_.json) print_summary_json(refused_share, mean);
    else print_summary(refused_share, mean);
    return tally_.failed || !pool_.failures().empty() ? kCheckFailed : kDone;
  }

 private:
  bool judge(const testing::Case& c, const testing::Outcome& outcome, Progress& progress) {
    tally_.add(outcome);
    pool_.add(c, outcome);
    if (o_.coverage) coverage_.add(c);
    const bool failed = outcome.kind == testing::Outcome::failed;
    const std::string shrunk = failed ? shrink(c).text() : "";
    if (o_.json || outcome.kind != testing::Outcome::passed) progress.clear();
    if (o_.json) print_json(outcome, c, shrunk);
    else if (failed) print_failure(outcome, c, shrunk);
    else if (outcome.kind == testing::Outcome::refused)
      fmt::print("refused: {}\n  {}\n", c.text(), outcome.report);
    return !failed || o_.keep_going;
  }

  testing::Case shrink(const testing::Case& c) {
    if (device().kind == Device::Kind::cpu) return testing::shrink(c, context_);
    const auto fails = [&](const testing::Case& smaller) {
      try {
        return testing::check(smaller, context_, *memory_).kind == testing::Outcome::failed;
      } catch (const Error&) {
        return false;  // a program that lost what it captures
      }
    };
    return testing::shrink_on_gpu(c, fails, testing::multiprocessors(device()), kShrinkSeconds,
                                  kShrinkKernels);
  }

  void print_failure(const testing::Outcome& outcome, const testing::Case& c,
                     const std::string& shrunk) const {
    fmt::print("FAILED: {}\n{}\n", c.text(), outcome.report);
    fmt::print("the smallest failing relative found:\n  bolide check {}\n", quoted(shrunk));
    std::fflush(stdout);
  }

  void print_summary(double refused_share, double mean_seconds) const {
    fmt::print("{} cases: {} passed, {} failed, {} refused ({:.2f} %); {:.2f} ms each\n", tally_.all(),
               tally_.passed, tally_.failed, tally_.refused, 100 * refused_share, 1e3 * mean_seconds);
    if (redrawn_) fmt::print("{} draws that no kernel serves were drawn again\n", redrawn_);
    if (const std::string failures = pool_.failures(); !failures.empty())
      fmt::print("FAILED, pooled over all cases:\n{}", failures);
    if (o_.coverage) fmt::print("{}", coverage_.table());
  }

  void print_json(const testing::Outcome& outcome, const testing::Case& c, const std::string& shrunk) const {
    const nlohmann::ordered_json object = {
        {"command", "check"},
        {"case", c.text()},
        {"outcome", kind_name(outcome.kind)},
        {"path", outcome.path},
        {"report", outcome.report},
        {"shrunk", shrunk.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(shrunk)},
        {"seconds", outcome.seconds}};
    fmt::print("{}", json_line(object));
  }

  void print_summary_json(double refused_share, double mean_seconds) const {
    nlohmann::ordered_json object = {{"command", "check"},           {"cases", tally_.all()},
                                     {"passed", tally_.passed},      {"failed", tally_.failed},
                                     {"refused", tally_.refused},    {"refused_share", refused_share},
                                     {"mean_seconds", mean_seconds}, {"pool_failures", pool_.failures()}};
    if (o_.draws()) object["seed"] = o_.seed.value_or(kDefaultSeed);
    if (o_.draws()) object["redrawn"] = redrawn_;
    if (o_.coverage) object["least_pair"] = coverage_.least_pair();
    fmt::print("{}", json_line(object));
  }

  const CheckOptions& o_;
  Context context_;
  std::unique_ptr<testing::Memory> memory_;
  Tally tally_;
  std::uint64_t redrawn_ = 0;
  testing::Pool pool_;
  testing::Coverage coverage_;
};

// Kernels are compiled for each program: all that the cases need, before the first is checked.
void prepare(const CheckOptions& o, std::size_t cases, const std::vector<jit::KernelSpec>& kernels,
             const std::vector<jit::KernelSpec>& small = {}) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  std::atomic<double> ready = 0;
  int failed = 0;
  {
    const Progress progress("compile", [&] { return ready.load(); });
    std::vector<jit::KernelSpec> all = kernels;
    all.insert(all.end(), small.begin(), small.end());
    failed = testing::prepare_kernels(all, [&](double share) { ready = share; });
  }
  if (o.json) return;
  fmt::print("{} cases share {} kernels, ready in {:.1f} s{}\n", cases, kernels.size(),
             std::chrono::duration<double>(Clock::now() - start).count(),
             failed ? fmt::format("; {} did not compile", failed) : "");
  std::fflush(stdout);
}

int check_given(const CheckOptions& o) {
  const std::vector<testing::Case> cases = given_cases(o);
  Checker checker(o);
  if (checker.device().kind == Device::Kind::cuda) {
    prepare(o, cases.size(), testing::kernels_of(cases, testing::multiprocessors(checker.device())));
    checker.check_all_on_gpu(cases);
    return checker.finish();
  }
  std::atomic<std::size_t> done = 0;
  {
    Progress progress("check", [&] { return static_cast<double>(done) / static_cast<double>(cases.size()); });
    for (const testing::Case& c : cases) {
      if (!checker.check(c, progress)) break;
      ++done;
    }
  }
  return checker.finish();
}

int check_drawn_on_gpu(const CheckOptions& o, Checker& checker) {
  const testing::SharedDraws draws = testing::share_kernels(
      testing::multiprocessors(checker.device()), o.seed.value_or(kDefaultSeed),
      o.count.value_or(kDefaultCount), testing::Filter::parse(o.filter), o.kernels.value_or(kDefaultKernels));
  checker.add_redrawn(draws.refused);
  prepare(o, draws.cases.size(), draws.kernels, draws.small);
  checker.check_all_on_gpu(draws.cases);
  return checker.finish();
}

int check_drawn(const CheckOptions& o) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto minutes = [&] {
    return std::chrono::duration<double, std::ratio<60>>(Clock::now() - start).count();
  };
  // With --minutes alone there is no count; with both, what comes first ends it.
  const std::optional<std::uint64_t> count = o.count || o.minutes ? o.count : std::optional(kDefaultCount);
  const std::uint64_t seed = o.seed.value_or(kDefaultSeed);
  const testing::Filter filter = testing::Filter::parse(o.filter);
  Checker checker(o);
  if (checker.device().kind == Device::Kind::cuda) {
    if (o.minutes) throw Error(Code::invalid_argument, "--minutes is for the CPU; on a GPU give --count");
    return check_drawn_on_gpu(o, checker);
  }
  std::atomic<std::uint64_t> done = 0;
  const auto fraction = [&] {
    const double by_count = count ? static_cast<double>(done) / static_cast<double>(*count) : 0;
    return std::max(by_count, o.minutes ? minutes() / *o.minutes : 0);
  };
  {
    Progress progress("check", fraction);
    for (std::uint64_t i = 0; (!count || i < *count) && (!o.minutes || minutes() < *o.minutes); ++i) {
      if (!checker.check(testing::draw(seed, i, filter), progress)) break;
      ++done;
    }
  }
  return checker.finish();
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("check", "Checks this build against the reference, on random or given problems");
  const auto o = std::make_shared<CheckOptions>();
  // Without it "-3" would wrap to a large unsigned number.
  const CLI::Validator not_negative = CLI::Validator(CLI::NonNegativeNumber).description("");
  command->add_option("cases", o->cases, "Case lines to check instead of random problems")->type_name("CASE");
  command->add_option("--cases", o->case_file, "A file of case lines; # starts a comment")->type_name("FILE");
  command
      ->add_option("--count", o->count, "Random problems to draw (default: 1000; with --minutes: no limit)")
      ->type_name("N")
      ->check(not_negative);
  command->add_option("--seed", o->seed, "Which random problems: the same seed draws the same (default: 1)")
      ->type_name("S")
      ->check(not_negative);
  command->add_option("--minutes", o->minutes, "Draw for so long")->type_name("M");
  command
      ->add_option(
          "--filter", o->filter,
          "Only problems with these values of options: \"op=bwd kv=paged,pagelist\" (--coverage lists both)")
      ->type_name("TEXT");
  command
      ->add_option("--kernels", o->kernels,
                   "GPU: random problems share at most so many kernels (default: 300)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--threads", o->threads,
                   "GPU: check so many cases at a time (default: as many as there are cores)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command->add_flag("--coverage", o->coverage, "Print how often each pair of option values came up");
  command->add_flag("--keep-going", o->keep_going, "Go on after a failure");
  command->add_option("--device", o->device, "What to check: cpu, cuda or cuda:N")
      ->type_name("DEVICE")
      ->capture_default_str();
  command->add_flag("--definition", o->definition, "Check the CPU's definition, not its fastest kernels");
  command->add_flag("--json", o->json, "One JSON object per line on stdout (fields: docs/command.md)");
  command->footer(kExamples);
  command->callback([o, &action] {
    action = [o] {
      check_options(*o);
      return o->draws() ? check_drawn(*o) : check_given(*o);
    };
  });
}

}  // namespace bolide::cli
