"""Mean and covariance, compared as Gaussians by the Wasserstein-2 distance. MATH.md 2.

covariance_forward(F) -> S     sums over places: tiles add up
wasserstein_loss(S, A) -> loss, dS
covariance_backward(dS, F) -> dF
"""

import operator
from functools import cached_property

from minivgg.backend import get_xp

from ..terms import Statistic, double

# Of the style's mean variance, added to both covariances: at deep layers there may be fewer places than channels.
RIDGE = 1e-4
TINY = 1e-6  # of the squared mean, added to that variance: a style of a single place has none


def covariance_forward(F, *, matmul=operator.matmul):
    """Sums that mean and covariance come from: s[c] = Σ_p F[c, p] and Q = F Fᵀ.

    F  (C, M) → s (C,) in double precision, Q (C, C)
    """
    return F.sum(axis=1, dtype=double(F)), matmul(F, F.T)


def covariance_backward(ds, dQ, F, *, matmul=operator.matmul):
    """forward: s = Σ F and Q = F Fᵀ, so dF = ds 1ᵀ + (dQ + dQᵀ) F.

    ds (C,), dQ (C, C), F (C, M) → dF (C, M)
    """
    return matmul(dQ + dQ.T, F) + ds[:, None]


class SumsAndProducts(Statistic):
    """covariance_forward and covariance_backward as steps of a statistic; in a region, of the places with its weights.

    S is (s, Q, M), dS is (ds, dQ).
    """

    def gather(self, part):
        if part.m is None:
            return (*covariance_forward(part.F, matmul=part.matmul), part.M)
        _, Q = covariance_forward(part.weighted(part.F), matmul=part.matmul)
        return (part.F * part.m).sum(axis=1, dtype=double(part.F)), Q, part.M

    def spread(self, dS, part):
        dF = covariance_backward(*dS, part.F, matmul=part.matmul)
        return (dF if part.m is None else dF * part.m).reshape(part.feat.shape)


class Gaussian:
    """Mean (C,) and covariance (C, C) of a style's features, and what the distance to it needs."""

    def __init__(self, mean, covariance):
        self.mean, self.covariance = mean, covariance

    @classmethod
    def of(cls, s, Q, M):
        mean = s / M
        return cls(mean, Q / M - mean[:, None] * mean[None])

    @cached_property
    def ridge(self):
        """ε, what is added to the diagonals."""
        variance = get_xp(self.mean).maximum(self.covariance.trace(), 0)  # of one place it is 0, but for rounding
        return RIDGE * (variance + TINY * (self.mean**2).sum()) / len(self.mean)

    @cached_property
    def root(self):
        """(Σ_S + ε)^½"""
        xp = get_xp(self.mean)
        values, U = xp.linalg.eigh(self.covariance + self.ridge * xp.eye(len(self.mean)))
        return (U * xp.sqrt(xp.maximum(values, 0))) @ U.T


def wasserstein_loss(s, Q, M, style):
    """(|μ - μ_S|² + tr(Σ + Σ_S - 2 (Σ_S^½ Σ Σ_S^½)^½)) / C, the squared distance of two Gaussians over channels.

    s, Q   from covariance_forward;  M  number of places, or the sum of their weights
    style  Gaussian;  Σ and Σ_S stand for the covariances with ε on their diagonals (style.covariance has none)
    forward: μ = s / M, Σ = Q / M - μ μᵀ + ε
    ds, dQ   L by Σ is (I - T) / C with T = Σ_S^½ (Σ_S^½ Σ Σ_S^½)^-½ Σ_S^½, the linear map that carries the one Gaussian
             to the other; Σ = Q / M - μ μᵀ, so dQ = dΣ / M, and ds = (2 (μ - μ_S) / C - 2 dΣ μ) / M
    """
    xp, C = get_xp(s), s.shape[0]
    own = Gaussian.of(s, Q.astype(xp.float64), M)
    sigma = own.covariance + style.ridge * xp.eye(C)
    values, U = xp.linalg.eigh(style.root @ sigma @ style.root)
    roots = xp.sqrt(xp.maximum(values, (style.ridge * RIDGE) ** 2))
    moved = own.mean - style.mean
    trace = sigma.trace() + style.covariance.trace() + style.ridge * C - 2 * roots.sum()
    V = style.root @ U
    dsigma = (xp.eye(C) - (V / roots) @ V.T) / C
    return ((moved**2).sum() + trace) / C, ((2 * moved / C - 2 * dsigma @ own.mean) / M, dsigma / M)


class Wasserstein(SumsAndProducts):
    """wasserstein_loss as a statistic."""

    analytic = False  # eigenvalues of real symmetric matrices only
    least = -1e-2  # what rounding leaves of a distance of 0, of features up to some thousand

    def loss(self, S, target):
        return wasserstein_loss(*S, target)

    def target_of(self, S):
        s, Q, M = S
        return Gaussian.of(s, Q.astype(get_xp(Q).float64), M)

    def blend(self, targets):
        means, covariances = (sum(w * getattr(t, k) for w, t in targets) for k in ("mean", "covariance"))
        return Gaussian(means, covariances)
