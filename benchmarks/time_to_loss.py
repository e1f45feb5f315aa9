"""Seconds until the loss that SciPy's L-BFGS-B reaches from the content picture, by other ways to the same loss.

    python -m benchmarks.time_to_loss --weights vgg19 photo.jpg:painting.jpg … [--size 512] [--evaluations 500]

Each way minimises the gatys preset's loss at full size, undivided; coarser stages count with their time and not with
their loss. The first way sets the mark. `--log FILE` keeps every evaluation as a line of JSON, curves included.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

import style
from style import images

# name → (preset, options). The first is the mark; iterations are its evaluations, and a bound for the others.
WAYS = {
    "l-bfgs-b": ("gatys", {}),
    "l-bfgs": ("gatys", {"optimizer": "l-bfgs"}),
    "l-bfgs, spectrum": ("gatys", {"optimizer": "l-bfgs", "precondition": 0.5, "history": 20}),
    "l-bfgs, 3 scales": ("gatys", {"optimizer": "l-bfgs", "scales": 3}),
    "fast": ("fast", {"side": "shortest", "resample": "bilinear"}),
    "fast, 2 scales": ("fast", {"side": "shortest", "resample": "bilinear", "scales": 2}),
    "fast, 4 scales": ("fast", {"side": "shortest", "resample": "bilinear", "scales": 4}),
}
MARKS = (50, 100, 150, 200, 250, 300, 400, 500)


def follow(pictures, way, args, target=None, log=None):
    """[(evaluation at full size, seconds since the start of all stages, loss)] of one way, until `target`."""
    preset, options = WAYS[way]
    options = {"side": args.side, "size": args.size, "scales": 1, **options, "weights": args.weights}
    if way == "l-bfgs-b":
        options["iterations"] = args.evaluations
    job = style.Job(*pictures, style.settings_from(preset, **options))
    curve = []

    def callback(p):
        if p.image.shape[2:] == job.size:
            curve.append((len(curve) + 1, p.seconds, p.loss))
            if log:
                record = {"way": way, "evaluation": len(curve), "seconds": p.seconds, "loss": p.loss}
                log.write(json.dumps(record) + "\n")
                log.flush()
            return target is not None and p.loss <= target
        return False

    job.run(callback)
    return curve


def report(pair, args, log):
    """Rows of one pair."""
    content, painting = pair.split(":")
    pictures = [images.read(content), images.read(painting)]
    label = f"{Path(content).stem}, {Path(painting).stem}"
    mark = follow(pictures, "l-bfgs-b", args, log=log)
    target = min(loss for _, _, loss in mark)
    seconds = mark[-1][1]
    at = {n: loss for n, _, loss in mark if n in MARKS}
    print(f"| {label} | l-bfgs-b | {len(mark)} | {seconds:.0f} s | {target:.6g} | 1 |", flush=True)
    for way in args.ways:
        curve = follow(pictures, way, args, target, log)
        evaluations, spent, loss = curve[-1]
        ratio = f"{spent / seconds:.2f}" if loss <= target else "not reached"
        print(f"| {label} | {way} | {evaluations} | {spent:.0f} s | {loss:.6g} | {ratio} |", flush=True)
    print("| | its curve: " + ", ".join(f"{loss:.6g} at {n}" for n, loss in at.items()) + " | | | | |", flush=True)


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m benchmarks.time_to_loss", description=__doc__.splitlines()[0])
    p.add_argument("pairs", nargs="+", metavar="CONTENT:STYLE")
    p.add_argument("--weights", default="vgg19")
    p.add_argument("--size", type=int, default=512)
    p.add_argument("--side", default="shortest", help="what --size measures: shortest (default, as Gatys) or longest")
    p.add_argument("--evaluations", type=int, default=500)
    p.add_argument("--ways", nargs="+", choices=list(WAYS)[1:], default=["fast"], metavar="WAY", help=", ".join(WAYS))
    p.add_argument("--log", metavar="FILE")
    args = p.parse_args(argv)
    print("| pair | way | evaluations at full size | seconds | loss | of l-bfgs-b's time |")
    print("| --- | --- | --- | --- | --- | --- |")
    with open(args.log, "a") if args.log else contextlib.nullcontext() as log:
        for pair in args.pairs:
            report(pair, args, log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
