"""The Wasserstein distance of two Gaussians: closed forms, SciPy's square root, the map from one to the other."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from style.statistics.wasserstein import RIDGE, Gaussian, Wasserstein, covariance_backward, covariance_forward
from style.statistics.wasserstein import wasserstein_loss as loss_of
from style.terms import Part

RNG = np.random.default_rng(0)
C = 5
F = 2 + RNG.standard_normal((C, C)) @ RNG.standard_normal((C, 60))
S = RNG.standard_normal((C, C)) @ RNG.standard_normal((C, 90))


def gaussian(F):
    return Gaussian.of(*covariance_forward(F), F.shape[1])


def test_mean_and_covariance_are_numpy_s():
    found = gaussian(F)
    assert np.allclose(found.mean, F.mean(axis=1), rtol=1e-13)
    assert np.allclose(found.covariance, np.cov(F, bias=True), rtol=1e-11)
    assert np.allclose(found.root @ found.root, found.covariance + found.ridge * np.eye(C), rtol=1e-11)


def test_the_distance_by_scipy_s_square_root():
    own, style = gaussian(F), gaussian(S)
    a, b = (g.covariance + style.ridge * np.eye(C) for g in (own, style))
    root = sqrtm(a)
    expected = ((own.mean - style.mean) ** 2).sum() + np.trace(a + b - 2 * sqrtm(root @ b @ root).real)
    loss, _ = loss_of(*covariance_forward(F), F.shape[1], style)
    assert loss == pytest.approx(expected / C, rel=1e-10)


def test_of_one_channel_it_is_the_distance_of_means_and_deviations():
    f, s = F[:1], S[:1]
    style = gaussian(s)
    loss, _ = loss_of(*covariance_forward(f), f.shape[1], style)
    deviations = (np.sqrt(x.var() + style.ridge) for x in (f, s))
    assert loss == pytest.approx((f.mean() - s.mean()) ** 2 + np.subtract(*deviations) ** 2, rel=1e-9)


def test_a_shift_costs_its_square():
    loss, (ds, dQ) = loss_of(*covariance_forward(S + 3), S.shape[1], gaussian(S))
    assert loss == pytest.approx(9, rel=1e-8)
    assert np.allclose(covariance_backward(ds, dQ, S + 3), 2 * 3 / S.size, rtol=1e-6)


def test_a_step_along_the_gradient_carries_all_the_way():
    """F - C M/2 dF is (F - μ) carried by T, plus μ_S: its mean and covariance are the style's."""
    _, dS = loss_of(*covariance_forward(F), F.shape[1], gaussian(S))
    carried = gaussian(F - F.size / 2 * covariance_backward(*dS, F))
    style = gaussian(S)
    assert np.allclose(carried.mean, style.mean, rtol=1e-9, atol=1e-9)
    assert np.abs(carried.covariance - style.covariance).max() < 20 * RIDGE * np.abs(style.covariance).max()


def test_fewer_places_than_channels():
    """Singular covariances have a finite loss and gradient, and the slope is the gradient's."""
    few, style = F[:, :3], gaussian(S[:, :4])
    loss, dS = loss_of(*covariance_forward(few), 3, style)
    gradient = covariance_backward(*dS, few)
    assert np.isfinite([loss, *gradient.ravel()]).all()
    step, u = 1e-5, np.sign(gradient)
    slope = np.subtract(*(loss_of(*covariance_forward(few + d), 3, style)[0] for d in (step * u, -step * u))) / (
        2 * step
    )
    assert slope == pytest.approx((gradient * u).sum(), rel=1e-5)


def test_single_precision_features_give_a_double_precision_loss():
    loss, _ = loss_of(*covariance_forward(F), F.shape[1], gaussian(S))
    single, _ = loss_of(*covariance_forward(F.astype(np.float32)), F.shape[1], gaussian(S))
    assert single.dtype == np.float64
    assert single == pytest.approx(loss, rel=1e-4)


def test_a_blend_has_the_mean_of_the_moments():
    statistic = Wasserstein()
    one, two = gaussian(F), gaussian(S)
    blend = statistic.blend([(0.25, one), (0.75, two)])
    assert np.allclose(blend.mean, 0.25 * one.mean + 0.75 * two.mean, rtol=1e-14)
    assert np.allclose(blend.covariance, 0.25 * one.covariance + 0.75 * two.covariance, rtol=1e-14)


def test_weights_count_a_place_so_often():
    m = RNG.integers(0, 4, 60).astype(float)
    parts = [
        Part(x.reshape(1, C, 1, -1), None, w, matmul=np.matmul)
        for x, w in ((F, m), (np.repeat(F, m.astype(int), 1), None))
    ]
    for weighted, plain in zip(*map(Wasserstein().gather, parts), strict=True):
        assert np.allclose(weighted, plain, rtol=1e-12)
