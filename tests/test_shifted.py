"""The shifted Gram matrix against the published formula, written out."""

import numpy as np
import pytest

from style.statistics.shifted import shifted_gram, shifted_loss
from style.statistics.wasserstein import covariance_backward, covariance_forward

RNG = np.random.default_rng(0)
C = 5
F, S = RNG.uniform(0, 3, (C, 40)), RNG.exponential(2, (C, 70))


def loss_of(F, S):
    s, Q = covariance_forward(S)
    return shifted_loss(*covariance_forward(F), F.shape[1], s / S.shape[1], Q / S.shape[1])


def test_it_is_the_gram_matrix_of_shifted_features():
    found = shifted_gram(*covariance_forward(F), F.shape[1], 1.0)
    assert np.allclose(found, (F - 1) @ (F - 1).T, rtol=1e-12, atol=1e-12)


def test_loss_and_gradient_by_the_published_formula():
    """Novak & Nikulin: G = (F - 1)(F - 1)ᵀ, of a network whose activations have a mean of 1."""
    style = S / S.mean()
    N = F.shape[1]
    difference = (F - 1) @ (F - 1).T / N - (style - 1) @ (style - 1).T / style.shape[1]
    loss, ds, dQ = loss_of(F, style)
    assert loss == pytest.approx((difference**2).sum() / C**4, rel=1e-12)
    assert np.allclose(covariance_backward(ds, dQ, F), 4 / (C**4 * N) * difference @ (F - 1), rtol=1e-10, atol=1e-14)


def test_the_unit_of_the_features_is_no_matter():
    """As with Gram: ten times the features are ten thousand times the loss, and the same picture is best."""
    assert loss_of(10 * F, 10 * S)[0] == pytest.approx(1e4 * loss_of(F, S)[0], rel=1e-12)


def test_it_sees_what_gram_does_not():
    """Features and their negatives have the same Gram matrix."""
    assert loss_of(S, S)[0] < 1e-25
    assert loss_of(-S, S)[0] > 0.1
