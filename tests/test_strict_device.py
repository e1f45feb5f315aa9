"""The whole pipeline on a strict stand-in device: nothing but what is asked for by name crosses to the host.

Also: the stand-in refuses what CuPy refuses, and what it offers exists in CuPy (where CuPy is installed, slow run).
"""

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import cases
import cuda_twins
import numpy as np
import pytest
import strict_device
from conftest import assert_passed
from strict_device import StrictArray, StrictModule

import style
import weights
from minivgg import backend
from minivgg.backend import get_xp, to_numpy
from minivgg.gradcheck import rows
from minivgg.vgg import VGG
from style import losses
from style.faster.precondition import Metric
from style.large.tiling import Tiling
from style.optimize import minimize
from style.statistics import STYLE_LOSSES, make_terms
from style.terms import Region

ROOT = Path(__file__).resolve().parent.parent
STYLE = ("relu1_1", "relu2_1", "relu3_1")


def make_loss(beta=2.0):
    return make_terms(content={"relu2_2": 1.0}, style=dict.fromkeys(STYLE, 100.0), tv=1e-3, tv_beta=beta)


TERMS = make_loss()
LOSSES = 5  # numbers in an evaluation: content, three of style, total variation


@pytest.fixture
def xp():
    return StrictModule(cuda_twins.engine)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def build(move, rng, *, kernels="textbook", terms=TERMS, size=(18, 23), **options):
    """A Case with every array passed through `move`: VGG-19's beginning up to conv3_1, 6 channels wide."""
    params = rows.random_params(rng, widths=(6, 6, 6), last="conv3_1", bias=1.0, dtype=np.float32)
    net = VGG({n: tuple(move(a) for a in pair) for n, pair in params.items()}, kernels=kernels, **options)
    pictures = (move(rng.uniform(-100, 100, (1, 3, *size)).astype(np.float32)) for _ in range(3))
    return cases.Case(net, terms, *pictures)


def objective(move, rng, **options):
    """(whole objective, start)"""
    case = build(move, rng, **options)
    return case.whole(), case.image


@pytest.mark.parametrize("kernels", ["textbook", "fast"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("beta", [1.0, 2.0, 2.5])
def test_evaluation_fetches_its_losses_once(xp, kernels, pooling, beta):
    terms = make_loss(beta)
    there, image = objective(xp.asarray, np.random.default_rng(3), kernels=kernels, terms=terms, pooling=pooling)
    here, start = objective(np.asarray, np.random.default_rng(3), terms=terms, pooling=pooling)
    xp.crossings.reset()
    found = there.evaluate(image)
    assert xp.crossings.to_host == [8 * LOSSES]
    assert xp.crossings.to_device == []
    expected = here.evaluate(start)
    assert isinstance(found.gradient, StrictArray)
    assert found.totals() == pytest.approx(expected.totals(), rel=1e-4)
    error = np.linalg.norm(found.gradient.get() - expected.gradient) / np.linalg.norm(expected.gradient)
    assert error < 1e-4


@pytest.mark.parametrize("region", [False, True])
@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_every_style_loss_stays_on_the_device(xp, name, region):
    terms = make_terms(style=dict.fromkeys(STYLE, 100.0), style_loss={name: 1.0})
    weights = np.random.default_rng(5).uniform(0, 1, (18, 23)).astype(np.float32)
    found = {}
    for move in (xp.asarray, np.asarray):
        own = [t.confined(Region(move(weights))) for t in terms] if region else terms
        whole, image = objective(move, np.random.default_rng(3), terms=own)
        whole.evaluate(image)  # what a target or a region needs once
        xp.crossings.reset()
        found[move] = whole.evaluate(image)
        assert xp.crossings.to_host == ([8 * len(STYLE)] if move == xp.asarray else [])
        assert xp.crossings.to_device == []
    there, here = found.values()
    assert there.totals() == pytest.approx(here.totals(), rel=1e-4)
    assert np.linalg.norm(there.gradient.get() - here.gradient) < 1e-3 * np.linalg.norm(here.gradient)


def test_tiles_fetch_their_losses_once(xp):
    tiling = Tiling(cuts=(), cores=((8, 12),))
    case = build(xp.asarray, np.random.default_rng(3))
    there, image = case.tiled(tiling), case.image
    here, start = objective(np.asarray, np.random.default_rng(3))
    xp.crossings.reset()
    found = there.evaluate(image)
    assert xp.crossings.to_host == [8 * LOSSES]
    expected = here.evaluate(start)
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)


@pytest.mark.parametrize("kernels", ["textbook", "fast"])
@pytest.mark.parametrize("cores", [None, ((8, 12),)])
def test_a_torus_fetches_its_losses_once(xp, kernels, cores):
    options = {"padding": "circular", "size": (16, 24)}
    case = build(xp.asarray, np.random.default_rng(3), kernels=kernels, **options)
    there = case.whole() if cores is None else case.tiled(Tiling((), cores))
    here, start = objective(np.asarray, np.random.default_rng(3), **options)
    xp.crossings.reset()
    found, expected = there.evaluate(case.image), here.evaluate(start)
    assert xp.crossings.to_host == [8 * LOSSES]
    assert xp.crossings.to_device == []
    assert found.totals() == pytest.approx(expected.totals(), rel=1e-4)
    assert np.linalg.norm(found.gradient.get() - expected.gradient) < 1e-4 * np.linalg.norm(expected.gradient)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("method", ["adam", "l-bfgs", "l-bfgs-b"])
def test_optimisers_keep_their_state_on_the_device(xp, method, bounded):
    """Per evaluation the losses cross, with l-bfgs some scalar products, with SciPy's the picture and its gradient."""
    there, image = objective(xp.asarray, np.random.default_rng(3))
    here, start = objective(np.asarray, np.random.default_rng(3))
    limits = (-120.0, 130.0)
    xp.crossings.reset()
    options = {"bounds": tuple(xp.asarray(np.float32(v)) for v in limits)} if bounded else {}
    found = minimize(there, image, method=method, evaluations=6, **options)
    sizes = xp.crossings.to_host
    picture = image.nbytes
    if method == "l-bfgs-b":
        assert sum(s >= picture for s in sizes) == 6 + 1  # each gradient, and the start
    else:
        assert max(sizes) < 8 * 256  # losses and scalar products only
        assert sum(s >= 1024 for s in xp.crossings.to_device) == 0
        # adam: the losses; l-bfgs: a table of scalar products more, and two numbers for bounds (3 at first)
        assert len(sizes) == 6 * {"adam": 1, "l-bfgs": 2}[method] + (13 if bounded and method == "l-bfgs" else 0)
    options = {"bounds": tuple(np.float32(v) for v in limits)} if bounded else {}
    expected = minimize(here, start, method=method, evaluations=6, **options)
    assert isinstance(found.image, StrictArray)
    assert found.loss == pytest.approx(expected.loss, rel=1e-3)


def test_the_textbook_has_one_precision(xp, monkeypatch):
    monkeypatch.setattr(backend, "_cupy", lambda: xp)
    pictures = [np.full((24, 24, 3), 90.0)] * 2
    with pytest.raises(style.SettingsError, match="precision tf32: of the fast kernels only"):
        style.transfer(*pictures, device="gpu", kernels="textbook", precision="tf32")


@pytest.mark.parametrize("optimizer", ["adam", "l-bfgs", "l-bfgs-b"])
def test_from_pictures_to_a_picture(xp, rng, optimizer, tmp_path, monkeypatch):
    """style.transfer(device="gpu") with the stand-in for CuPy: the same picture as on the processor."""
    weights.save_compact(cases.make_network(), tmp_path / "narrow.npz")
    pictures = cases.blocks(((5, 6), (6, 4)))
    options = {"size": 40, "iterations": 3, "optimizer": optimizer, "lag": 1}
    options["weights"] = str(tmp_path / "narrow.npz")
    if optimizer == "l-bfgs":
        options["precondition"] = 0.45  # which is a processor's default
    expected = style.transfer(*pictures, device="cpu", **options)
    monkeypatch.setattr(backend, "_cupy", lambda: xp)
    found = style.transfer(*pictures, device="gpu", **options)
    assert xp.crossings.to_device
    assert np.abs(found.rgb - expected.rgb).mean() < 0.05
    assert found.outcome.loss == pytest.approx(expected.outcome.loss, rel=1e-3)


def test_preconditioned_search_stays_on_the_device(xp):
    there, image = objective(xp.asarray, np.random.default_rng(3))
    here, start = objective(np.asarray, np.random.default_rng(3))
    xp.crossings.reset()
    found = minimize(there, image, method="l-bfgs", evaluations=4, metric=Metric(0.5))
    assert max(xp.crossings.to_host) < 8 * 256
    expected = minimize(here, start, method="l-bfgs", evaluations=4, metric=Metric(0.5))
    assert found.loss == pytest.approx(expected.loss, rel=1e-3)


def test_a_deferred_term_stays_on_the_device(xp):
    built = [build(move, np.random.default_rng(3)) for move in (xp.asarray, np.asarray)]
    there, here = (case.deferred(4) for case in built)
    image, start = (case.image for case in built)
    for evaluation in range(9):
        xp.crossings.reset()
        found, expected = (o.evaluate(x + 0.01 * evaluation) for o, x in ((there, image), (here, start)))
        made = 1 + len(there.expansions)  # where they are refreshed: the loss and their errors, besides its terms
        assert sum(xp.crossings.to_host) <= 8 * (LOSSES + made)
        assert xp.crossings.to_device == []
        assert found.totals() == pytest.approx(expected.totals(), rel=1e-4)
    for one, other in zip(there.expansions, here.expansions, strict=True):
        assert one.interval == other.interval > 1
        assert float(one.curvature) == pytest.approx(float(other.curvature), rel=1e-3)


def test_stand_in_refuses_what_cupy_refuses(xp, rng):
    host = rng.standard_normal((3, 4)).astype(np.float32)
    a = xp.asarray(host)
    refused = [
        lambda: np.asarray(a),
        lambda: np.sqrt(a),
        lambda: np.sum(a),
        lambda: np.concatenate([a, a]),
        lambda: a + host,
        lambda: host + a,
        lambda: host @ a.T,
        lambda: a == host,
        lambda: a.__setitem__(0, host[0]),
        lambda: a[np.array([0, 1])],
        lambda: xp.matmul(a, host.T),
        lambda: xp.stack([a, host]),
        lambda: xp.stack([1.0, 2.0]),
        lambda: host.__iadd__(a),
        lambda: a.sum(axis=np.zeros(1)),
    ]
    for k, call in enumerate(refused):
        with pytest.raises(TypeError):
            call()
            pytest.fail(f"number {k} was accepted")
    with pytest.raises(AttributeError):
        _ = xp.errstate
    assert xp.crossings.to_host == []
    assert float(a.sum()) == pytest.approx(host.sum(), rel=1e-6)
    assert bool(a[0, 0] == a[0, 0])
    assert len(xp.crossings.to_host) == 2
    assert (np.float32(2) * a).get()[1, 1] == 2 * host[1, 1]
    assert np.isnan(xp.empty((2, 2)).get()).all()


def test_backend_knows_the_stand_in(xp, rng):
    host = rng.standard_normal(5)
    assert get_xp(xp.asarray(host)) is xp
    np.testing.assert_array_equal(to_numpy(xp.asarray(host)), host)
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array, found list"):
        get_xp([1.0])


def test_losses_wait_for_nobody(xp, rng):
    F, P = (xp.asarray(rng.standard_normal((4, 30)).astype(np.float32)) for _ in range(2))
    xp.crossings.reset()
    losses.content_loss(F, P)
    _, dG = losses.style_loss(losses.gram_forward(F), losses.gram_forward(P), 30)
    losses.gram_backward(dG, F)
    for beta in (1.0, 2.0, 2.5):
        losses.tv_loss(F.reshape(1, 4, 5, 6), beta=beta)
    assert xp.crossings.to_host == []


NO_CUPY = "no GPU: CuPy is not installed; pip install"
NO_DRIVER = "no GPU: the CUDA driver does not answer"


def test_device_without_cupy_or_driver(monkeypatch):
    """One line that says what is missing and what to do; auto falls back to the processor."""
    with monkeypatch.context() as without:
        without.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(backend.BackendError, match=NO_CUPY):
            backend.resolve_device("gpu")

    class Runtime:
        @staticmethod
        def getDeviceCount():
            raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient\nfor CUDA runtime")

    class CuPy:
        class cuda:
            runtime = Runtime

    monkeypatch.setattr(backend, "_cupy", lambda: CuPy)
    with pytest.raises(backend.BackendError, match=NO_DRIVER) as caught:
        backend.resolve_device("gpu:1")
    assert "\n" not in str(caught.value)
    assert "use --device cpu" in str(caught.value)
    assert backend.resolve_device("auto") == backend.Device("cpu")
    Runtime.getDeviceCount = staticmethod(lambda: 1)
    with pytest.raises(backend.BackendError, match="no GPU 1: this machine has 1"):
        backend.resolve_device("gpu:1")


def test_every_array_function_is_one_that_cupy_has():
    """Whatever is called on `xp` anywhere is on the stand-in's list, which the next test compares with CuPy."""
    own = {
        "RawModule",
        "cuda",
        "linalg",
        "asarray",
        "array",
        "ndarray",
        "newaxis",
        "pi",
        "inf",
        "nan",
        "get_default_memory_pool",
    }
    known = own | set(strict_device.FUNCTIONS) | set(strict_device.TYPES)
    used = {}
    for folder in ("minivgg", "style"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in re.findall(r"\b(?:xp|get_xp\([^()]*\))\.([a-z]\w*)", path.read_text(encoding="utf-8")):
                used.setdefault(name, path.name)
    assert {name: where for name, where in used.items() if name not in known} == {}
    assert "matmul" in used


@pytest.mark.slow
def test_gradient_table_on_the_stand_in(xp, monkeypatch):
    """python -m minivgg.gradcheck --device gpu, each kernel set."""
    monkeypatch.setattr(backend, "_cupy", lambda: xp)
    assert len(assert_passed(rows.all_rows(backend.resolve_device("gpu")))) > 20


@pytest.mark.slow
def test_cupy_has_what_the_stand_in_offers():
    """Names and keywords; CuPy imports without a card. A parameter that ours are called by must be there."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed (its import needs no card)")
    import cupy
    import cupyx.scipy.fft

    missing = [n for n in strict_device.FUNCTIONS + strict_device.TYPES if not hasattr(cupy, n)]
    missing += [n for n in strict_device.LINALG if not hasattr(cupy.linalg, n)]
    missing += [n for n in strict_device.METHODS + strict_device.ATTRIBUTES if not hasattr(cupy.ndarray, n)]
    missing += [
        n for n in ("get", "set", "item", "tolist", "data", "T", "real", "imag") if not hasattr(cupy.ndarray, n)
    ]
    assert missing == []
    for name in ("dctn", "idctn"):
        assert {"axes", "norm"} <= set(inspect.signature(getattr(cupyx.scipy.fft, name)).parameters)
    for function, keywords in {
        cupy.stack: ("axis",),
        cupy.sum: ("axis", "dtype"),
        cupy.clip: ("a_min", "a_max", "out"),
        cupy.empty_like: ("dtype", "order"),
        cupy.RawModule: ("code", "options"),
    }.items():
        try:
            parameters = inspect.signature(function).parameters
        except ValueError:  # written in Cython, without a signature: its docstring names them
            parameters = function.__doc__ or ""
        assert [k for k in keywords if k not in parameters] == [], function


@pytest.mark.slow
def test_real_cupy_without_a_driver_is_one_line():
    """The command's own message where CuPy is installed and no driver is."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    code = "from minivgg.backend import *\ntry: print(resolve_device('gpu'))\nexcept BackendError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() == "gpu:0" or done.stdout.startswith("no GPU: ")
    assert done.stdout.count("\n") == 1
