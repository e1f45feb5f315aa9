"""The evaluations of a run, column by column: heard while it goes on, or read from its log."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minivgg.program import first_line

from ..provenance import fingerprint

LONGEST = 10**6  # bytes of a line: no evaluation has so many terms
KINDS = {  # what a line of a log has
    "evaluation": int,
    "loss": (int, float),
    "terms": dict,
    "exact": bool,
    "scale": int,
    "size": str,
    "seconds": (int, float),
}


class ReportError(Exception):
    """A report that cannot be made, from a file that is not what it should be; the message is one line."""


@dataclass
class Curve:
    """Evaluations in their order.

    evaluations, losses, seconds, scales, sizes, exact   a list each; sizes as "96x64"
    terms  {name: [factor · loss, nan where it is not known]}
    run    provenance.fingerprint, or None where it is not known
    """

    run: str | None = None
    evaluations: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scales: list[int] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    exact: list[bool] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.losses)

    def add(
        self,
        evaluation: int,
        loss: float,
        terms: Mapping[str, float],
        *,
        scale: int = 1,
        size: str = "",
        seconds: float = math.nan,
        exact: bool = True,
    ) -> None:
        for name in terms:
            if name not in self.terms:
                self.terms[name] = [math.nan] * len(self)
        for name, column in self.terms.items():
            column.append(terms.get(name, math.nan))
        own = {"evaluations": evaluation, "losses": loss, "seconds": seconds}
        for name, value in (own | {"scales": scale, "sizes": size, "exact": exact}).items():
            getattr(self, name).append(value)

    def stages(self) -> list[dict]:
        """A row for each scale: its size, evaluations, their numbers' range, and seconds, nan where unknown."""
        found: list[dict] = []
        for k, scale in enumerate(self.scales):
            if not found or found[-1]["scale"] != scale:
                before = self.seconds[k - 1] if k else 0.0
                found.append({"scale": scale, "size": self.sizes[k], "first": k, "before": before})
            found[-1] |= {"last": k, "seconds": self.seconds[k] - found[-1]["before"]}
        for row in found:
            row["evaluations"] = row["last"] - row["first"] + 1
        return found


def read_log(path: str | os.PathLike[str]) -> tuple[Curve, list[str]]:
    """(Curve, notes) of a file that --log wrote. A last line that is cut off is left out, and noted.

    Raises ReportError for a file that is no log, or that has lines of several runs.
    """
    curve, notes, broken = Curve(), [], None
    try:
        if not os.path.isfile(path):
            raise ReportError(f"{path}: {'not a file' if os.path.lexists(path) else 'no such file'}; expected a log")
        with open(path, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST), b""), 1):
                if broken is not None:
                    raise ReportError(f"{path}: line {number - 1} is not one of --log's ({broken})")
                broken = _added(curve, line, f"{path}: line {number}")
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({first_line(error)})") from None
    if broken is not None and not len(curve):
        raise ReportError(f"{path}: not a log of ours ({broken}); expected the file that --log wrote")
    if broken is not None:
        notes.append(f"The last line of {Path(path).name} is cut off and left out.")
    if not len(curve):
        raise ReportError(f"{path}: empty; expected the file that --log wrote")
    return curve, notes


def _added(curve, line, where):
    """Add a line of a log to a Curve; returns what is wrong with the line, or None. Raises ReportError."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {first_line(error)}"
    if not isinstance(record, dict):
        return "no JSON object"
    for name, kind in KINDS.items():
        value = record.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return f"{name} is missing" if value is None else f"{name} is {str(value)[:20]!r}"
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in record["terms"].values()):
        return "terms are no numbers"
    run = record.get("run") or curve.run  # earlier versions wrote none: a log that such a one began may go on with it
    other = len(curve) and (record["evaluation"] != curve.evaluations[-1] + 1 or curve.run not in (None, run))
    if other:
        raise ReportError(f"{where}: evaluation {record['evaluation']} of another run; expected a log of one run")
    more = {name: record[name] for name in ("scale", "size", "exact")}
    try:
        terms = {name: float(value) for name, value in record["terms"].items()}
        curve.add(record["evaluation"], float(record["loss"]), terms, seconds=float(record["seconds"]), **more)
    except OverflowError:  # a whole number of more digits than any of ours
        return "a number is too large"
    curve.run = run
    return None


def check_same_run(curve: Curve, record: Mapping, log: str, picture: str) -> list[str]:
    """Notes on what a log lacks of the run that a picture's metadata are of. Raises ReportError for another run's."""
    result, last = record["result"], curve.evaluations[-1]
    ours = fingerprint(record)
    another = f"{log}: the log of another run than {picture}'s"
    if curve.run is not None and curve.run != ours:
        raise ReportError(f"{another}: of other pictures, weights or settings (run {curve.run}, expected {ours})")
    sizes = ["x".join(map(str, stage["size"])) for stage in record["stages"]]
    for scale, size in dict(zip(curve.scales, curve.sizes, strict=True)).items():
        if not 1 <= scale <= len(sizes) or sizes[scale - 1] != size:
            raise ReportError(f"{another}: it has a scale of {size}, the picture has {', '.join(sizes)}")
    if last > result["evaluations"]:
        raise ReportError(f"{another}: it has {last} evaluations, the picture {result['evaluations']}")
    if {*curve.terms} - {*result["terms"]}:
        raise ReportError(f"{another}: it has terms that the picture has not, {', '.join(curve.terms)}")
    exact = [v for v, e, s in zip(curve.losses, curve.exact, curve.scales) if e and s == curve.scales[-1]]
    whole = last == result["evaluations"]
    if whole and min(exact, default=math.inf) < result["loss"] * (1 - 1e-9):
        raise ReportError(f"{another}: its lowest loss is {min(exact):.6g}, the picture's {result['loss']:.6g}")
    notes = [] if whole else [f"{log} ends at evaluation {last} of {result['evaluations']}."]
    if curve.evaluations[0] > 1:
        notes.append(f"{log} begins at evaluation {curve.evaluations[0]}.")
    return notes
