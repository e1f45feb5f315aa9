"""Sliced Wasserstein distance: distributions along random directions (Heitz et al. 2021). MATH.md 6.

directions(C) -> V; the distributions of V F are compared as histogram.py compares those of F.
"""

import numpy as np

from minivgg.backend import get_xp

from .histogram import Histogram, histogram_backward, histogram_forward

SEED = 0


def directions(C):
    """(C, C) float64: the rows are unit vectors at right angles, turned at random, the same each time."""
    V, R = np.linalg.qr(np.random.default_rng(SEED).standard_normal((C, C)))
    return V * np.sign(np.diag(R))  # without the signs some turns would be likelier than others


class Sliced(Histogram):
    """histogram_loss of the features along `directions`; in a region, of the places with its weights."""

    passing = 2  # V F and its gradient

    def __init__(self):
        self._directions = {}  # {(module, type, C): V on the device}

    def gather(self, part):
        return histogram_forward(self._along(part), part.m), part.M

    def spread(self, dS, part):
        dP = histogram_backward(*dS, self._along(part), part.m)
        return part.matmul(self._turn(part.F).T, dP).reshape(part.feat.shape)

    def _along(self, part):
        return part.matmul(self._turn(part.F), part.F)

    def _turn(self, F):
        key = get_xp(F).__name__, F.dtype, len(F)
        if key not in self._directions:
            self._directions[key] = get_xp(F).asarray(directions(len(F)), dtype=F.dtype)
        return self._directions[key]
