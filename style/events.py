"""What happens in a run, as its listeners hear it: the plan, each evaluation, each scale's end, the end.

A listener is a function of one event. It changes nothing, but for one thing: what returns STOP ends the run with the
best picture so far; all hear what happens until then. Any other result is ignored.
"""

from dataclasses import dataclass, field
from typing import Any


class _Stop:
    def __repr__(self):
        return "style.STOP"


STOP = _Stop()  # returned by a listener: enough


@dataclass(frozen=True)
class Planned:
    """Before any work: what will be done. `job` is job.Job, with its stages and their memory plans."""

    job: Any = field(repr=False)


@dataclass(frozen=True)
class Evaluated:
    """One evaluation. `image` is the network input that was evaluated, (1, 3, H, W) on its device; copy it to keep it.

    evaluation, iteration, seconds  counted from the start of the run, over all scales
    values  {term: factor · loss}
    scale, scales, size  which scale of how many, 1 the coarsest, and its (width, height)
    to_rgb  a function without arguments: the picture as (H, W, 3) float32, 0..255
    """

    evaluation: int
    iteration: int
    loss: float
    values: dict = field(repr=False)
    seconds: float
    image: Any = field(repr=False)
    exact: bool = True
    scale: int = 1
    scales: int = 1
    size: tuple = ()
    to_rgb: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Iterated:
    """An iteration has been accepted. `state()` is all that a run needs to go on from here, a state.State, or None
    where the optimiser has none (SciPy's)."""

    iteration: int
    state: Any = field(repr=False)


@dataclass(frozen=True)
class StageDone:
    """A scale but the last is finished. `stage` is schedule.Stage, `result` result.Result."""

    stage: Any
    result: Any


@dataclass(frozen=True)
class Finished:
    """The end, whatever ended it (result.outcome.status)."""

    result: Any
