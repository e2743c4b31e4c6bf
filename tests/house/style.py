#!/usr/bin/env python3
"""Checks the house style that a script can see: `style.py [tree]` prints each breach, and exits 1."""

import re
import shutil
import subprocess

import tree

COLUMNS = 110
LINES = [(re.compile(r"include/bolide/.*\.hpp"), 150), (re.compile(r"device/.*\.cuh?"), 450)]
LIBRARY = ("include", "program", "problem", "plan", "jit", "cpu", "cuda", "run", "files", "device")
# What writes to the process's streams or ends it. snprintf and the like only write memory.
FORBIDDEN = re.compile(
    r"(?<![\w.>])(?:std::|::)?(cout|cerr|clog|printf|fprintf|vprintf|puts|fputs|putchar|perror"
    r"|exit|_exit|_Exit|quick_exit|abort|terminate|assert|__trap)\b(?=\s*\(|\s*<<)"
    r"|#\s*include\s*<iostream>|\bfmt::print\b")
COMMENTED = tree.SOURCES | {".py", ".cmake"}


def first_lines(root):
    """Every file says first what it is for; data and texts that cannot hold a comment are excepted."""
    for file in tree.files(root):
        name = file.name
        if name in ("CMakeLists.txt", "Makefile", "setup", "run") or file.suffix in COMMENTED:
            starts = {"//"} if file.suffix in tree.SOURCES else {"#", '"""'}
        elif file.suffix == ".md":
            starts = {"#"}
        else:
            continue
        lines = (root / file).read_text().splitlines() or [""]
        line = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        said = line.lstrip('/#" ')
        words = 1 if file.suffix == ".md" else 4
        if not any(line.startswith(s) for s in starts) or len(said.split()) < words:
            yield f"{file}:1: the first line does not say what the file is for"


def sizes(root):
    for file in tree.sources(root) + [f for f in tree.files(root) if f.suffix == ".py"]:
        lines = (root / file).read_text().splitlines()
        for pattern, limit in LINES:
            if pattern.fullmatch(str(file)) and len(lines) >= limit:
                yield f"{file}: {len(lines)} lines; files of its kind stay under {limit}"
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS:
                yield f"{file}:{number}: {len(line)} columns; {COLUMNS} are allowed"
            if re.search(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", line):
                yield f"{file}:{number}: a note to do later; do it or open an issue"


def silence(root):
    """The library never prints, exits or aborts."""
    for file in tree.sources(root):
        if file.parts[0] not in LIBRARY:
            continue
        for number, line in enumerate(tree.without_comments((root / file).read_text()).splitlines(), 1):
            match = FORBIDDEN.search(line)
            if match:
                yield f"{file}:{number}: '{match[0].strip()}': the library never prints, exits or aborts"


def layout(root):
    """clang-format 14 finds nothing to change."""
    formatter = shutil.which("clang-format-14")
    if not formatter:
        yield "clang-format-14 is not installed; `scripts/setup test` installs it"
        return
    names = [str(f) for f in tree.sources(root)]
    command = [formatter, "--dry-run", "-Werror", *names]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if names and result.returncode:
        files = sorted({line.split(":")[0] for line in result.stderr.splitlines() if "error:" in line})
        yield from (f"{file}: not laid out by clang-format; run `make format`" for file in files or ["C++"])


def check(root):
    return [c for part in (first_lines, sizes, silence, layout) for c in part(root)]


if __name__ == "__main__":
    tree.main(check)
