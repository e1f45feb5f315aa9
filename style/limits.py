"""Listeners that end a run before its evaluations are done: a time, and a run that no longer gets better."""

import itertools
import math
import time
from collections.abc import Callable

from .events import Evaluated, Event, Planned, Stop
from .units import duration

LEAST = 1e-3  # of the loss: what counts as better


class TimeLimit:
    """Ends a run at the wall clock, with the best picture so far.

    Each scale has its share, as its evaluations and pixels are planned, and what one leaves the next may use; so the
    size that was asked for is reached. A scale has one evaluation at least; none is begun that would end too late.

    seconds  from the plan on; of a run that is resumed, from there
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.seconds, self.clock = seconds, clock
        self.scale: int | None = None

    def __call__(self, event: Event) -> Stop | None:
        if isinstance(event, Planned):
            job, self.start = event.job, self.clock()
            work = [s.evaluations * math.prod(s.size) * job.plans[s].time for s in job.stages]
            self.ends = [self.seconds * done / sum(work) for done in itertools.accumulate(work)]
            self.last, self.scale = 0.0, None
        elif isinstance(event, Evaluated):
            now = self.clock() - self.start
            took = now - self.last if event.scale == self.scale else 0.0  # the first has the targets in it
            self.last, self.scale = now, event.scale
            if now + took > self.ends[event.scale - 1]:
                return Stop(f"the {duration(self.seconds)} are over", scale=event.scale < event.scales)
        return None


class Patience:
    """Ends a scale whose loss has not fallen by LEAST of itself in so many evaluations."""

    def __init__(self, evaluations: int):
        self.evaluations = evaluations
        self.scale: int | None = None
        self.losses: list[float] = []

    def __call__(self, event: Event) -> Stop | None:
        if isinstance(event, Planned):
            self.scale, self.losses = event.scale, list(event.losses[event.before :])
        elif isinstance(event, Evaluated):
            if event.scale != self.scale:
                self.scale, self.losses = event.scale, []
            self.losses.append(event.loss)
            before, recent = self.losses[: -self.evaluations], self.losses[-self.evaluations :]
            if before and not min(recent) < min(before) * (1 - LEAST):
                reason = f"no better by {LEAST:.1%} in {self.evaluations} evaluations"
                return Stop(reason, scale=True)
        return None
