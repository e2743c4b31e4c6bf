#!/usr/bin/env python3
"""Times the forward suite beside PyTorch's attention: bolide, cuDNN, FlashAttention 2, round by round.

    scripts/bench_peers.py --bolide build/bolide --rounds 5 > forward.json

Needs PyTorch with CUDA. Every figure is the median over the rounds, TFLOP/s over visible pairs; each peer
replays a CUDA graph, as bolide does. One JSON object: hardware, versions, and a list of points.
"""
import argparse
import json
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


def run_bolide(command, device):
    bench = [command, "bench", "--suite", "forward", "--json", "--device", device]
    text = subprocess.run(bench, check=True, capture_output=True, text=True).stdout
    return {point["case"]: point for point in map(json.loads, text.splitlines())}


def graph_of(function):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph


def seconds(case, backend, samples=20):
    batch, heads, keys, head_dim, causal = parse(case)
    shape = (batch, heads, keys, head_dim)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in "qkv")
    with torch.no_grad(), sdpa_kernel(backend):
        graph = graph_of(lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=causal))
    times = []
    for _ in range(samples):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 2e3)
    return statistics.median(times)


def main():
    arguments = argparse.ArgumentParser(description=__doc__,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bolide", default="build/bolide", help="the command (default: build/bolide)")
    arguments.add_argument("--device", default="cuda:0", help="the GPU of all (default: cuda:0)")
    arguments.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    options = arguments.parse_args()
    torch.cuda.set_device(options.device)
    figures = {}
    for index in range(options.rounds):
        print(f"round {index + 1} of {options.rounds}", file=sys.stderr)
        for case, point in run_bolide(options.bolide, options.device).items():
            figures.setdefault(case, {}).setdefault("bolide", []).append(point["tflops"])
            figures[case]["flops"] = point["tflops"] * 1e12 * point["median_seconds"]
        for case, point in figures.items():
            for name, backend in PEERS.items():
                point.setdefault(name, []).append(point["flops"] / seconds(case, backend) / 1e12)
    points = [{"case": case, **{name: statistics.median(point[name]) for name in ("bolide", *PEERS)}}
              for case, point in figures.items()]
    result = {"gpu": torch.cuda.get_device_name(), "pytorch": torch.__version__,
              "cudnn": torch.backends.cudnn.version(), "rounds": options.rounds, "points": points}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
