// Translation units: the kernel's header, then the program's text, which instantiates it.
#include "cuda/forward_kernels.hpp"

#include <fmt/core.h>

namespace bolide::cuda {

jit::KernelSpec forward_spec(const device::FwdConfig& config, const program::Emitted& program) {
  return {.sources = jit::device_sources(),
          .source = "#include \"fwd_sm90.cuh\"\n" + program.text,
          .name = fmt::format("bolide::device::fwd_sm90<{}, Program>", config_text(config))};
}

jit::KernelSpec plain_spec(int pieces, const program::Emitted& program) {
  return {.sources = jit::device_sources(),
          .source =
              fmt::format("#include \"fwd_f32.cuh\"\n"
                          "static_assert(bolide::device::kRowsF32 == {} && bolide::device::kKeysF32 == {} && "
                          "bolide::device::kThreadsF32 == {}, \"the host launches so\");\n",
                          kPlainTileQ, kPlainTileKv, kPlainThreads) +
              program.text,
          .name = fmt::format("bolide::device::fwd_f32<{}, Program>", pieces)};
}

jit::KernelSpec main_spec(const ForwardChoice& c, const program::Emitted& program) {
  return c.plain ? plain_spec(c.pieces, program) : forward_spec(c.config, program);
}

jit::KernelSpec prepare_spec(bool ranges) {
  return {.sources = jit::device_sources(),
          .source = ranges ? "#include \"prepare_ranges.cuh\"\n" : "#include \"prepare.cuh\"\n",
          .name = ranges ? "bolide::device::fwd_prepare_ranges" : "bolide::device::fwd_prepare"};
}

jit::KernelSpec combine_spec(device::Element out) {
  const char* const names[] = {"f16", "bf16", "f32"};
  return {.sources = jit::device_sources(),
          .source = "#include \"combine.cuh\"\n",
          .name = fmt::format("bolide::device::fwd_combine<bolide::device::Element::{}>",
                              names[static_cast<int>(out)])};
}

jit::KernelSpec merge_spec() {
  return {.sources = jit::device_sources(),
          .source = "#include \"merge.cuh\"\n",
          .name = "bolide::device::merge"};
}

std::vector<jit::KernelSpec> specs_of(const ForwardChoice& c, const program::Emitted& program, DType out) {
  std::vector<jit::KernelSpec> specs{main_spec(c, program)};
  if (c.prepared()) specs.push_back(prepare_spec(c.workspace.range_bytes > 0));
  if (c.num_splits > 1) specs.push_back(combine_spec(element_of(out)));
  return specs;
}

std::vector<jit::KernelSpec> every_configuration(const program::Emitted& program) {
  std::vector<jit::KernelSpec> all{prepare_spec(false), prepare_spec(true)};
  for (const auto out : {device::Element::f16, device::Element::bf16, device::Element::f32})
    all.push_back(combine_spec(out));
  for (int pieces = 1; pieces <= kMostPieces; pieces *= 2) all.push_back(plain_spec(pieces, program));
  for (const device::FwdConfig& config : every_forward_config()) all.push_back(forward_spec(config, program));
  return all;
}

}  // namespace bolide::cuda
