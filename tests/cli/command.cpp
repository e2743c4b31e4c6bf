// Starts processes and collects what they say.
#include "tests/cli/command.hpp"

#include <fcntl.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "files/tensor_file.hpp"

namespace bolide::tests {
namespace {

[[noreturn]] void become_command(const std::vector<std::string>& arguments, const RunSettings& settings) {
  std::vector<char*> argv{const_cast<char*>("bolide")};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  for (const auto& [name, value] : settings.environment) setenv(name.c_str(), value.c_str(), 1);
  if (chdir(settings.folder.c_str()) != 0) _exit(126);
  if (settings.max_file_bytes >= 0) {
    const rlimit limit{static_cast<rlim_t>(settings.max_file_bytes),
                       static_cast<rlim_t>(settings.max_file_bytes)};
    std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit fails instead
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  execv(BOLIDE_COMMAND, argv.data());
  _exit(127);
}

// Only one descriptor is ever a pipe (or a terminal), so reading it to its end cannot block the process.
std::string drain(int descriptor) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(descriptor, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  close(descriptor);
  return text;
}

// A temporary file that nobody else sees and that vanishes with its descriptor; -1 if there is none.
int unnamed_file() {
  std::FILE* file = std::tmpfile();
  if (!file) return -1;
  const int descriptor = dup(fileno(file));
  std::fclose(file);
  return descriptor;
}

void wait_for(pid_t child, Ran& ran) {
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  ran.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  if (WIFEXITED(status)) ran.exit = WEXITSTATUS(status);
  else ran.signal = WTERMSIG(status);
}

}  // namespace

Ran bolide(const std::vector<std::string>& arguments, const RunSettings& settings) {
  int out[2];
  const int error = unnamed_file();
  if (error < 0 || pipe(out) != 0) throw std::runtime_error("no pipe or temporary file");
  const pid_t child = fork();
  if (child == 0) {
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(error, STDERR_FILENO);
    close(out[0]);
    close(out[1]);
    close(error);
    become_command(arguments, settings);
  }
  close(out[1]);
  Ran ran;
  ran.out = drain(out[0]);
  wait_for(child, ran);
  lseek(error, 0, SEEK_SET);
  ran.err = drain(error);
  return ran;
}

Ran bolide_on_terminal(const std::vector<std::string>& arguments, bool stdout_too) {
  const int out = unnamed_file();
  int terminal = -1, its_end = -1;
  winsize size{};
  size.ws_row = 25, size.ws_col = 80;
  if (out < 0 || openpty(&terminal, &its_end, nullptr, nullptr, &size) != 0)
    throw std::runtime_error("no terminal or temporary file");
  const pid_t child = fork();
  if (child == 0) {
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(stdout_too ? its_end : out, STDOUT_FILENO);
    dup2(its_end, STDERR_FILENO);
    close(terminal);
    close(its_end);
    become_command(arguments, {});
  }
  close(its_end);
  Ran ran;
  ran.err = drain(terminal);  // ends when the process has closed its end
  wait_for(child, ran);
  lseek(out, 0, SEEK_SET);
  ran.out = drain(out);
  return ran;
}

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "bolide-test-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
  path_ = name;
}
Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}
std::vector<std::string> Folder::names() const {
  std::vector<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(path_))
    all.push_back(entry.path().filename().string());
  std::sort(all.begin(), all.end());
  return all;
}

Array<float> some_numbers(const Dims& shape, unsigned seed) {
  Array<float> a(shape);
  std::uint32_t state = seed * 2654435761u + 1;
  for (float& x : a.values) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(static_cast<int>(state >> 16) - 32768) / 32768.0f;
  }
  return a;
}

Array<float> read_array(const std::string& path, const std::string& name) {
  const files::TensorFile file = files::open_tensors(path);
  const files::OwnedTensor owned = file.read(name);
  const Tensor& t = owned.view;
  Array<float> a(t.shape);
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    if (t.dtype == DType::f32) a.values[i] = static_cast<const float*>(t.data)[i];
    else if (t.dtype == DType::f16) a.values[i] = static_cast<float>(static_cast<const f16*>(t.data)[i]);
    else if (t.dtype == DType::bf16) a.values[i] = static_cast<float>(static_cast<const bf16*>(t.data)[i]);
    else throw std::runtime_error("a result that is no float");
  }
  return a;
}

}  // namespace bolide::tests
