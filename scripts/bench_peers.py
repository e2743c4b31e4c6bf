#!/usr/bin/env python3
"""Times the forward suite beside PyTorch's attention: bolide, cuDNN, FlashAttention 2, case by case and, for
each case, round by round, all in the same way: CUDA graphs of as many calls, over as many copies of the
tensors in turn.

    scripts/bench_peers.py --bolide build/bolide --rounds 5 > forward.json

Needs PyTorch with CUDA. Every figure is the median over the rounds, TFLOP/s over visible pairs. One JSON
object: hardware, versions, and a list of points.
"""
import argparse
import json
import random
import shlex
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as functional
from torch.nn.attention import SDPBackend, sdpa_kernel

PEERS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash_attention_2": SDPBackend.FLASH_ATTENTION}


def parse(case):
    """batch, heads, keys, head_dim, causal of a line of the suite."""
    options = dict(word.split("=", 1) for word in shlex.split(case)[2:])
    return (int(options.get("b", 1)), int(options["hq"]), int(options["sq"]), int(options.get("d", 64)),
            "mask" in options)


class Bolide:
    """`bolide bench` in a process that is asked for a case at a time."""

    def __init__(self, command, device):
        bench = [command, "bench", "--cases", "-", "--json", "--device", device]
        self.process = subprocess.Popen(bench, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        bufsize=1)

    def time(self, case):
        self.process.stdin.write(case + "\n")
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bolide bench ended with {self.process.wait()}")
        return json.loads(line)


def suite(command):
    text = subprocess.run([command, "bench", "--suite", "forward", "--list"], check=True, capture_output=True,
                          text=True).stdout
    return text.splitlines()


class Peer:
    """A peer's graph of a case: so many calls, over so many copies of its tensors in turn."""

    def __init__(self, case, backend, calls, copies):
        batch, heads, keys, head_dim, causal = parse(case)
        shape = (batch, heads, keys, head_dim)
        self.tensors = [[torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in "qkv"]
                        for _ in range(copies)]
        self.outputs = [None] * copies
        self.calls = calls

        def call(i):
            with torch.no_grad(), sdpa_kernel(backend):
                self.outputs[i % copies] = functional.scaled_dot_product_attention(*self.tensors[i % copies],
                                                                                   is_causal=causal)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for i in range(3):
                call(i)
        torch.cuda.current_stream().wait_stream(stream)
        self.outputs = [None] * copies
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for i in range(calls):
                call(i)

    def seconds(self, samples):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        times = []
        for _ in range(samples):
            begin.record()
            self.graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3 / self.calls)
        return statistics.median(times)


def race(case, bolide, rounds):
    """The case's point: TFLOP/s of each, in another order every round, since the first is at an advantage."""
    first = bolide.time(case)  # sets the case up, compiles, warms up
    flops = first["tflops"] * 1e12 * first["median_seconds"]
    peers = {name: Peer(case, backend, first["calls_per_sample"], first["copies"])
             for name, backend in PEERS.items()}
    figures = {name: [] for name in ("bolide", *PEERS)}
    for _ in range(rounds):
        for name in random.sample(list(figures), len(figures)):
            seconds = (bolide.time(case)["median_seconds"] if name == "bolide" else
                       peers[name].seconds(first["samples"]))
            figures[name].append(flops / seconds / 1e12)
    return {"case": case, **{name: statistics.median(values) for name, values in figures.items()}}


def main():
    arguments = argparse.ArgumentParser(description=__doc__,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bolide", default="build/bolide", help="the command (default: build/bolide)")
    arguments.add_argument("--device", default="cuda:0", help="the GPU of all (default: cuda:0)")
    arguments.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    options = arguments.parse_args()
    torch.cuda.set_device(options.device)
    cases = suite(options.bolide)
    bolide = Bolide(options.bolide, options.device)
    points = []
    for index, case in enumerate(cases):
        points.append(race(case, bolide, options.rounds))
        figures = ", ".join(f"{name} {value:.0f}" for name, value in points[-1].items() if name != "case")
        print(f"{index + 1} of {len(cases)}: {case}: {figures}", file=sys.stderr)
    result = {"gpu": torch.cuda.get_device_name(), "pytorch": torch.__version__,
              "cudnn": torch.backends.cudnn.version(), "rounds": options.rounds, "points": points}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
