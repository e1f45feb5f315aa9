"""The weighted spectrum: adjoint, invertible, what it says; L-BFGS through it reaches the same minimum sooner."""

import numpy as np
import pytest

from style import SettingsError, settings_from
from style.faster.precondition import Metric, Spectrum, Waves
from style.objective import Evaluating, Evaluation
from style.optimize import minimize

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 1, 3, 13, 18))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.3])
def test_adjoint_and_invertible(alpha):
    P, kept = Spectrum(X, alpha), X.copy()
    assert (P.apply(X) * Y).sum() == pytest.approx((X * P.adjoint(Y)).sum(), rel=1e-12)
    assert np.abs(P.adjoint(P.apply(X)) / P.weights**2 - X).max() < 1e-12
    single = X.astype(np.float32)
    Q = Spectrum(single, alpha)
    for f in (Q.apply, Q.adjoint, Q.metric):
        assert f(single).dtype == np.float32
    assert np.array_equal(X, kept)


def test_without_weights_lengths_stay():
    P = Spectrum(X, 0.0)
    assert (P.apply(X) * P.apply(Y)).sum() == pytest.approx((X * Y).sum(), rel=1e-12)


def test_a_wave_is_weighed_by_its_frequency():
    H, W = X.shape[-2:]
    P = Spectrum(X, 0.5)
    factors = {}
    for u, v in [(0, 4), (0, 8), (5, 0)]:
        rows, cols = np.cos(np.pi * (np.arange(H) + 0.5) * u / H), np.cos(np.pi * (np.arange(W) + 0.5) * v / W)
        wave = np.broadcast_to(np.outer(rows, cols), X.shape)
        ratio = P.apply(Spectrum(X, 0.0).adjoint(wave)) / np.where(np.abs(wave) > 1e-9, wave, np.nan)
        assert np.nanmax(ratio) == pytest.approx(np.nanmin(ratio))
        factors[u, v] = np.nanmean(ratio)
    assert factors[0, 4] / factors[0, 8] == pytest.approx(2**0.5)
    assert factors[0, 4] / factors[5, 0] == pytest.approx((5 / H / (4 / W)) ** 0.5)


class Laplacian(Evaluating):
    """½ Σ (x - t)² weighted by frequency: bends more along fine patterns, as the style loss does."""

    target = 50 * Spectrum(np.zeros((1, 3, 40, 56)), 1.0).apply(RNG.standard_normal((1, 3, 40, 56)))
    bend = Spectrum(target, -1.0)

    def evaluate(self, image, *, fresh=True):
        diff = self.bend.adjoint(image - self.target)
        return Evaluation({"style relu1_1": float((diff**2).sum() / 2)}, self.bend.apply(diff))


def test_same_minimum_sooner():
    start = np.zeros_like(Laplacian.target)
    plain = minimize(Laplacian(), start, method="l-bfgs", evaluations=30)
    weighed = minimize(Laplacian(), start, method="l-bfgs", evaluations=30, metric=Metric(0.5))
    assert weighed.loss < 0.3 * plain.loss
    best = minimize(Laplacian(), start, method="l-bfgs", evaluations=400, metric=Metric(0.5))
    assert np.abs(best.image - Laplacian.target).max() < 0.05


def test_where_it_cannot_be_used():
    with pytest.raises(SettingsError, match="precondition"):
        settings_from(optimizer="l-bfgs-b", precondition=0.5)
    assert settings_from(optimizer="l-bfgs", bounds=True, precondition=0.5).bounds


def test_broad_waves_are_alike_and_the_mean_square_is_1():
    weights = Spectrum(np.zeros((1, 3, 4, 960)), 0.5).weights
    assert (weights[0, :11] == weights[0, 0]).all()
    assert weights[0, 11] < weights[0, 10]
    assert (weights**2).mean() == pytest.approx(1)


def test_waves_on_a_torus_filter_what_goes_round():
    metric, H, W = Waves(X, 0.5).metric, *X.shape[-2:]
    assert np.abs(metric(np.roll(X, (3, 7), axis=(2, 3))) - np.roll(metric(X), (3, 7), axis=(2, 3))).max() < 1e-12
    assert (
        np.abs(Spectrum(X, 0.5).metric(np.roll(X, 3, axis=2)) - np.roll(Spectrum(X, 0.5).metric(X), 3, axis=2)).max()
        > 0.1
    )
    assert (metric(X) * Y).sum() == pytest.approx((X * metric(Y)).sum(), rel=1e-12)
    assert (metric(X) * X).sum() > 0
    assert np.abs(Waves(X, 0.0).metric(X) - X).max() < 1e-12
    assert metric(X.astype(np.float32)).dtype == np.float32
    factors = []
    for u, v in ((0, 4), (0, 8), (3, 0), (H - 3, 0)):
        wave = np.broadcast_to(
            np.cos(2 * np.pi * (u * np.arange(H)[:, None] / H + v * np.arange(W)[None] / W)), X.shape
        )
        factors.append((metric(wave) * wave).sum() / (wave**2).sum())
        assert np.abs(metric(wave) - factors[-1] * wave).max() < 1e-12
    assert factors[0] / factors[1] == pytest.approx(2)
    assert factors[0] / factors[2] == pytest.approx(3 / H / (4 / W))
    assert factors[2] == pytest.approx(factors[3])
