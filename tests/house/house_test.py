#!/usr/bin/env python3
"""Shows that the house checks can fail: each finds the defect planted in a small tree, and else nothing."""

import tempfile
import unittest
from pathlib import Path

import documents
import include_direction
import readme_commands
import style

TIDY = "// A file for the tests of the checks.\n"


class Planted(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def plant(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def finds(self, check, words):
        complaints = [c for c in check(self.root)]
        self.assertTrue(any(words in c for c in complaints), f"'{words}' is in none of {complaints}")

    def finds_nothing(self, check):
        self.assertEqual([c for c in check(self.root)], [])


class IncludeDirection(Planted):
    def setUp(self):
        super().setUp()
        self.plant("include/bolide/a.hpp", TIDY + "#include <vector>\n")
        self.plant("plan/p.hpp", TIDY + "#include <bolide/a.hpp>\n#include <fmt/format.h>\n")
        self.plant("run/r.cpp", TIDY + '#include "plan/p.hpp"\n')

    def test_downward_is_fine(self):
        self.finds_nothing(include_direction.check)

    def test_upward_is_found(self):
        self.plant("run/r.hpp", TIDY)
        self.plant("plan/q.cpp", TIDY + '#include "run/r.hpp"\n')
        self.finds(include_direction.check, "plan/q.cpp:2: plan/ may not include run/r.hpp")

    def test_the_two_back_ends_do_not_meet(self):
        self.plant("cuda/c.hpp", TIDY)
        self.plant("cpu/c.cpp", TIDY + '#  include "cuda/c.hpp"\n')
        self.finds(include_direction.check, "cpu/ may not include cuda/c.hpp")

    def test_public_headers_include_the_standard_library_only(self):
        self.plant("include/bolide/b.hpp", TIDY + "#include <fmt/format.h>\n")
        self.finds(include_direction.check, "public headers")
        self.plant("include/bolide/b.hpp", TIDY + '#include "plan/p.hpp"\n')
        self.finds(include_direction.check, "may not include plan/p.hpp")

    def test_the_command_sees_no_room_inside(self):
        self.plant("cli/c.cpp", TIDY + '#include "plan/p.hpp"\n')
        self.finds(include_direction.check, "cli/ may not include plan/p.hpp")

    def test_device_headers_without_ptx_are_shared(self):
        self.plant("device/base.cuh", TIDY + "#include <cmath>\n")
        self.plant("device/work.hpp", TIDY + '#include "base.cuh"\n')
        self.plant("device/ptx.cuh", TIDY)
        self.plant("device/tile.cuh", TIDY + '#include "ptx.cuh"\n')
        self.plant("plan/p.cpp", TIDY + '#include "device/work.hpp"\n')
        self.finds_nothing(include_direction.check)
        self.plant("plan/p.cpp", TIDY + '#include "device/tile.cuh"\n')
        self.finds(include_direction.check, "plan/ may not include device/tile.cuh")

    def test_a_room_on_no_floor(self):
        self.plant("attic/a.cpp", TIDY + "#include <vector>\n")
        self.finds(include_direction.check, "attic/ is on no floor")


class Style(Planted):
    def test_tidy_tree(self):
        self.plant("cpu/a.cpp", TIDY + 'int exit_code(); // abort()\nconst char* s = "abort()";\n')
        self.finds_nothing(style.first_lines)
        self.finds_nothing(style.sizes)
        self.finds_nothing(style.silence)

    def test_first_line(self):
        self.plant("cpu/a.cpp", "#include <vector>\n")
        self.finds(style.first_lines, "cpu/a.cpp:1")

    def test_long_header(self):
        self.plant("include/bolide/a.hpp", TIDY * 150)
        self.finds(style.sizes, "stay under 150")

    def test_long_line(self):
        self.plant("cpu/a.cpp", TIDY + "//" + "x" * 109 + "\n")
        self.finds(style.sizes, "111 columns")

    def test_noise_and_ends(self):
        for text in ("f() { std::abort(); }", "f() { printf(\"\"); }", "f() { std::cerr << 1; }",
                     "f() { ::exit(1); }", "#include <iostream>"):
            self.plant("cpu/a.cpp", TIDY + text + "\n")
            self.finds(style.silence, "never prints")

    def test_layout(self):
        self.plant("cpu/a.cpp", "int  main( ){}\n")
        self.finds(style.layout, "cpu/a.cpp: not laid out")
        self.plant("cpu/a.cpp", "int main() {}\n")
        self.finds_nothing(style.layout)


class Documents(Planted):
    def test_links(self):
        self.plant("docs/a.md", "# A b\n[x](b.md) [y](#a-b) [z](https://example.org)\n")
        self.finds(documents.links, "b.md leads nowhere")
        self.plant("docs/b.md", "# B\n[x](a.md#a-b)\n")
        self.finds_nothing(documents.links)
        self.plant("docs/b.md", "# B\n[x](a.md#c)\n")
        self.finds(documents.links, "no heading #c")

    def test_example(self):
        self.plant("e.cpp", TIDY + "int main() {}\n")
        self.plant("README.md", "# R\n<!-- e.cpp -->\n```cpp\nint main() {}\n```\n")
        self.finds_nothing(documents.examples)
        self.plant("e.cpp", TIDY + "int main() { }\n")
        self.finds(documents.examples, "differs from e.cpp")

    def test_make_targets(self):
        self.plant("Makefile", "test:\n")
        self.plant("README.md", "# R\n`make test`\n")
        self.finds_nothing(documents.make_targets)
        self.plant("README.md", "# R\n`make rest`\n")
        self.finds(documents.make_targets, "no target rest")

    def test_rules(self):
        names = {rule: f"Suite.{rule}_holds" for rule in documents.RULES}
        self.plant("tests/a.cpp", "".join(f"TEST(Suite, {rule}_holds) {{}}\n" for rule in names))
        rows = [f"| {rule} | what | [{name}](../tests/a.cpp) |\n" for rule, name in names.items()]
        self.plant("docs/contract.md", "".join(rows))
        self.finds_nothing(documents.rules)
        self.plant("docs/contract.md", "".join(rows[1:]))
        self.finds(documents.rules, "no row for C1")
        self.plant("docs/contract.md", "".join(rows).replace("C9_holds", "C9_lost"))
        self.finds(documents.rules, "Suite.C9_lost, which is not in tests/a.cpp")
        self.plant("docs/contract.md", "".join(rows).replace("[Suite.C9_holds]", ""))
        self.finds(documents.rules, "C9 names no test")
        self.plant("docs/contract.md", "".join(rows).replace("[Suite.C1_holds]", "[Suite.C12_holds]"))
        self.finds(documents.rules, "Suite.C12_holds of C1 does not carry")


class ReadmeCommands(unittest.TestCase):
    def test_commands_are_found(self):
        text = "```console\n$ build/bolide a \\\n  b\nout 1\n$ make\n$ build/bolide c\n```\n"
        self.assertEqual(list(readme_commands.commands(text)),
                         [("build/bolide a b", ["out 1"]), ("build/bolide c", [])])

    def test_output_is_compared_but_for_numbers(self):
        self.assertIsNone(readme_commands.as_shown(["time 1.5 ms", "b"], ["x", "time  12 ms", "b"]))
        self.assertEqual(readme_commands.as_shown(["time 1.5 us"], ["time 12 ms"]), "time 1.5 us")
        self.assertEqual(readme_commands.as_shown(["b", "a"], ["a", "b"]), "a")


if __name__ == "__main__":
    unittest.main()
