"""Evaluations recorded as a CUDA graph: on the stand-in device, and on a card where there is one."""

import cases
import cuda_twins
import numpy as np
import pytest
from strict_device import StrictModule

from minivgg import fast_gpu
from minivgg.backend import BackendError, resolve_device, to_device, to_numpy
from minivgg.fast_gpu import blas
from minivgg.fast_gpu.kernels import FastGPU
from minivgg.fast_gpu.replay import Replay
from minivgg.gradcheck import rows
from minivgg.vgg import VGG
from style.faster.recorded import Recorded
from style.optimize import minimize
from style.statistics import STYLE_LOSSES, make_terms

STYLE = ("relu1_1", "relu2_1", "relu3_1")


@pytest.fixture
def xp():
    return StrictModule(cuda_twins.engine)


def case(move, *, style_loss="gram", precision="float32"):
    rng = np.random.default_rng(3)
    params = rows.random_params(rng, widths=(6, 6, 6), last="conv3_1", bias=1.0, dtype=np.float32)
    net = VGG({n: tuple(move(a) for a in pair) for n, pair in params.items()}, precision=precision)
    losses = {"style": dict.fromkeys(STYLE, 100.0), "style_loss": {style_loss: 1.0}}
    terms = make_terms(content={"relu2_2": 1.0}, tv=1e-3, **losses)
    pictures = (move(rng.uniform(-100, 100, (1, 3, 18, 23)).astype(np.float32)) for _ in range(3))
    return cases.Case(net, terms, *pictures)


def test_a_recording_asks_the_host_for_nothing(xp):
    """It runs the function once more, on memory of its own, and hands out copies."""
    xp.records = True
    image = xp.asarray(np.random.default_rng(7).standard_normal((1, 3, 4, 4)))
    replay = Replay(lambda a: (a * 2, a.sum()), image)
    first = replay(image)
    np.testing.assert_array_equal(first[0].get(), 2 * image.get())
    first[0][...] = 0
    assert replay(image)[0].get().any()
    with pytest.raises(RuntimeError, match="stream is capturing"):
        Replay(lambda a: (a * float(a.sum()),), image)


def test_an_evaluation_can_be_recorded(xp):
    xp.records = True
    own = case(xp.asarray)
    recorded = Recorded(own.whole())
    found, expected = recorded.evaluate(own.image), own.whole().evaluate(own.image)
    assert isinstance(recorded._call, Replay)
    assert found.values == expected.values
    np.testing.assert_array_equal(found.gradient.get(), expected.gradient.get())
    xp.crossings.reset()
    recorded.evaluate(own.image)
    assert xp.crossings.to_host == [8 * len(own.terms)]
    assert xp.crossings.to_device == []


def test_what_cannot_be_recorded_is_computed_plainly(xp):
    own = case(xp.asarray)
    recorded, plain = Recorded(own.whole()), own.whole()
    for image in (own.image, own.image + 1):
        found, expected = recorded.evaluate(image), plain.evaluate(image)
        assert found.values == expected.values
        np.testing.assert_array_equal(found.gradient.get(), expected.gradient.get())


def test_on_the_processor_it_is_the_plain_objective():
    own = case(np.asarray)
    found, expected = Recorded(own.whole()).evaluate(own.image), own.whole().evaluate(own.image)
    assert found.values == expected.values
    np.testing.assert_array_equal(found.gradient, expected.gradient)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_matrices_in_either_order(xp, dtype):
    rng = np.random.default_rng(1)
    for m, k, n in ((5, 7, 3), (1, 4, 6), (6, 1, 2), (4, 9, 1)):
        A, B = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (k, n)))
        for a in (A, np.ascontiguousarray(A.T).T):
            for b in (B, np.ascontiguousarray(B.T).T):
                xp.launches.clear()
                # the transpose of what was moved, as a Gram matrix's second factor is
                there = [xp.asarray(v) if v.flags.c_contiguous else xp.asarray(v.T.copy()).T for v in (a, b)]
                found = FastGPU().matmul(*there)
                assert xp.launches == ["gemm"]
                assert found.dtype == dtype
                np.testing.assert_allclose(found.get(), A @ B, rtol=1e-5 if dtype == "float32" else 1e-12)
    strided = xp.asarray(rng.standard_normal((4, 8)).astype(dtype))[:, ::2]
    xp.launches.clear()
    np.testing.assert_allclose(FastGPU().matmul(strided, strided.T).get(), strided.get() @ strided.get().T, rtol=1e-5)
    assert xp.launches == []  # CuPy's own


def test_a_status_of_cublas_is_an_error(xp):
    A = xp.asarray(np.ones((2, 2), np.float32))
    cublas = blas._cublas(xp, 0)
    cublas._functions["cublasGemmStridedBatchedEx"] = lambda *args: 13
    with pytest.raises(RuntimeError, match="cublasGemmStridedBatchedEx: cuBLAS answers with status 13"):
        blas.matmul(xp, A, A)


@pytest.fixture
def card():
    try:
        return resolve_device("gpu")
    except BackendError as e:
        pytest.skip(str(e))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", fast_gpu.PRECISIONS)
def test_a_card_records_and_replays(card, precision):
    """To the bit: the same kernels in the same order, whatever picture comes."""
    own = case(lambda a: to_device(a, card), precision=precision)
    recorded, plain = Recorded(own.whole()), own.whole()
    for image in (own.image, own.image + 1, own.image * 2):
        found, expected = recorded.evaluate(image), plain.evaluate(image)
        assert isinstance(recorded._call, Replay)
        assert found.values == pytest.approx(expected.values, rel=1e-6)
        assert np.linalg.norm(to_numpy(found.gradient - expected.gradient)) < 1e-5 * np.linalg.norm(
            to_numpy(expected.gradient)
        )


@pytest.mark.gpu
@pytest.mark.parametrize("style_loss", STYLE_LOSSES)
def test_a_card_runs_every_style_loss(card, style_loss):
    """Recorded where CuPy can, plain where it cannot: a run on the card ends where one on the processor does."""
    found, expected = (
        minimize(Recorded(own.whole()), own.image.copy(), method="l-bfgs", evaluations=12)
        for own in (case(lambda a: to_device(a, card), style_loss=style_loss), case(np.asarray, style_loss=style_loss))
    )
    assert found.loss == pytest.approx(expected.loss, rel=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cards_products(card, dtype):
    rng = np.random.default_rng(1)
    F = rng.standard_normal((64, 5000)).astype(dtype)
    there = to_device(F, card)
    kernels, bound = FastGPU(), {"float32": 1e-5, "float64": 1e-12}[dtype]
    for found, expected in (
        (kernels.matmul(there, there.T), F @ F.T),
        (kernels.matmul(there[:, :64].copy(), there), F[:, :64] @ F),
        (kernels.matmul(there.T, there), F.T @ F),
    ):
        assert np.linalg.norm(to_numpy(found) - expected) < bound * np.linalg.norm(expected)
