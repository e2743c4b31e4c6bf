#!/usr/bin/env python3
"""Checks that includes go downwards only: `include_direction.py [tree]` prints the others and exits 1."""

import re
from pathlib import Path

import tree

BOLIDE = "include/bolide"
FLOOR_3_AND_BELOW = {"jit", "plan", "problem", "program", BOLIDE}
# The device headers that do without device/ptx.cuh: plain C++ for a host compiler, so that host and device
# have one definition of operators, programs and work lists.
PLAIN = "device/ without ptx.cuh"
# Who may include whom, beside itself: the floors of docs/design.md. A room not listed here holds no C++.
MAY_INCLUDE = {
    BOLIDE: set(),
    "program": {BOLIDE, PLAIN},
    "problem": {BOLIDE, "program"},
    "plan": {BOLIDE, "program", "problem", PLAIN},
    "jit": {BOLIDE},
    "cpu": FLOOR_3_AND_BELOW,
    "cuda": FLOOR_3_AND_BELOW | {PLAIN},
    "run": FLOOR_3_AND_BELOW | {"cpu", "cuda"},
    "files": {BOLIDE},
    "device": set(),
    "cmake": set(),
    "testing": FLOOR_3_AND_BELOW | {"cpu", "cuda", "run", "files"},
    "cli": {BOLIDE, "testing", "files"},
    "examples": {BOLIDE},
    "tests": None,  # tests look into every room
}
STANDARD = re.compile(r"[a-z_0-9]+")  # <vector>, <cstdint>: no dot, no slash
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def room_of(path):
    """The room a path from the root belongs to: its first folder, or include/bolide."""
    return BOLIDE if path.parts[:2] == ("include", "bolide") else path.parts[0]


def target_of(root, file, quote, name):
    """The file of the tree that an include names; None for the standard library's and packages' headers."""
    candidates = [Path("include", name), Path(name)] + ([file.parent / name] if quote == '"' else [])
    return next((c for c in candidates if (root / c).is_file()), None)


def is_plain(root, file):
    """True for a device header that is not ptx.cuh, nor includes it in the end."""
    if file.parts[0] != "device" or file.name == "ptx.cuh":
        return False
    below = [target_of(root, file, m[1], m[2]) for m in INCLUDE.finditer((root / file).read_text())]
    return all(is_plain(root, target) for target in below if target and target != file)


def complaint(root, file, quote, name):
    room, target = room_of(file), target_of(root, file, quote, name)
    if room not in MAY_INCLUDE:
        return f"the room {room}/ is on no floor; add it to MAY_INCLUDE in tests/house/include_direction.py"
    allowed = MAY_INCLUDE[room]
    if allowed is None:
        return None
    if target is None:
        if quote == '"':
            return f'"{name}" is no file of this tree; packages are included with <>'
        if room == BOLIDE and not STANDARD.fullmatch(name):
            return f"<{name}>: public headers include the standard library and <bolide/...> only"
        if room == "device" and not (file.name == "base.cuh" and STANDARD.fullmatch(name)):
            return f"<{name}>: device sources include their own folder only (base.cuh serves host compilers)"
        return None
    if room_of(target) == room or room_of(target) in allowed or (PLAIN in allowed and is_plain(root, target)):
        return None
    return f"{room}/ may not include {target}; only {', '.join(sorted(allowed | {room}))}"


def check(root):
    complaints = []
    for file in tree.sources(root):
        text = (root / file).read_text()
        for match in INCLUDE.finditer(text):
            found = complaint(root, file, match[1], match[2])
            if found:
                complaints.append(f"{file}:{text.count(chr(10), 0, match.start()) + 1}: {found}")
    return complaints


if __name__ == "__main__":
    tree.main(check)
