"""Whole against tiled: the same loss and gradient, for any grid."""

from dataclasses import replace

import numpy as np
import pytest
from cases import TERMS, Case, assert_same, blob, make_case, make_net, worst

from style import losses, objective, passes
from style.large import tiles, tiling
from style.large.tiles import Tiled
from style.large.tiling import Tiling
from style.objective import Evaluation
from style.passes import Whole
from style.statistics import make_terms
from style.terms import Region, layers

WHOLE = (10**6, 10**6)


GRIDS = {
    "one tile": Tiling((), (WHOLE,)),
    "no cut": Tiling((), ((32, 48),)),
    "cut, second whole": Tiling(("pool3",), ((32, 16), WHOLE)),
    "cut, both tiled": Tiling(("pool3",), ((40, 24), (32, 64))),
    "two cuts": Tiling(("pool2", "pool3"), ((16, 40), (32, 32), (64, 48))),
    "cut at a style layer": Tiling(("relu3_1",), ((32, 32), (64, 48))),
    "cuts below the terms": Tiling(("pool1", "pool5"), ((32, 32), (64, 48), (64, 64))),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_tiles_equal_the_whole(grid, pooling):
    case = make_case(97, 131, pooling=pooling)
    expected = case.whole().evaluate(case.image)
    assert_same(case.tiled(GRIDS[grid]).evaluate(case.image), expected, 1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_tiles_equal_the_whole_in_a_soft_region(grid):
    case = make_case(97, 131)
    region = Region(blob(97, 131))
    case = replace(case, terms=[t if t.layer is None else replace(t, region=region) for t in case.terms])
    expected = case.whole().evaluate(case.image)
    assert_same(case.tiled(GRIDS[grid]).evaluate(case.image), expected, 1e-12)
    assert expected.loss != pytest.approx(make_case(97, 131).whole().evaluate(case.image).loss, rel=1e-3)


@pytest.mark.parametrize("size", [(97, 131), (64, 200), (95, 33), (16, 47), (113, 16), (79, 81)])
@pytest.mark.parametrize("core", [(16, 16), (24, 40), (1, 1000)])
def test_odd_sizes_and_grids(size, core):
    case = make_case(*size)
    expected = case.whole().evaluate(case.image)
    for grid in (Tiling((), (core,)), Tiling(("pool3",), (core, core))):
        assert_same(case.tiled(grid).evaluate(case.image), expected, 1e-12)


@pytest.mark.parametrize("kernels", [pytest.param("textbook", marks=pytest.mark.slow), "fast"])
def test_float32_and_both_kernels(kernels):
    case = make_case(97, 131, np.float32, kernels=kernels, widths=(16, 16, 24, 24, 32))
    expected = case.whole().evaluate(case.image)
    for grid in GRIDS.values():
        found = case.tiled(grid).evaluate(case.image)
        assert_same(found, expected, 1e-5)
        assert found.gradient.dtype == np.float32


@pytest.mark.parametrize("beta", [1.0, 1.25, 2.0, 2.5])
@pytest.mark.parametrize("rows", [1, 2, 5, 23])
def test_tv_in_strips(beta, rows, monkeypatch):
    image = np.random.default_rng(0).standard_normal((1, 3, 23, 17))
    case = Case(None, make_terms(tv=0.7, tv_beta=beta), None, None, image)
    value, gradient = losses.tv_loss(image, beta=beta)
    expected = Evaluation({"tv": 0.7 * value}, 0.7 * gradient)
    monkeypatch.setattr(passes, "STRIP", rows * 3 * 17)
    for found in (case.whole(), case.tiled(GRIDS["no cut"])):
        assert_same(found.evaluate(image), expected, 1e-12)


@pytest.mark.parametrize(
    "terms",
    [
        make_terms(content={"relu4_2": 1.0}),
        make_terms(style={"relu1_1": 1.0, "relu3_1": 2.0}),
        make_terms(style={"relu1_1": 1.0}, content={"relu4_2": 2.0}),
        make_terms(style={"pool3": 1.0, "conv4_1": 1.0}, content={"pool3": 2.0}),
        make_terms(style={"relu4_1": 1.0}, content={"relu4_1": 3.0}),
    ],
    ids=lambda terms: "+".join(t.name for t in terms),
)
@pytest.mark.parametrize("grid", ["no cut", "cut, both tiled", "two cuts"])
def test_any_terms(terms, grid):
    case = make_case(75, 90, terms=terms)
    expected = case.whole().evaluate(case.image)
    assert_same(case.tiled(GRIDS[grid]).evaluate(case.image), expected, 1e-12)


def test_evaluation_changes_nothing_and_repeats():
    case = make_case(64, 72)
    before = case.image.copy()
    tiled = case.tiled(GRIDS["cut, both tiled"])
    first, second = tiled.evaluate(case.image), tiled.evaluate(case.image)
    assert np.array_equal(case.image, before)
    assert first.loss == second.loss
    assert np.array_equal(first.gradient, second.gradient)


@pytest.mark.parametrize("grid", GRIDS)
def test_targets_in_tiles(grid):
    net = make_net()
    image = np.random.default_rng(3).standard_normal((1, 3, 97, 131)) * 60
    pictures = {"content": image, "style": image}
    expected, found = (objective.aim(TERMS, p, pictures) for p in (Whole(net), Tiled(net, GRIDS[grid])))
    assert [t.name for t in found] == [t.name for t in expected] == [t.name for t in TERMS]
    for one, other in zip(found, expected):
        if one.source is not None:
            assert worst(one.target, other.target) <= 1e-12, one.name
    (alone,) = make_terms(tv=1.0)  # what has no target asks for no pass
    assert objective.aim([alone], Tiled(net, GRIDS[grid]), {}) == [alone]


def test_a_smaller_halo_is_noticed(monkeypatch):
    """The halo is not larger than it must be: with 8 pixels less (one unit of the rounding) the digits change."""
    case = make_case(80, 80)
    grid = Tiling(("pool3",), ((40, 40), WHOLE))
    expected = case.whole().evaluate(case.image)
    assert_same(case.tiled(grid).evaluate(case.image), expected, 1e-12)
    exact = tiling.halo
    monkeypatch.setattr(tiling, "halo", lambda table, base: max(0, exact(table, base) - 8))
    assert worst(case.tiled(grid).evaluate(case.image).gradient, expected.gradient) > 1e-6


def test_halo_is_the_receptive_field():
    """A core place of the segment's end depends on pixels `halo` away, and on none farther."""
    net = make_net()
    table = net.names[: net.names.index("pool3") + 1]
    assert tiling.halo(table, 0) == 1 + 1 + 2 + 2 + 4 * 4
    x = np.random.default_rng(0).standard_normal((1, 3, 96, 96)) * 60
    feats, cache = net.forward(x, ["relu3_4"])
    seed = np.zeros_like(feats["relu3_4"])
    seed[:, :, 12, 12] = 1.0  # pixels 48 … 51
    rows = np.flatnonzero(np.abs(net.backward({"relu3_4": seed}, cache)).sum(axis=(0, 1, 3)))
    assert rows[0] >= 48 - 22
    assert rows[-1] <= 51 + 22
    assert rows[-1] - rows[0] > 30


@pytest.mark.parametrize("size, core, align", [(97, 32, 8), (131, 24, 16), (7, 8, 8), (64, 64, 8), (65, 8, 8)])
@pytest.mark.parametrize("offset", [0, 4])
def test_edges_divide_the_axis(size, core, align, offset):
    e = tiling.edges(size, core, align, offset, 4)
    assert e[0] == 0
    assert e[-1] == size
    assert sorted(set(e)) == e
    assert all(v % align == offset for v in e[1:-1])
    assert len(e) == 2 or e[-1] - e[-2] >= 4


@pytest.mark.parametrize("grid", GRIDS)
def test_regions_keep_the_grid_of_windows_and_of_winograd(grid):
    net = make_net()
    for segment in tiling.segments(net, layers(TERMS), 97, 131, GRIDS[grid]):
        base = tiling.level(segment.start)
        first, last = (net.names.index(n) if n else -1 for n in (segment.start, segment.end or "relu5_1"))
        depth = max(tiling.level(n) - base for n in net.names[first + 1 : last + 1] if n.startswith("conv"))
        for tile in segment.tiles:
            assert tile.region[0] % (4 << depth) == 0
            assert tile.region[2] % (4 << depth) == 0


def test_errors_say_what_was_found():
    case = make_case(64, 64)
    tiled = case.tiled(GRIDS["no cut"])
    with pytest.raises(
        ValueError, match=r"content relu2_2: the picture gives \(24, 32\) places, the target has \(32, 32\)"
    ):
        tiled.evaluate(np.zeros((1, 3, 48, 64)))
    with pytest.raises(ValueError, match="1 cuts make 2 segments, found 1 cores"):
        Tiling(("pool3",), (WHOLE,))


@pytest.mark.parametrize("grid", ["cut, both tiled"])
def test_a_loss_that_ends_at_a_cut(grid):
    case = make_case(75, 90, terms=make_terms(style={"pool3": 1.0}, content={"pool3": 2.0}))
    expected = case.whole().evaluate(case.image)
    assert_same(case.tiled(GRIDS[grid]).evaluate(case.image), expected, 1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_cores_are_as_large_as_asked_for(grid):
    net = make_net()
    for segment, core in zip(tiling.segments(net, layers(TERMS), 400, 560, GRIDS[grid]), GRIDS[grid].cores):
        base = tiling.level(segment.start)
        windows = 1 << max(segment.depths.values())
        end = tiling.level(segment.end or "relu5_1")
        align = 4 << max(tiling.level(n) - base for n in net.names if n.startswith("conv") and tiling.level(n) <= end)
        for tile in segment.tiles:
            t, b, l, r = tile.core
            assert b - t <= max(core[0] >> base, windows) + align
            assert r - l <= max(core[1] >> base, windows) + align
            T, B, L, R = tile.region
            assert t - T <= segment.halo and B - b <= segment.halo and l - L <= segment.halo and R - r <= segment.halo


def test_gram_sums_in_bands_of_one_row(monkeypatch):
    monkeypatch.setattr(tiles, "BAND", 1)
    case = make_case(64, 72)
    expected = case.whole().evaluate(case.image)
    assert_same(case.tiled(GRIDS["no cut"]).evaluate(case.image), expected, 1e-12)


def test_each_tile_goes_forward_twice_but_the_last(monkeypatch):
    case = make_case(97, 131)
    grid, calls = GRIDS["cut, both tiled"], []
    tiled, net, forward = case.tiled(grid), case.net, case.net.forward
    monkeypatch.setattr(net, "forward", lambda *a, **k: (calls.append(k.get("start")), forward(*a, **k))[1])
    parts = tiling.segments(net, layers(TERMS), 97, 131, grid)
    tiled.evaluate(case.image)
    assert len(calls) == 2 * sum(len(p.tiles) for p in parts) - 1
