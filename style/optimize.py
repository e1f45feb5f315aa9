"""Optimisers behind one interface: SciPy's L-BFGS-B, two L-BFGS of our own and Adam, all calling `objective.evaluate`.

minimize(objective, image, method=…) counts evaluations, keeps the best picture seen, tells each evaluation to its
listener, and says why it stopped. Nothing is lost: Ctrl-C, a non-finite loss and a listener that says stop all end in
an Outcome that holds the best picture so far.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy import optimize as scipy_optimize

from minivgg.backend import Array, get_xp, to_numpy

from .faster.lbfgs import FIRST_STEP, LimitedMemoryBFGS
from .method import Ended, Method, check_finite, check_option, check_state
from .objective import Evaluating
from .outcome import Outcome
from .tracker import Listener, Tracker

Bounds: TypeAlias = tuple[Array, Array] | None


def minimize(
    objective: Evaluating,
    image: Array,
    *,
    method: str = "l-bfgs-b",
    evaluations: int = 500,
    listener: Listener | None = None,
    state: dict[str, np.ndarray] | None = None,
    **options: Any,
) -> Outcome:
    """Minimise objective.evaluate(image).loss from `image` (1, 3, H, W).

    objective    objective.Evaluating
    method       a name in METHODS, whose class lists its options
    evaluations  of loss and gradient at most; L-BFGS-B needs a few per cent of them for its line search
    listener     called with an events.Evaluated after each evaluation, an events.Iterated after each iteration
    state        what an Iterated's state() gave in an earlier run: goes on from there, to the same digits; `image`
                 then only says the device, type and size. SciPy's starts at the state's best picture instead. It is
                 empty afterwards: its arrays, which may be most of the memory, are this run's
    """
    with np.errstate(all="ignore"):  # an overflow shows in the loss and the gradient, which are checked
        return _minimize(objective, image, evaluations, listener, state, method, options)


def _minimize(objective, image, evaluations, listener, state, method, options):
    tracker = Tracker(objective, listener, evaluations)
    if state is not None:
        check_option("optimizer", str(state.get("optimizer", "none")), method)
        tracker.restore(_under("tracker", state), image)
        if not METHODS[method].resumable and tracker.best is not None:
            image = tracker.best
    optimiser = METHODS[method](image, **options)
    if state is not None:
        optimiser.restore(_under("method", state))
        objective.restore(_under("objective", state))
        state.clear()

    def save(copy=True):
        parts = {"tracker": tracker, "method": optimiser, "objective": objective}
        found = {f"{name}/{key}": value for name, part in parts.items() for key, value in part.state().items()}
        found["optimizer"] = np.array(method)
        return {name: np.array(value) for name, value in found.items()} if copy else found

    try:
        with objective.computing():
            optimiser.run(tracker.evaluate, lambda: tracker.iterated(save))
    except Ended as end:
        status, reason = end.status, end.message
        if status == "converged":
            reason = f"{optimiser.name} ended: {reason}"
    except KeyboardInterrupt:
        status, reason = "interrupted", ""
    return tracker.finish(image, status, reason)


def _under(name, state):
    return {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}


class LBFGSB(Method):
    """SciPy's L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995): x flat and float64 on the host, the network on its device.

    history    pairs (s, y) kept: SciPy's maxcor
    tolerance  stop when (f_k - f_{k+1}) / max(|f_k|, |f_{k+1}|, 1) falls to it: SciPy's ftol; 0 never stops for it
    bounds     (low, high), arrays that broadcast to the image, or None: bounds make SciPy's step several times dearer
    """

    name = "L-BFGS-B"
    resumable = False  # its pairs are SciPy's own

    def __init__(self, image: Array, *, history: int = 10, tolerance: float = 0.0, bounds: Bounds = None):
        self.image, self.bounds = image, bounds
        self.options = {"maxcor": history, "ftol": tolerance, "gtol": 0.0, "maxiter": 10**9, "maxfun": 10**9}

    def run(self, evaluate, iterated):
        image = self.image
        xp, shape, dtype = get_xp(image), image.shape, image.dtype
        # SciPy's first step has length 1: in these units that is FIRST_STEP grey levels (root mean square), within a
        # factor of √2, so that no evaluations go into finding a step that can be felt. A power of two loses no digits.
        unit = 2.0 ** round(math.log2(FIRST_STEP * image.size**0.5))

        def value_and_gradient(x):
            result = evaluate(xp.asarray((x * unit).reshape(shape), dtype=dtype))
            check_finite(result.gradient)
            return result.loss, np.multiply(to_numpy(result.gradient), unit, dtype=np.float64).ravel()

        box = None
        if self.bounds is not None:
            low, high = (np.broadcast_to(to_numpy(xp.asarray(v)) / unit, shape).ravel() for v in self.bounds)
            box = scipy_optimize.Bounds(low, high)
        result = scipy_optimize.minimize(
            value_and_gradient,
            to_numpy(image).astype(np.float64).ravel() / unit,
            jac=True,
            method="L-BFGS-B",
            bounds=box,
            callback=lambda _: iterated(),
            options=self.options,
        )
        raise Ended("converged", result.message.strip())


class Adam(Method):
    """Adam (Kingma & Ba 2015, algorithm 1), on the picture's own device and in its own type.

    learning_rate  grey levels: about the distance that a pixel moves in one step
    bounds         (low, high): the picture is clipped to them after each step
    """

    name = "Adam"

    def __init__(
        self,
        image: Array,
        *,
        learning_rate: float = 10.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        bounds: Bounds = None,
    ):
        xp = get_xp(image)
        self.x, self.t = image.copy(), 0
        self.m, self.v = xp.zeros_like(image), xp.zeros_like(image)
        self.rate, self.betas, self.eps, self.bounds = learning_rate, betas, eps, bounds

    def step(self, evaluate):
        """One step: x, m and v (in place) and t, from g = evaluate(x).gradient. MATH.md 8.

        m, v  running means of g and of g², at the rates of betas; both start at 0, which dividing by 1 - beta^t undoes
        x     goes down by rate · m / (√v + eps), m and v so divided; then into bounds (lower, upper), if any
        """
        x, m, v, betas, xp = self.x, self.m, self.v, self.betas, get_xp(self.x)
        g = evaluate(x).gradient
        self.t += 1
        m += (1 - betas[0]) * (g - m)
        v += (1 - betas[1]) * (g * g - v)
        step = self.rate / (1 - betas[0] ** self.t)
        x -= step * m / (xp.sqrt(v / (1 - betas[1] ** self.t)) + self.eps)
        if self.bounds is not None:
            xp.clip(x, *self.bounds, out=x)

    def state(self):
        return {**{name: to_numpy(getattr(self, name)) for name in ("x", "m", "v")}, "t": np.int64(self.t)}

    def restore(self, state):
        for name in ("x", "m", "v"):
            own = getattr(self, name)
            check_state(name, state[name], own)
            setattr(self, name, get_xp(own).asarray(state[name]))
        self.t = int(state["t"])


class TwoLoop(Method):
    """L-BFGS as the book has it (Nocedal & Wright 2006, algorithms 7.4 and 7.5): to be read, and what l-bfgs is
    tested against. The step is halved until the loss falls enough (Armijo's condition).

    history    pairs (s, y) kept
    tolerance  stop when the loss falls by no more than this part of it
    """

    name = "L-BFGS"

    def __init__(self, image: Array, *, history: int = 10, tolerance: float = 0.0):
        self.x, self.history, self.tolerance = image.copy(), history, tolerance
        self.pairs: list[tuple[Array, Array]] = []
        self.loss, self.g = None, None

    def step(self, evaluate):
        if self.g is None:
            result = evaluate(self.x)
            self.loss, self.g = result.loss, result.gradient
        direction = -two_loop(self.g, self.pairs)
        slope = inner(direction, self.g)
        if not -math.inf < slope < 0:
            check_finite(self.g, squared=True)
            raise Ended("converged", "the gradient is zero")
        first = FIRST_STEP * (self.x.size / -slope) ** 0.5 if not self.pairs else 1.0
        for t in (first * 0.5**k for k in range(20)):
            x = self.x + t * direction
            result = evaluate(x, fresh=t == first)
            if result.loss <= self.loss + 1e-4 * t * slope:
                break
        else:
            check_finite(self.g, squared=True)
            raise Ended("converged", "no lower loss along the direction")
        s, y = x - self.x, result.gradient - self.g
        if inner(s, y) > 0:  # else the next matrix would not be positive definite
            self.pairs = [*self.pairs, (s, y)][-self.history :]
        fell = self.loss - result.loss
        self.x, self.loss, self.g = x, result.loss, result.gradient
        if fell <= self.tolerance * abs(self.loss) and self.tolerance:
            raise Ended("converged", "the loss no longer falls")

    def state(self):
        found = {"history": np.int64(self.history), "x": to_numpy(self.x)}
        if self.g is None:
            return found
        pairs = {f"{k}{i}": to_numpy(v) for i, pair in enumerate(self.pairs) for k, v in zip("sy", pair)}
        return {**found, "g": to_numpy(self.g), "loss": np.float64(self.loss), **pairs}

    def restore(self, state):
        check_option("history", int(state["history"]), self.history)
        check_state("x", state["x"], self.x)
        asarray = get_xp(self.x).asarray
        self.x = asarray(state["x"])
        if "g" in state:
            self.g, self.loss = asarray(state["g"]), float(state["loss"])
            count = sum(name.startswith("s") for name in state)
            self.pairs = [(asarray(state[f"s{i}"]), asarray(state[f"y{i}"])) for i in range(count)]


def two_loop(g: Array, pairs: Sequence[tuple[Array, Array]]) -> Array:
    """H g by the two-loop recursion, H the inverse Hessian that the pairs [(s, y), …] make, the oldest first.

    Nocedal & Wright 2006, algorithm 7.4. H₀ is the largest sᵀy / yᵀy of the pairs; without pairs it is 1.
    """
    q, alphas = g.copy(), []
    for s, y in reversed(pairs):
        alphas.append(inner(s, q) / inner(s, y))
        q -= alphas[-1] * y
    r = q * max((inner(s, y) / inner(y, y) for s, y in pairs), default=1.0)
    for s, y in pairs:
        r += (alphas.pop() - inner(y, r) / inner(s, y)) * s
    return r


def inner(a: Array, b: Array) -> float:
    """⟨a, b⟩ as a float, added up in double precision."""
    return float((a * b).sum(dtype=get_xp(a).float64))


METHODS: dict[str, type[Method]] = {"l-bfgs-b": LBFGSB, "l-bfgs": LimitedMemoryBFGS, "two-loop": TwoLoop, "adam": Adam}
