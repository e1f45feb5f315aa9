"""Seconds until the loss that SciPy's L-BFGS-B reaches from the content picture, by other ways to the same loss.

    python -m benchmarks.time_to_loss --weights vgg19 photo.jpg:painting.jpg … [--size 512] [--evaluations 500]

Each way minimises the gatys preset's loss at full size, undivided; coarser stages count with their time and not with
their loss. Where a way approximates the loss between (lag), it is evaluated exactly, at the cost of its time, whenever
the approximation has reached the mark, and ends when the loss itself has. The first way sets the mark; where --mark
gives it, from an earlier run, only SAMPLE of its evaluations are run, for their time. `--log FILE` keeps every
evaluation as a line of JSON, curves included.
"""

import argparse
import contextlib
import json
import math
import sys
from pathlib import Path

import style
from style.events import Evaluated
from style.pictures import images

# name → (preset, options). The first sets the mark; --evaluations is its number, and a bound for the others.
WAYS = {
    "l-bfgs-b": ("gatys", {}),
    "l-bfgs": ("gatys", {"optimizer": "l-bfgs"}),
    "l-bfgs, 3 scales": ("gatys", {"optimizer": "l-bfgs", "scales": 3}),
    "fast": ("fast", {"resample": "bilinear"}),
    "fast, 2 scales": ("fast", {"resample": "bilinear", "scales": 2}),
    "fast, 3 scales": ("fast", {"resample": "bilinear", "scales": 3}),
}
FIRST = 200  # evaluations at the coarsest scale, half as many at each finer one; the last goes on to the mark
SAMPLE = 40
MARKS = (50, 100, 150, 200, 250, 300, 400, 500)


def follow(pictures, way, args, evaluations, target=None, log=None):
    """[(work, seconds, loss)] after each evaluation at full size of one way, until `target`.

    evaluations  at full size, at most
    Seconds count from the start of all stages, and so does work: evaluations, each by its share of full size's pixels.
    """
    preset, options = WAYS[way]
    options = {"scales": 1, **options, "side": args.side, "size": args.size, "weights": args.weights}
    coarser = [(args.size >> k, FIRST >> (options["scales"] - 1 - k)) for k in range(options["scales"] - 1, 0, -1)]
    options["scales"] = ",".join(f"{size}:{n}" for size, n in [*coarser, (args.size, evaluations)])
    job = style.Job(*pictures, style.settings_from(preset, **{"margin": 0} | options))
    deferred = job.settings.lag > 1
    exact = job.objective(job.stages[-1]).exact if deferred and target is not None else None
    curve, work, off = [], 0.0, 0.0

    def listener(p):
        nonlocal work, off
        if not isinstance(p, Evaluated):
            return None
        work += math.prod(p.image.shape[2:]) / math.prod(job.size)
        if p.image.shape[2:] == job.size:
            curve.append((work, p.seconds, p.loss))
            if log:
                record = {"way": way, "evaluation": len(curve), "work": work, "seconds": p.seconds, "loss": p.loss}
                log.write(json.dumps(record) + "\n")
                log.flush()
            if target is None or p.loss + off > target:
                return None
            if exact is None:
                return style.STOP
            work += 1
            off = exact(p.image).loss - p.loss  # what to expect of the next
            return style.STOP if p.loss + off <= target else None
        return None

    outcome = job.run(listener).outcome
    if deferred:  # the run ends with one exact evaluation of the picture that it hands back
        curve.append((work + 1, outcome.seconds, outcome.loss))
    return curve


def report(pair, args, log):
    """Rows of one pair."""
    content, painting = pair.split(":")
    pictures = [images.read(content), images.read(painting)]
    label = f"{Path(content).stem}, {Path(painting).stem}"
    count = SAMPLE if args.mark else args.evaluations
    mark = follow(pictures, "l-bfgs-b", args, count, log=log)
    target = args.mark or min(loss for _, _, loss in mark)
    seconds = mark[-1][1]
    if args.mark:  # by all but the first evaluation, which makes buffers
        seconds = (mark[-1][1] - mark[0][1]) / (len(mark) - 1) * args.evaluations
    print(f"| {label} | l-bfgs-b | {args.evaluations} | {seconds:.0f} s | {target:.6g} | 1 | 1 |", flush=True)
    for way in args.ways:
        curve = follow(pictures, way, args, args.evaluations, target, log)
        work, spent, loss = curve[-1]
        shares = f"{work / args.evaluations:.2f} | {spent / seconds:.2f}" if loss <= target else "not reached | "
        print(f"| {label} | {way} | {work:.0f} | {spent:.0f} s | {loss:.6g} | {shares} |", flush=True)
    at = [f"{mark[n - 1][2]:.6g} at {n}" for n in MARKS if n <= len(mark)]
    if at:
        print(f"| | l-bfgs-b's curve: {', '.join(at)} | | | | | |", flush=True)


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m benchmarks.time_to_loss", description=__doc__.splitlines()[0])
    p.add_argument("pairs", nargs="+", metavar="CONTENT:STYLE")
    p.add_argument("--weights", default="vgg19")
    p.add_argument("--size", type=int, default=512)
    p.add_argument("--side", default="shortest", help="what --size measures: shortest (default, as Gatys) or longest")
    p.add_argument("--evaluations", type=int, default=500)
    p.add_argument("--mark", type=float, metavar="LOSS", help="l-bfgs-b's loss after --evaluations, if it is known")
    p.add_argument("--ways", nargs="+", choices=list(WAYS)[1:], default=["fast"], metavar="WAY", help=", ".join(WAYS))
    p.add_argument("--log", metavar="FILE")
    args = p.parse_args(argv)
    print("| pair | way | evaluations of full size | seconds | loss | of l-bfgs-b's work | of its time |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with open(args.log, "a") if args.log else contextlib.nullcontext() as log:
        for pair in args.pairs:
            report(pair, args, log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
