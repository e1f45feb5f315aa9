"""Central moment discrepancy, orders 1 to 5 (Zellinger et al. 2017; for styles Kalischek et al. 2021). MATH.md 4.

powers_forward(F) -> r        sums over places: tiles add up
discrepancy_loss(r, A) -> loss, dr
powers_backward(dr, F) -> dF
"""

from math import comb

from minivgg.backend import get_xp

from ..terms import Statistic, double
from .blocks import blocks

ORDERS = 5
UNIT = 10.0  # grey levels up to which the compression is nearly straight, above it a logarithm
RANGE = 4.0  # of compressed features, the b - a of Zellinger et al.: a power of it keeps high orders from prevailing
FLOOR = 1e-4  # a moment's distance up to which its square counts, not itself: at the target there is no slope
SCALE = 1000.0  # a picture at the default weights that is about as far from its content as Gram's


def compressed(F):
    """x = asinh(F / UNIT) / RANGE, one at a time, and its derivative."""
    xp = get_xp(F)
    return xp.arcsinh(F / UNIT) / RANGE, 1 / (RANGE * xp.sqrt(F * F + UNIT**2))


def powers_forward(F, m=None):
    """Sums of powers of the compressed features: r[k - 1, c] = Σ_p m[p] x[c, p]^k, k = 1 … ORDERS.

    F  (C, M);  m  (M,) weights of the places, or None: all 1
    r  (ORDERS, C), in double precision
    """
    xp = get_xp(F)
    r = xp.zeros((ORDERS, len(F)), dtype=double(F))
    for _, block, weights in blocks(F, m):
        x, _ = compressed(block.astype(double(F), copy=False))
        power = 1 if weights is None else weights
        for k in range(ORDERS):
            power = x * power
            r[k] += power.sum(axis=1)
    return r


def central_moments(r, M):
    """c[0] = μ and c[k - 1] = mean (x - μ)^k, (ORDERS, C), from powers_forward's sums over M places.

    c_k = Σ_j binom(k, j) (-μ)^(k-j) r_j / M with r_0 = M
    """
    raw = [1.0, *(r / M)]
    mu = raw[1]
    rest = [
        sum(comb(k, j) * (-mu) ** (k - j) * raw[j] for j in range(1, k + 1)) + (-mu) ** k for k in range(2, ORDERS + 1)
    ]
    return get_xp(r).stack([mu, *rest])


def discrepancy_loss(r, M, style):
    """SCALE · Σ_k ‖c_k - c_k,S‖, the norm √(mean over channels + FLOOR²) - FLOOR.

    r      (ORDERS, C) from powers_forward;  M  number of places, or the sum of their weights
    style  (ORDERS, C), the style's central_moments
    dr     forward: c_k of r_1 … r_k and of μ = r_1 / M: dr_j = Σ_k dc_k binom(k, j) (-μ)^(k-j) / M, and of μ alone,
           which adds to dr_1: -k c_(k-1) dc_k / M
    """
    xp, C = get_xp(r), r.shape[1]
    c = central_moments(r, M)
    off = c - style
    norms = xp.sqrt((off * off).mean(axis=1) + FLOOR**2)
    dc = SCALE * off / (C * norms[:, None])
    mu = c[0]
    dr = [
        sum(comb(k, j) * (-mu) ** (k - j) * dc[k - 1] for k in range(max(j, 2), ORDERS + 1))
        for j in range(1, ORDERS + 1)
    ]
    # c_1 is the mean itself; (x - μ)^k has μ in it, but mean (x - μ) is 0
    dr[0] = dr[0] + dc[0] - sum(k * c[k - 2] * dc[k - 1] for k in range(3, ORDERS + 1))
    return SCALE * (norms - FLOOR).sum(), xp.stack(dr) / M


def powers_backward(dr, F, m=None):
    """forward: r_k = Σ m x^k, so dx = m Σ_k k dr_k x^(k-1), and dF = dx times the compression's derivative.

    dr (ORDERS, C), F (C, M) → dF (C, M)
    """
    dF = get_xp(F).empty_like(F)
    for at, block, weights in blocks(F, m):
        x, slope = compressed(block)
        dx = 0
        for k in range(ORDERS, 0, -1):
            dx = dx * x + k * dr[k - 1][:, None]
        dF[:, at] = dx * slope if weights is None else dx * slope * weights
    return dF


class Discrepancy(Statistic):
    """discrepancy_loss as a statistic; in a region, of the places with its weights."""

    least = -1e-9  # rounding

    def gather(self, part):
        return powers_forward(part.F, part.m), part.M

    def loss(self, S, target):
        value, dr = discrepancy_loss(*S, target)
        return value, (dr,)

    def spread(self, dS, part):
        return powers_backward(*dS, part.F, part.m).reshape(part.feat.shape)

    def target_of(self, S):
        return central_moments(*S)
