#!/usr/bin/env python3
"""Runs every `build/bolide` command of the documents and compares what it prints with what they show.

`readme_commands.py TREE BOLIDE`: in each ```console block of README.md and docs/*.md a line
`$ build/bolide ...` is run in a folder that holds links to the command and the tree's examples and tests, and
nothing else. It must exit with 0, or with something else if a line behind it starts with "bolide: ". Those
lines must be printed, in their order; any number stands for a number, and spaces for spaces.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def commands(text):
    """(command, lines shown behind it) for each command of the console blocks."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M):
        command, shown = None, []
        for line in block.splitlines() + ["$ "]:
            if line.startswith("$ "):
                if command and command.startswith("build/bolide"):
                    yield command, shown
                command, shown = line[2:], []
            elif command is not None and command.endswith("\\"):
                command = command[:-1] + line.strip()
            else:
                shown.append(line)


def spaced(line):
    return re.sub(r"\s+", " ", line.strip())


def as_shown(shown, printed):
    """The first shown line that is not in the printed ones after its predecessor, or None."""
    at = 0
    for line in shown:
        if line.strip() in ("", "..."):
            continue
        pattern = NUMBER.pattern.join(re.escape(part) for part in NUMBER.split(spaced(line)))
        while at < len(printed) and not re.fullmatch(pattern, spaced(printed[at])):
            at += 1
        if at == len(printed):
            return line
        at += 1
    return None


def main(root, bolide):
    failures = ran = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("examples", "tests"):
            Path(folder, name).symlink_to(root / name)
        Path(folder, "build").mkdir()
        Path(folder, "build", "bolide").symlink_to(bolide)
        for file in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
            for command, shown in commands(file.read_text()):
                ran += 1
                result = subprocess.run(
                    shlex.split(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, text=True, timeout=240)
                printed = result.stdout.splitlines()
                lost = as_shown(shown, printed)
                expects_failure = any(line.startswith("bolide: ") for line in shown)
                if lost is None and (result.returncode == 0) != expects_failure:
                    continue
                failures += 1
                print(f"{file.relative_to(root)}: $ {command}\n  exit {result.returncode}", end="")
                print(f", and this line is not printed: {lost}" if lost else "")
                print("  " + "\n  ".join(printed))
    print(f"readme_commands: {ran} run, {failures} failed")
    return 1 if failures or not ran else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
