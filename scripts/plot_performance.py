#!/usr/bin/env python3
"""Draws docs/performance.svg and prints the table from what scripts/bench_peers.py wrote. Needs matplotlib.

    scripts/plot_performance.py forward.json docs/performance.svg [--ceiling 790]
"""
import argparse
import json
import math
import shlex

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

NAMES = {"bolide": "bolide", "cudnn": "cuDNN", "flash_attention_2": "FlashAttention 2"}


def rows(points):
    """{(head_dim, causal): {keys: point}}"""
    table = {}
    for point in points:
        options = dict(word.split("=", 1) for word in shlex.split(point["case"])[2:])
        key = (int(options.get("d", 64)), "mask" in options)
        table.setdefault(key, {})[int(options["sq"])] = point
    return table


def draw(table, ceiling, path):
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), sharex=True, sharey=True)
    most = max(point[peer] for points in table.values() for point in points.values() for peer in NAMES)
    for column, head_dim in enumerate(sorted({d for d, _ in table})):
        for row, causal in enumerate((False, True)):
            axis = axes[row][column]
            points = table[(head_dim, causal)]
            for peer, name in NAMES.items():
                axis.plot(list(points), [point[peer] for point in points.values()], marker="o", markersize=3,
                          label=name, linewidth=2 if peer == "bolide" else 1)
            if ceiling:
                axis.axhline(ceiling, color="grey", linestyle=":", label="bf16 matrix product")
            axis.set_title(f"head dim {head_dim}, {'causal' if causal else 'full'}", fontsize=10)
            axis.set_xscale("log", base=2)
            axis.set_xticks(list(points), labels=map(str, points))
            axis.set_ylim(0, 1.05 * max(most, ceiling or 0))
            axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("keys")
    for axis in axes[:, 0]:
        axis.set_ylabel("TFLOP/s")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def print_table(table):
    keys = sorted({s for points in table.values() for s in points})
    print("| | " + " | ".join(map(str, keys)) + " | geometric mean |")
    print("|---|" + "---|" * (len(keys) + 1))
    for (head_dim, causal), points in table.items():
        ratios = [points[s]["bolide"] / points[s]["cudnn"] for s in keys]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        for peer, name in NAMES.items():
            cells = " | ".join(f"{points[s][peer]:.0f}" for s in keys)
            print(f"| d{head_dim} {'causal' if causal else 'full'}, {name} | {cells} | |")
        print("| ratio to cuDNN | " + " | ".join(f"{ratio:.2f}" for ratio in (*ratios, mean)) + " |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("figures", help="what bench_peers.py wrote")
    arguments.add_argument("picture", help="the SVG to write")
    arguments.add_argument("--ceiling", type=float, help="TFLOP/s of a large bf16 matrix product: a line")
    options = arguments.parse_args()
    with open(options.figures) as file:
        table = rows(json.load(file)["points"])
    draw(table, options.ceiling, options.picture)
    print_table(table)


if __name__ == "__main__":
    main()
