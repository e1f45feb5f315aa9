"""The matting Laplacian and the Laplacian of pooled pictures: against their definitions, and as terms."""

from contextlib import nullcontext

import numpy as np
import pytest
from cases import make_case, make_net, peak_of, worst
from scipy import sparse

from minivgg.backend import Device
from style import SettingsError, gradcheck, passes, settings_from, transfer
from style.large.peaks import whole_peak
from style.large.tiling import Tiling
from style.objective import Objective
from style.schedule import Stage, check_depth
from style.statistics import laplacian, make_terms, matting
from style.terms import Part

RNG = np.random.default_rng(3)
H, W = 13, 17
GUIDE, X = RNG.uniform(0, 255, (2, 3, H, W))
STYLE = make_terms(style={"relu2_1": 1.0})
TERMS = {"photo": make_terms(photo=0.7), "laplacian": make_terms(laplacian=0.7)}


def levin(guide, epsilon=1e-7):
    """Levin et al. 2008, eq. 12: Σ over 3×3 windows of δ_ij - 1/9 (1 + (I_i - μ)ᵀ (Σ + ε/9)⁻¹ (I_j - μ)), a matrix."""
    I, (h, w) = guide.reshape(3, -1).T / 255, guide.shape[1:]
    rows, columns, values = [], [], []
    for y in range(h - 2):
        for x in range(w - 2):
            window = ((np.arange(y, y + 3) * w)[:, None] + np.arange(x, x + 3)).ravel()
            away = I[window] - I[window].mean(axis=0)
            inverse = np.linalg.inv(away.T @ away / 9 + epsilon / 9 * np.eye(3))
            rows.append(np.repeat(window, 9))
            columns.append(np.tile(window, 9))
            values.append((np.eye(9) - (1 + away @ inverse @ away.T) / 9).ravel())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=(h * w, h * w))


def evaluated(name, x=X, guide=GUIDE):
    return Objective.of(None, TERMS[name], {"content": guide[None]}).evaluate(x[None])


# ------------------------------------------------------------------------------------------ the matting Laplacian


@pytest.mark.parametrize("what", ["noise", "a photograph's kind", "grey"])
def test_the_matting_laplacian_is_levin_s_matrix(what):
    guide = {"noise": GUIDE, "grey": np.repeat(GUIDE[:1], 3, axis=0)}.get(what)
    if guide is None:  # smooth in parts, an edge, whole numbers
        y, x = np.mgrid[:H, :W]
        guide = np.round(np.stack([90 + 3 * y, 60 + 5 * x, 80 + 90.0 * (x > y)]) + RNG.normal(0, 2, (3, H, W)))
    L = levin(guide)
    expected = np.stack([(L @ p.ravel()).reshape(H, W) for p in X])
    tolerance = 1e-10 if what != "grey" else 1e-7  # there Σ has one large number and two of 1e-8, which rounding meets
    assert worst(matting.matting_backward(X, guide), 2 * expected) < tolerance
    assert matting.matting_forward(X, guide) == pytest.approx((X * expected).sum(), rel=tolerance)


def test_what_changes_colours_alike_costs_nothing():
    """An affine change of the content's colours is in every window's reach and costs no more than ε‖a‖² there."""
    A = RNG.standard_normal((3, 3))
    turned = np.einsum("ij,jyx->iyx", A, GUIDE) + 20
    most = matting.EPSILON * (A**2).sum() * (H - 2) * (W - 2)
    assert 0.99 * most < matting.matting_forward(turned, GUIDE) < most < 1e-4 * matting.matting_forward(X, GUIDE)
    assert matting.matting_forward(np.full_like(X, 7.0), GUIDE) == pytest.approx(0, abs=1e-6)
    assert evaluated("photo", GUIDE).loss < 1e-6 * evaluated("photo").loss


def test_box_and_its_adjoint():
    a, q = RNG.standard_normal((2, 5, 7)), RNG.standard_normal((2, 3, 5))
    assert (matting.box(a) * q).sum() == pytest.approx((a * matting.box_adjoint(q)).sum(), rel=1e-13)
    assert matting.box(np.ones((4, 5))).tolist() == [[9.0] * 3] * 2


def test_single_precision_pictures_are_worked_on_in_double():
    single = [a.astype(np.float32) for a in (X, GUIDE)]
    exact = [a.astype(np.float64) for a in single]
    assert matting.matting_forward(*single) == pytest.approx(matting.matting_forward(*exact), rel=1e-12)
    found = matting.matting_backward(*single)
    assert found.dtype == np.float32
    assert worst(found, matting.matting_backward(*exact)) < 1e-6


# ------------------------------------------------------------------------------------------ the Laplacian


def test_the_laplacian_is_its_definition():
    """Means of 4×4 pixels, added up over channels, four times one less its neighbours; a mean of squares."""
    d = X - GUIDE
    p = np.array(
        [[d[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean(axis=(1, 2)).sum() for x in range(4)] for y in range(3)]
    )
    q = [4 * p[1, x] - p[0, x] - p[2, x] - p[1, x - 1] - p[1, x + 1] for x in (1, 2)]
    assert np.allclose(laplacian.laplacian_forward(d), [q], rtol=1e-12)
    assert evaluated("laplacian").loss == pytest.approx(0.7 * np.mean(np.square(q)), rel=1e-12)


def test_the_laplacian_s_adjoint():
    q = laplacian.laplacian_forward(X)
    dq = RNG.standard_normal(q.shape)
    assert (q * dq).sum() == pytest.approx((X * laplacian.laplacian_backward(dq, X.shape)).sum(), rel=1e-12)


def test_brightness_is_free_and_lines_are_not():
    assert evaluated("laplacian", GUIDE + 30).loss == pytest.approx(0, abs=1e-12)
    assert evaluated("laplacian", GUIDE).loss == 0
    assert evaluated("laplacian").loss > 1


# ------------------------------------------------------------------------------------------ both, as terms


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_is_the_slope(name):
    """A quadratic's central difference is exact, but for rounding; a gradient off by a thousandth is told apart."""
    u = RNG.standard_normal(X.shape)
    slope = (evaluated(name, X + u).loss - evaluated(name, X - u).loss) / 2
    found = (evaluated(name).gradient[0] * u).sum()
    assert found == pytest.approx(slope, rel=1e-9)
    assert 1.001 * found != pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 12, 100])
@pytest.mark.parametrize("name", TERMS)
def test_strips_are_no_matter(name, rows, monkeypatch):
    whole = evaluated(name)
    monkeypatch.setattr(passes, "STRIP", rows * 3 * W)
    found = evaluated(name)
    assert found.loss == pytest.approx(whole.loss, rel=1e-12)
    assert worst(found.gradient, whole.gradient) < 1e-12


def test_they_stand_beside_the_network_s_terms():
    terms = make_terms(style={"relu2_1": 1.0}, content={"relu3_1": 1.0}, tv=0.1, photo=0.2, laplacian=0.3)
    case = make_case(45, 51, terms=terms)
    whole, tiled = case.whole().evaluate(case.image), case.tiled(Tiling((), ((32, 32),))).evaluate(case.image)
    assert worst(tiled.gradient, whole.gradient) < 1e-12
    assert whole.totals().keys() == {"loss", "content", "style", "tv", "photo", "laplacian"}
    alone = {name: Objective.of(None, TERMS[name], case.pictures).evaluate(case.image).loss / 0.7 for name in TERMS}
    assert whole.values["photo"] == pytest.approx(0.2 * alone["photo"], rel=1e-12)
    assert whole.values["laplacian"] == pytest.approx(0.3 * alone["laplacian"], rel=1e-12)


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"photo: the picture gives \(13, 15\) places, the target has \(13, 17\)"):
        evaluated("photo", X[:, :, :15])


@pytest.mark.parametrize("name", TERMS)
def test_what_they_take_is_what_the_plan_counts(name):
    """Arrays as large as a strip, in single precision; the plan counts these and no more."""
    (term,) = TERMS[name]
    strip, guide = RNG.uniform(0, 255, (2, 1, 3, 120, 150)).astype(np.float32)
    part = Part(strip, passes.ALL, None, guide, matmul=None)
    peak = peak_of(lambda: (term.statistic.gather(part), term.statistic.spread((1.0,), part)))
    assert 0.5 * term.statistic.passing * strip.nbytes < peak <= term.statistic.passing * strip.nbytes
    net = make_net(np.float32)
    with_it, without = (whole_peak(net, terms, 120, 150) for terms in ([*STYLE, term], STYLE))
    assert with_it - without == (1 + term.statistic.passing) * strip.nbytes  # and the content's pixels


@pytest.mark.parametrize("name, least", [("photo", 3), ("laplacian", 12)])
def test_a_picture_too_narrow_for_it_is_refused(name, least):
    stage = Stage((least - 3, 40), (), 1)
    for more, refused in ((0, True), (1, True), (2, False)):  # a margin lies on both sides
        settings = settings_from(margin=more, **{f"{name}_weight": 1.0})
        with (
            pytest.raises(SettingsError, match=f"^{name}_weight: .*less than {least} pixels")
            if refused
            else nullcontext()
        ):
            check_depth(stage, TERMS[name], settings)
    check_depth(stage, TERMS[name], settings_from(wrap=True, **{f"{name}_weight": 1.0}))


@pytest.mark.slow
def test_the_table_has_both_and_sees_a_gradient_that_is_off_by_a_thousandth(monkeypatch):
    for off in (1.0, 1.001):
        for module, backward in ((matting, "matting_backward"), (laplacian, "laplacian_backward")):
            exact = getattr(module, backward)
            monkeypatch.setattr(module, backward, lambda *args, off=off, exact=exact: off * exact(*args))
        rows = list(gradcheck.pixel_rows(Device("cpu")))
        assert {r.name.split()[0] for r in rows} == {*TERMS}
        assert {r.name.split()[0] for r in rows if not r.passed} == ({*TERMS} if off != 1 else set())


def test_a_loss_without_a_network_s_layer(tmp_path, monkeypatch):
    """The content's own pixels are the least of both, whatever the start."""
    monkeypatch.chdir(tmp_path)
    alone = {"content_layers": "none", "style_layers": "none", "photo_weight": 1.0, "laplacian_weight": 1.0}
    found = transfer("sample:scene:64", "sample:strokes:64", weights="mini", init="style", evaluations=5, **alone)
    assert found.losses[-1] < 0.5 * found.losses[0]
    assert {name.split()[0] for name in found.metadata["result"]["terms"]} == {"photo", "laplacian"}
