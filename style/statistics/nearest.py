"""Nearest neighbours: how far each feature is from the style's that is most like it (Kolkin et al. 2022). MATH.md 7.

nearest_forward(F, style) -> Σ D     each place for itself: tiles add up
nearest_backward(F, style) -> dF
style is a Neighbours: some of the style picture's features, which Samples gathers.
"""

import operator
from functools import cached_property

import numpy as np

from minivgg.backend import get_xp, to_numpy

from ..terms import Statistic, double
from .blocks import blocks

PER_CHANNEL = 4  # features of a style that are looked at, a channel: the product with them is then four Gram matrices'
SPREAD = 0.1  # length of what is appended to a feature, as a multiple of the style's mean distance from its centre
SCALE = 2000.0  # brings the loss to the size at which the default --style-weight suits it
BLOCK = 1 << 19  # similarities in a block
SEED = 0
GOLDEN = (5**0.5 - 1) / 2  # its multiples, less whole numbers, divide 0 … 1 evenly at every length


class Neighbours:
    """Features of a style in one layer, among which the nearest is sought.

    features  (C, K)
    Made unit vectors of C + 1 numbers: (s - centre, length) / ‖…‖. With a last number that is the same for all, a
    feature at the centre has a direction, and the cosine tells a long feature from a short one. MATH.md 7, (19).
    """

    def __init__(self, features):
        self.features = features
        self._units = {}

    @cached_property
    def centre(self):
        """(C,), in double precision."""
        return self.features.mean(axis=1, dtype=double(self.features))

    @cached_property
    def length(self):
        """SPREAD · the features' root mean square distance from the centre; of a style that is even, 1e-3."""
        away = self.features - self.centre[:, None]
        return get_xp(away).maximum(SPREAD * ((away**2).sum(axis=0).mean()) ** 0.5, 1e-3)

    def units(self, dtype):
        """(centre (C,), length, units (K, C), last numbers (K,)) in the type of the features that are compared."""
        if dtype not in self._units:
            away = (self.features - self.centre[:, None]).T
            norm = ((away**2).sum(axis=1) + self.length**2) ** 0.5
            found = self.centre, self.length, away / norm[:, None], self.length / norm
            self._units[dtype] = tuple(a.astype(dtype) for a in found)
        return self._units[dtype]


def neighbours(F, style, m=None, *, matmul=operator.matmul):
    """(places, f, t, D, norm, m) a block of n places at a time: the places' features and their nearest neighbours.

    F     (C, M);  style  Neighbours;  m  (M,) weights of the places, or None
    f, t  (n, C): the first C numbers of the unit vectors, of which t is the style's nearest, the one with the largest
          cosine;  D (n,) = 1 - cosine, as half the squared distance of the two, so that it is exact where it is small
    norm  (n,) what f was divided by
    """
    centre, length, units, last = style.units(F.real.dtype)
    C, K, xp = len(F), len(units), get_xp(F)
    for at, block, weights in blocks(F, m, size=C * max(1, BLOCK // K)):
        away = xp.ascontiguousarray(block.T) - centre  # so that a place's numbers add up in one way
        norm = ((away * away).sum(axis=1) + length * length) ** 0.5
        near = (matmul(units, away.real.T) + (length * last)[:, None]).argmax(axis=0)
        f, t = away / norm[:, None], units[near]
        off, beyond = f - t, length / norm - last[near]
        yield at, f, t, ((off * off).sum(axis=1) + beyond * beyond) / 2, norm, weights


def nearest_forward(F, style, m=None, *, matmul=operator.matmul):
    """Σ_p m[p] D[p], D[p] = min_j 1 - cos(F[:, p], s_j), in double precision. F (C, M), m (M,) or None"""
    total = 0
    for _, _, _, D, _, weights in neighbours(F, style, m, matmul=matmul):
        total = total + (D if weights is None else D * weights).sum(dtype=double(D))
    return total


def nearest_backward(F, style, m=None, *, matmul=operator.matmul):
    """forward: D = 1 - ⟨f, t⟩ with t held and f = (F - centre) / norm, so dF = -(t - (1 - D) f) / norm, times m.

    F (C, M) → dF (C, M)
    """
    xp = get_xp(F)
    dF = xp.empty_like(F)
    for at, f, t, D, norm, weights in neighbours(F, style, m, matmul=matmul):
        factor = 1 / norm if weights is None else weights / norm
        dF[:, at] = ((f - t - D[:, None] * f) * factor[:, None]).T
    return dF


class Samples(Statistic):
    """Gathers Neighbours' features of a style picture, which come from fixed places: each part fills in its own."""

    def __init__(self):
        self._places = None

    def gather(self, part):
        xp, C, size = get_xp(part.feat), len(part.F), part.size or part.feat.shape[2:]
        if self._places is None:  # of the one picture that this looks at
            self._places = places(size, part.weights, PER_CHANNEL * C)
        rows, columns = (range(*s.indices(n)) for s, n in zip(part.at[2:], size, strict=True))
        y, x = divmod(self._places, size[1])
        here = np.flatnonzero((y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop))
        found = xp.zeros((C, len(y)), dtype=part.feat.dtype)
        inside = (y[here] - rows.start) * len(columns) + x[here] - columns.start
        found[:, xp.asarray(here)] = part.F[:, xp.asarray(inside)]
        return (found,)


def places(size, weights, count):
    """Indices of `count` places of (h, w), evenly spread with some chance, or of all where there are no more.

    weights  (h, w) or None: where there are some, of places that have half of one or more, or the most that there is
    """
    n = size[0] * size[1]
    allowed = None
    if weights is not None:
        m = to_numpy(weights).ravel()
        allowed = np.flatnonzero(m >= min(0.5, m.max()))
        n = len(allowed)
    if count < n:
        own = ((np.arange(count) + np.random.default_rng(SEED).random(count)) * n / count).astype(np.int64)
    else:
        own = np.arange(n)
    return own if allowed is None else allowed[own]


class Nearest(Statistic):
    """SCALE · the mean of D as a statistic; in a region, with the weights of its places."""

    def gather(self, part):
        return nearest_forward(part.F, part.target, part.m, matmul=part.matmul), part.M

    def loss(self, S, target):
        total, M = S
        return SCALE * total / M, (SCALE / M,)

    def spread(self, dS, part):
        dF = nearest_backward(part.F, part.target, part.m, matmul=part.matmul)
        dF *= dS[0]
        return dF.reshape(part.feat.shape)

    @property
    def for_target(self):
        return Samples()

    def target_of(self, S):
        return Neighbours(S[0])

    def kept(self, channels):
        return 2 * PER_CHANNEL * channels**2  # as gathered, and as units

    def blend(self, targets):
        """Each sample is of one of the pictures, of each as many as it has a share."""
        own = [t.features for _, t in targets]
        counts = np.array([f.shape[1] for f in own])
        k, K = np.arange(counts.max()), counts.max()
        whose = np.searchsorted(np.cumsum([w for w, _ in targets])[:-1], (k + 1) * GOLDEN % 1, side="right")
        column = (np.cumsum(counts) - counts)[whose] + k * counts[whose] // K
        xp = get_xp(own[0])
        return Neighbours(xp.concatenate(own, axis=1)[:, xp.asarray(column)])
