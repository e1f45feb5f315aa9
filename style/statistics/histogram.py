"""Distributions of single channels: the histogram loss of Risser et al. 2017 on fine bins. MATH.md 5.

histogram_forward(F) -> h     counts, each feature shared by the two nearest centres: tiles add up
histogram_loss(h, A) -> loss, slopes
histogram_backward(slopes, F) -> dF
"""

from functools import cached_property

from minivgg.backend import get_xp

from ..terms import Statistic
from .blocks import BLOCK, blocks

BINS = 1024
UNIT = 10.0  # grey levels up to which bins are nearly even, above it they widen in proportion
STEP = 0.02  # a bin is 0.2 grey levels wide at 0, and 2 % of a large feature; the last centre is at 139 000


def centres(xp, dtype="float64"):
    """(BINS,) x_b = UNIT · sinh(STEP (b - (BINS - 1) / 2)): none at 0, where half of the features are."""
    return (UNIT * xp.sinh(STEP * (xp.arange(BINS, dtype="float64") - (BINS - 1) / 2))).astype(dtype)


def locate(F, x):
    """(b, t): F = x_b + t (x_(b+1) - x_b), b in 0 … BINS - 2. F (C, n), x (BINS,) of its type."""
    xp = get_xp(F)
    b = xp.floor(xp.arcsinh(F / UNIT) / STEP + (BINS - 1) / 2).astype("int64")
    b = xp.clip(b, 0, BINS - 2)  # a NaN, which is no index, is any; t stays a NaN
    low = x[b]
    return b, (F - low) / (x[b + 1] - low)


def histogram_forward(F, m=None):
    """Counts: a feature between two centres counts for each the more the nearer it is, so that their mean is its own.

    F  (C, M);  m  (M,) weights of the places, or None: all 1
    h  (C, BINS), in double precision: Σ_p m[p] (1 - t) at b and Σ_p m[p] t at b + 1, b and t of F[c, p] as in `locate`
    """
    xp, C = get_xp(F), len(F)
    x, size = centres(xp, F.dtype), C * (BINS - 1)
    row = (BINS - 1) * xp.arange(C)[:, None]
    counts, upper = xp.zeros(size), xp.zeros(size)
    for _, block, weights in blocks(F, m, size=max(BLOCK, 2 * size)):
        b, t = locate(block, x)
        b = (b + row).ravel()
        if weights is None:
            counts += xp.bincount(b, minlength=size)
        else:
            counts += xp.bincount(b, xp.broadcast_to(weights, t.shape).ravel(), minlength=size)
            t = t * weights
        upper += xp.bincount(b, t.ravel(), minlength=size)
    counts, upper = counts.reshape(C, -1), upper.reshape(C, -1)
    h = xp.zeros((C, BINS))
    h[:, :-1] = counts - upper
    h[:, 1:] += upper
    return h


class Distribution:
    """A style's features, channel by channel: shares (C, BINS) of the bins, spread evenly over each bin.

    A bin reaches from half-way to the centre below to half-way to the one above. quantile(t) is where the share t of
    the features lies below: straight within a bin.
    """

    def __init__(self, shares):
        self.shares = shares
        xp = get_xp(shares)
        self.x = centres(xp)
        middle = (self.x[1:] + self.x[:-1]) / 2
        ends = xp.stack([2 * self.x[0] - middle[0], 2 * self.x[-1] - middle[-1]])
        self.edges = xp.concatenate([ends[:1], middle, ends[1:]])  # (BINS + 1,)

    @cached_property
    def below(self):
        """(C, BINS): the shares up to and with each bin, the last exactly 1."""
        return cumulated(self.shares)

    @cached_property
    def integral(self):
        """(C, BINS): the integral of quantile from 0 to `below`."""
        return (self.shares * self.middle).cumsum(axis=1)

    @cached_property
    def first(self):
        """(C, 1): the lowest bin that is not empty."""
        return (self.shares > 0).argmax(axis=1)[:, None]

    @property
    def middle(self):
        """(BINS,) of the bins."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    def at(self, t):
        """quantile(t) and its integral from 0 to t. t (C, n)"""
        xp, row = get_xp(t), get_xp(t).arange(len(t))[:, None]
        # one sorted list of all channels', each two further
        j = xp.searchsorted((self.below + 2 * row).ravel(), (t + 2 * row).ravel()).reshape(t.shape)
        j = xp.clip(j - BINS * row, self.first, BINS - 1)
        share, below, integral = (xp.take_along_axis(a, j, axis=1) for a in (self.shares, self.below, self.integral))
        into = t - (below - share)
        part = xp.clip(into / xp.where(share > 0, share, 1), 0, 1)
        low = self.edges[j]
        quantile = low + part * (self.edges[j + 1] - low)
        return quantile, integral - share * self.middle[j] + into * (low + quantile) / 2


def cumulated(h):
    """Sums of h (C, BINS) up to and with each bin, as shares of all."""
    below = h.cumsum(axis=1)
    return below / below[:, -1:]


def histogram_loss(h, M, style):
    """Mean over channels of ∫ (Q(t) - Q_S(t))² dt, t from 0 to 1, less what bins leave of it at the style itself.

    h       (C, BINS) from histogram_forward: Q is the quantile function of that many features at the centres
    M       number of places, or the sum of their weights;  style  Distribution, Q_S its quantile
    slopes  (C, BINS - 1), by a feature between the centres b and b + 1. forward: one more at b for one less at b + 1
            changes Q from x_(b+1) to x_b at t = H_b = Σ_(i ≤ b) h_i / M; a feature that grows does the opposite:
            2 (e_b - Q_S(H_b)) / (C M), e_b half-way between the two
    """
    xp, C = get_xp(h), len(h)
    below, x = cumulated(h), style.x
    quantile, integral = style.at(below)
    covered = xp.concatenate([integral[:, :1], integral[:, 1:] - integral[:, :-1]], axis=1)
    own = x * (x * (h / h.sum(axis=1, keepdims=True)) - 2 * covered)
    loss = (own + style.shares * x * (2 * style.middle - x)).sum() / C
    return loss, 2 / (C * M) * (style.edges[1:-1] - quantile[:, :-1])


def histogram_backward(slopes, F, m=None):
    """forward: a feature counts at b and b + 1, so its derivative is the slope of that pair. F (C, M) → dF (C, M)"""
    xp, C = get_xp(F), len(F)
    dF, x = xp.empty_like(F), centres(xp, F.dtype)
    row, flat = (BINS - 1) * xp.arange(C)[:, None], slopes.ravel()
    for at, block, weights in blocks(F, m):
        found = flat[locate(block, x)[0] + row]
        dF[:, at] = found if weights is None else found * weights
    return dF


class Histogram(Statistic):
    """histogram_loss as a statistic; in a region, of the places with its weights."""

    analytic = False  # bins have edges
    least = -1e-3  # rounding, of features up to some ten thousand

    def gather(self, part):
        return histogram_forward(part.F, part.m), part.M

    def loss(self, S, target):
        value, slopes = histogram_loss(*S, target)
        return value, (slopes,)

    def spread(self, dS, part):
        return histogram_backward(*dS, part.F, part.m).reshape(part.feat.shape)

    def target_of(self, S):
        h, _ = S
        return Distribution(h / h.sum(axis=1, keepdims=True))

    def kept(self, channels):
        return 8 * BINS * channels

    def blend(self, targets):
        return Distribution(sum(w * t.shares for w, t in targets))
