"""Limited-memory BFGS on the arrays' own device and in their own type: directions (pairs.py), steps along them.

An accepted step is moved, without an evaluation, to where the slopes at its two ends say that the slope is zero.
Derived in MATH.md 1 and 2; two_loop in optimize.py is the plain form.
"""

import numpy as np

from minivgg.backend import get_xp, to_numpy

from ..method import Ended, Method, check_option, check_state
from .line_search import next_step, zero_slope
from .pairs import Pairs
from .space import HERE

ARMIJO, WOLFE = 1e-4, 0.9  # the decrease that a step must give, and how much of the slope it may leave
RECENT = 5  # losses: a step must fall below the largest of the last so many (Grippo, Lampariello & Lucidi 1986)
NOT_FINITE = "the gradient is not finite"
MAX_TRIALS = 12  # evaluations of one line search
FIRST_STEP = 1.0  # grey levels (root mean square) of the first step


class LBFGS:
    """The optimiser: `step(evaluate)` is one iteration.

    x        (1, 3, H, W) start; not modified. As an attribute: the point from which the next step goes, a copy
    loss     of the last picture that was accepted: x itself, or one on the line to it (`moved`)
    gradient at x, a copy; where x was moved, the one that a quadratic loss would have there
    history  pairs (s, y) kept: 2 · history + 3 times the picture's memory, beside the objective's
    bounds   (low, high), arrays that broadcast to x, or None: steps are clipped to them, and pixels that a bound holds
             stay out of the direction (two-metric projection, Bertsekas 1982)
    metric   a function g → M g on arrays like x, M symmetric and positive definite: the first guess of the inverse
             Hessian is γ M in place of γ I (precondition.Spectrum.metric); or None
    space    Here, or what else knows the sizes and products of vectors that are elsewhere too
    """

    def __init__(self, x, *, history=10, bounds=None, metric=None, space=HERE):
        if history < 1:
            raise ValueError(f"history {history}: keep at least 1 pair")
        xp = get_xp(x)
        x = xp.ascontiguousarray(x)
        self.bounds = bounds and tuple(xp.asarray(v, dtype=x.dtype) for v in bounds)
        if bounds:
            x = xp.clip(x, *self.bounds)
        self.metric, self.space, self.size = metric, space, space.size(x)
        self.pairs = space.pairs(x.reshape(-1), history, metric=metric is not None)
        self._trial = xp.zeros(self.pairs.padded_shape, dtype=x.dtype)
        self.trial = self._trial.reshape(-1)[: x.size].reshape(x.shape)
        self.factors = self.direction = None  # the direction: factors of the pairs' rows, or, with bounds, an array
        self.loss = None
        self.recent = []  # losses, the newest last
        self.moved = False
        self.iterations = 0
        self._m = None  # M·gradient of the trial, until it is kept
        self._fresh = True  # whether the next evaluation may renew approximations

    @property
    def x(self):
        return self.pairs.get(Pairs.X).reshape(self.trial.shape)

    @property
    def gradient(self):
        return self.pairs.get(Pairs.GRADIENT).reshape(self.trial.shape)

    def step(self, evaluate):
        """One iteration: a direction, a line search along it, a new pair. Returns "", or why the search found nothing.

        evaluate  (image, *, fresh) → (loss as a float, gradient like the image). Losses within a line search are
                  compared, so only the first may renew approximations: that is what `fresh` says
        """
        self._fresh = True
        if self.loss is None:
            self.evaluate_here(evaluate)
        slope = self.choose_direction()
        if not slope < 0:  # the pairs contradict the gradient (rounding, or a bound): start afresh
            slope = self.restart(evaluate)
            if not slope < 0:
                return "the gradient is zero" if slope == 0 else NOT_FINITE
        # x as evaluated at the last restart, along its gradient: another one finds no more. Now, since the search takes
        # a pair's place and may evaluate x. An accepted step's loss may be an approximation that no longer holds.
        fresh = not self.pairs.order and not self.moved and len(self.recent) == 1
        found = self._search(evaluate, slope)
        if found is None and not fresh:
            found = self._search(evaluate, self.restart(evaluate, failed=True))
        if found is None:
            return "no lower loss along the gradient: the rounding of the loss is reached"
        self.loss, gradient, slope, end = found
        self.recent = [*self.recent, self.loss][-RECENT:]
        factor = 1.0 if self.bounds is not None else zero_slope(slope, end)
        self.pairs.keep(self._trial, gradient, factor, self._m)
        self._m = None
        self.moved = factor != 1
        self.iterations += 1
        return ""

    def evaluate_here(self, evaluate):
        """Evaluate x, whose gradient is unknown, or one that was drawn from two others."""
        self.loss, gradient = self._evaluate(evaluate, self.x)
        self.pairs.set_gradient(gradient.reshape(-1), self._by_metric(gradient))
        self.recent = [self.loss]
        self.moved = False

    def _evaluate(self, evaluate, x):
        fresh, self._fresh = self._fresh, False
        return evaluate(x, fresh=fresh)

    def restart(self, evaluate, *, failed=False):
        """Forget the pairs, know the gradient, go along it; returns the slope.

        failed  a search has found nothing: what is known of x may be an approximation's
        """
        if self.moved or failed:
            self._fresh = True
            self.evaluate_here(evaluate)
        self.recent = [self.loss]
        self.pairs.clear()
        return self.choose_direction()

    def choose_direction(self):
        """Set the direction; returns its slope, the scalar product with the gradient (0 where there is none)."""
        pairs = self.pairs
        if pairs.order:
            self.factors = pairs.direction()
        else:
            norm = pairs.with_gradient[-1] ** 0.5 if self.metric is None else self._norm(pairs.get(pairs.metric))
            self.factors = np.zeros_like(pairs.with_gradient)
            self.factors[pairs.metric + 1] = -FIRST_STEP * self.size**0.5 / norm if norm > 0 else 0.0
        if self.bounds is None:
            return float(self.factors @ pairs.with_gradient)
        held, g, slope = self._held(), self.gradient.reshape(-1), 0.0
        if pairs.order:
            self.direction = self._combined()
            self.direction[held] = 0
            slope = self.space.dot(self.direction, g)
        if not slope < 0:  # what comes over from the pixels that are held points uphill
            self.direction = None  # its memory is wanted
            self.direction = self._apart_from(held, g)
            slope = self.space.dot(self.direction, g)
        return slope

    def _held(self):
        """Where a bound holds x against the gradient, flat."""
        x, g, (low, high) = self.x, self.gradient, self.bounds
        return (((x <= low) & (g > 0)) | ((x >= high) & (g < 0))).reshape(-1)

    def _combined(self):
        """The direction that the factors make, flat."""
        out = get_xp(self.trial).empty_like(self._trial)
        return self.pairs.combine(self.factors, 0.0, out).reshape(-1)[: self.trial.size]

    def _apart_from(self, held, g):
        """The direction, flat, that the pixels that are not held would take by themselves: downhill always.

        -I H I g, with I the identity but for zeros where a pixel is held. It costs another pass over the pairs.
        """
        pairs, xp = self.pairs, get_xp(self.trial)
        own = xp.where(held, 0, g).astype(g.dtype)
        m = own if self.metric is None else self._by_metric(own.reshape(self.trial.shape))
        if pairs.order:
            self.factors = pairs.direction(pairs.with_all(own))
            m *= self.factors[pairs.metric + 1]
            self.factors[pairs.metric + 1] = 0.0
            direction = self._combined()
            direction += m
        else:
            norm = self._norm(m)
            direction = m * (-FIRST_STEP * self.size**0.5 / norm if norm > 0 else 0.0)
        direction[held] = 0
        return direction

    def _search(self, evaluate, slope):
        """Line search for the weak Wolfe conditions: leaves the point in `trial`, its pair measured.

        Returns (its loss, its gradient, the slope at x, the slope there) or None.
        A step is too long when the loss is not below the largest of the last RECENT ones by ARMIJO of what the slope
        promised, too short when more than WOLFE of the slope is left; between the two the next one is the cubic's
        minimum (Nocedal & Wright, eq. 3.59).
        """
        low, high = (0.0, self.loss, slope), None
        best, t = None, 1.0
        for _ in range(MAX_TRIALS):
            promised = self._go(t, slope)
            loss, gradient, end = self._measure(evaluate, t)
            here = (t, loss, end)
            noise = 4 * np.finfo(self.trial.dtype).eps * abs(self.loss)
            if not (loss <= max(self.recent) + ARMIJO * promised + noise and np.isfinite(end)):
                high = here
            elif end < WOLFE * slope:
                low, best = here, here
            else:
                return loss, gradient, slope, end
            self.factors = self.pairs.last_step(1 / t)  # the same direction, whatever becomes of the gradient's row
            if high is not None and self.moved:  # no bisection between a guess and a fact
                self.evaluate_here(evaluate)
                slope = float(self.factors @ self.pairs.with_gradient)
                if not slope < 0:
                    return None
                low = (0.0, self.loss, slope)
            del gradient  # it would lie beside the next one
            t = next_step(low, high)
        if best is None:
            return None
        self._go(best[0], slope)  # short, but lower
        loss, gradient, end = self._measure(evaluate, best[0])
        return loss, gradient, slope, end

    def _go(self, t, slope):
        """trial = x + t · direction, within the bounds; returns the change of the loss that the slope promises."""
        if self.bounds is None:
            self.pairs.combine(t * self.factors, 1.0, out=self._trial)
            return t * slope
        xp, x = get_xp(self.trial), self.x
        xp.clip(x + t * self.direction.reshape(x.shape), *self.bounds, out=self.trial)
        return self.space.dot((self.trial - x).reshape(-1), self.gradient.reshape(-1))

    def _measure(self, evaluate, t):
        """Evaluate the trial: (loss, gradient, flat, and the slope there along the step to it)."""
        loss, gradient = self._evaluate(evaluate, self.trial)
        self._m = self._by_metric(gradient)
        gradient = gradient.reshape(-1)
        return loss, gradient, self.pairs.measure(self._trial, gradient, self._m) / t

    def _by_metric(self, gradient):
        """M·gradient, flat, or None where there is no metric."""
        return None if self.metric is None else self.metric(gradient).reshape(-1)

    def _norm(self, v):
        return self.space.dot(v, v) ** 0.5

    def state(self):
        """See method.Method.state. The rows, most of what L-BFGS keeps, are not copied."""
        pairs = self.pairs
        return {
            "x": to_numpy(self.x),
            "loss": np.float64(np.nan if self.loss is None else self.loss),
            "iterations": np.int64(self.iterations),
            "moved": np.bool_(self.moved),
            "recent": np.array(self.recent, dtype=np.float64),
            "rows": to_numpy(pairs.rows),
            "products": pairs.products.copy(),
            "with_gradient": pairs.with_gradient.copy(),
            "order": np.array(pairs.order, dtype=np.int64),
        }

    def restore(self, state):
        """Go on from what state() gave; the picture's shape, its type and the history must be the same."""
        pairs = self.pairs
        for name, own in (("x", self.trial), ("rows", pairs.rows)):
            check_state(name, state[name], own)
        pairs.rows = pairs.xp.asarray(state["rows"])
        pairs.products[...] = state["products"]
        pairs.with_gradient[...] = state["with_gradient"]
        pairs.order = [int(k) for k in state["order"]]
        self.iterations, self.moved = int(state["iterations"]), bool(state["moved"])
        self.recent = [float(loss) for loss in state["recent"]]
        self.loss = None if np.isnan(state["loss"]) else float(state["loss"])


class LimitedMemoryBFGS(Method):
    """L-BFGS on the picture's own device and in its own type.

    history    pairs (s, y) kept
    tolerance  stop when |f_k - f_{k+1}| / max(|f_k|, |f_{k+1}|, 1) falls to it, as SciPy's ftol; 0: never
    bounds     (low, high), arrays that broadcast to the image, or None
    metric     None, or a function of the image that gives LBFGS its metric, and whose str() says which that is:
               precondition.Metric
    space      as for LBFGS
    """

    name = "L-BFGS"

    def __init__(self, image, *, history=10, tolerance=0.0, bounds=None, metric=None, space=HERE):
        self.tolerance, self.metric = tolerance, metric
        made = None if metric is None else metric(image)
        self.optimiser = LBFGS(image, history=history, bounds=bounds, metric=made, space=space)

    def step(self, evaluate):
        optimiser, before = self.optimiser, self.optimiser.loss

        def loss_and_gradient(x, *, fresh):
            result = evaluate(x, fresh=fresh)
            return result.loss, result.gradient

        stuck = optimiser.step(loss_and_gradient)
        if stuck:
            optimiser.space.check_finite(optimiser.gradient, squared=True)
            raise Ended("non-finite" if stuck == NOT_FINITE else "converged", stuck)
        if self.tolerance and before is not None:
            scale = max(abs(before), abs(optimiser.loss), 1.0)
            if abs(before - optimiser.loss) <= self.tolerance * scale:
                raise Ended("converged", "the loss no longer falls")

    def state(self):
        return {"metric": np.array(str(self.metric)), **self.optimiser.state()}

    def restore(self, state):
        check_option("metric", str(state.get("metric")), str(self.metric))
        self.optimiser.restore(state)
