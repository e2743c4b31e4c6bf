#!/usr/bin/env python3
"""Checks that the documents tell the truth: links resolve, examples equal their files, named tests exist.

`documents.py [tree]` prints each statement that does not hold, and exits 1."""

import re

import tree

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
TEST = re.compile(r"^\s*(?:TEST|TEST_F|TEST_P|TYPED_TEST)\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.M)
RULES = [f"C{n}" for n in range(1, 20)]


def markdown(root):
    return [f for f in tree.files(root) if f.suffix == ".md"]


def without_blocks(text):
    return re.sub(r"```.*?```", "", text, flags=re.S)


def anchors(text):
    """The fragments a Markdown file's headings can be linked by."""
    heads = re.findall(r"^#+ +(.*)$", without_blocks(text), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in heads}


def links(root):
    for file in markdown(root):
        for match in LINK.finditer(without_blocks((root / file).read_text())):
            target, _, fragment = (match[1] or match[2]).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            path = root / file.parent / target if target else root / file
            if not path.exists():
                yield f"{file}: the link {target} leads nowhere"
            elif fragment and path.suffix == ".md" and fragment not in anchors(path.read_text()):
                yield f"{file}: {target or file} has no heading #{fragment}"


def examples(root):
    """A C++ block under a line `<!-- file -->` is that file from its second line on; the README has one."""
    readme = (root / "README.md").read_text() if (root / "README.md").exists() else ""
    shown = re.findall(r"<!-- (\S+) -->\n```cpp\n(.*?)```", readme, re.S)
    if not shown:
        yield "README.md: no C++ example with a comment that names its file before it"
    if len(shown) != readme.count("```cpp"):
        yield "README.md: a C++ block without a comment that names its file before it"
    for name, block in shown:
        path = root / name
        if not path.is_file():
            yield f"README.md: {name} does not exist"
        elif path.read_text().split("\n", 1)[1].strip() != block.strip():
            yield f"README.md: the block differs from {name}"


def make_targets(root):
    makefile = root / "Makefile"
    targets = set(re.findall(r"^([\w-]+):", makefile.read_text(), re.M)) if makefile.exists() else set()
    for file in markdown(root):
        for target in re.findall(r"(?:^|`)(?:\$ )?make ([a-z-]+)", (root / file).read_text(), re.M):
            if target not in targets:
                yield f"{file}: the Makefile has no target {target}"


def tests(root):
    """The file of each test, by the test's name."""
    found = {}
    for file in tree.sources(root):
        if file.parts[0] == "tests":
            found |= {f"{suite}.{name}": file for suite, name in TEST.findall((root / file).read_text())}
    return found


def rules(root):
    """docs/contract.md has a row for each rule, which links to its tests or says that it is not built."""
    path, known = root / "docs/contract.md", tests(root)
    text = path.read_text() if path.exists() else ""
    rows = dict(re.findall(r"^\| \*{0,2}(C\d+)\*{0,2} \|(.*)$", text, re.M))
    for rule in RULES:
        if rule not in rows:
            yield f"docs/contract.md: no row for {rule}"
            continue
        named = re.findall(r"\[`?(\w+\.\w+)`?\]\(\.\./(\S+?)\)", rows[rule].split("|")[-2])
        if not named and "not built" not in rows[rule]:
            yield f"docs/contract.md: {rule} names no test and does not say that it is not built"
        for name, file in named:
            if str(known.get(name)) != file:
                yield f"docs/contract.md: {rule} names the test {name}, which is not in {file}"
            elif not re.search(rf"\bC0?{rule[1:]}_", name.split(".")[1]):
                yield f"docs/contract.md: the test {name} of {rule} does not carry the rule's name"


def check(root):
    return [c for part in (links, examples, make_targets, rules) for c in part(root)]


if __name__ == "__main__":
    tree.main(check)
