"""Optimisers behind one interface: SciPy's L-BFGS-B and Adam, both calling `objective.evaluate`.

minimize(objective, image, method=…) counts evaluations, keeps the best picture seen, reports each evaluation to one
callback, and says why it stopped. Nothing is lost: Ctrl-C, a non-finite loss and a callback that says stop all end in
an Outcome that holds the best picture so far.
"""

import contextlib
import math
import time
from dataclasses import dataclass

import numpy as np
from scipy import optimize as scipy_optimize

from minivgg.backend import get_xp, to_numpy

from .faster.lbfgs import FIRST_STEP, lbfgs

METHODS = ("l-bfgs-b", "l-bfgs", "adam")


@dataclass
class Progress:
    """One evaluation, as the callback sees it. `image` is the picture evaluated; copy it to keep it."""

    evaluation: int
    iteration: int
    loss: float
    content: float
    style: float
    tv: float
    seconds: float  # since the start
    image: object


@dataclass
class Outcome:
    """What an optimisation leaves: the best picture (1, 3, H, W), its evaluation's numbers, and why it stopped.

    status is "done" (all iterations), "converged", "stopped" (the callback's wish), "interrupted" (Ctrl-C) or
    "non-finite"; message says it in words.
    """

    image: object
    totals: dict  # loss, content, style, tv at `image`
    evaluations: int
    iterations: int
    seconds: float
    status: str
    message: str


class _Stop(Exception):
    def __init__(self, status, message):
        self.status, self.message = status, message


class Tracker:
    """Counts evaluations, keeps the best picture, calls the callback, and stops the run where it must."""

    def __init__(self, objective, callback, budget):
        self.objective, self.callback, self.budget = objective, callback, budget
        self.evaluations = self.iterations = 0
        self.best, self.totals = None, None
        self.start = time.perf_counter()

    def evaluate(self, image):
        """Evaluation at `image`; raises _Stop when the run is over."""
        if self.evaluations >= self.budget:
            raise _Stop("done", f"all {self.budget} evaluations done")
        with np.errstate(all="ignore"):  # an overflow shows in the loss, which is checked below
            result = self.objective.evaluate(image)
        totals = result.totals()
        self.evaluations += 1
        finite = math.isfinite(totals["loss"])
        if finite and (self.best is None or totals["loss"] < self.totals["loss"]):
            if self.best is None:
                self.best = get_xp(image).empty_like(image)
            self.best[...] = image
            self.totals = totals
        seconds = time.perf_counter() - self.start
        if self.callback is not None and self.callback(
            Progress(self.evaluations, self.iterations, **totals, seconds=seconds, image=image)
        ):
            raise _Stop("stopped", f"stopped on request after {self.evaluations} evaluations")
        if not finite:
            raise _Stop("non-finite", f"the loss is {totals['loss']} at evaluation {self.evaluations}")
        return result

    def hold(self, held):
        """Whether an objective that approximates must keep to its approximation (lagged.py)."""
        if hasattr(self.objective, "held"):
            self.objective.held = held

    def settle(self):
        """The best picture's exact numbers, from an objective that approximates. Ctrl-C here leaves the others."""
        exact = getattr(self.objective, "exact", None)
        if exact is not None and self.best is not None:
            with contextlib.suppress(KeyboardInterrupt):
                self.totals = exact(self.best).totals()

    def outcome(self, image, status, message):
        best, totals = self.best, self.totals
        if best is None:  # not one finite evaluation: the start is the best there is
            nan = float("nan")
            best, totals = image, {"loss": nan, "content": nan, "style": nan, "tv": nan}
        seconds = time.perf_counter() - self.start
        return Outcome(best, totals, self.evaluations, self.iterations, seconds, status, message)


def minimize(objective, image, *, method="l-bfgs-b", iterations=500, callback=None, **options):
    """Minimise objective.evaluate(image).loss from `image` (1, 3, H, W).

    objective   anything with evaluate(image) -> objective.Evaluation; its computing(), if it has one, is a context
                that is held for the whole run; its exact(image), if it has one, gives the numbers of the outcome
    method      "l-bfgs-b" (SciPy's; options: history, tolerance, bounds), "l-bfgs" (lbfgs.py; the same options, state
                and on_iteration) or "adam" (options: learning_rate, betas, eps, bounds)
    iterations  evaluations of loss and gradient at most; L-BFGS-B needs a few per cent of them for its line search
    callback    called with a Progress after each evaluation; a true result ends the run
    """
    tracker = Tracker(objective, callback, iterations)
    try:
        with getattr(objective, "computing", contextlib.nullcontext)():
            status, message = _METHODS[method](tracker, image, iterations, **options)
    except _Stop as stop:
        status, message = stop.status, stop.message
    except KeyboardInterrupt:
        status, message = "interrupted", f"interrupted after {tracker.evaluations} evaluations"
    tracker.settle()
    return tracker.outcome(image, status, message)


def lbfgsb(tracker, image, iterations, *, history=10, tolerance=0.0, bounds=None):
    """SciPy's L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995): x flat and float64 on the host, the network on its device.

    history    pairs (s, y) kept: SciPy's maxcor
    tolerance  stop when (f_k - f_{k+1}) / max(|f_k|, |f_{k+1}|, 1) falls to it: SciPy's ftol; 0 never stops for it
    bounds     (low, high), arrays that broadcast to the image, or None: bounds make SciPy's step several times dearer
    """
    xp, shape, dtype = get_xp(image), image.shape, image.dtype
    # SciPy's first step has length 1: in these units that is FIRST_STEP grey levels (root mean square), within a factor
    # of √2, so that no evaluations go into finding a step that can be felt. A power of two loses no digits.
    unit = 2.0 ** round(math.log2(FIRST_STEP * image.size**0.5))

    def value_and_gradient(x):
        result = tracker.evaluate(xp.asarray((x * unit).reshape(shape), dtype=dtype))
        return result.loss, np.multiply(to_numpy(result.gradient), unit, dtype=np.float64).ravel()

    def count(_):
        tracker.iterations += 1

    box = None
    if bounds is not None:
        low, high = (np.broadcast_to(to_numpy(xp.asarray(v)) / unit, shape).ravel() for v in bounds)
        box = scipy_optimize.Bounds(low, high)
    result = scipy_optimize.minimize(
        value_and_gradient,
        to_numpy(image).astype(np.float64).ravel() / unit,
        jac=True,
        method="L-BFGS-B",
        bounds=box,
        callback=count,
        options={
            "maxcor": history,
            "ftol": tolerance,
            "gtol": 0.0,
            "maxiter": iterations,
            "maxfun": iterations + 1,
        },
    )
    if result.nit >= iterations or tracker.evaluations >= iterations:
        return "done", f"all {tracker.evaluations} evaluations done"
    message = result.message if isinstance(result.message, str) else result.message.decode()
    return "converged", f"L-BFGS-B ended after {tracker.evaluations} evaluations: {message.strip()}"


def adam(tracker, image, iterations, *, learning_rate=10.0, betas=(0.9, 0.999), eps=1e-8, bounds=None):
    """Adam (Kingma & Ba 2015, algorithm 1), on the picture's own device and in its own type.

    learning_rate  grey levels: about the distance that a pixel moves in one step
    bounds         (low, high): the picture is clipped to them after each step
    """
    xp = get_xp(image)
    x = image.copy()
    m, v = xp.zeros_like(x), xp.zeros_like(x)
    for t in range(1, iterations + 1):
        g = tracker.evaluate(x).gradient
        m += (1 - betas[0]) * (g - m)
        v += (1 - betas[1]) * (g * g - v)
        step = learning_rate / (1 - betas[0] ** t)
        x -= step * m / (xp.sqrt(v / (1 - betas[1] ** t)) + eps)
        if bounds is not None:
            xp.clip(x, *bounds, out=x)
        del g  # it would lie beside the next one
        tracker.iterations += 1
    return "done", f"all {tracker.evaluations} evaluations done"


_METHODS = {"l-bfgs-b": lbfgsb, "l-bfgs": lbfgs, "adam": adam}
