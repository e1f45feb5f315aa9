"""What the plan predicts beside what a run takes: the peak of the process's memory.

    python -m benchmarks.memory --weights mini FILE [--only WORD …] [--sizes N …] [--out FILE.json]

Each configuration runs in a process of its own, from arrays to the finished picture (style.job), with as few
evaluations as fill what the optimiser keeps. Beside the ratio for the whole process stands that of what lies above its
start, the interpreter with its modules: the program's own, where a small picture's errors are not hidden by it.
"""

import argparse
import datetime
import json
import os
import platform

import numpy as np

from style.units import format_memory

from .common import in_own_process, peak_rss, pictures

SIZES = (96, 192, 256, 320, 384, 512, 768, 1024, 2048)
HISTORY = 4  # pairs, where nothing else is said: all of them are in use after HISTORY + 2 evaluations
BOUND = 0.15

# what: the options of style.transfer beside the sizes. Evaluations are those that fill the history, and two more.
OPTIMIZERS = {
    "l-bfgs": {},
    "l-bfgs, no bounds": {"bounds": False},
    "l-bfgs, no metric": {"precondition": 0.0},
    "l-bfgs, no lag": {"lag": 1},
    "l-bfgs, plain": {"bounds": False, "precondition": 0.0, "lag": 1},
    "l-bfgs-b": {"optimizer": "l-bfgs-b"},
    "l-bfgs-b, no bounds": {"optimizer": "l-bfgs-b", "bounds": False},
    "two-loop": {"optimizer": "two-loop"},
    "adam": {"optimizer": "adam"},
    "adam, lag": {"optimizer": "adam", "lag": 8},
}
LOSSES = {
    "moments": {"style_loss": "moments"},
    "w2": {"style_loss": "w2"},
    "shifted": {"style_loss": "shifted"},
    "cmd": {"style_loss": "cmd"},
    "histogram": {"style_loss": "histogram"},
    "sliced": {"style_loss": "sliced"},
    "nearest": {"style_loss": "nearest"},
    "gram, moments, w2": {"style_loss": "gram,moments,w2"},
    "tv": {"tv_weight": 1.0},
    "photo, laplacian": {"photo_weight": 1e4, "laplacian_weight": 20.0},
    "content at relu1_2": {"content_layers": "relu1_2"},
    "content at conv4_2, max": {"content_layers": "conv4_2", "pooling": "max"},
    "shallow": {"content_layers": "relu2_2", "style_layers": "relu1_1,relu2_1"},
    "textbook": {"kernels": "textbook"},
    "two scales": {"scales": 2},
    "larger style": {"style_size": 640},
}
PRESETS = ("gatys", "neural-style", "coursera", "tf-tutorial", "fast", "large")  # narayanan asks for VGG-16
ELONGATED = ((64, 4000), (4000, 64), (200, 1600))
TILED = {"0.8 of it": 0.8, "0.6 of it": 0.6}  # of the undivided prediction


def cases(sizes):
    """[(what, (height, width), options, part of the undivided prediction as a budget or None), …]"""
    found = [("size", (n, n), {}, None) for n in sizes]
    found += [("elongated", hw, {}, None) for hw in ELONGATED]
    for n in (192, 448):
        found += [(what, (n, n), options, None) for what, options in (OPTIMIZERS | LOSSES).items()]
    found += [(f"preset {name}", (224, 256), {"preset": name, "scales": 1}, None) for name in PRESETS]
    found += [(f"tiles, {what}", (1024, 1024), {"optimizer": "adam"}, part) for what, part in TILED.items()]
    found += [("tiles, l-bfgs", (768, 768), {}, 0.7)]
    return found


def measure(weights, hw, options, part):
    """What one process does: plan, optimise; returns a dict of results."""
    from style.job import Job  # here, as in a program that does nothing else: the start is that of an import
    from style.settings import settings_from

    start = peak_rss()
    preset = options.pop("preset", None)
    given = {"weights": weights, "size": max(hw), "scales": 1, "memory": 10**15, **options}
    own = {} if preset or given.get("optimizer") == "adam" else {"history": HISTORY}
    settings = settings_from(preset, **own, **given)
    pairs = 0 if settings.optimizer == "adam" else settings.history
    given["evaluations"] = pairs + 6
    content, style = (_picture(*hw, seed) for seed in (0, 1))
    if part is not None:
        whole = Job(content, style, settings)
        given["memory"] = int(part * whole.plans[whole.stages[-1]].peak)
        del whole
    job = Job(content, style, settings_from(preset, **own, **given))
    del content, style
    plans = list(job.plans.values())
    job.run()
    return {"plan": plans[-1].describe(), "predicted": max(p.peak for p in plans), "peak": peak_rss(), "start": start}


def _picture(H, W, seed):
    (values,) = pictures(H, W, 1, seed=seed)
    return (values[0].transpose(1, 2, 0) + 128).clip(0, 255).astype(np.uint8)


def table(specs, sizes, only):
    """Print a line per configuration and return them all as dicts."""
    print("| weights | what | size | predicted | peak | predicted ÷ peak | above the start | plan |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for spec in specs:
        for what, hw, options, part in cases(sizes):
            size = f"{hw[1]}x{hw[0]}"
            if only and not any(word in f"{what} {size}" for word in only):
                continue
            found = in_own_process("benchmarks.memory", [spec, hw, options, part])
            name = os.path.basename(spec)
            if isinstance(found, str):
                print(f"| {name} | {what} | {size} | {found} |", flush=True)
                continue
            found |= {"weights": name, "what": what, "size": size, "ratio": found["predicted"] / found["peak"]}
            above = (found["predicted"] - found["start"]) / (found["peak"] - found["start"])
            rows.append(found | {"above": above})
            print(
                f"| {name} | {what} | {size} | {format_memory(found['predicted'])} | {format_memory(found['peak'])} "
                f"| {found['ratio']:.2f} | {above:.2f} | {found['plan'].partition(': ')[2].partition(', about')[0]} |",
                flush=True,
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help=argparse.SUPPRESS)  # measure CASE: what a process of its own does
    parser.add_argument("--weights", nargs="+", default=["mini"])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--only", nargs="+", default=[], help="words of the configurations")
    parser.add_argument("--out", help="a JSON file for all numbers")
    arguments = parser.parse_args()
    if arguments.what:
        print(json.dumps(measure(*json.loads(arguments.what[1]))))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, {datetime.date.today()}\n")
    rows = table(arguments.weights, arguments.sizes, arguments.only)
    ratios = [row["ratio"] for row in rows]
    outside = sum(abs(r - 1) > BOUND for r in ratios)
    print(f"\n{len(rows)} configurations, {min(ratios):.2f} to {max(ratios):.2f}, {outside} outside {BOUND:.0%}")
    if arguments.out:
        with open(arguments.out, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
