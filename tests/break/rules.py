"""The breaks of `make break`: a plausible mistake for each rule of docs/contract.md, and for tile classes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Break:
    rule: str    # of docs/contract.md, or another promise: tiles
    what: str    # the mistake, in words
    file: str    # where it is made
    text: str    # what stands there, exactly once
    broken: str  # what stands there then; it must compile
    tests: str = ""   # GoogleTest filter: who must notice; default: all that carry the rule's name
    target: str = "contract_test"
    kernels: str = ""  # what the tests ask for: "definition" or "fastest"; default: whose file it is

    def __post_init__(self):
        if not self.kernels:
            object.__setattr__(self, "kernels", "definition" if "naive" in self.file else "fastest")
        if not self.tests:
            object.__setattr__(self, "tests", f"*.C{int(self.rule[1:]):02}_*")


BREAKS = [
    Break("C1", "lse in base 2", "cpu/naive.cpp", "max + std::log(sum)", "max + std::log2(sum)"),
    Break("C2", "key heads dealt out in turn", "cpu/naive.cpp",
          "const std::int64_t key_head = h / sizes.group();",
          "const std::int64_t key_head = h % sizes.heads_kv;"),
    Break("C3", "the default query start forgets leftpad", "cpu/rows.cpp",
          "else s.query_start = s.key_start + s.len_kv - s.len_q;",
          "else s.query_start = s.key_start + key_span(b).rows - s.len_q;"),
    Break("C4", "the window counts the query itself", "program/masks.cpp",
          "return q - kv <= left && kv - q <= right;", "return q - kv < left && kv - q <= right;"),
    Break("C5", "the slopes of ALiBi begin at 1", "program/masks.cpp",
          "exp2(-8.0 * FloatExpr(h + 1) /", "exp2(-8.0 * FloatExpr(h) /"),
    Break("C8", "a row without visible keys has lse 0", "cpu/naive.cpp",
          "return sum == 0 && defined ? -kInf : lse;", "return sum == 0 && defined ? 0 : lse;"),
    Break("C9", "an empty part weighs as much as the largest", "cpu/merge.cpp",
          "if (l != -kInf) weights += std::exp(l - max);", "weights += l == -kInf ? 1 : std::exp(l - max);"),
    Break("C10", "a batch must hold at least one row", "problem/validate.cpp",
          "if (s.head_dim < 1 || s.head_dim_v < 1)",
          "if (s.head_dim < 1 || s.head_dim_v < 1 || (!packed_q() && p.q.size(1) < 1))"),
    Break("C11", "rows past the used length are left as they were", "cpu/naive.cpp",
          "fill(p.out, 0.0);  // rows that no sequence uses (contract C11)", ""),
    Break("C12", "a masked value is weighed with probability 0", "cpu/naive.cpp",
          "    for (std::int64_t j = 0; j < seq.len_kv; ++j) {\n      if (!r.visible[j]) continue;\n"
          "      load_row(problem.v,",
          "    for (std::int64_t j = 0; j < seq.len_kv; ++j) {\n      load_row(problem.v,"),
    Break("C13", "a NaN score is taken for a small one", "cpu/naive.cpp",
          "      if (r.p[j] == -kInf) r.visible[j] = 0;", "      if (!(r.p[j] > -kInf)) r.visible[j] = 0;"),
    Break("C14", "exponentials without the row's maximum", "cpu/naive.cpp",
          "if (r.visible[j]) sum += std::exp(r.p[j] - max);\n"
          "    const double lse = defined ? max + std::log(sum) : std::nan(\"\");",
          "if (r.visible[j]) sum += std::exp(r.p[j]);\n"
          "    const double lse = defined ? std::log(sum) : std::nan(\"\");"),
    Break("C15", "the scale loses its sign", "problem/validate.cpp",
          "s.scale = given;", "s.scale = std::abs(given);"),
    Break("C16", "row tensors are taken for contiguous", "cpu/rows.hpp",
          "t.rank() == 3 ? t.offset(slot.inner, head) : t.offset(slot.outer, slot.inner, head);",
          "(((t.rank() == 3 ? 0 : slot.outer * t.size(1)) + slot.inner) * t.size(t.rank() - 2) + head) *\n"
          "         t.size(t.rank() - 1);"),
    Break("C17", "one key in 500 is lost", "cpu/naive.cpp",
          "if (mask) mask->mask(at, seq.key_start, n, r.visible.data(), r.scratch);\n"
          "    else std::fill_n(r.visible.data(), n, std::uint8_t{1});",
          "if (mask) mask->mask(at, seq.key_start, n, r.visible.data(), r.scratch);\n"
          "    else std::fill_n(r.visible.data(), n, std::uint8_t{1});\n"
          "    for (int j = 499; j < n; j += 500) r.visible[j] = 0;"),
    Break("tiles", "conditions joined by || exclude each other like those joined by &&", "program/bounds.cpp",
          "linear.verdict = joined == op_of<op::Or>;", "linear.verdict = joined == op_of<op::And>;",
          tests="Classify.*", target="program_classify_test"),
    Break("tiles", "the last element of a sorted table is forgotten", "program/table_ranges.cpp",
          "e.add(at(0, c.hi), type);\n", "", tests="Classify.*", target="program_classify_test"),
    Break("tiles", "a tile between two decided halves is decided", "program/classify.cpp",
          "return a == TileClass::some || bisect(second, search) != a ? TileClass::some : a;", "return a;",
          tests="Classify.*", target="program_classify_test"),
    Break("C1", "tiles: lse without the maximum", "cpu/tiled_forward.cpp",
          "static_cast<double>(m.max[r]) + std::log(m.sum[r])", "std::log(m.sum[r])"),
    Break("C8", "tiles: a row that sees nothing divides by nothing", "cpu/tile_worker.hpp",
          "(m.sum[r] == 0 ? 0 : 1 / m.sum[r])", "(1 / m.sum[r])"),
    Break("C12", "tiles: values that are not finite meet probabilities of 0", "cpu/tiled_forward.cpp",
          ".where = finite ? nullptr : w.shown(keys)", ".where = nullptr"),
    Break("C13", "tiles: a NaN score is forgotten", "cpu/tile_math.cpp",
          "bad = hn::IfThenElse(hn::Lt(s, infinity), bad, nan);", "(void)nan;"),
    Break("C17", "tiles: the last key of a full tile is lost", "cpu/tile_worker.hpp",
          "if (count(block, c)) f(first, keys, c);",
          "if (count(block, c)) f(first, keys - keys / kTileKv, c);"),
]
