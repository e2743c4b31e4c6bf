"""What the house checks share: the files of the source tree, and the form in which a check reports."""

import os
import re
import sys
from pathlib import Path

SKIPPED = re.compile(r"build.*|\.(?!ci$).*|__pycache__")
SOURCES = {".cpp", ".hpp", ".cu", ".cuh", ".h"}


def files(root):
    """Every file of the tree, relative to root and sorted; without build folders and tools' hidden ones."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not SKIPPED.fullmatch(f)]
        found += [Path(folder, name).relative_to(root) for name in names]
    return sorted(found)


def sources(root):
    return [f for f in files(root) if f.suffix in SOURCES]


def without_comments(text):
    """C++ text with comments and the insides of literals blanked, lines kept."""
    token = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)

    def blank(match):
        lines = "\n" * match[0].count("\n")
        return lines if match[0].startswith("/") else f'"{lines}"'
    return token.sub(blank, text)


def main(check):
    """Runs check(root) -> list of complaints on the tree the command line names; exits 1 if there are any."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    complaints = check(root)
    for complaint in complaints:
        print(complaint)
    print(f"{Path(sys.argv[0]).stem}: {len(complaints)} complaints in {root}")
    sys.exit(1 if complaints else 0)
