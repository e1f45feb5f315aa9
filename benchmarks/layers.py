"""Each convolution of VGG-19, forward and backward: milliseconds and effective rate of every path, in one run.

    python -m benchmarks.layers [--size 512] [--repeats 5] [--paths textbook fast torch] [--layers conv1_2 …]

A layer is convolution and ReLU, with the pooling behind it where VGG-19 has one. The paths take turns and the least
time counts: another program on the machine then meets them all. Effective GFLOP/s counts the operations of direct
convolution whatever is really computed, and stands beside the rate of the machine's own matrix product. Torch is the
best of NCHW and channels last.
"""

import argparse
import datetime
import importlib.util
import os
import platform
import sys
import time

import numpy as np

from minivgg import fast_cpu, layers
from minivgg.table import ARCHS, WIDTHS
from minivgg.threads import cores

from .common import matrix_product_rate


def convolutions(size):
    """(name, C, F, H, pool) of VGG-19 down to conv5_1 at size×size."""
    C = 3
    for block, count in enumerate(ARCHS["vgg19"]):
        for k in range(1, (count if block < 4 else 1) + 1):
            yield f"conv{block + 1}_{k}", C, WIDTHS[block], size >> block, block < 4 and k == count
            C = WIDTHS[block]


def textbook(x, w, b, pool):
    """(forward, backward) of the textbook's pairs; backward goes back through the last forward."""
    kept = []

    def forward():
        out, conv = layers.conv2d_forward(x, w, b, pad=1, param_grads=False)
        out, relu = layers.relu_forward(out)
        out, pooled = layers.maxpool2d_forward(out) if pool else (out, None)
        kept[:] = out, conv, relu, pooled

    def backward():
        dout, conv, relu, pooled = kept
        dout = layers.maxpool2d_backward(dout, pooled) if pool else dout
        layers.conv2d_backward(layers.relu_backward(dout, relu), conv, param_grads=False)

    return forward, backward


def fast(x, w, b, pool):
    """(forward, backward) of the fused pair."""
    kept, workspace, w = [], fast_cpu.Workspace(), fast_cpu.prepare(w, b)

    def forward():
        kept[:] = fast_cpu.conv_relu_forward(x, w, b, pool="max" if pool else None, workspace=workspace)

    def backward():
        fast_cpu.conv_relu_backward(kept[0], kept[1], workspace=workspace)

    return forward, backward


def torch_path(layout):
    """Like `fast`, by PyTorch's functions and automatic differentiation."""
    import torch
    from torch.nn import functional as nn

    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format

    def path(x, w, b, pool):
        kept, b = [], torch.tensor(b)
        x, w = (torch.tensor(a).contiguous(memory_format=memory) for a in (x, w))
        x.requires_grad_(True)

        def forward():
            out = nn.relu(nn.conv2d(x, w, b, padding=1))
            out = nn.max_pool2d(out, 2) if pool else out
            kept[:] = out, out.detach()

        def backward():
            torch.autograd.grad(kept[0], x, kept[1], retain_graph=True)

        return forward, backward

    return path


def least_times(pairs, repeats):
    """{path: (forward, backward) in seconds}, each the least of `repeats`, the paths in turns."""
    best = {name: [float("inf")] * 2 for name in pairs}
    for _ in range(repeats + 1):  # the first turn warms up; it can only be slower
        for name, functions in pairs.items():
            for k, function in enumerate(functions):
                start = time.perf_counter()
                function()
                best[name][k] = min(best[name][k], time.perf_counter() - start)
    return best


def measure(size, repeats, paths, only):
    """Yield (layer, shape, operations, {path: (forward, backward)}); torch's layouts under one name."""
    makers = {"textbook": {"textbook": textbook}, "fast": {"fast": fast}}
    if "torch" in paths:
        makers["torch"] = {f"torch {layout}": torch_path(layout) for layout in ("nchw", "channels_last")}
    rng = np.random.default_rng(0)
    for name, C, F, H, pool in convolutions(size):
        if only and name not in only:
            continue
        x = rng.standard_normal((1, C, H, H), dtype=np.float32)
        if C > 3:  # activations lie as the fast path leaves them; torch and the textbook make their own
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        w = rng.standard_normal((F, C, 3, 3), dtype=np.float32) / np.float32(3 * C**0.5)
        b = rng.standard_normal(F, dtype=np.float32)
        pairs = {}
        for path in paths:
            for key, make in makers[path].items():
                own = np.ascontiguousarray(x) if path == "textbook" else x
                pairs[key] = make(own, w, b, pool)
        best = least_times(pairs, repeats)
        merged = {p: [min(best[key][k] for key in makers[p]) for k in range(2)] for p in paths}
        yield name, f"{C}→{F} {H}×{H}{' pool' if pool else ''}", 2 * 9 * C * F * H * H, merged


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    known = ["textbook", "fast", "torch"]
    parser.add_argument("--paths", nargs="+", default=known, choices=known)
    parser.add_argument("--layers", nargs="+", default=[], choices=[c[0] for c in convolutions(512)])
    args = parser.parse_args()
    if args.size < 16 or args.repeats < 1:
        parser.error("--size is at least 16 and --repeats at least 1")
    paths = [p for p in args.paths if p != "torch" or importlib.util.find_spec("torch")]
    if paths != args.paths:
        print("torch is not installed: left out", file=sys.stderr)
    rate = matrix_product_rate()
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {cores()} workers, float32;")
    print(f"matrix product {rate:.0f} GFLOP/s. Milliseconds (effective GFLOP/s), the least of {args.repeats}.\n")
    print("| layer | shape | pass |", " | ".join(paths), "|")
    print("| --- | --- | --- |", " | ".join(["---:"] * len(paths)), "|")
    total = {p: 0.0 for p in paths}
    operations = 0
    for name, shape, flops, best in measure(args.size, args.repeats, paths, args.layers):
        for k, direction in enumerate(("forward", "backward")):
            cells = [f"{best[p][k] * 1e3:.1f} ({flops / best[p][k] / 1e9:.0f})" for p in paths]
            print(f"| {name} | {shape} | {direction} |", " | ".join(cells), "|", flush=True)
            operations += flops
            for p in paths:
                total[p] += best[p][k]
    cells = [f"{total[p] * 1e3:.0f} ({operations / total[p] / 1e9:.0f})" for p in paths]
    print("| all | | both |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
