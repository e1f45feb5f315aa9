"""Terms of low curvature, computed exactly now and then and extrapolated in between.

Nearly all the curvature that an optimiser's steps meet in Gatys' loss is the style of relu4_1. What lies above it,
content at relu4_2 and the style of relu5_1, needs a third of the network's multiplications and bends alike in every
direction of relu4_1's activation; the style of relu1_1 is nearly straight in the pixels. So each is replaced by an
expansion for some steps at a time: its value, its slope, and one number for its curvature. Derived in MATH.md 4.

An objective around an objective: an expansion is a statistic like any other, and nobody else knows of it.
"""

import math
import weakref

import numpy as np

from minivgg.backend import get_xp, to_numpy

from ..objective import Objective
from ..passes import Whole
from ..terms import Statistic, Term
from .pairs import products

TRUSTED = 0.1  # how far the approximation may be off, as a fraction of what the loss has changed by
WINDOW = 4  # intervals that the next one is taken from: one small error may be chance
FIRST = "relu1_1"  # the one layer whose style is expanded in the picture


def deferred_terms(terms, names):
    """[(term, base), …]: the terms of low curvature, and the layer at which each is expanded.

    names  the network's layers in order
    base   the deepest layer with a style term that has terms above it, for those; None, the picture, for the style of
           FIRST, if there are others between. Empty where no style layer has a term above it.
    """
    order = list(names).index
    found = sorted((t for t in terms if t.layer is not None), key=lambda t: order(t.layer))
    deepest = order(found[-1].layer) if found else 0
    below = [t.layer for t in found if t.source == "style" and order(t.layer) < deepest]
    if not below:
        return []
    base = below[-1]
    deferred = [(t, base) for t in found if order(t.layer) > order(base)]
    first = [t for t in found if t.layer == FIRST]
    if first and base != FIRST and all(t.source == "style" for t in first):
        deferred += [(t, None) for t in first]
    return deferred


class Expansion(Statistic):
    """A term as constant + ⟨slope, φ⟩ + curvature/2 ‖φ‖², φ the activation at `base`, and how long that may stand.

    term       what it stands for; exactly, the Objective of that term alone, from base on
    since      evaluations since it was made; interval: after how many it is to be refreshed
    voided     whether it gave a value that the term cannot have: it is then refreshed whoever asks
    """

    least = -math.inf
    ARRAYS = ("constant", "slope", "curvature", "origin", "order", "counts", "past")

    def __init__(self, net, term, base):
        self.term, self.base = term, base
        self.exactly = Objective(net, [term], Whole(net, start=base))
        self.constant = self.slope = self.curvature = None  # the first and the last 0-d, slope like φ
        self.origin = None  # φ where it was made
        self.since, self.interval, self.voided = 0, 1, False
        self.past = []  # of the last times: number of the evaluation, loss, c
        self.value = None  # of the term where it was made, and until that is judged
        self.error = None  # what the old expansion was off by there

    def gather(self, part):
        square = dot_all(part.feat, part.feat)
        return (dot_all(self.slope[part.at], part.feat) + self.curvature / 2 * square,)

    def loss(self, S, target):
        if self.error is not None:  # made here: the sum would be the same but for rounding
            return self.value, (1.0,)
        return self.constant + S[0], (1.0,)

    def spread(self, dS, part):
        return self.slope[part.at] + self.curvature.astype(part.feat.dtype) * part.feat

    def due(self, fresh):
        """Count an evaluation; whether the expansion is to be refreshed at it."""
        self.since += 1
        self.voided = self.voided and not fresh
        return self.slope is None or self.voided or (fresh and self.since >= self.interval)

    def refresh(self, phi):
        """Expand again at φ, with the curvature that would have made the last expansion right here."""
        xp = get_xp(phi)
        values, gradient = self.exactly.compute(phi)
        value, square = values[self.term.name], dot_all(phi, phi)
        error = curvature = xp.zeros_like(square)
        if self.origin is not None:
            expected = self.constant + dot_all(self.slope, phi) + self.curvature / 2 * square
            error = value - expected
            moved = phi - self.origin
            distance = dot_all(moved, moved)
            moves = distance > np.finfo(phi.dtype).eps * square  # else the error is rounding
            found = self.curvature + 2 * error / xp.where(moves, distance, 1)
            curvature = xp.where(moves & xp.isfinite(found), xp.maximum(found, 0), self.curvature)
        # T + ⟨δ, φ' - φ⟩ + curvature/2 ‖φ' - φ‖², by powers of φ'
        self.slope = gradient - curvature.astype(phi.dtype) * phi
        self.constant = value - dot_all(self.slope, phi) - curvature / 2 * square
        self.curvature, self.origin = curvature, phi.copy(order="K")
        self.value, self.error = value, error

    def adapt_interval(self, error, loss, lag):
        """Set the interval of the new expansion from what the old one was off by.

        error, loss  floats in the loss's unit: the term less its expansion, the whole loss, both where it was refreshed
        lag          evaluations at most
        """
        number = self.past[-1][0] + self.since if self.past else 0
        self.past = [*self.past, (number, loss, abs(error) / self.since**2)][-WINDOW - 1 :]
        if len(self.past) > WINDOW:
            numbers, losses, errors = zip(*self.past, strict=True)
            first = 0 if self.since < WINDOW else -2
            rate = abs(losses[-1] - losses[first]) / (numbers[-1] - numbers[first])
            allowed = TRUSTED * rate / max(errors[1:]) if max(errors[1:]) else np.inf
            self.interval = int(max(1, min(allowed, 2 * self.interval, lag)))
        self.since, self.value, self.error = 0, None, None

    def state(self):
        """{name: NumPy array}: all that it goes by; nothing before it was made."""
        if self.slope is None:
            return {}
        # axes as they lie in memory: sums in another order round in another way
        order = np.array([np.argsort([-s for s in a.strides], kind="stable") for a in (self.slope, self.origin)])
        arrays = {name: to_numpy(getattr(self, name).transpose(k)) for name, k in zip(("slope", "origin"), order)}
        arrays |= {"constant": to_numpy(self.constant), "curvature": to_numpy(self.curvature), "order": order}
        counts = np.array([self.since, self.interval, self.voided], dtype=np.int64)
        return {**arrays, "counts": counts, "past": np.array(self.past, dtype=np.float64).reshape(-1, 3)}

    def restore(self, state, xp):
        back = np.argsort(state["order"])
        self.slope, self.origin = (xp.asarray(state[name]).transpose(k) for name, k in zip(("slope", "origin"), back))
        self.constant, self.curvature = (xp.asarray(state[name]) for name in ("constant", "curvature"))
        self.since, self.interval, voided = (int(n) for n in state["counts"])
        self.voided, self.past = bool(voided), [(int(n), loss, c) for n, loss, c in state["past"].tolist()]

    def void(self):
        """It gave a value that the term cannot have: trust nothing that was learnt."""
        self.interval, self.past, self.voided = 1, [], True


class Deferred(Objective):
    """Objective whose terms of low curvature are exact now and then and expanded between.

    term(φ) ≈ term(φ₀) + ⟨∂term/∂φ(φ₀), φ - φ₀⟩ + curvature/2 ‖φ - φ₀‖², φ₀ that of the last time it was exact. Where
    all are, the loss and the gradient are Objective's; between, both belong to the approximation: the gradient is
    exactly that of the loss returned. An expansion that gives a value which its term cannot have (a mean of squares is
    not negative) is refreshed at once.

    lag   evaluations from one time to the next, at most; at first it is each. An error of second order, c·n² after n
          evaluations, and a loss that falls by r·n: n = TRUSTED · r / c may follow, c the largest of the last WINDOW
          intervals, r the last one's (of all of them while they are short), and at most twice as many as before.
    """

    def __init__(self, objective, *, lag):
        net, self.whole, self.lag = objective.net, objective, lag
        deferred = dict(deferred_terms(objective.terms, net.names))
        self.expansions = [Expansion(net, term, base) for term, base in deferred.items()]
        expanded = {e.term: Term(e.term.name, e, e.base) for e in self.expansions}
        super().__init__(net, [expanded.get(t, t) for t in objective.terms], _Refreshing(net, weakref.proxy(self)))
        self.fresh = self.again = False
        self.lowest = None  # (approximate loss, picture) since an expansion was refreshed

    def exact(self, image):
        return self.whole.evaluate(image)

    def candidates(self):
        """The lowest picture since something was refreshed: losses of different expansions do not compare."""
        return () if self.lowest is None else (self.lowest[1],)

    def evaluate(self, image, *, fresh=True):
        self.fresh = fresh
        result = super().evaluate(image)
        if self._void(result.values):
            self.again = True  # with those that were voided refreshed, and no other
            result = super().evaluate(image)
            self.again = False
        self._judge(result.loss)
        result.exact = all(e.since == 0 for e in self.expansions)
        if any(e.since == 0 for e in self.expansions):
            self.lowest = None
        if not result.exact and (self.lowest is None or result.loss < self.lowest[0]):
            self.lowest = result.loss, image.copy()
        return result

    def refresh(self, activations):
        """Refresh what is due. activations  {layer: φ, None: the picture}"""
        for e in self.expansions:
            if (e.voided and e.error is None) if self.again else e.due(self.fresh):
                e.refresh(activations[e.base])

    def state(self):
        parts = {f"expansion{k}": e.state() for k, e in enumerate(self.expansions)}
        if self.lowest is not None:
            parts["lowest"] = {"loss": np.float64(self.lowest[0]), "image": to_numpy(self.lowest[1])}
        return {f"{name}/{key}": value for name, part in parts.items() for key, value in part.items()}

    def restore(self, state):
        for k, e in enumerate(self.expansions):
            if f"expansion{k}/slope" in state:
                own = {n: state[f"expansion{k}/{n}"] for n in Expansion.ARRAYS}
                e.restore(own, self.net.xp)
        if "lowest/loss" in state:
            self.lowest = float(state["lowest/loss"]), self.net.xp.asarray(state["lowest/image"])

    def _void(self, values):
        """Void the expansions whose value their term cannot have; whether there were any."""
        wrong = [e for e in self.expansions if e.error is None and not values[e.term.name] >= e.term.least]
        for e in wrong:
            e.void()
        return bool(wrong)

    def _judge(self, loss):
        refreshed = [e for e in self.expansions if e.error is not None]
        if refreshed:
            errors = to_numpy(get_xp(refreshed[0].error).stack([e.error for e in refreshed])).tolist()  # one transfer
            for e, error in zip(refreshed, errors, strict=True):
                e.adapt_interval(error, loss, self.lag)


class _Refreshing(Whole):
    """Whole, with the expansions that are due refreshed when the activation they stand on is there."""

    def __init__(self, net, deferred):
        super().__init__(net)
        self.deferred = deferred

    def forward(self, image, names):
        feats, cache = super().forward(image, names)
        self.deferred.refresh({**feats, None: image})
        return feats, cache


def dot_all(a, b):
    """⟨a, b⟩ of two arrays of one shape, a 0-d array in double precision on their device."""
    if _memory_order(a) == _memory_order(b) and a.dtype.kind == "f":
        return products(a.ravel(order="K"), b.ravel(order="K"))
    return (a * b).sum(dtype=get_xp(a).float64)


def _memory_order(a):
    """The strides that matter: an axis of one place has any."""
    return [stride for stride, n in zip(a.strides, a.shape) if n > 1]
