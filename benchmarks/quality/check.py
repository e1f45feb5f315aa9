"""Whether the measures can be trusted: what must hold whatever is measured with them."""

from itertools import pairwise

from style.pictures import images

from .measures import area_under_curve, calibrated, first_rank
from .pictures import CHECKED, Pair
from .results import line, table
from .ways import Ours, random_way

EVALUATIONS = (20, 60, 150)  # of the gatys preset: S must not rise from one to the next
PRESET, WEIGHT = "gatys", 1000.0
AREA = 0.9  # of halves of paintings: what a measure must reach to be used
ROUNDING = 1e-9  # of a cosine of 1
# Two runs that differ by rounding differ by this much in S: no measure is asked to see less.
SLACK = 0.01


def check(measures, paintings, contents, styles, network, size, say):
    """Print the checks by say(line); returns whether all hold.

    paintings  [rgb, …] of the scale; contents, styles  {name: file}, in which CHECKED are looked for
    """
    verdicts, rulers = [], []
    for row in table("measure", "area under curve", "rank 1", "painting to itself", "verdict"):
        say(row)
    for measure in measures:
        ruler, far = calibrated(measure, paintings)
        rulers.append(ruler)
        itself = max(ruler.far(d, d) for d in map(measure.describe, paintings[:5]))
        verdicts.append(area_under_curve(far) >= AREA and itself < ROUNDING)
        area, rank = f"{area_under_curve(far):.3f}", f"{first_rank(far):.2f}"
        say(line(f"{measure.name} ({len(paintings)} paintings)", area, rank, f"{itself:.6f}", said(verdicts[-1])))
    pairs = [Pair(names, contents, styles, size) for names in CHECKED]
    say("")
    columns = [*(f"{n} evaluations" for n in EVALUATIONS), f"random, {EVALUATIONS[-1]}", "photograph itself"]
    for row in table("S", "pair", *columns, "falls", "learnt ≤ random"):
        say(row)
    for pair in pairs:
        shown = pictures(pair, pairs, network, size)
        for ruler in rulers:
            scores = scores_of(ruler, pair, shown)
            falls = all(b <= a + SLACK for a, b in pairwise(scores[: len(EVALUATIONS)]))
            learnt = scores[len(EVALUATIONS) - 1] <= scores[len(EVALUATIONS)]
            verdicts += [falls, learnt]
            say(line(ruler.measure.name, pair.label, *(f"{s:.3f}" for s in scores), said(falls), said(learnt)))
    return all(verdicts)


def pictures(pair, pairs, network, size):
    """Those of a trained network by EVALUATIONS, a random one's after the last of them, and the photograph."""
    ways = [Ours("check", PRESET, {"evaluations": n}, network, (WEIGHT,)) for n in EVALUATIONS]
    ways.append(random_way(network, EVALUATIONS[-1], (WEIGHT,), pairs, size, preset=PRESET))
    return [*(way.paint(pair, size, WEIGHT) for way in ways), images.to_uint8(pair.content)]


def scores_of(ruler, pair, shown):
    """S of pictures against a pair's painting."""
    target = ruler.measure.describe(images.to_uint8(pair.style))
    return [ruler.score(ruler.measure.describe(picture), target) for picture in shown]


def said(holds):
    """A verdict in a word."""
    return "holds" if holds else "FAILS"
