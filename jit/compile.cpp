// Compilation through NVRTC, under a deadline, with the texts of the request and nothing else.
#include "jit/compile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

namespace bolide::jit {
namespace {

using Clock = std::chrono::steady_clock;

// How long a compiler that was asked to stop may take to do so before it is left behind.
constexpr std::chrono::milliseconds kGrace{2000};

bool is_word(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string without_line_splices(std::string_view text) {
  std::string joined;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '\n') ++i;
    else if (text[i] == '\\' && i + 2 < text.size() && text[i + 1] == '\r' && text[i + 2] == '\n') i += 2;
    else joined += text[i];
  }
  return joined;
}

// NVRTC reads any file that a text includes by its absolute path, and quotes it in its messages. So whatever
// follows the words below must be the name of a source in memory. Words inside comments count too: the check
// errs on the side of refusing.
void refuse_foreign_includes(const KernelSpec& spec, const std::string& name, const std::string& text) {
  const std::string joined = without_line_splices(text);
  const std::string_view all = joined;
  for (std::string_view word :
       {"include", "include_next", "import", "embed", "__has_include", "__has_embed"}) {
    for (std::size_t at = all.find(word); at != all.npos; at = all.find(word, at + word.size())) {
      const std::size_t end = at + word.size();
      if ((end < all.size() && is_word(all[end])) || (at > 0 && is_word(all[at - 1]))) continue;
      const std::string_view before = all.substr(0, all.find_last_not_of(" \t", at - 1) + 1);
      const bool directive =
          at > 0 && (before.ends_with("#") || before.ends_with("%:") || before.ends_with("*/"));
      if (!directive && !word.starts_with("__")) continue;
      const std::size_t quote = all.find_first_not_of(" \t", end);
      const std::size_t close = quote == all.npos ? quote : all.find('"', quote + 1);
      const std::string_view file = quote != all.npos && all[quote] == '"' && close != all.npos
                                        ? all.substr(quote + 1, close - quote - 1)
                                        : "";
      const auto& files = spec.sources->files();
      if (word == "include" &&
          std::any_of(files.begin(), files.end(), [&](auto& f) { return f.name == file; }))
        continue;
      throw Error(
          Code::invalid_argument,
          fmt::format("{} has `{}{}`, which is not one of the {} sources in memory; a kernel may include "
                      "these only",
                      name, word, all.substr(end, std::min<std::size_t>(40, all.find('\n', end) - end)),
                      files.size()));
    }
  }
}

void refuse_nul(const std::string& what, const std::string& text) {
  if (text.find('\0') != std::string::npos)
    throw Error(Code::invalid_argument,
                fmt::format("{} holds a NUL character; a compiler would stop reading there", what));
}

void validate(const KernelSpec& spec) {
  if (!spec.sources) throw Error(Code::invalid_argument, "a kernel's request has no sources");
  refuse_nul("the kernel's text", spec.source), refuse_nul("the kernel's name", spec.name);
  if (spec.name.empty() || spec.name.find_first_of("\n\r#;\"") != std::string::npos)
    throw Error(
        Code::invalid_argument,
        fmt::format("`{}` is not the name of one kernel: it is empty or holds a line break or one of # ; \"",
                    spec.name));
  refuse_foreign_includes(spec, "the kernel's text", spec.source);
}

// Owns the program; a failed call becomes the Error that names it.
class Program {
 public:
  Program(const Nvrtc& nvrtc, const KernelSpec& spec) : nvrtc_(nvrtc), spec_(spec) {
    std::vector<const char*> texts, names;
    for (const SourceSet::File& f : spec.sources->files())
      texts.push_back(f.text.c_str()), names.push_back(f.name.c_str());
    check(nvrtc.create_program(&program_, spec.source.c_str(), "kernel.cu", static_cast<int>(texts.size()),
                               texts.data(), names.data()),
          "nvrtcCreateProgram");
  }
  ~Program() { nvrtc_.destroy_program(&program_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void check(Nvrtc::Result result, const char* call) const {
    if (result == Nvrtc::kSuccess) return;
    throw Error(Code::device, fmt::format("{} of {} failed for `{}` ({}): {}", call, nvrtc_.path(),
                                          spec_.name, spec_.architecture, nvrtc_.error_string(result)));
  }

  std::string log() const {
    std::size_t size = 0;
    check(nvrtc_.log_size(program_, &size), "nvrtcGetProgramLogSize");
    std::string text(size, '\0');
    if (size > 0) check(nvrtc_.log(program_, text.data()), "nvrtcGetProgramLog");
    while (!text.empty() && text.back() == '\0') text.pop_back();
    return text;
  }

  std::string cubin() const {
    std::size_t size = 0;
    check(nvrtc_.cubin_size(program_, &size), "nvrtcGetCUBINSize");
    std::string bytes(size, '\0');
    if (size > 0) check(nvrtc_.cubin(program_, bytes.data()), "nvrtcGetCUBIN");
    if (size == 0)
      throw Error(Code::device,
                  fmt::format("NVRTC gave no machine code for `{}`: \"{}\" is not a real architecture",
                              spec_.name, spec_.architecture));
    return bytes;
  }

  Nvrtc::Program get() const { return program_; }

 private:
  const Nvrtc& nvrtc_;
  const KernelSpec& spec_;
  Nvrtc::Program program_ = nullptr;
};

// What the compiling thread and the waiting one share; whoever is last to leave frees it.
struct Job {
  std::shared_ptr<const Nvrtc> nvrtc;
  KernelSpec spec;
  std::chrono::milliseconds timeout;
  std::atomic<bool> cancelled{false};
  std::promise<CompiledKernel> result;

  static int should_stop(void* job, void*) { return static_cast<Job*>(job)->cancelled ? 1 : 0; }

  Error timed_out() const { return compilation_given_up(spec, timeout); }

  CompiledKernel run() {
    const Clock::time_point start = Clock::now();
    const Program program(*nvrtc, spec);
    if (nvrtc->set_flow_callback)
      program.check(nvrtc->set_flow_callback(program.get(), should_stop, this), "nvrtcSetFlowCallback");
    program.check(nvrtc->add_name_expression(program.get(), spec.name.c_str()), "nvrtcAddNameExpression");
    const std::vector<std::string> options = compiler_options(spec, nvrtc->toolchain().major);
    std::vector<const char*> arguments;
    for (const std::string& o : options) arguments.push_back(o.c_str());
    const Nvrtc::Result status =
        nvrtc->compile_program(program.get(), static_cast<int>(arguments.size()), arguments.data());
    if (status == Nvrtc::kCancelled || (status != Nvrtc::kSuccess && cancelled)) throw timed_out();
    const std::string log = program.log();
    if (status != Nvrtc::kSuccess)
      throw Error(Code::device,
                  fmt::format("NVRTC {}.{} could not compile `{}` for {}: {}\n{}", nvrtc->toolchain().major,
                              nvrtc->toolchain().minor, spec.name, spec.architecture,
                              nvrtc->error_string(status), log.substr(0, 8000)));
    const char* lowered = nullptr;
    program.check(nvrtc->lowered_name(program.get(), spec.name.c_str(), &lowered), "nvrtcGetLoweredName");
    CompiledKernel kernel{.name = spec.name,
                          .lowered_name = lowered,
                          .architecture = spec.architecture,
                          .sources_digest = spec.sources->digest(),
                          .toolchain = nvrtc->toolchain(),
                          .cubin = program.cubin(),
                          .report = read_ptxas_log(log, lowered)};
    kernel.report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return kernel;
  }
};

}  // namespace

std::vector<std::string> compiler_options(const KernelSpec& spec, int toolchain_major) {
  std::vector<std::string> options = {"-default-device", "--std=c++20", "--no-source-include",
                                      "--gpu-architecture=" + spec.architecture, "--ptxas-options=-v"};
  // Where there is a driver, NVRTC 13 keeps what it compiled in a cache of the driver's: it costs a miss a
  // fifth of the time, and what comes from there comes without the report of ptxas.
  if (toolchain_major >= 13) options.push_back("--no-cache");
  options.insert(options.end(), spec.options.begin(), spec.options.end());
  return options;
}

Error compilation_given_up(const KernelSpec& spec, std::chrono::milliseconds timeout) {
  return Error(Code::device,
               fmt::format("NVRTC had not compiled `{}` for {} after {} ms; the compilation was given up",
                           spec.name, spec.architecture, timeout.count()));
}

CompiledKernel compile(std::shared_ptr<const Nvrtc> nvrtc, const KernelSpec& spec,
                       std::chrono::milliseconds timeout) {
  validate(spec);
  auto job = std::make_shared<Job>();
  job->nvrtc = std::move(nvrtc), job->spec = spec, job->timeout = timeout;
  std::future<CompiledKernel> result = job->result.get_future();
  std::thread worker([job] {
    try {
      job->result.set_value(job->run());
    } catch (...) {
      job->result.set_exception(std::current_exception());
    }
  });
  if (result.wait_for(timeout) != std::future_status::ready) {
    job->cancelled = true;
    if (result.wait_for(kGrace) != std::future_status::ready) {
      worker.detach();
      throw job->timed_out();
    }
  }
  worker.join();
  return result.get();
}

}  // namespace bolide::jit
