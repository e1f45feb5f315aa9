"""Circular padding: the network and the losses on a torus, whole and in tiles, on every backend."""

import itertools

import numpy as np
import pytest
from cases import STYLE_LAYERS, TERMS, Case, assert_same, blob, blocks, make_network, make_params, noise, worst
from conftest import assert_close

import style
import weights
from minivgg import VGG, gradcheck, naive
from minivgg.footprint import Walk
from minivgg.kernels import Kernels
from minivgg.torus import add_window, circular, pieces, window
from style.faster.deferred import Deferred
from style.large import tiling
from style.large.tiling import Tiling
from style.objective import Objective
from style.statistics import make_terms
from style.terms import Region
from style.terms import layers as layers_of

WHOLE = (10**6, 10**6)


def torus(params=None, *, dtype=np.float64, padding="circular", **options):
    return VGG(make_params(dtype) if params is None else params, padding=padding, **options)


def case(H, W, terms=TERMS, **options):
    """A cases.Case on a torus."""
    content, image = noise(H, W, 2)
    (style,) = noise(48, 64, 1, seed=2)
    return Case(torus(**options), terms, content, style, image)


# --- windows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows, cols", [((1, 4), (0, 7)), ((-2, 9), (-1, 3)), ((-9, 13), (5, 30)), ((6, 8), (-14, -7))])
def test_a_window_is_the_picture_by_indices_that_go_round(backend, rows, cols):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7))
    found = window(backend.array(x), rows, cols)
    expected = x[:, :, np.arange(*rows) % 5][:, :, :, np.arange(*cols) % 7]
    assert np.array_equal(backend.host(found), expected)


@pytest.mark.parametrize("rows, cols", [((1, 4), (0, 7)), ((-2, 9), (-1, 3)), ((-9, 13), (5, 30))])
def test_add_window_is_its_adjoint(backend, rows, cols):
    rng = np.random.default_rng(1)
    x = backend.array(rng.standard_normal((2, 3, 5, 7)))
    y = backend.array(rng.standard_normal((2, 3, rows[1] - rows[0], cols[1] - cols[0])))
    back = x * 0
    add_window(back, y, rows, cols)
    seen = gradcheck.inner(window(x, rows, cols), y)
    assert gradcheck.inner(x, back) == pytest.approx(seen, rel=1e-13, abs=1e-12)
    add_window(back, y, rows, cols)  # it adds
    assert gradcheck.inner(x, back) == pytest.approx(2 * seen, rel=1e-13, abs=1e-12)


def test_pieces_divide_what_they_cover():
    for start, stop in ((-3, 2), (0, 5), (4, 17), (-12, -4)):
        found = list(pieces(start, stop, 5))
        assert [w.start for _, w in found] == [0, *(w.stop for _, w in found)][:-1]
        assert found[-1][1].stop == stop - start
        assert all((start + w.start) % 5 == a.start and a.stop <= 5 for a, w in found)


# --- the pairs --------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(backend, kernels):
    return circular(VGG(params_on(backend, 4), kernels=kernels).kernels).pairs


def params_on(backend, widths, **options):
    return {
        n: tuple(map(backend.array, p)) for n, p in make_params(widths=(widths,) * 5, last="conv5_1", **options).items()
    }


@pytest.mark.parametrize("shape, F", [((2, 3, 6, 4), 4), ((1, 2, 1, 5), 3), ((1, 16, 6, 5), 17)])
def test_convolution_is_the_definition_with_indices_that_go_round(backend, pairs, rng, shape, F):
    x, w, b = (rng.standard_normal(s) for s in (shape, (F, shape[1], 3, 3), (F,)))
    out, _ = pairs.conv2d_forward(*map(backend.array, (x, w, b)))
    assert_close(out, naive.conv2d(x, w, b, pad=1, padding="circular"), 1e-12)
    assert np.abs(backend.host(out) - naive.conv2d(x, w, b, pad=1)).max() > 0.1


@pytest.mark.parametrize("shape, F", [((2, 3, 6, 4), 4), ((1, 2, 1, 5), 3), ((1, 16, 6, 5), 17)])
def test_its_backward_is_the_adjoint(backend, pairs, rng, shape, F):
    x, w, b = (backend.array(rng.standard_normal(s)) for s in (shape, (F, shape[1], 3, 3), (F,)))
    out, cache = pairs.conv2d_forward(x, w, b)
    dout = backend.array(rng.standard_normal(out.shape))
    grads = pairs.conv2d_backward(dout, cache)
    for value, grad in zip((x, w, b), grads, strict=True):  # out is affine in each
        part = out - pairs.conv2d_forward(*(v * 0 if v is value else v for v in (x, w, b)))[0]
        assert gradcheck.inner(part, dout) == pytest.approx(gradcheck.inner(value, grad), rel=1e-12)


def test_odd_sizes_are_refused_where_they_are_pooled():
    net = torus()
    for size in ((15, 16), (16, 24)):  # 24 is odd at pool4
        with pytest.raises(ValueError, match="pooling with circular padding: expected even sizes"):
            net.forward(noise(*size)[0], "relu5_1")
    assert net.forward(noise(16, 24)[0], "relu4_1")[0]["relu4_1"].shape[2:] == (2, 3)
    with pytest.raises(ValueError, match="padding 'wrap': use zeros or circular"):
        torus(padding="wrap")


# --- the network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_the_network_is_the_definitions_with_indices_that_go_round(backend, kernels, pooling):
    params = make_params(widths=(2, 3, 2, 3, 4), last="conv5_1")
    (x,) = noise(16, 32)
    net = VGG({n: tuple(map(backend.array, p)) for n, p in params.items()}, padding="circular", pooling=pooling)
    found, _ = net.forward(backend.array(x), (*STYLE_LAYERS, "conv4_2"))
    a, expected = x, {}
    for name in net.names:
        if name.startswith("conv"):
            a = naive.conv2d(a, *params[name], pad=1, padding="circular")
        else:
            a = naive.relu(a) if name.startswith("relu") else getattr(naive, f"{pooling}pool2d")(a)
        expected[name] = a
    for name, feat in found.items():
        assert_close(feat, expected[name], 1e-12)


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_fast_kernels_agree_with_the_textbook(pooling):
    params = make_params(widths=(16, 17, 24, 20, 18))
    (x,) = noise(32, 48)
    names = ("relu1_1", "relu2_2", "conv3_2", "pool3", "relu5_1")
    results = []
    for kernels in ("textbook", "fast"):
        net = torus(params, pooling=pooling, kernels=kernels)
        feats, cache = net.forward(x, names)
        rng = np.random.default_rng(3)
        dx = net.backward({n: rng.standard_normal(f.shape) for n, f in feats.items()}, cache)
        results.append([*(np.array(f) for f in feats.values()), np.array(dx)])
    for expected, found in zip(*results, strict=True):
        assert worst(found, expected) <= 1e-12


def test_gradients_by_the_filters(backend, kernels):
    """By one direction of every filter, against the loss itself."""
    params = make_params(widths=(3, 3, 4, 4, 4), last="conv3_1")
    rng = np.random.default_rng(4)
    steps = {n: tuple(rng.standard_normal(a.shape) for a in p) for n, p in params.items()}
    (x,) = noise(16, 24)
    x = backend.array(x)

    def net(t):
        moved = {n: tuple(backend.array(a + t * s) for a, s in zip(p, steps[n])) for n, p in params.items()}
        return VGG(moved, padding="circular", pooling="avg", kernels=kernels)

    feats, cache = net(0).forward(x, "relu3_1", param_grads=True)
    dout = backend.array(rng.standard_normal(feats["relu3_1"].shape))
    _, grads = net(0).backward_params({"relu3_1": dout}, cache)
    along = sum(gradcheck.inner(backend.array(s), g) for n in params for s, g in zip(steps[n], grads[n]))
    up, down = (gradcheck.inner(net(t).forward(x, "relu3_1")[0]["relu3_1"], dout) for t in (1e-6, -1e-6))
    assert (up - down) / 2e-6 == pytest.approx(along, rel=1e-6)


# --- the objective ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 2.5])
@pytest.mark.parametrize("strip", [1, 1000])
def test_total_variation_goes_round(beta, strip, monkeypatch):
    monkeypatch.setattr("style.passes.STRIP", strip * 3 * 16)
    found = case(32, 16, make_terms(tv=1.0, tv_beta=beta))
    x = found.image
    dx, dy = np.roll(x, -1, axis=3) - x, np.roll(x, -1, axis=2) - x
    apart = beta in (1.0, 2.0)
    by_place = np.abs(dx) ** beta + np.abs(dy) ** beta if apart else (dx**2 + dy**2) ** (beta / 2)
    evaluation = found.whole().evaluate(x)
    assert evaluation.loss == pytest.approx(by_place.mean(), rel=1e-12)
    step = 1e-4 * evaluation.gradient / np.abs(evaluation.gradient).max()
    up, down = (found.whole().evaluate(x + s).loss for s in (step, -step))
    assert up - down == pytest.approx(2 * (evaluation.gradient * step).sum(), rel=1e-7)


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_a_picture_that_is_rolled_has_the_same_loss(pooling):
    here = case(32, 48, make_terms(style=dict.fromkeys(STYLE_LAYERS, 1.0), tv=1e-2), pooling=pooling)
    expected = here.whole().evaluate(here.image)
    for shift in ((16, 0), (16, 32)):
        found = here.whole().evaluate(np.roll(here.image, shift, axis=(2, 3)))
        assert found.loss == pytest.approx(expected.loss, rel=1e-12)
        assert worst(np.roll(found.gradient, [-s for s in shift], axis=(2, 3)), expected.gradient) <= 1e-12
    # by less than a window of the deepest pooling it is another picture to the network, and with zeros at its edges
    assert here.whole().evaluate(np.roll(here.image, 8, axis=2)).loss != pytest.approx(expected.loss, rel=1e-6)
    zeros = Case(torus(padding="zeros", pooling=pooling), here.terms, here.content, here.style, here.image).whole()
    rolled = zeros.evaluate(np.roll(here.image, (16, 32), axis=(2, 3)))
    assert rolled.loss != pytest.approx(zeros.evaluate(here.image).loss, rel=1e-6)


def test_a_texture_and_two_of_it_side_by_side_have_the_same_loss():
    terms = make_terms(style=dict.fromkeys(STYLE_LAYERS, 1.0), tv=1e-2)
    one = case(32, 48, terms)
    two = Case(one.net, terms, None, one.style, np.tile(one.image, (1, 1, 2, 2)))
    assert two.whole().evaluate(two.image).loss == pytest.approx(one.whole().evaluate(one.image).loss, rel=1e-12)


def test_the_loss_is_zero_at_its_own_target():
    here = case(32, 48, [t for t in TERMS if t.source])
    own = Objective.of(here.net, here.terms, {"content": here.image, "style": np.roll(here.image, 16, axis=3)})
    assert own.evaluate(here.image).loss == pytest.approx(0, abs=1e-18)


@pytest.mark.parametrize("beta", [2.0, 2.5])
def test_the_gradient_of_the_whole_objective(beta):
    terms = make_terms(content={"relu4_2": 1.0}, style=dict.fromkeys(STYLE_LAYERS, 1.0), tv=0.1, tv_beta=beta)
    here = case(32, 16, terms, pooling="avg")
    whole = here.whole()
    gradient = whole.evaluate(here.image).gradient
    picked = np.random.default_rng(7).choice(here.image.size, 8, replace=False)
    slopes = gradcheck.complex_step(lambda x: whole.evaluate(x).loss, here.image, entries=picked)
    deviation = gradcheck.deviation("dx", gradient, gradcheck.with_entries(gradient, slopes, picked))
    assert deviation.error <= gradcheck.BOUND_COMPLEX


GRIDS = {
    "one tile": Tiling((), (WHOLE,)),
    "rows cut": Tiling((), ((32, 1000),)),
    "no cut": Tiling((), ((32, 48),)),
    "two cuts": Tiling(("pool2", "relu3_1"), ((32, 40), (64, 32), (64, 48))),
}


@pytest.mark.parametrize("pooling, grid", [*zip(itertools.cycle(["max", "avg"]), GRIDS)])
def test_tiles_equal_the_whole(pooling, grid):
    here = case(64, 96, pooling=pooling)
    assert_same(here.tiled(GRIDS[grid]).evaluate(here.image), here.whole().evaluate(here.image), 1e-12)


def test_style_pictures_are_mirrored_around_and_counted_within(tmp_path):
    """Their targets are those of the places within a picture that goes on, mirrored, however the network pads."""
    weights.save_compact(make_network(), tmp_path / "narrow.npz")
    scene, strokes = blocks(((6, 8), (5, 7)))
    strokes = strokes[:37, :51]  # of any size
    options = {
        "weights": str(tmp_path / "narrow.npz"),
        "size": 64,
        "style_size": 51,
        "device": "cpu",
        "wrap": True,
        "lag": 1,
    }
    job = style.Job(scene, strokes, style.settings_from(content_layers="none", init="noise", **options))
    stage = job.stages[0]
    ((_, x, region),) = job.styles.inputs(stage)["style"]
    assert x.shape[2:] == job.styles.computed((37, 51)) and all(n % 16 == 0 for n in x.shape[2:])
    targets = {t.layer: t.target for t in job.objective(stage).terms}
    planar = VGG(make_network().params, pooling="avg")
    far = job.colours.to_input(np.pad(strokes, ((160, 160), (160, 160), (0, 0)), mode="symmetric"))
    feats, _ = planar.forward(far, STYLE_LAYERS)
    for level, (name, feat) in enumerate(feats.items()):
        assert float(region.weights(name).sum()) == pytest.approx(37 * 51 / 4**level, rel=1e-6)
        if level < 2:  # of 37 and 51, the deeper ones have parts of places
            continue
        first, h, w = 160 >> level, -(-37 // 2**level), -(-51 // 2**level)
        m = np.pad(np.ones((37, 51)), ((0, h * 2**level - 37), (0, w * 2**level - 51)))
        m = m.reshape(h, 2**level, w, 2**level).mean(axis=(1, 3)).reshape(-1)
        F = feat[0, :, first : first + h, first : first + w].reshape(feat.shape[1], -1).astype(np.float64)
        assert_close(targets[name], (F * m) @ F.T / m.sum(), 1e-4)


def test_a_sample_without_a_mask_counts_to_its_edges_whatever_the_guidance(tmp_path):
    """Its surroundings are no paint, but nothing that a mask would keep away from it either."""
    weights.save_compact(make_network(), tmp_path / "narrow.npz")
    top = np.repeat(np.linspace(2, -1, 64).clip(0, 1)[:, None], 64, axis=1)
    options = {"weights": str(tmp_path / "narrow.npz"), "size": 64, "style_size": 40, "device": "cpu", "wrap": True}
    options |= {"mask": [top], "guidance": "all", "style_layers": {"relu3_1": 1.0}}
    job = style.Job(*blocks([(8, 8), (4, 5)]), style.settings_from(**options))
    for guidance in ("all", "inside"):
        job.styles.settings = style.settings_from(**options | {"guidance": guidance})
        ((_, _, region),) = job.styles.inputs(job.stages[0])["style"]
        assert float(region.weights("relu3_1").sum()) == pytest.approx(32 * 40 / 16)


def test_regions_of_tiles_go_round():
    parts = tiling.segments(torus(), layers_of(TERMS), 96, 128, GRIDS["rows cut"])
    assert len(parts[0].tiles) == 3
    assert parts[0].tiles[0].region[0] < 0 and parts[0].tiles[-1].region[1] > 96
    assert all(tile.region[2:] == (0, 128) for tile in parts[0].tiles)  # an axis that is not cut needs no halo


def test_a_halo_that_is_smaller_is_noticed(monkeypatch):
    monkeypatch.setattr(tiling, "halo", lambda table, start: 48)
    here = case(96, 32)
    found, expected = here.tiled(GRIDS["rows cut"]).evaluate(here.image), here.whole().evaluate(here.image)
    assert worst(found.gradient, expected.gradient) > 1e-6


def test_deferred_terms_are_exact_where_they_say_so():
    here = case(32, 48, pooling="avg")
    deferred = Deferred(here.whole(), lag=10)
    assert_same(deferred.exact(here.image), here.whole().evaluate(here.image), 1e-10)


def test_regions_see_across_the_edge():
    net, pixels = torus(), np.roll(blob(64, 96), (20, 30), axis=(0, 1))
    for guidance, layer in itertools.product(("inside", "all"), ("relu1_1", "relu2_1")):
        here, rolled = (
            Region(np.roll(pixels, shift, axis=(0, 1)), guidance, net.names, True).weights(layer)
            for shift in ((0, 0), (32, 64))
        )
        step = (32, 64) if layer == "relu1_1" else (16, 32)
        assert np.array_equal(np.roll(here, step, axis=(0, 1)), rolled)
    planar = [Region(np.roll(pixels, k, axis=0), "all", net.names).weights("relu2_1") for k in (0, 32)]
    assert not np.array_equal(np.roll(planar[0], 16, axis=0), planar[1])


@pytest.mark.parametrize("weights", [{"photo": 1e3}, {"laplacian": 1.0}])
def test_terms_of_neighbouring_pixels_go_round(weights, monkeypatch):
    monkeypatch.setattr("style.passes.STRIP", 8 * 3 * 48)
    here = case(32, 48, make_terms(**weights))
    expected = here.whole().evaluate(here.image)
    assert expected.loss > 0
    for shift in ((12, 20), (4, 44)):
        content, image = (np.roll(a, shift, axis=(2, 3)) for a in (here.content, here.image))
        found = Case(here.net, here.terms, content, here.style, image).whole().evaluate(image)
        assert found.loss == pytest.approx(expected.loss, rel=1e-11)
        assert worst(np.roll(found.gradient, [-s for s in shift], axis=(2, 3)), expected.gradient) <= 1e-9
    step = 1e-3 * expected.gradient / np.abs(expected.gradient).max()
    up, down = (here.whole().evaluate(here.image + s).loss for s in (step, -step))
    assert up - down == pytest.approx(2 * (expected.gradient * step).sum(), rel=1e-6)


# --- memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", ["textbook", "fast"])
def test_memory_is_counted_with_the_frames(kernels):
    peaks = {}
    for padding in ("zeros", "circular"):
        net = torus(make_params(np.float32, (16, 16, 24, 24, 32)), padding=padding, kernels=kernels)
        peaks[padding] = Walk(net, STYLE_LAYERS, None, 128, 192).peak(backward=True, needed=STYLE_LAYERS)
    assert peaks["zeros"] < peaks["circular"] < 2.5 * peaks["zeros"]


def test_the_count_is_not_below_what_the_buffers_take():
    net = torus(make_params(np.float32, (16, 16, 24, 24, 32)), kernels="fast", keep_transforms=False)
    (x,) = noise(128, 192, dtype=np.float32)
    for _ in range(2):
        feats, cache = net.forward(x, STYLE_LAYERS)
        dfeats = {n: f * 0 for n, f in feats.items()}
        del feats
        net.backward(dfeats, cache)
    counted = Walk(net, STYLE_LAYERS, None, 128, 192).peak(backward=True, needed=STYLE_LAYERS)
    assert 0.5 * counted < net._workspace.nbytes <= counted


def test_a_set_of_kernels_made_circular_leaves_the_first_as_it_was():
    base = Kernels()
    found = circular(base)
    assert base.pairs is Kernels.pairs and base.footprint is Kernels.footprint
    assert found.name == base.name and found.pairs is not base.pairs
