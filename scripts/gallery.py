#!/usr/bin/env python3
"""Writes docs/gallery.md, its pictures and tests/cases/catalogue.txt: `scripts/gallery.py [BUILD]`.

The entries are those of tests/program/catalogue.cpp; the pictures are what `bolide mask` draws. BUILD is the
build folder, `build` unless given; it needs the targets bolide-cli and gallery, and clang-format-14.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTRODUCTION = """# Gallery: masks and scores that people use

Each mask as text (for the command and `Mask::parse`), as C++, and as `bolide mask` draws it in tiles of
64 x 64: blue tiles are seen in full and computed without masking, grey ones are skipped, and in the others
dark orange pairs are visible and light ones hidden. Queries run downwards, keys to the right. All of these
are ordinary programs: the library knows none of them by name.

In the C++ a captured tensor stands by the name of its table, `const IntTable doc = ints(tensor, "doc");`
(`bools` and `floats` likewise). Numbers and contents of tensors may change from call to call; nothing is
compiled again.

This page and its pictures are written by [scripts/gallery.py](../scripts/gallery.py) from
[catalogue.cpp](../tests/program/catalogue.cpp), whose tests hold text and C++ to be the same program.

## Masks
"""


def laid_out(code):
    """A lambda as clang-format lays it out after `mask = `, without that."""
    style = "{BasedOnStyle: Google, ColumnLimit: 100}"
    text = subprocess.run(["clang-format-14", f"--style={style}"], input=f"m={code};", text=True,
                          capture_output=True, check=True).stdout
    return text.removeprefix("m = ").rstrip().removesuffix(";")


def draw(command, folder, mask, file):
    """Runs `bolide mask` and returns its figures."""
    arguments = [command, "mask", mask["text"], "--sq", str(mask["sq"]), "--skv", str(mask["skv"])]
    arguments += ["--query-start", "top_left", "--picture", str(file), "--json"]
    for table in mask["tables"]:
        arguments += ["--tensor", f"{table}={folder}/{table}.npy"]
    return json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def entry(mask, found):
    tiles = found["tiles_none"] + found["tiles_some"] + found["tiles_all"]
    is_usual = (mask["sq"], mask["skv"]) == (512, 512)
    sizes = "" if is_usual else f"{mask['sq']} queries, {mask['skv']} keys: "
    return f"""
### {mask["id"]} {mask["name"]}

```
{mask["text"]}
```

```cpp
{laid_out(mask["code"])}
```

<img src="gallery/{mask["id"]}.png" alt="{mask["name"]}" width="{max(mask["skv"] * 3 // 8, 24)}">

{sizes}{found["tiles_none"]} of {tiles} tiles skipped, {found["tiles_all"]} unmasked; \
{100 * found["visible_share"]:.1f} % of the pairs visible.
"""


def score_rows(scores):
    yield "\n## Scores\n"
    yield "A score replaces `scale * q k^T` before the mask: `--score`, `Score::parse`, or a lambda of"
    yield "`(score, b, h, q, kv)`. All have derivatives by the score and by captured tensors of floats."
    yield "`where(condition, x, -inf)` at the root is taken for a mask, so that tiles are skipped.\n"
    yield "| id | what | text |\n|---|---|---|"
    for score in scores:
        text = score["text"].replace("|", "\\|")
        yield f"| {score['id']} | {score['name']} | `{text}` |"


def main(build):
    pictures = ROOT / "docs/gallery"
    pictures.mkdir(exist_ok=True)
    command = next(p for p in (build / "bolide", build / "cli/bolide") if p.exists())
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([build / "tests/program/gallery", folder], check=True)
        content = json.loads(Path(folder, "gallery.json").read_text())
        page = INTRODUCTION
        for mask in content["masks"]:
            page += entry(mask, draw(command, folder, mask, pictures / f"{mask['id']}.png"))
    page += "\n".join(score_rows(content["scores"])) + "\n"
    (ROOT / "docs/gallery.md").write_text(page)
    cases = "# Every mask and score of docs/gallery.md; written by scripts/gallery.py.\n"
    (ROOT / "tests/cases/catalogue.txt").write_text(cases + "\n".join(content["cases"]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve())
