"""One evaluation of the objective: seconds, effective rate and memory of every path, beside PyTorch, in one run.

    python -m benchmarks.step [--weights vgg19 mini] [--sizes 256 512 1024] [--repeats 7]

Each path lives in a process of its own, so that its peak memory is its own; the processes take turns, so that a busy
moment of the machine meets them all. Effective GFLOP/s counts the operations of direct convolution, forward and
backward, whatever is really computed, and stands beside the rate of the machine's own matrix product. The gradient's
error is that of the whole gradient against ours in float64: what a path in bfloat16 pays for its time.
"""

import argparse
import datetime
import multiprocessing
import os
import platform
import resource
import statistics
import sys
from dataclasses import dataclass, field

import numpy as np

from minivgg import VGG
from minivgg.program import first_line

from .common import load_params, matrix_product_rate, objective, pictures, seconds
from .peer import TorchObjective

PEERS = {  # name: options of TorchObjective
    "torch nchw": {"layout": "nchw"},
    "torch channels_last": {"layout": "channels_last"},
    "torch compiled": {"layout": "compiled"},
    "torch bfloat16": {"layout": "channels_last", "bfloat16": True},
    "torch bfloat16 compiled": {"layout": "compiled", "bfloat16": True},
}
REFERENCE = "fast64"
PATHS = ("fast", "textbook", REFERENCE, *PEERS)
HEADINGS = (
    "weights",
    "size",
    "path",
    "seconds: median (range)",
    "GFLOP/s",
    "÷ product rate",
    "PyTorch ÷ this",
    "its bfloat16 ÷ this",
    "gradient's error",
    "peak memory",
)


@dataclass
class Found:
    """What was measured of one path: seconds of each evaluation, bytes, and the gradient's error as a fraction."""

    taken: list = field(default_factory=list)
    peak: int = 0
    error: float | None = None


def convolution_flops(params, H, W):
    """Operations of direct convolution, forward and backward to the picture: 2 · (2 · 9 · C · F · h · w) a layer."""
    total = 0
    for name, (w, _) in params.items():
        shift = int(name[4]) - 1
        total += 2 * 2 * w.size * (H >> shift) * (W >> shift)
    return total


def build(path, spec, size):
    """A function without arguments that evaluates once and returns the gradient, (1, 3, size, size)."""
    params = load_params(spec)
    content, style, image = pictures(size, size)
    if path in PEERS:
        peer = TorchObjective(params, content, style, **PEERS[path])
        return lambda: peer.evaluate(image)[1]
    dtype = np.float64 if path == REFERENCE else np.float32
    net = VGG({k: (w.astype(dtype), b.astype(dtype)) for k, (w, b) in params.items()}, kernels=path.rstrip("64"))
    del params
    content, style, image = (a.astype(dtype) for a in (content, style, image))
    ours = objective(net, content=content, style=style)
    return lambda: ours.evaluate(image).gradient


def worker(connection, path, spec, size):
    """One path in its own process: evaluates when told to, reports seconds and its peak memory over the start.

    Asked for its "gradient", it evaluates once more and sends that, a NumPy array.
    """
    try:
        if path in PEERS:
            import torch  # noqa: F401 - its libraries belong to the start, as NumPy's do
        start = _resident()
        evaluate = build(path, spec, size)
        seconds(evaluate)  # buffers, transforms of the filters, torch.compile
        connection.send("ready")
        while True:
            wish = connection.recv()
            connection.send(np.asarray(evaluate()) if wish == "gradient" else (seconds(evaluate), _peak() - start))
    except EOFError:
        pass
    except Exception as e:
        connection.send(f"{type(e).__name__}: {first_line(e)}")


def started(path, spec, size):
    """(connection, None) to a worker that is ready, or (None, the words of its failure)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=worker, args=(theirs, path, spec, size), daemon=True).start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        answer = "the process died"
    return (ours, None) if answer == "ready" else (None, answer)


def measure(paths, spec, size, repeats):
    """{path: Found} or {path: the words of its failure}; the paths take turns."""
    running, results = {}, {}
    for path in paths:
        connection, failure = started(path, spec, size)
        results[path] = failure or Found()
        if connection:
            running[path] = connection
    for _ in range(repeats):
        for path, connection in running.items():
            connection.send("evaluate")
            taken, peak = connection.recv()
            results[path].taken.append(taken)
            results[path].peak = max(results[path].peak, peak)
    gradients = {path: last_gradient(connection) for path, connection in running.items()}
    if running and REFERENCE not in gradients:  # alone, when the others have given their memory back
        connection, _ = started(REFERENCE, spec, size)
        if connection:
            gradients[REFERENCE] = last_gradient(connection)
    for path in running:
        if REFERENCE in gradients:
            results[path].error = relative_error(gradients[path], gradients[REFERENCE])
    return results


def last_gradient(connection):
    """A worker's gradient, after which it ends."""
    connection.send("gradient")
    gradient = connection.recv()
    connection.close()
    return gradient


def relative_error(a, b):
    """‖a - b‖ / ‖b‖ in double precision."""
    b = b.astype(np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def table(spec, size, results, rate):
    """Rows of one size; PyTorch's best time in float32 is the measure, and its best in bfloat16 the other."""
    name = os.path.basename(spec)
    flops = convolution_flops(load_params(spec), size, size)
    medians = {p: statistics.median(r.taken) for p, r in results.items() if not isinstance(r, str)}
    best, half = (fastest(medians, bfloat16) for bfloat16 in (False, True))
    for path, found in results.items():
        if isinstance(found, str):
            yield f"| {name} | {size} | {path} | {found} |" + " |" * (len(HEADINGS) - 4)
            continue
        speed = flops / medians[path] / 1e9
        ratios = [f"{medians[p] / medians[path]:.2f}" if p else "" for p in (best, half)]
        memory = f"{found.peak / 2**20:.0f} MB" + (f", {found.peak / results[best].peak:.2f}" if best else "")
        taken = f"{medians[path]:.3f} ({min(found.taken):.3f}–{max(found.taken):.3f})"
        error = "" if found.error is None else f"{found.error:.1e}"
        cells = (name, size, path, taken, f"{speed:.0f}", f"{speed / rate:.2f}", *ratios, error, memory)
        yield f"| {' | '.join(map(str, cells))} |"


def fastest(medians, bfloat16):
    """The fastest of PyTorch's ways in bfloat16 or in float32, or None where there is none."""
    peers = [p for p, options in PEERS.items() if p in medians and options.get("bfloat16", False) == bfloat16]
    return min(peers, key=medians.get, default=None)


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
    print(f"| {' | '.join(HEADINGS)} |")
    print("| --- " * len(HEADINGS) + "|")
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
