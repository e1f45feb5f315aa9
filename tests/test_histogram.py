"""Distributions of channels and along directions: against sorted features, and the published gradients."""

import numpy as np
import pytest

from style.statistics import blocks
from style.statistics.histogram import (
    BINS,
    Distribution,
    Histogram,
    centres,
    cumulated,
    histogram_backward,
    histogram_forward,
    histogram_loss,
)
from style.statistics.sliced import Sliced, directions
from style.terms import Part

RNG = np.random.default_rng(0)
F, S = np.maximum(RNG.normal(20, 80, (4, 600)), 0), RNG.exponential(100, (4, 600))


def distribution(F):
    h = histogram_forward(F)
    return Distribution(h / F.shape[1])


def loss_of(F, S):
    return histogram_loss(histogram_forward(F), F.shape[1], distribution(S))


def matched(F, S):
    """R(F): each feature's place in the order is that of the style's which it is to become."""
    ranks = F.argsort(axis=1, kind="stable").argsort(axis=1)
    return np.take_along_axis(np.sort(S, axis=1), ranks, axis=1)


def part(F, m=None):
    return Part(F.reshape(1, len(F), 1, -1), None, m, matmul=np.matmul)


def test_counts_keep_number_and_mean():
    h = histogram_forward(F)
    assert np.allclose(h.sum(axis=1), F.shape[1], rtol=1e-14)
    assert np.allclose(h @ centres(np), F.sum(axis=1), rtol=1e-12)
    assert h.min() >= 0


def test_half_of_the_features_lie_in_no_corner():
    """0, where features behind a ReLU are, is half-way between two centres."""
    x = centres(np)
    assert x[BINS // 2] == pytest.approx(-x[BINS // 2 - 1])
    assert (np.diff(x) > 0).all()
    h = histogram_forward(np.zeros((1, 10)))
    assert h[0, BINS // 2 - 1 : BINS // 2 + 1] == pytest.approx([5, 5])


def test_the_distance_is_that_of_sorted_features():
    """Risser et al., Heitz et al.: mean (F - R(F))², to the width of a bin."""
    loss, _ = loss_of(F, S)
    assert loss == pytest.approx(((F - matched(F, S)) ** 2).mean(), rel=5e-3)


def test_the_gradient_is_the_way_to_the_matched_feature():
    """2 (F - R(F)) / (C M): R of the place in the order, which features in one bin share, to the width of a bin."""
    own = RNG.normal(200, 80, (4, 600))
    _, slopes = loss_of(own, S)
    found = own - histogram_backward(slopes, own) * own.size / 2
    width = 0.2 + 0.02 * abs(own)
    for c in range(4):
        order, style = np.sort(own[c]), np.sort(S[c])
        lowest = style[np.maximum(np.searchsorted(order, own[c] - width[c]) - 1, 0)]
        highest = style[np.minimum(np.searchsorted(order, own[c] + width[c]) + 1, 599)]
        assert (found[c] > 0.98 * lowest - width[c]).all()
        assert (found[c] < 1.02 * highest + width[c]).all()


def test_a_style_of_another_size():
    """Each feature of the style twice is the same style."""
    assert loss_of(F, np.repeat(S, 2, axis=1))[0] == pytest.approx(loss_of(F, S)[0], rel=1e-12)


def test_a_shift_costs_its_square():
    normal = RNG.normal(0, 300, (3, 4000))
    assert loss_of(normal + 200, normal)[0] == pytest.approx(200**2, rel=2e-3)


def test_at_the_style_itself_there_is_neither_loss_nor_slope():
    loss, slopes = loss_of(S, S)
    assert abs(loss) < 1e-9
    assert np.abs(histogram_backward(slopes, S)).max() * S.size < 1e-6
    for seed in range(5):  # and nothing is below it
        near = S + np.random.default_rng(seed).normal(0, 1, S.shape)
        assert loss_of(near, S)[0] > 0


def test_the_lowest_quantile_is_that_of_the_lowest_bin_with_features():
    """Not the first bin's, far below: a feature on a centre may find no share below it."""
    quantile, integral = distribution(S).at(np.array([[-1e-9, 0.0, 1e-12]] * 4))
    assert np.abs(quantile - S.min(axis=1)[:, None]).max() < 0.5
    assert np.abs(integral).max() < 1e-6


def test_quantiles_undo_shares():
    style = distribution(S)
    quantile, integral = style.at(style.below)
    full = style.shares > 0
    upper = np.broadcast_to(style.edges[1:], full.shape)
    assert np.allclose(quantile[full], upper[full], rtol=1e-9)
    assert np.allclose(integral, style.integral, rtol=1e-9)
    assert (cumulated(histogram_forward(S))[:, -1] == 1).all()


def test_a_quantile_s_integral_is_its_integral():
    style, t = distribution(S), np.linspace(0, 1, 200001)[None].repeat(4, axis=0)
    quantile, integral = style.at(t)
    steps = ((quantile[:, 1:] + quantile[:, :-1]) / 2 * np.diff(t)).sum(axis=1)
    assert np.allclose(steps, integral[:, -1], rtol=1e-4)


@pytest.mark.parametrize("m", [None, RNG.uniform(0, 1, 600)], ids=["", "weights"])
def test_blocks_are_no_matter(monkeypatch, m):
    def both():
        h = histogram_forward(F, m)
        return h, histogram_backward(RNG2.standard_normal((4, BINS - 1)), F, m)

    RNG2 = np.random.default_rng(1)
    h, dF = both()
    monkeypatch.setattr("style.statistics.histogram.blocks", lambda F, m, **size: blocks.blocks(F, m, size=4 * 7))
    RNG2 = np.random.default_rng(1)
    again, same = both()
    assert np.allclose(again, h, rtol=1e-12, atol=1e-12)
    assert (same == dF).all()


def test_weights_count_a_place_so_often():
    m = RNG.integers(0, 4, 600)
    assert np.allclose(histogram_forward(F, m), histogram_forward(np.repeat(F, m, axis=1)), rtol=1e-12, atol=1e-12)


def test_features_that_no_bin_was_made_for():
    """Beyond the last centre the last pair goes on; a NaN stays one."""
    far = np.array([[-1e6, 3.0, 1e6, 5e5]])
    loss, slopes = loss_of(far, far / 1e4)
    assert np.isfinite([loss, *histogram_backward(slopes, far)[0]]).all()
    assert histogram_backward(slopes, far)[0, 2] > 0 > histogram_backward(slopes, far)[0, 0]
    with np.errstate(invalid="ignore"):
        assert np.isnan(loss_of(np.array([[1.0, np.nan]]), S[:1])[0])


def test_single_precision_features_give_a_double_precision_loss():
    single, _ = loss_of(F.astype(np.float32), S)
    assert single.dtype == np.float64
    assert single == pytest.approx(loss_of(F, S)[0], rel=1e-4)


# --- along directions ------------------------------------------------------------------------------------------------


def test_directions_are_a_turn_and_always_the_same():
    V = directions(30)
    assert np.allclose(V @ V.T, np.eye(30), atol=1e-13)
    assert (directions(30) == V).all()
    assert not np.allclose(directions(31)[:30, :30], V)


def test_sliced_is_the_histogram_of_the_turned_features():
    V, sliced, plain = directions(4), Sliced(), Histogram()
    target, turned = sliced.target_of(sliced.gather(part(S))), plain.target_of(plain.gather(part(V @ S)))
    (value, dS), (same, dP) = sliced.loss(sliced.gather(part(F)), target), plain.loss(plain.gather(part(V @ F)), turned)
    assert value == pytest.approx(same, rel=1e-12)
    found, expected = sliced.spread(dS, part(F)), plain.spread(dP, part(V @ F))
    assert np.allclose(found[0, :, 0], V.T @ expected[0, :, 0], rtol=1e-12, atol=1e-15)


def test_the_sliced_distance_is_that_of_sorted_projections():
    V, sliced = directions(4), Sliced()
    value, _ = sliced.loss(sliced.gather(part(F)), sliced.target_of(sliced.gather(part(S))))
    assert value == pytest.approx(((V @ F - matched(V @ F, V @ S)) ** 2).mean(), rel=5e-3)


def test_it_sees_what_single_channels_do_not():
    """Channels that go together in the style, and do not here, each distributed alike."""
    together, apart = np.stack([S[0], S[0]]), np.stack([S[0], RNG.permutation(S[0])])
    assert loss_of(apart, together)[0] < 1e-9
    sliced = Sliced()
    value, _ = sliced.loss(sliced.gather(part(apart)), sliced.target_of(sliced.gather(part(together))))
    assert value > 100
