"""Nearest neighbours: against loops, which of a style's features are looked at, and that the loss is one function."""

import operator

import cases
import numpy as np
import pytest

from style.statistics import nearest
from style.statistics.nearest import Nearest, Neighbours, Samples, nearest_backward, nearest_forward, places
from style.terms import Part, Region, Term, merge

RNG = np.random.default_rng(0)
F, S = np.maximum(RNG.normal(20, 80, (6, 50)), 0), RNG.exponential(100, (6, 24))
STYLE = Neighbours(S)


def table(feat, weights=None):
    part = Part(feat, (slice(None),) * 4, weights=weights, matmul=operator.matmul)
    return Samples().gather(part)[0]


def test_it_is_its_definition():
    """The cosine of features less the style's mean, with one number more that is the same for all."""
    centre = S.mean(axis=1)
    length = nearest.SPREAD * np.sqrt(((S.T - centre) ** 2).sum() / S.shape[1])
    f, s = ([np.append(v - centre, length) for v in each.T] for each in (F, S))
    expected = [min(1 - v @ w / np.linalg.norm(v) / np.linalg.norm(w) for w in s) for v in f]
    assert nearest_forward(F, STYLE) == pytest.approx(sum(expected), rel=1e-12)
    m = RNG.uniform(0, 1, 50)
    assert nearest_forward(F, STYLE, m) == pytest.approx(m @ expected, rel=1e-12)


def test_each_place_moves_to_the_feature_that_is_nearest_to_it():
    away = S.T - S.mean(axis=1)
    which = RNG.integers(0, 24, 10)
    near = (S[:, which] + RNG.normal(0, 1e-3, (6, 10))).copy()
    moved = near - 1e-3 * nearest_backward(near, STYLE) * (away[which] ** 2).sum(axis=1)
    D = [nearest_forward(a, STYLE) for a in (near, moved)]
    assert D[1] < 0.999 * D[0]
    exact = nearest_forward(S[:, which], STYLE)
    assert exact < 1e-28
    assert not np.abs(nearest_backward(S[:, which], STYLE)).max() > 1e-15


def test_it_is_continuous_where_the_nearest_changes():
    """Along a line the value has bends and no jumps: the largest step shrinks with the steps' length."""
    a, b = F[:, :1], F[:, 1:2]
    steps = []
    for n in (100, 1000):
        t = np.linspace(0, 1, n + 1)
        D = np.array([nearest_forward(a + u * (b - a), STYLE) for u in t])
        steps.append(np.abs(np.diff(D)).max())
    assert steps[1] < 0.2 * steps[0]


def test_a_feature_three_times_as_long_is_another():
    """Which a cosine alone would not see."""
    centre = S.mean(axis=1, keepdims=True)
    longer = centre + 3 * (S - centre)
    assert nearest_forward(longer, STYLE) > 1e-3


def test_an_even_style_draws_every_feature_to_its_own():
    even = Neighbours(np.full((6, 9), 40.0))
    f = np.full((6, 1), 40.0)
    assert nearest_forward(f, even) == 0
    assert not nearest_backward(f, even).any()
    assert (nearest_backward(f + 5, even) > 0).all()
    with np.errstate(invalid="ignore"):
        assert np.isnan(nearest_forward(f * np.nan, even))


@pytest.mark.parametrize("size", [1, 100, 10**6])
def test_blocks_are_no_matter(size, monkeypatch):
    value, gradient = nearest_forward(F, STYLE), nearest_backward(F, STYLE)
    monkeypatch.setattr(nearest, "BLOCK", size)
    assert nearest_forward(F, STYLE) == pytest.approx(value, rel=1e-13)
    assert np.allclose(nearest_backward(F, STYLE), gradient, rtol=1e-12, atol=1e-18)


def test_similarities_are_never_there_whole():
    many, style = np.ones((8, 8000), np.float32), Neighbours(np.eye(8, 1000, dtype=np.float32))
    style.units(np.dtype(np.float32))
    assert cases.peak_of(lambda: nearest_forward(many, style)) < 3 * 4 * nearest.BLOCK < 4 * 8000 * 1000


def test_single_precision():
    single = nearest_backward(F.astype(np.float32), STYLE)
    assert single.dtype == np.float32
    assert np.allclose(single, nearest_backward(F, STYLE), rtol=1e-3, atol=1e-7)
    value = nearest_forward(F.astype(np.float32), STYLE)
    assert value.dtype == np.float64
    assert value == pytest.approx(nearest_forward(F, STYLE), rel=1e-5)


# --- which of the style's features -----------------------------------------------------------------------------------


def test_samples_are_spread_and_always_the_same():
    found = places((60, 80), None, 48)
    assert (np.diff(found) > 0).all()
    assert (found // 100 == np.arange(48)).all()  # one of every hundred
    assert (places((60, 80), None, 48) == found).all()
    assert len(np.unique(found % 100)) > 30  # not the same place of each
    assert places((3, 4), None, 48).tolist() == list(range(12))


def test_samples_are_of_what_counts_as_paint():
    """Where the mask has half of a place or more, or, where it has that nowhere, the most that it has."""
    weights = np.zeros((10, 12))
    weights[2:5, 3:9] = 0.5
    weights[0] = 0.4
    found = places(weights.shape, weights, 100)
    assert found.tolist() == np.flatnonzero(weights.ravel() == 0.5).tolist()
    assert places(weights.shape, 0.2 * weights, 100).tolist() == found.tolist()
    assert set(places(weights.shape, weights, 5)) < set(found)


def test_samples_are_the_features_at_their_places_whatever_the_parts():
    feat = RNG.standard_normal((1, 3, 7, 9))
    whole = table(feat)
    assert whole.shape == (3, 12)
    assert (whole == feat.reshape(3, 63)[:, places((7, 9), None, 12)]).all()
    term, sums = Term("n", Samples(), "relu1_1"), None
    for rows in (slice(0, 3), slice(3, 7)):
        for columns in (slice(0, 8), slice(8, 9)):
            at = (slice(None), slice(None), rows, columns)
            part = term.part(feat, at, at, size=(7, 9), matmul=operator.matmul)
            sums = merge(sums, term.statistic.gather(part))
    assert (sums[0] == whole).all()


def test_samples_in_a_region_know_all_of_it():
    """A part takes its share of the region's samples, not of its own."""
    pixels = np.zeros((8, 8))
    pixels[:, 5:] = 1
    feat, term = RNG.standard_normal((1, 2, 8, 8)), Term("n", Samples(), "relu1_1", region=Region(pixels))
    at = (slice(None), slice(None), slice(0, 4), slice(0, 8))
    part = term.part(feat, at, at, size=(8, 8), matmul=operator.matmul)
    found = Samples().gather(part)[0]
    assert found.shape == (2, 8)
    assert found[:, :4].all()
    assert not found[:, 4:].any()
    assert np.isin(found[0, :4], feat[0, 0, :4, 5:]).all()


def test_a_blend_has_as_many_samples_of_each_as_its_share():
    red, blue = np.zeros((2, 100)), np.ones((2, 70))
    for share in (0.1, 0.5, 0.7):
        mixed = Nearest().blend([(share, Neighbours(red)), (1 - share, Neighbours(blue))])
        assert mixed.features.shape == (2, 100)
        assert mixed.features[0].mean() == pytest.approx(1 - share, abs=0.02)


def test_with_some_of_the_features_a_style_is_still_nearest_to_itself():
    own, other = RNG.exponential(50, (1, 5, 20, 30)), RNG.normal(60, 30, (1, 5, 20, 30))
    style = Neighbours(table(own))
    assert 0 < nearest_forward(own.reshape(5, -1), style) < 0.8 * nearest_forward(other.reshape(5, -1), style)
