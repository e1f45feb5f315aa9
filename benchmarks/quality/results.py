"""What has been measured: a JSON file with a row for each picture, the pictures beside it, and the figure from them."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from minivgg.files import atomic_file
from minivgg.program import UsageError
from style.pictures import images, saving

from .measures import calibrated, kept, recalled
from .ways import CONTENT

KEPT = 0.85  # K at which S is compared: the manner is there, and the photograph still to be recognised
VERSION = 1  # of the measures and of the file: rows of another one are not comparable


class Results:
    """Rows in a JSON file, each written as it comes: {"pair", "way", "network", "how", "knob", "kept", "scores", …}.

    header  what all rows share: size, names of the paintings, scales of the measures
    """

    def __init__(self, path, size, paintings):
        self.path, self.pictures = Path(path), Path(path).with_suffix("")
        self.header = {"version": VERSION, "size": size, "paintings": sorted(paintings), "scales": {}}
        self.rows = []
        if self.path.exists():
            self._recall()

    def _recall(self):
        record = read_json(self.path)
        if not isinstance(record, dict) or not isinstance(record.get("rows"), list):
            raise UsageError(f"{self.path}: not this program's results; give another --out")
        for name in ("version", "size", "paintings"):
            if record.get(name) != self.header[name]:
                raise UsageError(
                    f"{self.path}: made with another {name}, so rows would not compare; give another --out"
                )
        self.header["scales"], self.rows = record["scales"], record["rows"]

    def find(self, pair, way, knob):
        """The row of one picture, or None."""
        asked = key(pair.label, way.name, way.network, way.how, knob)
        return next(
            (r for r in self.rows if key(*(r[k] for k in ("pair", "way", "network", "how", "knob"))) == asked), None
        )

    def add(self, pair, way, knob, picture):
        """Keep a picture (H, W, 3) uint8; returns its row, which has no measures yet."""
        digest = hashlib.sha256(picture.tobytes()).hexdigest()[:16]
        row = {"pair": pair.label, "way": way.name, "network": way.network, "how": way.how, "knob": knob}
        row |= {"picture": f"{pair.label.replace(':', '-')}-{digest}.png", "sha256": digest, "scores": {}}
        self.pictures.mkdir(parents=True, exist_ok=True)
        saving.save(self.pictures / row["picture"], picture)
        self.rows.append(row)
        return row

    def picture(self, row):
        """(H, W, 3) uint8 of a row."""
        return images.to_uint8(images.read(self.pictures / row["picture"]).rgb)

    def save(self):
        """Write the file, whole or not at all."""
        record = {**self.header, "rows": self.rows}
        with atomic_file(self.path) as file:
            file.write((json.dumps(record, indent=1) + "\n").encode())

    def rulers(self, measures, paintings):
        """{name: Ruler}: of the file, or made from paintings() and kept there."""
        found, scales = {}, self.header["scales"]
        for measure in measures:
            if measure.name not in scales:
                scales[measure.name] = calibrated(measure, paintings())[0].record()
            found[measure.name] = recalled(measure, scales[measure.name])
        return found


def read_json(path):
    """What a JSON file holds; UsageError where it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; check the name") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from None


def key(*parts):
    """A text that is the same for the same values."""
    return json.dumps(parts, sort_keys=True)


def measure_row(row, picture, pair, rulers, targets, size):
    """Fill in what a row lacks: K, and S by each ruler. targets  {measure: description of the painting}"""
    if "kept" not in row:
        row["kept"] = kept(images.to_uint8(pair.content), picture, size)
    for name, ruler in rulers.items():
        if name not in row["scores"]:
            row["scores"][name] = ruler.score(ruler.measure.describe(picture), targets[name])


# --- the figure -----------------------------------------------------------------------------------------------


def at_kept(points, mark=KEPT):
    """(S, sign) at K = mark, linear between neighbours on the way from weak to strong.

    points  [(K, S), …] by growing strength
    sign    "" where the curve crosses the mark; "≤" where all keep more: stronger, it would come nearer still;
            "≥" where all keep less: weaker, it would be farther. S is then that of the point nearest the mark.
    """
    for (k0, s0), (k1, s1) in pairwise(points):
        if min(k0, k1) <= mark <= max(k0, k1):
            return (s0 if k0 == k1 else s0 + (s1 - s0) * (mark - k0) / (k1 - k0)), ""
    nearest = min(points, key=lambda p: abs(p[0] - mark))
    return nearest[1], "" if nearest[0] == mark else "≤" if nearest[0] > mark else "≥"


def bracket(knobs, kept_at, mark=KEPT):
    """Call kept_at(knob) → K for as few as find the two neighbours between which K = mark lies, by halving.

    knobs  from weak to strong; K is taken to fall along them
    """
    above, below = -1, len(knobs)  # what keeps more than the mark ends here; what keeps less begins there
    while below - above > 1:
        middle = (above + below) // 2
        if kept_at(knobs[middle]) > mark:
            above = middle
        else:
            below = middle


def score_of(row, measures):
    """The mean of S by some measures."""
    return float(np.mean([row["scores"][m] for m in measures]))


def reading(rows, measures, mark):
    """at_kept of one pair's rows from weak to strong. The untouched photograph has no strength: its S as it is."""
    if rows[0]["way"] == CONTENT:
        return score_of(rows[0], measures), ""
    return at_kept([(r["kept"], score_of(r, measures)) for r in rows], mark)


def curves(rows):
    """{title: {pair: rows from weak to strong}}, in order of their first row."""
    found, titles = {}, {}
    for row in rows:
        found.setdefault(key(row["way"], row["network"], row["how"]), {}).setdefault(row["pair"], []).append(row)
    for curve in found.values():
        ordered = {pair: sorted(points, key=lambda r: r["knob"]) for pair, points in curve.items()}
        titles[_free(title(next(iter(ordered.values()))[0]), titles)] = ordered
    return titles


def title(row):
    """A row's way in tables, with its network."""
    return f"{row['way']}, {row['network']}" if row["network"] else row["way"]


def _free(name, taken):
    """The name, numbered where rows of another making have it already."""
    return name if name not in taken else f"{name} ({sum(t.startswith(name) for t in taken) + 1})"


def figure(rows, measures, mark=KEPT):
    """Lines of three tables: S at K = mark as means over the pairs that all ways have, by pair, and the curves' points.

    measures  names; every row has a score of each
    """
    found = curves(rows)
    return [*by_way(found, measures, mark), "", *by_pair(found, measures, mark), "", *by_knob(found, measures)]


def by_way(found, measures, mark):
    """S at K = mark, means over the pairs that all ways have; how many of these are bounds only."""
    common = set.intersection(*(set(curve) for curve in found.values()))
    lines = table(f"S at K = {mark:g}", "pairs", *measures, "mean", "bounds only")
    for name, curve in found.items():
        read = [[reading(curve[pair], ms, mark) for pair in common] for ms in (*([m] for m in measures), measures)]
        scores = [f"{np.mean([s for s, _ in r]):.3f}" if r else "" for r in read]
        signs = [sign for _, sign in read[-1]]
        bounds = ", ".join(f"{signs.count(s)} {s}" for s in "≤≥" if s in signs) or "–"
        lines.append(line(name, len(common), *scores, bounds))
    return lines


def by_pair(found, measures, mark):
    """The mean S at K = mark for each pair and way."""
    lines = table("mean S", *found)
    for pair in dict.fromkeys(pair for curve in found.values() for pair in curve):
        read = [reading(curve[pair], measures, mark) if pair in curve else None for curve in found.values()]
        lines.append(line(pair, *("" if r is None else f"{r[1]} {r[0]:.3f}".strip() for r in read)))
    return lines


def by_knob(found, measures):
    """The points of the curves, means over the pairs that have them."""
    lines = table("", "style weight or strength", "pairs", "K", *measures)
    for name, curve in found.items():
        rows = [r for points in curve.values() for r in points]
        for knob in sorted({r["knob"] for r in rows}):
            here = [r for r in rows if r["knob"] == knob]
            scores = [f"{np.mean([r['scores'][m] for r in here]):.3f}" for m in measures]
            lines.append(line(name, f"{knob:g}", len(here), f"{np.mean([r['kept'] for r in here]):.3f}", *scores))
    return lines


def table(*heads):
    """The first two lines of a table."""
    return [line(*heads), "|" + " --- |" * len(heads)]


def line(*cells):
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"
