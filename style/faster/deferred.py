"""Terms of the loss that hardly bend, computed now and then and carried on by their gradients in between.

Nearly all the curvature that an optimiser's steps meet in Gatys' loss is the style of relu4_1. What lies above it,
content at relu4_2 and the style of relu5_1, needs a third of the network's multiplications and bends alike in every
direction of relu4_1's activation; the style of relu1_1 is nearly straight in the pixels. So each is replaced by an
expansion for some steps at a time: its value, its slope, and one number for its bend. Derived in MATH.md 12.
"""

import numpy as np

from minivgg import Given
from minivgg.backend import get_xp, to_numpy

from ..objective import Objective, both

TRUSTED = 0.1  # how far the approximation may be off, in parts of what the loss has changed by
WINDOW = 4  # intervals that the next one is taken from: one small error may be chance
FIRST = "relu1_1"  # the one layer whose style is expanded in the picture


def put_off(terms, names):
    """[(kind, layer, base), …]: the terms that hardly bend, "content" or "style", and where each is expanded.

    names  the network's layers in order
    base   the deepest style layer with terms above it, for those; None, the picture, for the style of FIRST, if
           there are others between. Empty where no style layer has a term above it.
    """
    layers = sorted(terms.layers, key=list(names).index)
    below = [i for i, layer in enumerate(layers[:-1]) if layer in terms.style]
    if not below:
        return []
    base = layers[below[-1]]
    found = [(k, n, base) for n in layers[below[-1] + 1 :] for k in ("content", "style") if n in getattr(terms, k)]
    if FIRST in terms.style and FIRST not in terms.content and base != FIRST:
        found.append(("style", FIRST, None))
    return found


class Expansion:
    """A term as constant + ⟨slope, φ⟩ + bend/2 ‖φ‖², φ the activation at `base`, and how long that may stand.

    kind, layer  of the term: "content" or "style", and where
    base         a layer, or None for the picture
    since        evaluations since it was made, interval those after which it is to be made anew
    """

    def __init__(self, kind, layer, base):
        self.kind, self.layer, self.base = kind, layer, base
        self.constant = self.slope = self.bend = None  # the first and the last 0-d, slope like φ
        self.origin = None  # φ where it was made
        self.since, self.interval = 0, 1
        self.past = []  # of the last times: number of the evaluation, loss, c

    def at(self, phi, square):
        """The term as the expansion has it. square  ‖φ‖²"""
        return self.constant + _inner(self.slope, phi) + self.bend / 2 * square

    def make(self, term, gradient, phi, square):
        """Expand anew at φ, with the bend that would have made the last expansion right here; returns its error.

        term, gradient  the term at φ and its gradient, of which nothing is kept
        """
        xp = get_xp(phi)
        error = bend = xp.zeros_like(square)
        if self.origin is not None:
            error = term - self.at(phi, square)
            moved = phi - self.origin
            distance = _inner(moved, moved)
            moves = distance > np.finfo(phi.dtype).eps * square  # else the error is rounding
            found = self.bend + 2 * error / xp.where(moves, distance, 1)
            bend = xp.where(moves & xp.isfinite(found), xp.maximum(found, 0), self.bend)
        # T + ⟨δ, φ' - φ⟩ + bend/2 ‖φ' - φ‖², by powers of φ'
        self.slope = gradient - bend.astype(phi.dtype) * phi
        self.constant = term - _inner(self.slope, phi) - bend / 2 * square
        self.bend, self.origin = bend, phi.copy(order="K")
        return error

    def judge(self, error, loss, lag):
        """Set the interval of the new expansion from what the old one was off by.

        error, loss  floats in the loss's unit: the term less its expansion, the whole loss, both where it was made anew
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
        self.since = 0


class LaggedObjective(Objective):
    """Objective whose terms that hardly bend are exact now and then and expanded between.

    term(φ) ≈ term(φ₀) + ⟨∂term/∂φ(φ₀), φ - φ₀⟩ + bend/2 ‖φ - φ₀‖², φ₀ that of the last time it was exact. Where all
    are, the loss and the gradient are Objective's; between, both belong to the approximation: the gradient is exactly
    that of the loss returned.

    lag   evaluations from one time to the next, at most; at first it is each. An error of second order, c·n² after n
          evaluations, and a loss that falls by r·n: n = TRUSTED · r / c may follow, c the largest of the last WINDOW
          intervals, r the last one's (of all of them while they are short), and at most twice as many as before.
    held  whether the approximations are to stay, however old: within a line search, where losses are compared
    """

    def __init__(self, net, terms, content, style, *, lag):
        super().__init__(net, terms, content, style)
        self.expansions = [Expansion(*term) for term in put_off(terms, net.names)]
        self.base = self.expansions[0].base
        beyond = {e.layer for e in self.expansions}
        self.layers = tuple(name for name in terms.layers if name not in beyond)
        self.lag, self.held = lag, False
        self._slopes = {}  # by base: the sum of the expansions' slopes
        self._errors = {}  # of the expansions that this evaluation makes anew

    def exact(self, image):
        """Evaluation of the loss itself, whatever was put off."""
        return Objective(self.net, self.terms, self.content, self.style).evaluate(image)

    def enqueue(self, image):
        content, style, tv, gradient = super().enqueue(image)
        if any(e.base is None for e in self.expansions):
            gradient = gradient + self._carry_on(None, image, content, style)
        if self._errors:
            terms = [*content.values(), *style.values(), *([] if tv is None else [tv])]
            numbers = get_xp(image).stack([sum(terms), *self._errors.values()])
            loss, *errors = to_numpy(numbers).tolist()  # in one transfer
            for e, error in zip(self._errors, errors, strict=True):
                e.judge(error, loss, self.lag)
            self._errors = {}
        content, style = ({n: found[n] for n in self.net.names if n in found} for found in (content, style))
        return content, style, tv, gradient

    def _add_up(self, feats, content, style):
        dfeats = super()._add_up(feats, content, style)
        slope = self._carry_on(self.base, feats[self.base], content, style)
        dfeats[self.base] = both(dfeats[self.base], Given.of(slope))
        return dfeats

    def _carry_on(self, base, phi, content, style):
        """Put the value of each term expanded at `base` into `content` or `style`; returns their gradient by φ."""
        expansions = [e for e in self.expansions if e.base == base]
        square = _inner(phi, phi)
        for e in expansions:
            e.since += 1
            if e.slope is None or (e.since >= e.interval and not self.held):
                self._errors[e] = e.make(*self._exact_term(e, phi), phi, square)
                self._slopes.pop(base, None)
            {"content": content, "style": style}[e.kind][e.layer] = e.at(phi, square)
        if base not in self._slopes:
            self._slopes[base] = sum(e.slope for e in expansions)
        bend = sum(e.bend for e in expansions).astype(phi.dtype)
        return self._slopes[base] + bend * phi

    def _exact_term(self, e, phi):
        """(the term, its gradient by φ), through the layers above φ."""
        feats, cache = self.net.forward(phi, (e.layer,), start=e.base)
        value_and_gradient = {"content": self._content, "style": self._style}[e.kind]
        term, gradient = value_and_gradient(e.layer, feats.pop(e.layer))
        return term, self.net.backward({e.layer: gradient}, cache)


def _inner(a, b):
    """⟨a, b⟩ in double precision, a 0-d array on their device."""
    return (a * b).sum(dtype=get_xp(a).float64)
