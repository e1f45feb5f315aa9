"""The deepest terms of the loss, computed now and then and carried on by their gradients in between.

In Gatys' loss the style of relu5_1 is a few hundredths of the whole and nearly straight, and the five convolutions that
only it needs are a quarter of an evaluation's time. So it is replaced by its first-order expansion in the activation
beneath, for some steps at a time. Derived in MATH.md 12.
"""

import numpy as np

from minivgg.backend import get_xp, to_numpy

from .objective import Objective, both

TRUSTED = 0.1  # how far the approximation may be off, in parts of what the loss has changed by
WINDOW = 4  # intervals that the next one is taken from: one small error may be chance


def put_off(terms, names):
    """(near, far): the loss's deepest layer but one, and ["content" or "style", layer] of the terms at the deepest.

    names  the network's layers in order. None where the loss has fewer than two layers.
    """
    layers = sorted(terms.layers, key=list(names).index)
    if len(layers) < 2:
        return None
    return layers[-2], [(kind, layers[-1]) for kind in ("content", "style") if layers[-1] in getattr(terms, kind)]


class Expansion:
    """A term as constant + ⟨slope, φ⟩, φ the activation at LaggedObjective.near, and how long that may stand.

    kind, layer  of the term: "content" or "style", and where
    since        evaluations since it was made, interval those after which it is to be made anew
    """

    def __init__(self, kind, layer):
        self.kind, self.layer = kind, layer
        self.constant = self.slope = None  # 0-d, like φ
        self.since, self.interval = 0, 1
        self.past = []  # of the last times: number of the evaluation, loss, c

    def at(self, phi):
        return self.constant + _inner(self.slope, phi)

    def make(self, term, slope, phi):
        self.constant, self.slope = term - _inner(slope, phi), slope

    def judge(self, error, loss, lag):
        """Set the interval of the new expansion from what the old one was off by.

        error, loss  floats in the loss's unit: the term less its expansion, the whole loss, both where it was made anew
        lag          evaluations at most
        """
        number = self.past[-1][0] + self.since if self.past else 0
        self.past = [*self.past, (number, loss, abs(error) / self.since**2)][-WINDOW - 1 :]
        if len(self.past) > WINDOW:
            numbers, losses, bends = zip(*self.past, strict=True)
            first = 0 if self.since < WINDOW else -2
            rate = abs(losses[-1] - losses[first]) / (numbers[-1] - numbers[first])
            allowed = TRUSTED * rate / max(bends[1:]) if max(bends[1:]) else np.inf
            self.interval = int(max(1, min(allowed, 2 * self.interval, lag)))
        self.since = 0


class LaggedObjective(Objective):
    """Objective whose deepest terms are exact now and then and linear in `near`'s activation φ between.

    term(φ) ≈ term(φ₀) + ⟨∂term/∂φ(φ₀), φ - φ₀⟩, φ₀ that of the last time it was exact. Where all are, the loss and the
    gradient are Objective's; between, both belong to the approximation: the gradient is exactly that of the loss
    returned.

    lag   evaluations from one time to the next, at most; at first it is each. An error of second order, c·n² after n
          evaluations, and a loss that falls by r·n: n = TRUSTED · r / c may follow, c the largest of the last WINDOW
          intervals, r the last one's (of all of them while they are short), and at most twice as many as before.
    held  whether the approximations are to stay, however old: within a line search, where losses are compared
    """

    def __init__(self, net, terms, content, style, *, lag):
        super().__init__(net, terms, content, style)
        self.near, far = put_off(terms, net.names)
        self.expansions = [Expansion(kind, layer) for kind, layer in far]
        beyond = {layer for _, layer in far}
        self.layers = tuple(name for name in terms.layers if name not in beyond)
        self.lag, self.held = lag, False

    def exact(self, image):
        """Evaluation of the loss itself, whatever was put off."""
        return Objective(self.net, self.terms, self.content, self.style).evaluate(image)

    def _add_up(self, feats, content, style):
        dfeats = super()._add_up(feats, content, style)
        phi, errors = feats[self.near], {}
        for e in self.expansions:
            e.since += 1
            guess = e.at(phi) if e.slope is not None else None
            if guess is None or (e.since >= e.interval and not self.held):
                term = self._expand(e, phi)
                errors[e] = term - term if guess is None else term - guess
            {"content": content, "style": style}[e.kind][e.layer] = e.at(phi)
        if errors:
            numbers = get_xp(phi).stack([sum([*content.values(), *style.values()]), *errors.values()])
            loss, *off = to_numpy(numbers).tolist()  # in one transfer
            for e, error in zip(errors, off, strict=True):
                e.judge(error, loss, self.lag)
        dfeats[self.near] = both(dfeats[self.near], lambda: sum(e.slope for e in self.expansions))
        return dfeats

    def _expand(self, e, phi):
        """Make an expansion at φ, through the layers above it; returns the term."""
        feats, cache = self.net.forward(phi, (e.layer,), start=self.near)
        value_and_gradient = {"content": self._content, "style": self._style}[e.kind]
        term, gradient = value_and_gradient(e.layer, feats.pop(e.layer))
        e.make(term, self.net.backward({e.layer: gradient}, cache).copy(order="K"), phi)  # its buffer is the network's
        return term


def _inner(a, b):
    """⟨a, b⟩ in double precision, a 0-d array on their device."""
    return (a * b).sum(dtype=get_xp(a).float64)
