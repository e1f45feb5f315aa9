"""What every statistic that a style can be compared by must keep: tiles, regions, its own target, blends, deferral."""

import operator

import numpy as np
import pytest
from cases import STYLE_LAYERS, assert_same, make_case, make_net, noise, worst

from minivgg.backend import Device
from style import gradcheck
from style.faster.deferred import Deferred
from style.large.tiles import Tiled
from style.large.tiling import Tiling
from style.objective import Objective, aim
from style.passes import ALL, Whole
from style.statistics import STYLE_LOSSES, make_terms
from style.terms import Part, Region, merge

GRIDS = {
    "tiles": Tiling((), ((32, 48),)),
    "cut at pool3": Tiling(("pool3",), ((32, 32), (48, 64))),
    "cut twice": Tiling(("pool2", "pool4"), ((48, 32), (64, 64), (64, 96))),
}
LAYERS = dict(zip(STYLE_LAYERS, (1.0, 2.0, 3.0, 4.0, 5.0)))


def terms_of(name, **more):
    return make_terms(style=LAYERS, style_loss={name: 1.0}, **more)


def target_of(statistic, feat):
    return statistic.target_of(statistic.for_target.gather(Part(feat, ALL, matmul=operator.matmul)))


def soft_region(H, W):
    return Region(np.random.default_rng(3).uniform(0, 1, (H, W)))


def in_region(terms, region):
    return [t.confined(region) if t.source == "style" else t for t in terms]


@pytest.mark.parametrize("region", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_whole_is_tiled(name, grid, region):
    case = make_case(75, 90, terms=terms_of(name, content={"relu4_2": 1.0}))
    terms = in_region(case.terms, soft_region(75, 90)) if region else case.terms
    whole = Objective.of(case.net, terms, case.pictures).evaluate(case.image)
    tiled = Objective.of(case.net, terms, case.pictures, Tiled(case.net, GRIDS[grid])).evaluate(case.image)
    assert_same(tiled, whole, 1e-12)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_the_loss_at_its_own_target_is_0(name, monkeypatch):
    monkeypatch.setattr("style.statistics.nearest.PER_CHANNEL", 10**6)  # every place is among the style's samples
    net, (image,) = make_net(), noise(32, 48)
    whole = Objective.of(net, terms_of(name), {"style": image}).evaluate(image)
    other = Objective.of(net, terms_of(name), {"style": image}).evaluate(noise(32, 48, seed=5)[0])
    for term, value in whole.values.items():
        assert abs(value) <= 1e-9 * other.values[term], term
    assert np.abs(whole.gradient).max() <= 1e-6 * np.abs(other.gradient).max()


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_the_gradient_is_the_slope(name):
    case = make_case(48, 56, terms=terms_of(name))
    objective, rng = case.whole(), np.random.default_rng(4)
    result = objective.evaluate(case.image)
    u = np.sign(result.gradient) + rng.choice([-0.5, 0.5], case.image.shape)
    step = 1e-6
    slope = (objective.evaluate(case.image + step * u).loss - objective.evaluate(case.image - step * u).loss) / (
        2 * step
    )
    assert slope == pytest.approx((result.gradient * u).sum(), rel=1e-5)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_the_table_sees_a_gradient_that_is_off_by_a_thousandth(name, monkeypatch):
    class Off(STYLE_LOSSES[name]):
        def spread(self, dS, part):
            return super().spread(dS, part) * 1.001

    for statistic, fails in ((STYLE_LOSSES[name], False), (Off, True)):
        monkeypatch.setattr(gradcheck, "STYLE_LOSSES", {name: statistic})
        rows = [r for r in gradcheck.statistic_rows(Device("cpu")) if r.name.startswith(name)]
        methods = {r.method for r in rows} - {"against float64"}
        assert {r.method for r in rows if not r.passed} == (methods if fails else set())
        assert methods


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_a_region_of_ones_is_no_region(name):
    case = make_case(48, 56, terms=terms_of(name))
    everywhere = in_region(case.terms, Region(np.ones((48, 56))))
    confined = Objective.of(case.net, everywhere, case.pictures).evaluate(case.image)
    assert_same(confined, case.whole().evaluate(case.image), 1e-12)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_outside_a_region_nothing_counts(name):
    """Features outside may be anything: the loss does not see them, and they get no gradient."""
    rng, statistic = np.random.default_rng(0), STYLE_LOSSES[name]()
    m = np.repeat([1.0, 0.0], [20, 22])
    feat = rng.standard_normal((1, 5, 6, 7))
    other = feat.copy()
    other.reshape(5, 42)[:, 20:] = rng.uniform(100, 200, (5, 22))
    style = target_of(statistic, rng.standard_normal((1, 5, 4, 4)))
    parts = [Part(f, ALL, m, style, matmul=operator.matmul) for f in (feat, other)]
    (value, dS), (again, _) = (statistic.loss(statistic.gather(p), style) for p in parts)
    assert again == pytest.approx(value, rel=1e-12)
    assert not statistic.spread(dS, parts[0]).reshape(5, 42)[:, 20:].any()


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_sums_of_regions_that_make_up_the_whole_add_up(name):
    rng, statistic = np.random.default_rng(1), STYLE_LOSSES[name]()
    feat, m = rng.standard_normal((1, 4, 5, 6)), rng.uniform(0, 1, 30)
    style = target_of(statistic, rng.standard_normal((1, 4, 4, 4)))
    parts = (Part(feat, ALL, w, style, matmul=operator.matmul) for w in (m, 1 - m, None))
    first, second, whole = (statistic.gather(p) for p in parts)
    for a, b in zip(merge(merge(None, first), second), whole, strict=True):
        assert worst(np.asarray(a), np.asarray(b)) < 1e-13


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_a_blend_of_one_picture_with_itself_is_that_picture(name):
    net, (a, b) = make_net(), noise(40, 48, 2)
    alone, blended, other = (
        aim(terms_of(name), Whole(net), {"style": style}) for style in (a, [(0.3, a), (0.7, a)], [(0.3, a), (0.7, b)])
    )
    values = [Objective(net, terms).evaluate(b).loss for terms in (alone, blended, other)]
    assert values[1] == pytest.approx(values[0], rel=1e-10)
    assert values[2] < 0.9 * values[0]  # nearer to b, which is most of it


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_its_terms_can_be_deferred(name):
    case = make_case(48, 56, terms=terms_of(name, content={"relu4_2": 1.0}))
    exact, deferred = case.whole(), Deferred(case.whole(), lag=40)
    assert_same(deferred.evaluate(case.image), exact.evaluate(case.image), 1e-9)


def test_several_at_once_add_up():
    case = make_case(48, 56)
    both = make_terms(style=LAYERS, style_loss=dict.fromkeys(STYLE_LOSSES, 0.5))
    values = Objective.of(case.net, both, case.pictures).evaluate(case.image).values
    for name in STYLE_LOSSES:
        alone = Objective.of(case.net, terms_of(name), case.pictures).evaluate(case.image).values
        for term, value in alone.items():
            assert values[term] == pytest.approx(0.5 * value, rel=1e-12)
