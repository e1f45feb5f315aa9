"""One evaluation of the objective: seconds, effective rate and memory of every path, beside PyTorch, in one run.

    python -m benchmarks.step [--weights vgg19 mini] [--sizes 256 512 1024] [--repeats 7]

Each path lives in a process of its own, so that its peak memory is its own; the processes take turns, so that a busy
moment of the machine meets them all. Effective GFLOP/s counts the operations of direct convolution, forward and
backward, whatever is really computed, and stands beside the rate of the machine's own matrix product.
"""

import argparse
import datetime
import multiprocessing
import os
import platform
import resource
import statistics
import sys

import numpy as np

from minivgg import VGG
from minivgg.program import first_line

from .common import load_params, matrix_product_rate, objective, pictures, seconds
from .peer import TorchObjective

PATHS = ("fast", "textbook", "fast64", "torch nchw", "torch channels_last", "torch compiled")
PEERS = tuple(p for p in PATHS if p.startswith("torch"))


def convolution_flops(params, H, W):
    """Operations of direct convolution, forward and backward to the picture: 2 · (2 · 9 · C · F · h · w) a layer."""
    total = 0
    for name, (w, _) in params.items():
        shift = int(name[4]) - 1
        total += 2 * 2 * w.size * (H >> shift) * (W >> shift)
    return total


def build(path, spec, size):
    """A function without arguments that evaluates once."""
    params = load_params(spec)
    content, style, image = pictures(size, size)
    if path in PEERS:
        peer = TorchObjective(params, content, style, layout=path.split()[1])
        return lambda: peer.evaluate(image)
    dtype = np.float64 if path == "fast64" else np.float32
    net = VGG({k: (w.astype(dtype), b.astype(dtype)) for k, (w, b) in params.items()}, kernels=path.rstrip("64"))
    del params
    content, style, image = (a.astype(dtype) for a in (content, style, image))
    ours = objective(net, content=content, style=style)
    return lambda: ours.evaluate(image)


def worker(connection, path, spec, size):
    """One path in its own process: evaluates when told to, reports seconds and its peak memory over the start."""
    if path in PEERS:
        import torch  # noqa: F401 - its libraries belong to the start, as NumPy's do
    start = _resident()
    try:
        evaluate = build(path, spec, size)
        seconds(evaluate)  # buffers, transforms of the filters, torch.compile
        connection.send("ready")
        while connection.recv() == "evaluate":
            connection.send((seconds(evaluate), _peak() - start))
    except EOFError:
        pass
    except Exception as e:
        connection.send(f"{type(e).__name__}: {first_line(e)}")


def measure(paths, spec, size, repeats):
    """{path: (list of seconds, bytes)} or {path: the words of its failure}; the paths take turns."""
    context = multiprocessing.get_context("spawn")
    running, results = {}, {}
    for path in paths:
        ours, theirs = context.Pipe()
        process = context.Process(target=worker, args=(theirs, path, spec, size), daemon=True)
        process.start()
        theirs.close()
        try:
            answer = ours.recv()
        except EOFError:
            answer = "the process died"
        if answer == "ready":
            running[path], results[path] = ours, ([], 0)
        else:
            results[path] = answer
    for _ in range(repeats):
        for path, connection in running.items():
            connection.send("evaluate")
            taken, peak = connection.recv()
            results[path] = ([*results[path][0], taken], max(results[path][1], peak))
    for connection in running.values():
        connection.close()
    return results


def table(spec, size, results, rate):
    """Rows of one size, PyTorch's best time as the measure."""
    name = os.path.basename(spec)
    flops = convolution_flops(load_params(spec), size, size)
    done = {p: r for p, r in results.items() if not isinstance(r, str)}
    medians = {p: statistics.median(r[0]) for p, r in done.items()}
    peers = [p for p in PEERS if p in done]
    best = min(peers, key=medians.get) if peers else None
    for path, result in results.items():
        if isinstance(result, str):
            yield f"| {name} | {size} | {path} | {result} | | | | |"
            continue
        taken, peak = result
        speed = flops / medians[path] / 1e9
        ratio = f"{medians[best] / medians[path]:.2f}" if best else ""
        memory = f"{peak / done[best][1]:.2f}" if best else ""
        yield (
            f"| {name} | {size} | {path} | {medians[path]:.3f} ({min(taken):.3f}–{max(taken):.3f}) | {speed:.0f} | "
            f"{speed / rate:.2f} | {ratio} | {peak / 2**20:.0f} MB, {memory} |"
        )


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__.splitlines()[0])
    p.add_argument("--weights", nargs="+", default=["vgg19", "mini"], help="names or files")
    p.add_argument("--sizes", nargs="+", type=int, default=[256, 512, 1024])
    p.add_argument("--paths", nargs="+", choices=PATHS, default=PATHS, metavar="PATH", help=", ".join(PATHS))
    p.add_argument("--repeats", type=int, default=7)
    args = p.parse_args(argv)
    rate = matrix_product_rate()
    print(
        f"{datetime.date.today()}, {platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"NumPy {np.__version__}, matrix product {rate:.0f} GFLOP/s"
    )
    print(
        "| weights | size | path | seconds: median (range) | GFLOP/s | ÷ product rate | PyTorch ÷ ours | peak memory |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for spec in args.weights:
        for size in args.sizes:
            for row in table(spec, size, measure(args.paths, spec, size, args.repeats), rate):
                print(row, flush=True)
    return 0


def _resident():
    """Bytes of this process in memory now."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * resource.getpagesize()
    except OSError:
        return _peak()


def _peak():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.exit(main())
