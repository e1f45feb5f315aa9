"""What an optimisation leaves, and how those of several scales are joined, saved and read back."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minivgg.backend import Array, to_numpy

from .objective import by_kind
from .units import counted


@dataclass
class Outcome:
    """What an optimisation leaves: the best picture (1, 3, H, W), its evaluation's numbers, and why it stopped.

    values  {term: factor · loss} at `image`, exact; empty where not one evaluation was finite
    status  "done" (all evaluations), "converged", "stopped" (a listener's wish), "interrupted" (Ctrl-C) or
            "non-finite"; message says it in words
    """

    image: Array = field(repr=False)
    values: dict[str, float] = field(repr=False)
    evaluations: int
    iterations: int
    seconds: float
    status: str
    message: str
    reason: str = ""  # what the message adds to the status
    saved: float = math.nan  # the loss of the picture in 8 bits a value, where it is known

    @property
    def loss(self) -> float:
        return sum(self.values.values()) if self.values else math.nan

    def totals(self) -> dict[str, float]:
        """{"loss", "content", "style", …}: one float a kind of term."""
        return {"loss": self.loss, **by_kind(self.values)}

    def ended(self, status: str, reason: str = "") -> "Outcome":
        """The same with another status, in words."""
        return replace(self, status=status, reason=reason, message=in_words(status, self.evaluations, reason))


NO_BETTER = "none was better than the start"


def in_words(status: str, evaluations: int, reason: str) -> str:
    """The message of a status."""
    after = f"after {counted(evaluations, 'evaluation')}"
    every = "the one evaluation" if evaluations == 1 else f"all {evaluations} evaluations"
    return {
        "done": f"{every} done" + (f", {reason}" if reason else ""),
        "interrupted": f"interrupted {after}",
        "stopped": f"{reason}: stopped {after}" if reason else f"stopped on request {after}",
        "converged": f"{reason}, {after}",
        "non-finite": reason,
    }[status]


def joined(before: Outcome | None, outcome: Outcome) -> Outcome:
    """Outcome of all scales so far; the picture before is kept where this scale has not one finite evaluation.

    before  of the scales until then, or None
    """
    if before is None:
        return outcome
    kept = outcome if math.isfinite(outcome.loss) else before
    count = outcome.evaluations + before.evaluations
    reason = "" if outcome.reason == NO_BETTER != before.reason else outcome.reason  # of all scales, or of none
    return replace(
        outcome,
        reason=reason,
        message=in_words(outcome.status, count, reason),
        image=kept.image,
        values=kept.values,
        saved=kept.saved,
        evaluations=count,
        iterations=outcome.iterations + before.iterations,
        seconds=outcome.seconds + before.seconds,
    )


def saved(before: Outcome | None) -> dict[str, np.ndarray]:
    """{name: array} of the outcome of the scales before; empty for None."""
    if before is None:
        return {}
    counts = np.array([before.evaluations, before.iterations], dtype=np.int64)
    names, values = list(before.values), list(before.values.values())
    found: dict[str, Any] = {"image": to_numpy(before.image), "counts": counts, "seconds": np.float64(before.seconds)}
    found |= {"names": np.array(names), "values": np.array(values, dtype=np.float64), "saved": np.float64(before.saved)}
    found |= {"status": np.array(before.status), "reason": np.array(before.reason)}
    return {f"before/{name}": value for name, value in found.items()}


def restored(arrays: Mapping[str, np.ndarray]) -> Outcome | None:
    """The outcome that saved() had, or None."""
    if "before/image" not in arrays:
        return None
    evaluations, iterations = (int(n) for n in arrays["before/counts"])
    values = dict(zip(arrays["before/names"].tolist(), arrays["before/values"].tolist(), strict=True))
    seconds, saved = (float(arrays[f"before/{name}"]) for name in ("seconds", "saved"))
    status, reason = (str(arrays[f"before/{name}"]) for name in ("status", "reason"))
    message = in_words(status, evaluations, reason)
    return Outcome(arrays["before/image"], values, evaluations, iterations, seconds, status, message, reason, saved)
