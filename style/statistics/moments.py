"""Mean and standard deviation of each channel (Galerne et al. 2024, the stabiliser of large pictures). MATH.md 1.

moments_forward(F) -> S     sums over places: tiles add up
moments_loss(S, A) -> loss, dS
moments_backward(dS, F) -> dF
"""

from minivgg.backend import get_xp

from ..terms import Statistic, double

FLOOR = 1e-4  # added to a variance, features²: a channel that is 0 everywhere has no slope in σ, but a finite one here


def moments_forward(F, m=None):
    """Sums of the features and of their squares: s[c] = Σ_p m[p] F[c, p], q[c] = Σ_p m[p] F[c, p]².

    F  (C, M);  m  (M,) weights of the places, or None: all 1
    s, q  (C,), in double precision: their difference is what counts
    """
    weighted = F if m is None else F * m
    return weighted.sum(axis=1, dtype=double(F)), (weighted * F).sum(axis=1, dtype=double(F))


def moments_loss(s, q, M, mean, deviation):
    """mean (μ - μ_S)² + mean (σ - σ_S)², over channels.

    s, q             (C,) from moments_forward;  M  number of places, or the sum of their weights
    mean, deviation  (C,) of the style: μ_S, σ_S
    forward: μ = s / M, σ = √(q / M - μ² + FLOOR)
    ds, dq   forward: L by μ is 2 (μ - μ_S) / C, by σ is 2 (σ - σ_S) / C; σ² = v, so dv = dσ / 2σ; v = q / M - μ², so
             dq = dv / M and ds = (dμ - 2 μ dv) / M
    """
    C = s.shape[0]
    mu, sigma = mean_and_deviation(s, q, M)
    varies = q.real / M > mu.real**2  # else the deviation is the floor's, whatever the sums' last digits are
    loss = (((mu - mean) ** 2).sum() + ((sigma - deviation) ** 2).sum()) / C
    dmu, dv = 2 * (mu - mean) / C, varies * (sigma - deviation) / (C * sigma)
    return loss, ((dmu - 2 * mu * dv) / M, dv / M)


def moments_backward(ds, dq, F, m=None):
    """forward: s = Σ m F and q = Σ m F², so dF = m (ds + 2 dq F), the same ds and dq at every place.

    ds, dq (C,), F (C, M) → dF (C, M)
    """
    dF = ds[:, None] + 2 * dq[:, None] * F
    return dF if m is None else dF * m


def mean_and_deviation(s, q, M):
    """μ = s / M and σ = √(q / M - μ² + FLOOR), (C,) each.

    Of a channel that is the same everywhere q / M - μ² is rounding, of either sign: it counts as 0.
    """
    mu = s / M
    v = q / M - mu * mu
    return mu, (get_xp(v).where(v.real > 0, v, 0) + FLOOR) ** 0.5


class Moments(Statistic):
    """moments_loss as a statistic; in a region, of the places with its weights."""

    passing = 1  # the squares

    def gather(self, part):
        return (*moments_forward(part.F, part.m), part.M)

    def loss(self, S, target):
        return moments_loss(*S, *target)

    def spread(self, dS, part):
        return moments_backward(*dS, part.F, part.m).reshape(part.feat.shape)

    def target_of(self, S):
        return mean_and_deviation(*S)
