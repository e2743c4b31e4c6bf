#!/usr/bin/env python3
"""Breaks each rule of the contract in turn and shows that its test fails: `make break`.

    break.py [RULE ...]   break all of rules.py, or those rules only
    break.py --list       check only that each break still fits the source, and print the table

Works on a copy of the tree in build-break/. First the unbroken tests must pass; then, for each break, one
text of one source is replaced, the test is built again, and it must build, run and fail. Exit code 1 if any
break goes unnoticed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "house"))
import tree  # noqa: E402
from rules import BREAKS  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "build-break"
COPY, BUILD = WORK / "tree", WORK / "build"


def misfits(breaks, root):
    """Breaks whose text is not in their source exactly once, each with the reason."""
    for b in breaks:
        path = root / b.file
        count = path.read_text().count(b.text) if path.is_file() else 0
        if count != 1:
            yield f"{b.rule}: {b.file} holds this {count} times, not once; mend rules.py:\n{b.text}"


def copy_tree():
    """Brings COPY up to date. Files that did not change keep their times, so that little is built anew."""
    wanted = set(tree.files(ROOT))
    for stale in set(tree.files(COPY)) - wanted if COPY.exists() else ():
        (COPY / stale).unlink()
    for file in wanted:
        source, target = ROOT / file, COPY / file
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def quiet(command, **environment):
    """Runs a command; its exit code and what it printed."""
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **environment})
    return result.returncode, result.stdout


def build(targets):
    jobs = str(os.cpu_count())
    code, printed = quiet(["cmake", "--build", str(BUILD), "--parallel", jobs, "--target", *targets])
    return None if code == 0 else printed


def run_test(target, tests, kernels):
    """(exit code, number of tests run, names of the failed ones, what was printed)."""
    program = next(p for p in BUILD.rglob(target) if p.is_file() and os.access(p, os.X_OK))
    code, printed = quiet([str(program), f"--gtest_filter={tests}"], BOLIDE_TEST_KERNELS=kernels)
    ran = re.search(r"^\[=+\] (\d+) tests? from .* ran\.", printed, re.M)
    failed = sorted(set(re.findall(r"^\[  FAILED  \] (\w+\.\w+)", printed, re.M)))
    return code, int(ran[1]) if ran else 0, failed, printed


def break_one(b):
    """(noticed, what happened) for one break. The source is whole again afterwards."""
    path = COPY / b.file
    whole = path.read_text()
    path.write_text(whole.replace(b.text, b.broken))
    try:
        trouble = build([b.target])
        if trouble:
            return False, "the broken source does not build:\n" + trouble[-2000:]
        code, ran, failed, printed = run_test(b.target, b.tests, b.kernels)
        if code == 0:
            return False, f"{ran} tests pass"
        if ran and not failed:
            return False, "no test failed, yet:\n" + printed[-2000:]
        return True, f"{', '.join(failed)} failed" if ran else f"the test died (exit {code})"
    finally:
        path.write_text(whole)


def prepare(breaks):
    """Copies, configures, builds and runs the unbroken tests; a complaint or None."""
    copy_tree()
    settings = ["-DCMAKE_BUILD_TYPE=Release", "-DBOLIDE_TESTS=ON"]
    if shutil.which("ccache"):
        settings.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
    code, printed = quiet(["cmake", "-G", "Ninja", "-S", str(COPY), "-B", str(BUILD), *settings])
    trouble = printed if code else build(sorted({b.target for b in breaks}))
    if trouble:
        return "the unbroken tree does not build:\n" + trouble[-4000:]
    for b in breaks:
        code, ran, _, printed = run_test(b.target, b.tests, b.kernels)
        if code or not ran:
            return f"{b.tests} does not pass unbroken ({ran} tests ran):\n" + printed[-4000:]
    return None


def main(arguments):
    chosen = [b for b in BREAKS if b.rule in arguments or not set(arguments) - {"--list"}]
    complaints = list(misfits(chosen, ROOT))
    if not chosen:
        complaints = [f"no break of {' '.join(arguments)}; there are {' '.join(b.rule for b in BREAKS)}"]
    if not complaints and "--list" not in arguments:
        print(f"building the unbroken tree in {WORK.name}/", flush=True)
        trouble = prepare(chosen)
        complaints = [trouble] if trouble else []
    if complaints:
        print("\n".join(complaints))
        return 1
    missed = 0
    for b in chosen:
        if "--list" in arguments:
            print(f"{b.rule:4} {b.what}; {b.tests}")
            continue
        begin = time.monotonic()
        noticed, happened = break_one(b)
        missed += not noticed
        verdict = "noticed" if noticed else "MISSED "
        print(f"{b.rule:4} {verdict} {time.monotonic() - begin:5.1f} s  {b.what}: {happened}", flush=True)
    if "--list" not in arguments:
        print(f"{len(chosen) - missed} of {len(chosen)} broken rules were noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
