// Parses the options that state a problem.
#include "cli/problem_options.hpp"

#include <CLI/CLI.hpp>
#include <charconv>

namespace bolide::cli {
namespace {

constexpr const char* kTensorHelp = "TENSOR";

void add_tensor_options(CLI::App& app, ProblemOptions& o) {
  app.add_option("files", o.files,
                 ".safetensors or .npy files; a .npy tensor has its file's name without .npy")
      ->type_name("FILE");
  const char* group = "Tensors (TENSOR is NAME, FILE.npy or FILE.safetensors:NAME)";
  const auto tensor = [&](const char* name, std::string& value, const char* help) {
    return app.add_option(name, value, help)->type_name(kTensorHelp)->group(group);
  };
  tensor("--q", o.q, "Queries [batch, rows, heads, head_dim]; f32, f16 or bf16")->capture_default_str();
  tensor("--k", o.k, "Keys [batch, rows, heads, head_dim]; q's heads are a multiple of k's")
      ->capture_default_str();
  tensor("--v", o.v, "Values [batch, rows, heads, head_dim_v]")->capture_default_str();
  app.add_option(
         "--layout", o.layout,
         "Order of axes of q, k, v, out and gradients: bshd, or bhsd (heads before rows, also in packed "
         "tensors and pages)")
      ->type_name("ORDER")
      ->check(CLI::IsMember({"bshd", "bhsd"}))
      ->capture_default_str()
      ->group(group);
  tensor("--dout", o.dout, "Gradient of out: computes dq, dk and dv too");
  tensor("--dlse", o.dlse, "Gradient of lse, with --dout; f32");
  app.add_option("--grad", o.grads,
                 "With --dout: the gradient of a --tensor that the score reads, as result dNAME. Repeatable")
      ->type_name("NAME")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
}

void add_length_options(CLI::App& app, ProblemOptions& o) {
  const char* group = "Lengths and pages (integers of any width that fit in 32 bits)";
  const auto tensor = [&](const char* name, std::string& value, const char* help) {
    app.add_option(name, value, help)->type_name(kTensorHelp)->group(group);
  };
  const auto number = [&](const char* name, std::optional<std::int64_t>& value, const char* help) {
    app.add_option(name, value, help)->type_name("N")->group(group);
  };
  tensor("--cu-seqlens-q", o.cu_seqlens_q, "[batch + 1]: q is packed, [total_rows, heads, head_dim]");
  tensor("--cu-seqlens-kv", o.cu_seqlens_kv, "[batch + 1]: k and v are packed");
  number("--max-seqlen-q", o.max_seqlen_q, "Longest packed sequence of queries (default: all rows)");
  number("--max-seqlen-kv", o.max_seqlen_kv, "Longest packed sequence of keys (default: all rows)");
  tensor("--seqused-q", o.seqused_q, "[batch]: rows of q in use (default: all)");
  tensor("--seqused-kv", o.seqused_kv, "[batch]: rows of k in use, leftpad included (default: all)");
  tensor("--leftpad", o.leftpad, "[batch]: first rows of k to skip (default: 0)");
  tensor("--page-table", o.page_table,
         "[batch, max_pages]: k and v are pages, [pages, page_rows, heads, head_dim]");
  tensor("--page-indptr", o.page_indptr, "[batch + 1]: pages as lists, with the next two");
  tensor("--page-indices", o.page_indices, "[any]: the pages of all sequences");
  tensor("--last-page-len", o.last_page_len, "[batch]: rows in use of each sequence's last page");
  number("--max-pages", o.max_pages, "Page lists: most pages of a sequence (default: all)");
}

void add_meaning_options(CLI::App& app, ProblemOptions& o) {
  const char* group = "Meaning";
  app.add_option("--scale", o.scale, "Factor of q k^T (default: 1/sqrt(head_dim))")
      ->type_name("X")
      ->group(group);
  app.add_option("--mask", o.mask,
                 "Visible where true: a text over b, h, q, kv, len_q, len_kv (default: everything)")
      ->type_name("TEXT")
      ->group(group);
  app.add_option("--score", o.score,
                 "Replaces scale * q k^T: a text over score and the same names (default: score)")
      ->type_name("TEXT")
      ->group(group);
  app.add_option("--tensor", o.tensors,
                 "Gives the texts a tensor, as doc[q]; NAME alone is NAME=NAME. Repeatable")
      ->type_name("NAME=TENSOR")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  app.add_option("--number", o.numbers, "Gives the texts a number. Repeatable")
      ->type_name("NAME=NUMBER")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  app.add_option(
         "--query-start", o.query_start,
         "Position of a sequence's first query: bottom_right (the last query stands at the last key), "
         "top_left (0), an integer, or a TENSOR [batch]")
      ->type_name("START")
      ->capture_default_str()
      ->group(group);
  app.add_option("--key-start", o.key_start,
                 "Position of a sequence's first key: an integer or a TENSOR [batch]")
      ->type_name("START")
      ->capture_default_str()
      ->group(group);
  app.add_option("--out-dtype", o.out_dtype, "Type of out: f32, or q's (default: q's)")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->group(group);
  app.add_option(
         "--grad-dtype", o.grad_dtype,
         "Type of dq, dk, dv, with --dout: f32, or q's (default: q's). f32 makes gradients of --grad f32 too")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->group(group);
}

}  // namespace

void add_problem_options(CLI::App& app, ProblemOptions& options) {
  add_tensor_options(app, options);
  add_length_options(app, options);
  add_meaning_options(app, options);
  app.add_option("--device", options.device, "Where to run: cpu, cuda or cuda:N")
      ->type_name("DEVICE")
      ->capture_default_str();
}

Device parse_device(const std::string& text) {
  if (text == "cpu") return Device::cpu();
  if (text == "cuda") return Device::cuda(0);
  if (text.starts_with("cuda:")) {
    int ordinal = 0;
    const char* end = text.data() + text.size();
    const auto [stop, trouble] = std::from_chars(text.data() + 5, end, ordinal);
    if (trouble == std::errc() && stop == end && ordinal >= 0) return Device::cuda(ordinal);
  }
  throw Error(Code::invalid_argument, "--device " + files::printable(text) + " is not cpu, cuda or cuda:N");
}

}  // namespace bolide::cli
