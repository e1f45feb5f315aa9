"""Whole against tiled: the difference, the memory and the time.

    python -m benchmarks.tiles exact              loss and gradient for several grids and sizes, both float types
    python -m benchmarks.tiles evaluate 1024:8GB 2048:1.2GB 4096:3GB 8192:8GB
    python -m benchmarks.tiles run 4096:6GB --optimizer l-bfgs --iterations 3

evaluate and run measure each size in a process of its own, which plans for the memory given, and compare the peak that
the plan predicts with that of the whole process. Time per pixel stands beside the first size's.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time

import numpy as np

from minivgg import VGG
from style.large.plan import make_plan, objective_for
from style.large.tiles import Tiled
from style.large.tiling import Tiling
from style.objective import Objective
from style.optimize import minimize
from style.statistics import make_terms
from style.units import format_memory, parse_memory

from .common import CONTENT_LAYERS, STYLE_LAYERS, in_own_process, load_params, peak_rss, pictures

TERMS = make_terms(content=CONTENT_LAYERS, style=STYLE_LAYERS, tv=1.0)
GRIDS = (
    Tiling((), ((256, 256),)),
    Tiling(("pool3",), ((256, 256), (10**6, 10**6))),
    Tiling(("pool3",), ((160, 200), (256, 320))),
    Tiling(("pool2", "pool3"), ((128, 192), (256, 256), (320, 512))),
    Tiling(("pool2", "pool3"), ((64, 64), (64, 64), (64, 64))),
)
SIZES = ((97, 131), (256, 256), (389, 517), (768, 1024))


def load_net(spec, dtype=np.float32):
    """The network down to the last layer of TERMS."""
    return VGG(load_params(spec, dtype))


def exact(spec, sizes):
    """Print the differences for each size, type and grid, and for the undivided picture with other last bits.

    The last is the yardstick: where a maximum or a ReLU is decided by the last bit, any other order of additions may
    send a gradient to another pixel.
    """
    print("| size | type | grid | loss | gradient, largest | gradient, norm |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dtype in (np.float64, np.float32):
        net = load_net(spec, dtype)
        for H, W in sizes:
            image, content, style = pictures(H, W, 3, dtype)
            undivided = Objective.of(net, TERMS, {"content": content, "style": style})
            whole = undivided.evaluate(image)
            found = [(_name(t), Objective(net, undivided.terms, Tiled(net, t)).evaluate(image)) for t in GRIDS]
            found += [
                (f"undivided, other last bits {seed}", undivided.evaluate(last_bits(image, seed))) for seed in range(3)
            ]
            for grid, other in found:
                difference = other.gradient - whole.gradient
                print(
                    f"| {W}x{H} | {np.dtype(dtype)} | {grid} | {abs(other.loss / whole.loss - 1):.1e} "
                    f"| {np.abs(difference).max() / np.abs(whole.gradient).max():.1e} "
                    f"| {np.linalg.norm(difference) / np.linalg.norm(whole.gradient):.1e} |",
                    flush=True,
                )


def last_bits(image, seed):
    """The image with each value's last bit moved up, down or not at all."""
    turns = np.random.default_rng(seed).choice([-1, 0, 1], image.shape).astype(image.dtype)
    return image * (1 + np.finfo(image.dtype).eps * turns)


def _name(tiling):
    cores = " + ".join("whole" if w >= 10**6 else f"{w}x{h}" for h, w in tiling.cores)
    return cores + "".join(f", {cut}" for cut in tiling.cuts)


def measure(spec, size, memory, optimizer, iterations):
    """What one process does: plan, build the targets, evaluate; returns a dict of results."""
    net = load_net(spec)
    plan = make_plan(net, TERMS, size, size, memory=memory, optimizer=optimizer, style_size=(512, 512))
    (image,) = pictures(size, size, 1)
    (style,) = pictures(512, 512, 1)
    planned = objective_for(plan, net, TERMS, {"content": image, "style": style})
    seconds = []
    image += 10  # in place: the content target is the only other thing of this size
    if optimizer is None:
        for _ in range(iterations):
            start = time.perf_counter()
            planned.evaluate(image)
            seconds.append(time.perf_counter() - start)
    else:
        options = {} if optimizer == "adam" else {"history": plan.history}
        outcome = minimize(planned, image, method=optimizer, evaluations=iterations, **options)
        seconds.append(outcome.seconds / outcome.evaluations)
    return {
        "plan": plan.describe(),
        "history": plan.history if optimizer in ("l-bfgs", "l-bfgs-b") else None,
        "predicted": plan.peak,
        "predicted time": plan.time,
        "peak": peak_rss(),
        "seconds": min(seconds),
    }


def table(spec, cases, optimizer, iterations):
    """Print one line per case, each measured in a process of its own."""
    print("| size | memory | predicted | peak | ratio | s/evaluation | µs/pixel | times the first | predicted | plan |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    first = None
    for case in cases:
        size, _, memory = case.partition(":")
        found = in_own_process("benchmarks.tiles", [spec, int(size), parse_memory(memory), optimizer, iterations])
        if isinstance(found, str):
            print(f"| {size} | {memory} | {found} |", flush=True)
            continue
        each = found["seconds"] / int(size) ** 2 * 1e6
        first = first or each
        history = f", history {found['history']}" if found["history"] else ""
        print(
            f"| {size} | {memory} | {format_memory(found['predicted'])} | {format_memory(found['peak'])} "
            f"| {found['predicted'] / found['peak']:.2f} | {found['seconds']:.1f} | {each:.1f} | {each / first:.2f} "
            f"| {found['predicted time']:.2f} | {found['plan']}{history} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("exact", "evaluate", "run", "measure"))
    parser.add_argument("cases", nargs="*", help="size:memory, as 4096:3GB")
    parser.add_argument("--weights", default="vgg19")
    parser.add_argument("--optimizer", default="l-bfgs", choices=("l-bfgs", "l-bfgs-b", "adam"))
    parser.add_argument("--iterations", type=int, default=2, help="evaluations; the fastest counts")
    arguments = parser.parse_args()
    if arguments.what == "measure":
        print(json.dumps(measure(*json.loads(arguments.cases[0]))))
        return
    print(f"{' '.join(sys.argv[1:])}; {platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, ", end="")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}, {datetime.date.today()}\n")
    if arguments.what == "exact":
        exact(arguments.weights, SIZES)
    else:
        optimizer = arguments.optimizer if arguments.what == "run" else None
        table(arguments.weights, arguments.cases, optimizer, arguments.iterations)


if __name__ == "__main__":
    main()
