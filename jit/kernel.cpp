// Keys of requests, the bytes of compiled kernels, and the reading of the compiler's report.
#include "jit/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "jit/bytes.hpp"
#include "jit/sha256.hpp"

namespace bolide::jit {
namespace {

constexpr std::uint64_t kKernelFormat = 1;  // of the bytes below; also of the key

// The number that stands before `what` in a line: "Used 168 registers", "0 bytes spill stores". 0 if absent.
int number_before(std::string_view line, std::string_view what) {
  const std::size_t at = line.find(what);
  if (at == std::string_view::npos || at == 0) return 0;
  std::size_t begin = at;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9') --begin;
  int value = 0;
  std::from_chars(line.data() + begin, line.data() + at, value);
  return value;
}

// A remark that costs speed or promises wrong overlap. Advice on other things (gmem, compile time) is not
// one.
bool is_remark(std::string_view line) {
  for (std::string_view sign : {"serialized", "injected", "(C75", "Potential Performance Loss"})
    if (line.find(sign) != std::string_view::npos) return true;
  return false;
}

}  // namespace

SourceSet::SourceSet(std::vector<File> files) : files_(std::move(files)) {
  std::sort(files_.begin(), files_.end(), [](const File& a, const File& b) { return a.name < b.name; });
  ByteWriter all;
  for (const File& f : files_) all.string(f.name), all.string(f.text);
  digest_ = hex(sha256(all.take()));
}

std::string KernelSpec::key() const {
  ByteWriter key;
  key.string("bolide kernel"), key.number(kKernelFormat), key.string(kLibraryVersion);
  key.string(sources ? sources->digest() : ""), key.string(source), key.string(name);
  key.string(architecture), key.number(options.size());
  for (const std::string& o : options) key.string(o);
  return key.take();
}

std::string Toolchain::text() const { return fmt::format("nvrtc {}.{} build {}", major, minor, build); }

std::string CompileReport::complaint() const {
  std::vector<std::string> faults;
  if (spill_store_bytes > 0 || spill_load_bytes > 0)
    faults.push_back(
        fmt::format("it spills ({} bytes stored, {} bytes loaded)", spill_store_bytes, spill_load_bytes));
  else if (stack_bytes > 0) faults.push_back(fmt::format("it keeps {} bytes in local memory", stack_bytes));
  for (const std::string& r : remarks) faults.push_back(fmt::format("the compiler remarks: {}", r));
  return fmt::format("{}", fmt::join(faults, "; "));
}

std::string to_bytes(const CompiledKernel& k) {
  ByteWriter out;
  out.number(kKernelFormat);
  out.string(k.name), out.string(k.lowered_name), out.string(k.architecture), out.string(k.sources_digest);
  out.number(static_cast<std::uint64_t>(k.toolchain.major));
  out.number(static_cast<std::uint64_t>(k.toolchain.minor));
  out.string(k.toolchain.build), out.string(k.cubin);
  const CompileReport& r = k.report;
  for (int value : {r.registers, r.stack_bytes, r.spill_store_bytes, r.spill_load_bytes,
                    r.static_shared_bytes, r.barriers, static_cast<int>(r.seconds * 1e3)})
    out.number(static_cast<std::uint64_t>(value));
  out.number(r.remarks.size());
  for (const std::string& remark : r.remarks) out.string(remark);
  return out.take();
}

std::optional<CompiledKernel> kernel_from_bytes(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.number() != kKernelFormat) return std::nullopt;
  CompiledKernel k;
  k.name = in.string(), k.lowered_name = in.string(), k.architecture = in.string();
  k.sources_digest = in.string();
  k.toolchain.major = static_cast<int>(in.number()), k.toolchain.minor = static_cast<int>(in.number());
  k.toolchain.build = in.string(), k.cubin = in.string();
  CompileReport& r = k.report;
  for (int* value : {&r.registers, &r.stack_bytes, &r.spill_store_bytes, &r.spill_load_bytes,
                     &r.static_shared_bytes, &r.barriers})
    *value = static_cast<int>(in.number());
  r.seconds = static_cast<double>(in.number()) * 1e-3;
  const std::uint64_t remarks = in.number();
  for (std::uint64_t i = 0; i < remarks && in.ok(); ++i) r.remarks.emplace_back(in.string());
  if (!in.at_end() || k.cubin.empty() || k.lowered_name.empty()) return std::nullopt;
  return k;
}

CompileReport read_ptxas_log(std::string_view log, std::string_view lowered_name) {
  CompileReport report;
  bool ours = false;
  while (!log.empty()) {
    const std::size_t end = std::min(log.find('\n'), log.size());
    const std::string_view line = log.substr(0, end);
    log.remove_prefix(std::min(end + 1, log.size()));
    if (line.find("Compiling entry function") != std::string_view::npos)
      ours = line.find(fmt::format("'{}'", lowered_name)) != std::string_view::npos;
    if (line.find("bytes stack frame") != std::string_view::npos) {
      report.stack_bytes += number_before(line, " bytes stack frame");
      report.spill_store_bytes += number_before(line, " bytes spill stores");
      report.spill_load_bytes += number_before(line, " bytes spill loads");
    }
    if (ours && line.find("Used ") != std::string_view::npos) {
      report.registers = number_before(line, " registers");
      report.barriers = number_before(line, " barriers");
      report.static_shared_bytes = number_before(line, " bytes smem");
      report.stack_bytes = std::max(report.stack_bytes, number_before(line, " bytes lmem"));
    }
    if (is_remark(line)) report.remarks.emplace_back(line);
  }
  return report;
}

}  // namespace bolide::jit
