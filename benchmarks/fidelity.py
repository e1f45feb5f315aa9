"""How well one network stands in for another: optimise with it, judge the picture with the real one.

    python -m benchmarks.fidelity --weights vgg19=FILE mini random --pairs CONTENT:STYLE ...

Every network in turn makes the picture, from the content picture, by L-BFGS-B; the judge (--judge, or the first network
listed) then says how much of the content picture's style loss is left and what content loss it cost. `random` is a
network of the shape of the one listed before it, with normal filters (He, Wang & Hopcroft 2016), scaled to the judge's
losses: what the architecture alone can do. `content` is the untouched picture.
"""

import argparse
import re
import sys
import time
from pathlib import Path

import numpy as np

import weights
from minivgg.gradcheck.rows import random_params
from minivgg.vgg import VGG
from style.optimize import minimize
from style.pictures import images, saving
from weights.distill import student

from . import common


def random_network(like, judge, pixels, seed=0):
    """A network of the shape of `like` with normal filters and no biases, scaled layer by layer to `judge`'s losses.

    pixels  list of batches (N, 3, H, W), N at least 2, mean taken off: where the losses are compared
    """
    widths = {name: b.size for name, (_, b) in like.params.items()}
    params = random_params(np.random.default_rng(seed), widths=widths, bias=0, dtype=np.float32)
    scales = student.loss_scales(params, judge.params, pixels)
    return weights.Network("random", like.arch, student.scale_channels(params, scales), like.mean, like.order)


def load_networks(specs, judge, pixels_of, seed=0):
    """[(label, Network)] from "vgg19=FILE", a name, a file or "random"; judge is one such text or None: the first.

    The judge comes first. pixels_of(network) gives the pictures that scale a random network.
    """
    networks = [load_one(judge or specs[0])]
    for spec in specs if judge else specs[1:]:
        if spec == "random":
            pixels = pixels_of(networks[0][1])
            networks.append(("random", random_network(networks[-1][1], networks[0][1], pixels, seed)))
        else:
            networks.append(load_one(spec))
    return networks


def load_one(spec):
    if spec == "random":
        raise weights.WeightsError("random takes the shape of the network listed before it: list one first")
    label, _, path = spec.partition("=")
    return label if path else Path(spec).stem, weights.load(path or spec)


class Pair:
    """A content and a style picture, each with its longest side at `size` pixels."""

    def __init__(self, text, size):
        files = re.split(r"(?<!^[A-Za-z]):", text)  # a drive's letter is no separator
        if len(files) != 2:
            raise images.ImageError(f"{text}: found {len(files)} files; expected CONTENT:STYLE")
        self.content, self.style = (read_resized(f, size) for f in files)
        self.label = "-".join(Path(f).stem for f in files)

    def inputs(self, network):
        """(content, style) as `network`'s inputs."""
        return tuple(images.to_network(p, network.mean, network.order) for p in (self.content, self.style))


def read_resized(path, size):
    rgb = images.read(path).rgb
    return images.resize(rgb, images.fit(size, *rgb.shape[:2]))


def objective_of(network, pair, pooling="max"):
    """The objective that `network` sees in a pair, and the content picture as its input."""
    net = VGG(network.params, pooling=pooling)
    content, style = pair.inputs(network)
    return common.objective(net, content=content, style=style), content


def run_pair(pair, networks, evaluations, report, skip=(), pooling="max"):
    """Rows of one pair: network, style_left, content, seconds, picture; report(row) is called as they come.

    networks  [(label, Network)], the judge first; those whose label is in `skip` are timed only
    """
    judge = networks[0][1]
    verdict, start = objective_of(judge, pair, pooling)
    untouched = verdict.evaluate(start).totals()
    jobs = {label: objective_of(network, pair, pooling) for label, network in networks}
    seconds = time_evaluations(jobs)
    rows = []
    for label, network in [*networks, ("content", None)]:
        picture = pair.content
        row = {"pair": pair.label, "network": label, "seconds": seconds.get(label, np.nan)}
        if label not in skip:
            if network is not None:
                outcome = minimize(*jobs[label], evaluations=evaluations)
                picture = images.from_network(outcome.image, network.mean, network.order)
            totals = verdict.evaluate(images.to_network(picture, judge.mean, judge.order)).totals()
            row |= {"style_left": totals["style"] / untouched["style"], "content": totals["content"]}
            row["picture"] = picture
            report(row)
        rows.append(row)
    return rows


def time_evaluations(jobs, rounds=5):
    """{label: median seconds of an evaluation}, taken in turns so that all meet the same state of the machine."""
    times = {label: [] for label in jobs}
    for n in range(rounds + 1):
        for label, (objective, x) in jobs.items():
            start = time.perf_counter()
            objective.evaluate(x)
            if n:  # the first round fills the buffers
                times[label].append(time.perf_counter() - start)
    return {label: float(np.median(t)) for label, t in times.items()}


def summary(rows):
    """Lines of the table of means over the pairs: style left, content loss, seconds, times cheaper than the judge."""
    labels = list(dict.fromkeys(r["network"] for r in rows))
    first = np.mean([r["seconds"] for r in rows if r["network"] == labels[0]])
    lines = [
        "| network | style loss left | worst pair | content loss | seconds an evaluation | times cheaper |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in labels:
        mine = [r for r in rows if r["network"] == name and "style_left" in r]
        if not mine:
            continue
        left, seconds = [r["style_left"] for r in mine], np.mean([r["seconds"] for r in mine])
        cost = "– | –" if np.isnan(seconds) else f"{seconds:.3f} | {first / seconds:.1f}"
        content = np.mean([r["content"] for r in mine])
        lines.append(f"| {name} | {np.mean(left):.4f} | {max(left):.4f} | {content:.0f} | {cost} |")
    return lines


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="+", required=True, metavar="[LABEL=]SPEC", help="networks to measure")
    parser.add_argument("--judge", metavar="[LABEL=]SPEC", help="judges, and is only timed (else the first listed)")
    parser.add_argument("--pairs", nargs="+", required=True, metavar="CONTENT:STYLE")
    parser.add_argument("--size", type=int, default=256, help="longest side of both pictures (256)")
    parser.add_argument("--evaluations", type=int, default=200, help="of loss and gradient, for each picture (200)")
    parser.add_argument("--pooling", choices=("max", "avg"), default="max", help="of the networks and the judge (max)")
    parser.add_argument("--seed", type=int, default=0, help="of the random network (0)")
    parser.add_argument("--out-dir", type=Path, help="save the pictures here")
    return parser.parse_args(argv)


def main(argv=None):
    """Print the table; exit code 0, or 1 with one line when something cannot be read."""
    args = parse(argv)
    try:
        pairs = [Pair(text, args.size) for text in args.pairs]
        square = (args.size, args.size)

        def pixels_of(network):
            both = [np.stack([images.resize(a, square) for a in (p.content, p.style)]) for p in pairs[:4]]
            return [np.concatenate([images.to_network(a, network.mean, network.order) for a in x]) for x in both]

        networks = load_networks(args.weights, args.judge, pixels_of, args.seed)
        skip = (networks[0][0],) if args.judge else ()
        rows = []
        for pair in pairs:
            rows += run_pair(
                pair, networks, args.evaluations, lambda row: report(row, args.out_dir), skip, args.pooling
            )
    except (images.ImageError, weights.WeightsError) as error:
        print(f"fidelity: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n".join(["", *summary(rows)]))
    return 0


def report(row, out_dir):
    """One line for one picture, and the picture if a folder is given."""
    print(f"{row['pair']:40s} {row['network']:12s} style left {row['style_left']:.4f}  content {row['content']:9.1f}")
    sys.stdout.flush()
    if out_dir is not None:
        out_dir.mkdir(parents=True, exist_ok=True)
        saving.save(out_dir / f"{row['pair']}-{row['network']}.png", row["picture"])


if __name__ == "__main__":
    sys.exit(main())
