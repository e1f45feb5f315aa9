"""Mean and standard deviation against NumPy's, and the gradient against the closed form of FIELD's authors."""

import numpy as np
import pytest

from style.statistics.moments import FLOOR, mean_and_deviation, moments_backward, moments_forward, moments_loss

RNG = np.random.default_rng(0)
F, S = 3 + 2 * RNG.standard_normal((4, 50)), RNG.standard_normal((4, 70))


def moments_of(F):
    return mean_and_deviation(*moments_forward(F), F.shape[1])


def test_they_are_numpy_s():
    mean, deviation = moments_of(F)
    assert np.allclose(mean, F.mean(axis=1), rtol=1e-14)
    assert np.allclose(deviation, np.sqrt(F.var(axis=1) + FLOOR), rtol=1e-14)


def test_loss_and_gradient_by_the_published_formula():
    """Galerne et al.: mean (μ - μ_S)² + mean (σ - σ_S)², 2/(CM) [(μ - μ_S) 1ᵀ + ((σ - σ_S)/σ) ∘ (F - μ 1ᵀ)]."""
    (mu, sigma), (mu_s, sigma_s) = moments_of(F), moments_of(S)
    loss, dS = moments_loss(*moments_forward(F), F.shape[1], mu_s, sigma_s)
    assert loss == pytest.approx(((mu - mu_s) ** 2).mean() + ((sigma - sigma_s) ** 2).mean(), rel=1e-14)
    pull = (mu - mu_s)[:, None] + ((sigma - sigma_s) / sigma)[:, None] * (F - mu[:, None])
    assert np.allclose(moments_backward(*dS, F), 2 / F.size * pull, rtol=1e-12, atol=1e-16)


def test_weights_count_a_place_so_often():
    m = RNG.integers(0, 4, 50)
    repeated = np.repeat(F, m, axis=1)
    for weighted, plain in zip(moments_forward(F, m), moments_forward(repeated), strict=True):
        assert np.allclose(weighted, plain, rtol=1e-13)


def test_a_channel_that_is_0_everywhere_has_a_finite_gradient():
    dead = F * np.array([1, 0, 1, 1])[:, None]
    _, dS = moments_loss(*moments_forward(dead), F.shape[1], *moments_of(S))
    assert np.isfinite(moments_backward(*dS, dead)).all()


def test_single_precision_keeps_its_digits():
    """A mean of a thousand over a deviation of one: summed in single precision the variance would be noise."""
    far = (1000 + RNG.standard_normal((4, 20000))).astype(np.float32)
    _, deviation = moments_of(far)
    assert np.allclose(deviation, far.astype(np.float64).std(axis=1), rtol=1e-3)


def test_a_channel_that_is_the_same_everywhere_is_no_noise():
    """Its variance is the rounding of squares, of either sign, and their root no number."""
    flat = np.repeat(RNG.uniform(60, 1300, (40, 1)), 300, axis=1).astype(np.float32)
    mean, deviation = moments_of(flat)
    assert np.isfinite(deviation).all()
    loss, dS = moments_loss(*moments_forward(flat), 300, mean + 1, deviation)
    assert loss == pytest.approx(1, rel=1e-6)
    assert np.isfinite(moments_backward(*dS, flat)).all()
