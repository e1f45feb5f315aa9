"""What happens in a run, as its listeners hear it: the plan, each evaluation, each scale's end, the end.

A listener is a function of one event. It changes nothing, but for one thing: what returns STOP, or another Stop, ends
the run with the best picture so far; all hear what happens until then. Any other result is ignored.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from minivgg.backend import Array

if TYPE_CHECKING:  # they import this module
    from .job import Job
    from .result import Result
    from .schedule import Stage
    from .state import State


class Stop:
    """Returned by a listener: enough.

    reason  why, to be told: "the 10 min are over"
    scale   enough of this scale alone: the run goes on with the next finer one, where there is one
    """

    def __init__(self, reason: str = "", *, scale: bool = False):
        self.reason, self.scale = reason, scale

    def __repr__(self) -> str:
        return "style.STOP"


STOP = Stop()


def foremost(said: Iterable[object]) -> Stop | None:
    """Of what the listeners return, the Stop that counts: one of the whole run before one of a scale; or None."""
    return min((s for s in said if isinstance(s, Stop)), key=lambda s: s.scale, default=None)


@dataclass(frozen=True)
class Planned:
    """Before any work: what will be done.

    job     job.Job, with its stages and their memory plans
    losses  of the evaluations that were done before, over all scales, where a saved state goes on
    scale   at which it starts, 1 the coarsest
    before  how many of the losses are of coarser scales
    """

    job: "Job" = field(repr=False)
    losses: tuple[float, ...] = field(default=(), repr=False)
    scale: int = 1
    before: int = 0


@dataclass(frozen=True)
class Evaluated:
    """One evaluation. `image` is the network input that was evaluated, (1, 3, H, W) on its device; read-only
    where it is NumPy's; copy it to keep it.

    evaluation, iteration, seconds  counted from the start of the run, over all scales
    values  {term: factor · loss}
    scale, scales, size  which scale of how many, 1 the coarsest, and its (width, height)
    to_rgb  a function without arguments: the picture as (H, W, 3) float32, 0..255
    """

    evaluation: int
    iteration: int
    loss: float
    values: dict[str, float] = field(repr=False)
    seconds: float
    image: Array = field(repr=False)
    exact: bool = True
    scale: int = 1
    scales: int = 1
    size: tuple[int, ...] = ()
    to_rgb: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Iterated:
    """An iteration has been accepted. `state()` is all that a run needs to go on from here, a state.State. SciPy's
    optimiser keeps its pairs to itself: from its state a run starts the scale again, at the best picture so far.

    `state(copy=False)` takes no memory, but holds only until the listener returns: to be written to a file.
    """

    iteration: int
    state: Any = field(repr=False)


@dataclass(frozen=True)
class StageDone:
    """A scale but the last is finished. `stage` is schedule.Stage, `result` result.Result."""

    stage: "Stage"
    result: "Result" = field(repr=False)


@dataclass(frozen=True)
class Finished:
    """The end, whatever ended it (result.outcome.status). `state()` is a state.State that holds the result, or None
    where the run was not at its end."""

    result: "Result"
    state: "Callable[[], State] | None" = field(default=None, repr=False)


Event: TypeAlias = Planned | Evaluated | Iterated | StageDone | Finished
Listener: TypeAlias = Callable[[Event], object]
