"""The central moment discrepancy against NumPy's moments and the published gradient."""

import numpy as np
import pytest
from scipy.stats import moment

from style.statistics import blocks
from style.statistics.discrepancy import (
    FLOOR,
    ORDERS,
    SCALE,
    central_moments,
    compressed,
    discrepancy_loss,
    powers_backward,
    powers_forward,
)

RNG = np.random.default_rng(0)
F, S = np.maximum(RNG.normal(20, 80, (4, 50)), 0), RNG.exponential(100, (4, 70))


def moments_of(F):
    return central_moments(powers_forward(F), F.shape[1])


def test_they_are_scipy_s():
    x, _ = compressed(F)
    expected = [x.mean(axis=1), *(moment(x, k, axis=1) for k in range(2, ORDERS + 1))]
    assert np.allclose(moments_of(F), expected, rtol=1e-11, atol=1e-14)


def test_loss_and_gradient_by_the_published_formula():
    """Zellinger et al.: Σ ‖c_k - c_k,S‖, whose gradient is 1/M Σ_k Δ_k/‖Δ_k‖ k ((x - μ)^(k-1) - c_(k-1))."""
    (x, slope), c, off = compressed(F), moments_of(F), moments_of(F) - moments_of(S)
    C, M = F.shape
    norms = np.sqrt((off**2).mean(axis=1) + FLOOR**2)  # but for the floor, ‖Δ‖ / √C
    loss, dr = discrepancy_loss(powers_forward(F), M, moments_of(S))
    assert loss == pytest.approx(SCALE * (norms - FLOOR).sum(), rel=1e-12)
    centred, before = x - c[0][:, None], [np.zeros(C), np.zeros(C), *c[1:]]
    pull = sum(
        k * (off[k - 1] / norms[k - 1] / C)[:, None] * (centred ** (k - 1) - (before[k - 1][:, None] if k > 1 else 0))
        for k in range(1, ORDERS + 1)
    )
    assert np.allclose(powers_backward(dr, F), SCALE / M * pull * slope, rtol=1e-9, atol=1e-18)


def test_weights_count_a_place_so_often():
    m = RNG.integers(0, 4, 50)
    assert np.allclose(powers_forward(F, m), powers_forward(np.repeat(F, m, axis=1)), rtol=1e-13)


@pytest.mark.parametrize("m", [None, RNG.uniform(0, 1, 50)], ids=["", "weights"])
def test_blocks_are_no_matter(monkeypatch, m):
    r, dr = powers_forward(F, m), RNG.standard_normal((ORDERS, 4))
    dF = powers_backward(dr, F, m)
    monkeypatch.setattr(blocks.blocks, "__kwdefaults__", {"size": 4 * 7})
    assert np.allclose(powers_forward(F, m), r, rtol=1e-14)
    assert (powers_backward(dr, F, m) == dF).all()


def test_what_raw_sums_cost_in_digits():
    """A mean of a hundred deviations, far worse than features have: the fifth moment keeps some digits."""
    x = 1 + 0.01 * RNG.standard_normal((3, 5000))
    found = central_moments(np.stack([(x**k).sum(axis=1) for k in range(1, ORDERS + 1)]), 5000)
    for k in range(2, ORDERS + 1):
        assert np.abs(found[k - 1] - moment(x, k, axis=1)).max() < 1e-13 * 2**k


def test_a_channel_that_is_the_same_everywhere():
    flat = np.repeat(RNG.uniform(0, 1300, (40, 1)), 300, axis=1).astype(np.float32)
    loss, dr = discrepancy_loss(powers_forward(flat), 300, moments_of(flat))
    assert abs(loss) < 1e-12
    assert np.isfinite(powers_backward(dr, flat)).all()


def test_single_precision_gradients_keep_their_digits():
    """Of large features, whose powers are large beside those of what they differ by."""
    large = 3000 + 2000 * RNG.uniform(0, 1, (4, 500))
    _, dr = discrepancy_loss(powers_forward(large), 500, moments_of(S))
    exact = powers_backward(dr, large)
    single = powers_backward(dr.astype(np.float32), large.astype(np.float32))
    assert np.abs(single - exact).max() < 1e-3 * np.abs(exact).max()
