"""The terms above the loss's deepest bend, computed now and then and carried on by their gradients in between.

In Gatys' loss 95 to 99 % of the curvature along an optimiser's step belongs to one term, the style of relu4_1. Content
at relu4_2 and the style of relu5_1 lie above it and hardly bend, but the six convolutions that only they need are a
third of an evaluation's work. So both are replaced by their first-order expansions in relu4_1's activation, for some
steps at a time. Derived in MATH.md 12.
"""

from dataclasses import dataclass

import numpy as np

from minivgg.backend import get_xp

from .objective import Objective, both

TRUSTED = 0.1  # how far the approximation may be off, in parts of what the loss has changed by
WINDOW = 3  # exact evaluations that the next interval is taken from: one small error may be chance


def put_off(terms, names):
    """(near, far): a style layer, and ["content" or "style", layer] of the terms above it; None where there are none.

    names  the network's layers in order. near is the deepest style layer that the loss goes beyond.
    """
    layers = sorted(terms.layers, key=list(names).index)
    for i in reversed(range(len(layers) - 1)):
        if layers[i] in terms.style:
            return layers[i], [(k, n) for n in layers[i + 1 :] for k in ("content", "style") if n in getattr(terms, k)]
    return None


@dataclass
class Expansion:
    """A term as constant + ⟨slope, φ⟩, φ the activation at LaggedObjective.near."""

    kind: str  # "content" or "style"
    layer: str
    constant: object  # 0-d, on the device
    slope: object  # like φ

    def at(self, phi):
        return self.constant + _inner(self.slope, phi)


class LaggedObjective(Objective):
    """Objective whose terms above `near` are exact now and then and linear in its activation φ between.

    term(φ) ≈ term(φ₀) + ⟨∂term/∂φ(φ₀), φ - φ₀⟩, φ₀ that of the last exact evaluation. There the loss and the gradient
    are Objective's; between them both belong to the approximation: the gradient is exactly that of the loss returned.

    lag  evaluations from an exact one to the next, at most; at first each is. An error of second order, c·n² after n
         evaluations, and a loss that falls by r·n: n = TRUSTED · r / c may follow, c the largest and r the mean of the
         last WINDOW intervals, and at most twice as many as before.
    """

    def __init__(self, net, terms, content, style, *, lag):
        super().__init__(net, terms, content, style)
        self.near, self.far = put_off(terms, net.names)
        beyond = {layer for _, layer in self.far}
        self.layers = tuple(name for name in terms.layers if name not in beyond)
        self.lag, self.interval, self.since = lag, 1, 0
        self.expansions = []
        self.past = []  # of the last exact evaluations: their number, the loss, c

    def exact(self, image):
        """Evaluation of the loss itself, whatever was put off."""
        return Objective(self.net, self.terms, self.content, self.style).evaluate(image)

    def _add_up(self, feats, content, style):
        dfeats = super()._add_up(feats, content, style)
        phi = feats[self.near]
        nearer = sum([*content.values(), *style.values()])
        guess = sum(e.at(phi) for e in self.expansions) if self.expansions else None
        self.since += 1
        if guess is None or self.since >= self.interval:
            self._expand(phi, nearer, guess)
        for e in self.expansions:
            {"content": content, "style": style}[e.kind][e.layer] = e.at(phi)
        dfeats[self.near] = both(dfeats[self.near], lambda: sum(e.slope for e in self.expansions))
        return dfeats

    def _expand(self, phi, nearer, guess):
        """Expand the terms at φ, through the layers above it, and say whether to trust that for longer than so far.

        nearer  the sum of all other terms
        guess   the sum of these as the last expansions have it here, or None
        """
        self.expansions = [self._expansion(*term, phi) for term in self.far]
        found = sum(e.at(phi) for e in self.expansions)
        bend = 0.0 if guess is None else abs(float(guess - found)) / self.since**2
        number = self.past[-1][0] + self.since if self.past else 0
        self.past = [*self.past, (number, float(nearer + found), bend)][-WINDOW - 1 :]
        self.since = 0
        if len(self.past) > WINDOW:
            numbers, losses, bends = zip(*self.past, strict=True)
            falls = abs(losses[-1] - losses[0]) / (numbers[-1] - numbers[0])
            allowed = TRUSTED * falls / max(bends[1:]) if max(bends[1:]) else np.inf
            self.interval = int(max(1, min(allowed, 2 * self.interval, self.lag)))

    def _expansion(self, kind, layer, phi):
        feats, cache = self.net.forward(phi, (layer,), start=self.near)
        value_and_gradient = {"content": self._content, "style": self._style}[kind]
        term, gradient = value_and_gradient(layer, feats.pop(layer))
        slope = self.net.backward({layer: gradient}, cache).copy(order="K")  # its buffer is the network's
        return Expansion(kind, layer, term - _inner(slope, phi), slope)


def _inner(a, b):
    """⟨a, b⟩ in double precision, a 0-d array on their device."""
    return (a * b).sum(dtype=get_xp(a).float64)
