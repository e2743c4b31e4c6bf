// Reads and prints the line; what each key means stands in keys.cpp.
#include "testing/case.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>

#include "testing/captured.hpp"

namespace bolide::testing {
namespace {

[[noreturn]] void wrong(const std::string& sentence) { throw Error(Code::invalid_argument, sentence); }

constexpr const char* kOperations[] = {"fwd", "varlen_fwd", "bwd", "varlen_bwd", "fwd_kvcache"};
constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};

// Words separated by spaces; quotes and parentheses hold words together. Quotes are dropped.
std::vector<std::string> words(std::string_view line) {
  std::vector<std::string> out;
  std::string word;
  bool quoted = false, any = false;
  int depth = 0;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted, any = true;
    } else if (!quoted && depth == 0 && (c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
      if (any) out.push_back(word);
      word.clear(), any = false;
    } else {
      if (!quoted && c == '(') ++depth;
      if (!quoted && c == ')') --depth;
      word += c, any = true;
    }
  }
  if (quoted) wrong("the case ends inside quotes; close them: mask=\"kv<=q\"");
  if (depth != 0) wrong("the case ends inside parentheses; close them: let doc=runs(100)");
  if (any) out.push_back(word);
  return out;
}

const Key* find_key(std::string_view name) {
  for (const Key& k : keys())
    if (k.name == name) return &k;
  return nullptr;
}

std::string all_keys() {
  std::string out;
  for (const Key& k : keys()) out += (out.empty() ? "" : ", ") + k.name;
  return out;
}

void add_let(Case& c, const std::string& word) {
  const std::size_t at = word.find('=');
  if (at == std::string::npos || at == 0 || at + 1 == word.size())
    wrong(fmt::format("let is followed by {}; write let name=generator, e.g. let doc=runs(100)", word));
  Let let{word.substr(0, at), word.substr(at + 1)};
  std::erase(let.text, ' ');
  for (const Let& other : c.lets)
    if (other.name == let.name) wrong(fmt::format("let {} is given twice; give it once", let.name));
  parse_generator(let.name, let.text);
  c.lets.push_back(std::move(let));
}

void parse_head(Case& c, const std::vector<std::string>& w) {
  std::size_t op = 0;
  while (op < std::size(kOperations) && (w.empty() || w[0] != kOperations[op])) ++op;
  if (op == std::size(kOperations))
    wrong(fmt::format("the case starts with '{}'; allowed are fwd, varlen_fwd, bwd, varlen_bwd, fwd_kvcache",
                      w.empty() ? "" : w[0]));
  c.operation = static_cast<Operation>(op);
  for (const DType t : kTypes)
    if (w.size() > 1 && w[1] == name_of(t)) {
      c.dtype = t;
      const bool varlen = c.operation == Operation::varlen_fwd || c.operation == Operation::varlen_bwd;
      c.queries = varlen ? Rows::packed : Rows::dense;
      c.keys = varlen ? Keys::packed : Keys::dense;
      return;
    }
  wrong(fmt::format("the element type after {} is '{}'; allowed are f32, f16, bf16", w[0],
                    w.size() > 1 ? w[1] : ""));
}

void check_lengths(const Case& c, const char* key, const Spread& s, bool may_vary, const char* way_out) {
  if (s.varies() && !may_vary) wrong(fmt::format("{} differs between sequences, which {}", key, way_out));
  if (s.varies() && !s.range && static_cast<std::int64_t>(s.values.size()) != c.batch)
    wrong(fmt::format("{} lists {} lengths for b={}; give one for each sequence", key, s.values.size(),
                      c.batch));
}

}  // namespace

const char* name_of(Operation o) { return kOperations[static_cast<int>(o)]; }

bool parse_integer(std::string_view text, std::int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool mentions(std::string_view program, std::string_view name) {
  const auto word = [&](std::size_t at) {
    return at < program.size() &&
           (std::isalnum(static_cast<unsigned char>(program[at])) || program[at] == '_');
  };
  for (std::size_t at = program.find(name); at != std::string_view::npos; at = program.find(name, at + 1))
    if ((at == 0 || !word(at - 1)) && !word(at + name.size())) return true;
  return false;
}

// Each wanted gradient is of a tensor of floats that a let names and the score mentions.
static void check_captured_gradients(const Case& c) {
  for (const std::string& name : c.dcaptured) {
    if (std::count(c.dcaptured.begin(), c.dcaptured.end(), name) > 1)
      wrong(fmt::format("dcaptured names {} twice; give it once", name));
    const auto let = std::find_if(c.lets.begin(), c.lets.end(), [&](const Let& l) { return l.name == name; });
    if (let == c.lets.end())
      wrong(fmt::format("dcaptured names {}, which no let does; add let {}=randn(h)", name, name));
    const Generator g = parse_generator(let->name, let->text);
    if (!g.is_tensor() || (g.kind != Generator::file && !is_floating(g.dtype)))
      wrong(fmt::format("dcaptured names {}, which is {}; gradients are of tensors of floats", name,
                        let->text));
    if (!mentions(c.score, name))
      wrong(fmt::format("dcaptured names {}, which the score does not use", name));
  }
}

std::int64_t Spread::largest() const {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

Case Case::parse(std::string_view line) {
  const std::vector<std::string> w = words(line);
  Case c;
  parse_head(c, w);
  std::set<std::string> given;
  for (std::size_t i = 2; i < w.size(); ++i) {
    if (w[i] == "let") {
      if (++i == w.size()) wrong("let ends the case; write let name=generator");
      add_let(c, w[i]);
      continue;
    }
    const std::size_t at = w[i].find('=');
    const std::string name = w[i].substr(0, at), value = at == std::string::npos ? "" : w[i].substr(at + 1);
    const Key* key = find_key(name);
    if (!key || name == "let") wrong(fmt::format("unknown key '{}'; the keys are {}", name, all_keys()));
    if (at == std::string::npos)
      wrong(fmt::format("key {} has no value; write {}={}", name, name, key->values));
    if (!given.insert(name).second) wrong(fmt::format("key {} is given twice; give it once", name));
    if (!key->set(c, value))
      wrong(fmt::format("key {} has value '{}'; allowed: {}", name, value, key->values));
  }
  if (!given.contains("hkv")) c.heads_kv = c.heads_q;
  if (!given.contains("dv")) c.head_dim_v = c.head_dim;
  if (!given.contains("skv")) c.rows_kv = c.rows_q;
  c.validate();
  return c;
}

void Case::validate() const {
  const bool varlen = operation == Operation::varlen_fwd || operation == Operation::varlen_bwd;
  if (varlen && queries == Rows::dense)
    wrong(fmt::format("{} has q=dense; its queries are packed: use fwd or bwd, or q=packed",
                      name_of(operation)));
  check_lengths(*this, "sq", rows_q, queries == Rows::packed,
                "dense queries cannot: use q=packed or seqused_q");
  check_lengths(*this, "skv", rows_kv, keys != Keys::dense, "dense keys cannot: use kv=packed or seqused_kv");
  const std::pair<const char*, const Spread*> spreads[] = {{"seqused_q", &seqused_q},
                                                           {"seqused_kv", &seqused_kv},
                                                           {"leftpad", &leftpad},
                                                           {"start", &query_start.value},
                                                           {"key_start", &key_start.value}};
  for (const auto& [key, s] : spreads) check_lengths(*this, key, *s, true, "");
  if (!paged() && pages != PageOrder::shuffled)
    wrong("pages is given but keys are not paged; add kv=paged:64");
  if (!packed() && (cu_i64 || max_seqlen || tail))
    wrong("cu, max_seqlen and tail belong to packed rows; add q=packed or kv=packed");
  if (!backward() && (dlse || dout_f32 || grad_f32 || !dcaptured.empty()))
    wrong("dlse, dout, grad and dcaptured belong to gradients; use bwd or varlen_bwd");
  check_captured_gradients(*this);
  if (backward() && !lse) wrong("lse=no with a gradient; backward reads the lse that forward wrote");
  if (backward() && data == Data::nan)
    wrong("data=nan with a gradient; the rule for NaN speaks of out and lse: use a forward");
}

std::string Case::text() const {
  std::string out = fmt::format("{} {}", testing::name_of(operation), bolide::name_of(dtype));
  for (const Let& let : lets) out += fmt::format(" let {}={}", let.name, let.text);
  for (const Key& key : testing::keys()) {
    const std::string value = key.get(*this);
    if (value.empty()) continue;
    const bool quote = key.name == "mask" || key.name == "score";
    out += quote ? fmt::format(" {}=\"{}\"", key.name, value) : fmt::format(" {}={}", key.name, value);
  }
  return out;
}

}  // namespace bolide::testing
