"""Whole runs beside whole programs: seconds to one loss of the saved picture, neural-style-pt's scheme and ours.

    python -m benchmarks.programs photo.jpg:painting.jpg … --weights FILE [--sizes 256 512] [--ours fast] [--out FILE]

The peer is what neural-style-pt does, on the processor: PyTorch's own convolutions and automatic differentiation, and
torch.optim.LBFGS with learning rate 1, 100 pairs, no line search and no tolerance. Both start from the content picture
and minimise the same function, which is checked there: programs whose losses differ are refused. They take turns, the
order reversed every second time. Seconds count from filters and pictures in memory, so targets and the filters'
transforms are in them; reading files is not, nor a short run of each before, since PyTorch's optimiser takes seconds
for its first call ever.

What counts is the picture that a user gets: cut off at 0 and 255, rounded to 8 bits, evaluated exactly. Both runs keep
such pictures while their clock stands, and they are evaluated when both have ended. A run of ours that defers terms
ends with an exact evaluation, which is added to its seconds at whatever evaluation it might have been ended.

Three things of neural-style-pt's are not taken over. Its grey levels go from 0 to 256 inside the network: the two
functions would differ. It cuts decimals off where it saves: rounding leaves it the lower loss. It resizes in its own
way: both get the same pictures.
"""

import argparse
import dataclasses
import datetime
import importlib.util
import itertools
import json
import math
import os
import platform
import statistics
import sys
from pathlib import Path

import weights
from minivgg.program import suggest
from style.large.plan import MemoryBudgetError
from style.options import KINDS, SettingsError, options_of
from style.pictures import ImageError, images
from style.provenance import version
from style.settings import Settings, presets, settings_from

from .peer import Factors
from .runs import Judge, Judged, first_at_most, our_run, peer_run

NAME = "benchmarks.programs"
PROGRAMS = ("peer", "ours")
RECIPES = {"gatys": Factors(), "neural-style": Factors(content=5.0, style=100.0)}
AGREEMENT = 1e-4  # of losses at the start, as a fraction
WARMING = 2  # evaluations of the run before
HEADINGS = (
    "pair",
    "size",
    "the peer's iterations",
    "its seconds",
    "saved loss",
    "our evaluations to it",
    "our seconds",
    "peer ÷ ours",
)


class Refused(Exception):
    """What cannot be compared, in one line."""


def run_turns(args):
    """Every pair at every size, as often as asked for; prints the table, and writes the JSON after each turn."""
    if importlib.util.find_spec("torch") is None:
        raise Refused("the peer needs PyTorch, which is not installed")
    network = weights.load(args.weights)
    if network.arch != "vgg19":
        raise Refused(f"{args.weights}: filters of {network.arch}; the peer runs VGG-19")
    results = {"measured with": measured_with(args, network), "turns": []}
    print(", ".join(f"{k} {v}" for k, v in results["measured with"].items() if isinstance(v, str | int)))
    print(f"| {' | '.join(HEADINGS)} |")
    print("| --- " * len(HEADINGS) + "|", flush=True)
    for size in args.sizes:
        for pair in args.pairs * args.repeats:
            order = PROGRAMS if len(results["turns"]) % 2 == 0 else PROGRAMS[::-1]
            results["turns"].append(turn(pair, size, order, args, network))
            print("\n".join(table_rows(results["turns"][-1])), flush=True)
            if args.out:
                with open(args.out, "w", encoding="utf-8") as f:
                    json.dump(results, f, indent=1)
    print("\n".join(["", *summary(results["turns"])]))


def turn(pair, size, order, args, network):
    """A pair at a size, both programs in the given order: what was found, as plain values."""
    content, style = (load(path, size) for path in pair)
    factors = factors_at(args, content.shape)
    settings = our_settings(args, size, factors)

    def run(who, count):
        if who == "ours":
            return our_run(content, style, dataclasses.replace(settings, evaluations=count))
        options = {"factors": factors, "layout": args.layout, "marks": args.marks}
        return peer_run(network, content, style, iterations=count, **options)

    judge = Judge(network, settings, content, style)
    start = {who: run(who, WARMING).curve[0][1] for who in order} | {"exact": judge.loss(content)}
    check_start(start)
    judge.net.release()  # its memory is not to stand beside the runs'
    counts = {"peer": max(args.marks), "ours": settings.evaluations}
    runs = {who: run(who, counts[who]) for who in order}
    judged = {who: Judged(judge, r) for who, r in runs.items()}
    return {
        "pair": ", ".join(Path(p).stem for p in pair),
        "size": size,
        "width and height": content.shape[1::-1],
        "order": order,
        "factors": dataclasses.asdict(factors),
        "settings": {**settings.to_dict(), "weights": Path(args.weights).name},
        "losses at the start": start,
        "rows": [compare(mark, runs, judged) for mark in args.marks],
        "saved losses": {who: j.found for who, j in judged.items()},
        "seconds and losses": {who: r.curve for who, r in runs.items()},
        "seconds to finish": {who: r.finish for who, r in runs.items()},
    }


def check_start(losses):
    """Refuse programs that do not minimise the same function. losses  {who: loss of the content picture}"""
    pairs = itertools.combinations(losses.values(), 2)
    if not all(abs(a - b) <= AGREEMENT * abs(b) for a, b in pairs):  # NaN agrees with nothing
        found = ", ".join(f"{who} {loss:.7g}" for who, loss in losses.items())
        raise Refused(f"the losses of the content picture differ by more than {AGREEMENT:g} of themselves: {found}")


def compare(mark, runs, judged):
    """The peer's picture after `mark` iterations, and when ours was as good; None where it was not."""
    loss, seconds = judged["peer"].loss(mark), runs["peer"].seconds(mark)
    reached = first_at_most(judged["ours"].loss, len(runs["ours"].curve), loss)
    ours = None if reached is None else runs["ours"].seconds(reached)
    return {
        "iterations": mark,
        "seconds": seconds,
        "saved loss": loss,
        "our evaluations": reached,
        "our seconds": ours,
        "ratio": None if reached is None else seconds / ours,
    }


def load(path, size):
    """(h, w, 3) uint8 of a file, its longest side `size`."""
    rgb = images.read(path).rgb
    return images.to_uint8(images.resize(rgb, images.fit(size, *rgb.shape[:2])))


def factors_at(args, shape):
    """The Factors that the command line asks for, for pictures of a shape (H, W, 3)."""
    recipe = RECIPES[args.recipe]
    content = recipe.content if args.content_weight is None else args.content_weight
    style = recipe.style if args.style_weight is None else args.style_weight
    return Factors(content, style, args.tv_weight * math.prod(shape))  # of its sum, of our mean


def our_settings(args, size, factors):
    """settings.Settings of ours: the preset, what --set says, and what makes the two programs comparable."""
    fixed = {
        "size": size,
        "scales": 1,
        "init": "content",
        "device": "cpu",
        "weights": args.weights,
        "content_weight": factors.content,
        "style_weight": factors.style,
        "tv_weight": factors.tv,
        "tv_beta": 1.0 if factors.tv else None,
        "margin": 0,  # the same function: the peer has none
        "pooling": "max",
    }
    return settings_from(args.ours, **asked(args.set, fixed), **fixed)


def asked(texts, fixed):
    """{option: value} from ["name=value", …]; names in `fixed` are not to be asked for."""
    known, found = options_of(Settings), {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in known:
            raise SettingsError(f"--set {text}: not an option{suggest(name, known)}")
        if name in fixed:
            raise SettingsError(f"--set {text}: {name} is settled by the comparison or by an option of its own")
        kind = KINDS[known[name].kind]
        try:
            found[name] = kind.parse(value)
        except ValueError:
            raise SettingsError(f"--set {text}: expected {kind.words}") from None
    return found


def table_rows(found):
    """Lines of the table, of one turn."""
    for r in found["rows"]:
        cells = [found["pair"], found["size"], r["iterations"], f"{r['seconds']:.1f}", f"{r['saved loss']:.6g}"]
        if r["our evaluations"] is None:
            cells += ["not reached", "", ""]
        else:
            cells += [r["our evaluations"], f"{r['our seconds']:.1f}", f"{r['ratio']:.2f}"]
        yield f"| {' | '.join(map(str, cells))} |"


def summary(turns):
    """A line for each size and mark: mean and range of the ratios."""
    ratios = {}
    for found in turns:
        for r in found["rows"]:
            ratios.setdefault((found["size"], r["iterations"]), []).append(r["ratio"])
    for (size, mark), every in ratios.items():
        reached = [ratio for ratio in every if ratio is not None]
        line = f"{size} pixels, {mark} iterations: reached in {len(reached)} of {len(every)} turns"
        if reached:
            line += f", peer ÷ ours {statistics.mean(reached):.2f} ({min(reached):.2f} to {max(reached):.2f})"
        yield line


def measured_with(args, network):
    """What the numbers were measured with; no folder's name."""
    import torch

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "PyTorch's threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "scipy", "pillow", "torch")},
        "weights": {"name": Path(args.weights).name, "sha256": network.sha256},
        "ours": args.ours,
        "set": args.set,
        "recipe": args.recipe,
        "layout": args.layout,
    }


def parse(argv):
    p = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    add = p.add_argument
    add("pairs", nargs="+", type=pair_of, metavar="CONTENT:STYLE")
    add("--weights", default="vgg19", metavar="W", help="a name or a file (default: %(default)s)")
    add("--sizes", nargs="+", type=count, default=[256, 512], metavar="N", help="longest sides (256 512)")
    add("--marks", nargs="+", type=count, default=[100, 150, 200], metavar="N", help="iterations (100 150 200)")
    add("--ours", choices=presets(), default="fast", metavar="PRESET", help="(default: %(default)s)")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of ours on top, such as lag=1")
    add("--recipe", choices=RECIPES, default="gatys", help="factors of content and style: 1, 1000 (default) or 5, 100")
    add("--content-weight", type=float, metavar="X", help="in place of the recipe's")
    add("--style-weight", type=float, metavar="X", help="in place of the recipe's")
    add("--tv-weight", type=float, default=0.0, metavar="X", help="of neural-style-pt's sum, whose own is 1e-3 (0)")
    add("--layout", choices=("nchw", "channels_last"), default="nchw", help="of the peer (default: its own, nchw)")
    add("--repeats", type=count, default=1, metavar="N", help="turns of each pair and size (1)")
    add("--out", metavar="FILE", help="JSON with everything, curves included")
    return p.parse_args(argv)


def pair_of(text):
    """(content, style), paths."""
    content, _, style = text.partition(":")
    if not (content and style):
        raise argparse.ArgumentTypeError(f"{text!r}: expected CONTENT:STYLE")
    return content, style


def count(text):
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 up")
    return int(text)


def main(argv=None):
    """0: done; 1: something cannot be read or compared, 2: an option cannot be used, with one line; 130: Ctrl-C."""
    try:
        run_turns(parse(argv))
    except SettingsError as error:
        print(f"{NAME}: {error.on_command_line}", file=sys.stderr)
        return 2
    except (Refused, ImageError, weights.WeightsError, MemoryBudgetError, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
