"""Lines kept: the Laplacian of the pooled picture against the content's (Li et al. 2017). MATH.md 9.

laplacian_forward(d) -> q        of the difference of the two pictures: both steps are linear
laplacian_backward(dq, shape) -> dd
"""

from minivgg.backend import get_xp

from ..terms import Statistic, double

POOL = 4  # pixels a side: lines of about this width and more are kept


def laplacian_forward(d):
    """q = Δ pool(d): means over POOL×POOL pixels, channels added up, four times each less its four neighbours.

    d  (C, h, w): h and w are cut to multiples of POOL
    q  (h/POOL - 2, w/POOL - 2): where there are all four neighbours
    """
    h, w = (n // POOL for n in d.shape[1:])
    whole = d[:, : h * POOL, : w * POOL].sum(axis=0)
    p = whole.reshape(h, POOL, w, POOL).sum(axis=(1, 3)) / POOL**2
    return 4 * p[1:-1, 1:-1] - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:]


def laplacian_backward(dq, shape):
    """forward: a mean p stands four times in its own q and, less, once in each neighbour's; a pixel is POOL⁻² of p.

    dq  as q;  shape  (C, h, w) of d → dd
    """
    xp = get_xp(dq)
    h, w = (n // POOL for n in shape[1:])
    dp = xp.zeros((h, w), dtype=dq.dtype)
    dp[1:-1, 1:-1] += 4 * dq
    dp[:-2, 1:-1] -= dq
    dp[2:, 1:-1] -= dq
    dp[1:-1, :-2] -= dq
    dp[1:-1, 2:] -= dq
    dd = xp.zeros(shape, dtype=dq.dtype)
    dd[:, : h * POOL, : w * POOL] = xp.repeat(xp.repeat(dp / POOL**2, POOL, axis=0), POOL, axis=1)
    return dd


class Laplacian(Statistic):
    """mean q² as a statistic of the picture; q at a place belongs to the part that has the row above it."""

    per_place, reach, every, regional = True, 2 * POOL, POOL, False
    smallest = 3 * POOL
    passing = 2

    def gather(self, part):
        q = self._difference(part)
        return (q * q).sum(dtype=double(q)), q.size

    def loss(self, S, target):
        total, n = S
        return total / n, (2.0 / n,)

    def spread(self, dS, part):
        return laplacian_backward(self._difference(part) * dS[0], part.feat.shape[1:])[None]

    def _difference(self, part):
        return laplacian_forward(part.feat[0] - part.target[0])
