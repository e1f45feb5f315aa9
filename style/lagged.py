"""The deepest term of the loss, computed now and then and carried on by its gradient in between.

In Gatys' loss the style of relu5_1 is a few hundredths of the whole, and the five convolutions that only it needs are a
quarter of an evaluation's time. Over some steps of an optimiser the activation beneath them changes little, so the term
is replaced by its first-order expansion there. Derived in MATH.md 12.
"""

from minivgg.backend import get_xp

from .objective import Objective, both

TRUSTED = 0.01  # larger, and a run on a loss whose deepest term is large goes astray (tests/test_lagged.py)


def far_and_near(terms, names):
    """(far, near): the deepest layer of the loss and the one before it, or None where there is nothing to put off.

    names  the network's layers in order. Where content and style both look at the deepest layer there are two terms to
           tell apart, and none is put off.
    """
    layers = sorted(terms.layers, key=list(names).index)
    if len(layers) < 2 or (layers[-1] in terms.content and layers[-1] in terms.style):
        return None
    return layers[-1], layers[-2]


class LaggedObjective(Objective):
    """Objective whose deepest term is exact now and then and linear in the activation beneath it between.

    term(φ) ≈ term(φ₀) + ⟨∂term/∂φ(φ₀), φ - φ₀⟩, φ the activation of the loss's deepest layer but one, φ₀ that of the
    last exact evaluation. There the loss and the gradient are Objective's; between them both belong to the
    approximation: the gradient is exactly that of the loss returned.

    lag  evaluations from an exact one to the next, at most. It starts at 1, doubles where the approximation was off by
         less than TRUSTED of what the loss has changed by since, and is halved where it was not.
    """

    def __init__(self, net, terms, content, style, *, lag):
        super().__init__(net, terms, content, style)
        self.far, self.near = far_and_near(terms, net.names)
        self.layers = tuple(name for name in terms.layers if name != self.far)
        self.lag, self.interval, self.since = lag, 1, 0
        self.slope = self.constant = None  # ∂term/∂φ(φ₀), term(φ₀) - ⟨∂term/∂φ(φ₀), φ₀⟩
        self.loss = None  # of the last exact evaluation

    def exact(self, image):
        """Evaluation of the loss itself, whatever was put off."""
        return Objective(self.net, self.terms, self.content, self.style).evaluate(image)

    def _add_up(self, feats, content, style):
        dfeats = super()._add_up(feats, content, style)
        phi = feats[self.near]
        nearer = [*content.values(), *style.values()]
        term = None if self.slope is None else self.constant + _inner(self.slope, phi)
        self.since += 1
        if term is None or self.since >= self.interval:
            term = self._expand(phi, term, nearer)
        (style if self.far in self.terms.style else content)[self.far] = term
        dfeats[self.near] = both(dfeats[self.near], lambda: self.slope)
        return dfeats

    def _expand(self, phi, guess, nearer):
        """The term and its gradient at φ, through the layers between the two, and whether to trust them for longer.

        guess   the term as the last expansion has it here, or None
        nearer  the values of all other terms
        """
        self.slope = None
        feats, cache = self.net.forward(phi, (self.far,), start=self.near)
        value_and_gradient = self._style if self.far in self.terms.style else self._content
        term, gradient = value_and_gradient(self.far, feats.pop(self.far))
        self.slope = self.net.backward({self.far: gradient}, cache).copy(order="K")  # its buffer is the network's
        self.constant = term - _inner(self.slope, phi)
        loss = float(sum(nearer) + term)
        if guess is not None:
            trusted = abs(float(guess - term)) < TRUSTED * abs(self.loss - loss)
            self.interval = min(2 * self.interval, self.lag) if trusted else max(1, self.interval // 2)
        self.loss, self.since = loss, 0
        return term


def _inner(a, b):
    """⟨a, b⟩ in double precision, a 0-d array on their device."""
    return (a * b).sum(dtype=get_xp(a).float64)
