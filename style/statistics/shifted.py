"""Gram matrix of features less their mean activation (Novak & Nikulin 2016, activation shift). MATH.md 3.

shifted_gram(s, Q, M, shift) -> G      from the sums of covariance_forward: tiles add up
shifted_loss(s, Q, M, style) -> loss, ds, dQ
"""

from .. import losses
from .wasserstein import SumsAndProducts


def shifted_gram(s, Q, M, shift):
    """G = Σ_p (F[:, p] - a) (F[:, p] - a)ᵀ = Q - a (s 1ᵀ + 1 sᵀ) + a² M.

    s (C,), Q (C, C)  from covariance_forward;  M  number of places, or the sum of their weights
    shift             a, a number: taken off every feature
    """
    return Q - shift * (s[:, None] + s[None]) + shift**2 * M


def shifted_loss(s, Q, M, mean, second):
    """losses.style_loss of shifted Gram matrices; the shift is the style's mean activation over all channels.

    s, Q    from covariance_forward;  M  number of places, or the sum of their weights
    mean    (C,) of the style, s / M there;  second  (C, C), Q / M there
    ds, dQ  forward: G = Q - a (s 1ᵀ + 1 sᵀ) + a² M, so dQ = dG and ds = -a (dG + dGᵀ) 1
    """
    shift = mean.mean()
    G, A = shifted_gram(s, Q, M, shift), shifted_gram(mean * M, second * M, M, shift)
    loss, dG = losses.style_loss(G, A, M)
    return loss, -shift * (dG + dG.T).sum(axis=1), dG


class ShiftedGram(SumsAndProducts):
    """shifted_loss as a statistic."""

    def loss(self, S, target):
        value, *dS = shifted_loss(*S, *target)
        return value, tuple(dS)

    def target_of(self, S):
        s, Q, M = S
        return s / M, Q / M
