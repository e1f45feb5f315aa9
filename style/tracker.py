"""What every optimiser's run has in common: evaluations counted, the best picture kept, the listener told, the end."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from minivgg.backend import Array, get_xp, to_numpy
from minivgg.program import poll

from .events import Evaluated, Iterated, Stop
from .method import Ended
from .objective import Evaluating, Evaluation
from .outcome import NO_BETTER, Outcome, in_words

Listener: TypeAlias = Callable[[Evaluated | Iterated], object]


class Tracker:
    """Counts evaluations, keeps the best picture, tells the listener, and stops the run where it must.

    Only an exact evaluation is kept as best: an approximate one may be lower than any real loss is.
    """

    def __init__(self, objective: Evaluating, listener: Listener | None, budget: int):
        self.objective, self.listener, self.budget = objective, listener, budget
        self.evaluations = self.iterations = 0
        self.best: Array | None = None  # the picture, its numbers, and which evaluation it was
        self.values: dict[str, float] = {}
        self.best_at = 0
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def evaluate(self, image: Array, *, fresh: bool = True) -> Evaluation:
        """Evaluation at `image`; raises Ended when the run is over, KeyboardInterrupt when a signal says so."""
        if self.evaluations >= self.budget:
            raise Ended("done", "")
        poll()
        result = self.objective.evaluate(image, fresh=fresh)
        self.evaluations += 1
        self.consider(image, result)
        self.tell(
            Evaluated(
                self.evaluations, self.iterations, result.loss, result.values, self.seconds, shown(image), result.exact
            )
        )
        if not math.isfinite(result.loss):
            raise Ended("non-finite", f"the loss is {result.loss} at evaluation {self.evaluations}")
        return result

    def consider(self, image: Array, result: Evaluation) -> None:
        """Keep the picture if it is the best so far and its numbers are exact."""
        better = self.best is None or result.loss < sum(self.values.values())
        if result.exact and math.isfinite(result.loss) and better:
            self.best, self.values, self.best_at = image.copy(), result.values, self.evaluations

    def iterated(self, state: Callable[[], dict[str, np.ndarray]]) -> None:
        self.iterations += 1
        self.tell(Iterated(self.iterations, state))

    def tell(self, event: Evaluated | Iterated) -> None:
        said = None if self.listener is None else self.listener(event)
        if isinstance(said, Stop):
            raise Ended("stopped", said.reason)

    def finish(self, image: Array, status: str, reason: str) -> Outcome:
        """The outcome. Pictures known by approximation are evaluated exactly first; Ctrl-C here leaves the others."""
        try:
            for candidate in self.objective.candidates():
                self.consider(candidate, self.objective.exact(candidate))
        except KeyboardInterrupt:
            status, reason = "interrupted", ""
        if status == "done" and self.best_at == 1 < self.evaluations:
            reason = NO_BETTER
        best = image if self.best is None else self.best  # not one finite evaluation: the start is the best there is
        message = in_words(status, self.evaluations, reason)
        return Outcome(best, self.values, self.evaluations, self.iterations, self.seconds, status, message, reason)

    def state(self) -> dict[str, np.ndarray]:
        """What a later run needs to go on, as {name: array}; see method.Method.state."""
        found: dict[str, Any] = {
            "counts": np.array([self.evaluations, self.iterations, self.best_at]),
            "seconds": np.float64(self.seconds),
        }
        if self.best is not None:
            found |= {"best": to_numpy(self.best), "names": np.array(list(self.values))}
            found["values"] = np.array(list(self.values.values()))
        return found

    def restore(self, state: Mapping[str, np.ndarray], like: Array) -> None:
        self.evaluations, self.iterations, self.best_at = (int(n) for n in state["counts"])
        self.start = time.perf_counter() - float(state["seconds"])
        if "best" in state:
            self.best = get_xp(like).asarray(state["best"])
            self.values = dict(zip(state["names"].tolist(), state["values"].tolist(), strict=True))


def shown(image: Array) -> Array:
    """An array as listeners see it: they change nothing."""
    if isinstance(image, np.ndarray):
        image = image.view()
        image.flags.writeable = False
    return image
