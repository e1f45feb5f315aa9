"""Everything that needs a card, in one command: checks, agreement, times beside PyTorch, a full run, large pictures.

    python -m benchmarks.gpu [--out gpu.json] [--weights FILE] [--only SECTION …] [--dry-run]

Needs CuPy and a CUDA device; PyTorch with CUDA is the peer where it is installed. Without --weights the filters are
random, of VGG-19's shape. Each section stands by itself: one that fails is recorded with its words and the others
still run, and the JSON is written after each. --dry-run goes through the same code on the processor at tiny sizes.
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

import weights
from minivgg import VGG
from minivgg.backend import BackendError, describe_device, get_xp, resolve_device, synchronize, to_device
from minivgg.program import first_line

from .. import common
from . import checks, memory, run, speed

SECTIONS = {
    "memory": memory.memory,
    "gradients": checks.gradients,
    "agreement": checks.agreement,
    "objective": checks.objective,
    "ceilings": speed.ceilings,
    "timing": speed.timing,
    "by layer": speed.by_layer,
    "workspaces": speed.workspaces,
    "full run": run.full_run,
    "large": speed.large,
    "processor": speed.processor,
}


@dataclass
class Setup:
    """What every section gets: where, how large, with which filters."""

    device: object  # minivgg.backend.Device
    params: dict  # {"conv1_1": (w, b), …} NumPy float32, to conv5_1
    sizes: tuple  # of the timing table
    run_size: int
    iterations: int
    large: tuple  # sizes of the whole-against-tiled section
    core: int  # side of a tile's core there
    precisions: tuple
    repeats: int
    dry: bool

    @property
    def xp(self):
        return get_xp(self.there(np.zeros(1)))

    def there(self, a):
        return to_device(a, self.device)

    def wait(self):
        synchronize(self.device)

    def net(self, precision="float32", *, dtype=np.float32, kernels="fast", device=None):
        """The network on the device (or another one)."""
        device = device or self.device
        params = {n: tuple(to_device(a.astype(dtype), device) for a in pair) for n, pair in self.params.items()}
        options = {} if precision == "float32" else {"precision": precision}
        return VGG(params, kernels=kernels, **options)

    def objective(self, net, content, style):
        return common.objective(net, content=content, style=style)


def versions(setup):
    """What the numbers were measured with."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "device": describe_device(setup.device),
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
    for name in ("numpy", "scipy", "cupy", "torch"):
        module = sys.modules.get(name) or _import(name)
        found[name] = getattr(module, "__version__", None)
    if setup.device.kind == "gpu":
        xp = setup.xp
        found["cuda runtime"] = xp.cuda.runtime.runtimeGetVersion()
        found["compute capability"] = xp.cuda.Device(setup.device.index).compute_capability
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch cuda"], found["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
    return found


def run_sections(setup, chosen, out):
    """Run the chosen sections; every result or failure goes into one dict, written to `out` after each."""
    results = {"versions": versions(setup), "dry run": setup.dry, "sections": {}}
    for name in chosen:
        start = time.perf_counter()
        entry = results["sections"][name] = {}
        try:
            entry["result"] = SECTIONS[name](setup)
        except Exception as e:  # whatever fails, the other sections are worth having
            entry["error"] = f"{type(e).__name__}: {first_line(e)}"
        free_memory(setup)
        entry["seconds"] = round(time.perf_counter() - start, 3)
        print(f"{name:12} {entry['seconds']:8.1f} s  {entry.get('error', 'done')}", flush=True)
        if out:
            with open(out, "w", encoding="utf-8") as f:
                json.dump(results, f, indent=1, default=_plain)
    return results


def free_memory(setup):
    """Give cached device memory back, so that one section's peak is not the next one's start."""
    if setup.device.kind == "gpu":
        setup.xp.get_default_memory_pool().free_all_blocks()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def verdicts(sections):
    """Lines for the end of the output: each bar of benchmarks/README.md, and what was found."""
    result = {name: entry["result"] for name, entry in sections.items() if "result" in entry}
    for name in ("gradients", "agreement", "objective"):
        if name in result:
            yield f"{name}: {result[name]['failed']} failed"
    if "objective" in result:
        for name, row in result["objective"]["rows"].items():
            yield f"gradient, {name}: {row['gradient']:.1e} relative"
    for size, rows in result.get("timing", {}).items():
        for precision, ratio in rows["ratio"].items():
            bar = "1.5, aim 2.5" if precision == "float32" else "1.1, aim 1.8"
            yield f"evaluation at {size}, {precision}, PyTorch ÷ ours: {ratio:.2f} (bar {bar})"
    for name, ratio in result.get("full run", {}).get("ratio", {}).items():
        found = "loss not reached" if ratio is None else f"{ratio:.2f}"
        yield f"whole run, PyTorch ÷ {name} to the same loss: {found} (bar 2, aim 5)"
    for name, row in result.get("full run", {}).items():
        if run.SHARE in row:
            yield f"optimiser's share, {name}: {100 * row[run.SHARE]:.0f} % (bar 20, aim 8)"
    for name, row in result.get("memory", {}).items():
        if isinstance(row, dict) and row.get("ratio"):
            found = f"predicted {row['predicted']:.0f} MB, measured {row['measured']:.0f}"
            yield f"memory, {name}: {found} (bar 15 %, aim 5)"
    for size, parts in result.get("large", {}).items():
        if "gradient, tiled against whole" in parts:
            yield f"{size}: tiled against whole, gradient {parts['gradient, tiled against whole']:.1e}"


def make_setup(args):
    """The Setup that the command line asks for. BackendError without a card, unless it is a dry run."""
    rng = np.random.default_rng(0)
    if args.dry_run:
        small = {"sizes": (32,), "run_size": 32, "iterations": 4, "large": (64,), "core": 32, "repeats": 2}
        params = common.vgg_shaped(rng, (8, 8, 8, 8, 8))
        return Setup(resolve_device("cpu"), params, precisions=("float32",), dry=True, **small)
    if not args.device.startswith("gpu"):
        raise BackendError(f"device {args.device!r}: this measures a card, gpu or gpu:N; --dry-run needs none")
    params = common.load_params(args.weights) if args.weights else common.vgg_shaped(rng)
    return Setup(
        resolve_device(args.device),
        params,
        sizes=tuple(args.sizes),
        run_size=512,
        iterations=args.iterations,
        large=(4096, 8192),
        core=1024,
        precisions=("float32", "tf32", "float16"),
        repeats=args.repeats,
        dry=False,
    )


def main(argv=None):
    """0: every section ran; 1: one failed, or there is no card; 130: Ctrl-C."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    p.add_argument("--out", metavar="FILE", default="gpu.json", help="JSON with everything (default: %(default)s)")
    p.add_argument("--weights", metavar="FILE", help="a file or a name; default: random filters of VGG-19's shape")
    p.add_argument("--device", default="gpu", metavar="gpu[:N]")
    p.add_argument("--sizes", nargs="+", type=int, default=[512, 1024, 2048])
    p.add_argument("--iterations", type=int, default=500, help="of the full run")
    p.add_argument("--repeats", type=int, default=20)
    p.add_argument("--only", nargs="+", choices=tuple(SECTIONS), default=tuple(SECTIONS))
    p.add_argument("--dry-run", action="store_true", help="the same code on the processor at tiny sizes")
    args = p.parse_args(argv)
    try:
        setup = make_setup(args)
        results = run_sections(setup, args.only, args.out)
    except (BackendError, weights.WeightsError, OSError) as e:
        print(f"benchmarks.gpu: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for line in verdicts(results["sections"]):
        print(line)
    return int(any("error" in entry for entry in results["sections"].values()))


def _import(name):
    try:
        return __import__(name)
    except ImportError:
        return None


def _output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _plain(value):
    """Numbers of NumPy's, for JSON."""
    return value.item() if hasattr(value, "item") else str(value)


if __name__ == "__main__":
    sys.exit(main())
