"""The pairs of L-BFGS: against the recursion on vectors, on a device and on the processor, and which are dropped."""

import cuda_on_cpu
import cuda_twins
import numpy as np
import pytest
from strict_device import StrictModule

from style.faster import pairs as pairs_module
from style.faster import pairs_gpu
from style.faster.pairs import BLOCK, Pairs, dot
from style.faster.pairs_gpu import DevicePairs, make_pairs
from style.optimize import two_loop


def direction_of(pairs):
    out = np.empty(pairs.padded_shape)
    return pairs.combine(pairs.direction(), 0.0, out=out).reshape(-1)[: pairs.size]


def gather(pairs, s, y, factor=1.0):
    """Take the step s, over which the gradient changes by y; returns its product with the gradient there."""
    x_new = np.zeros(pairs.padded_shape)
    x_new.reshape(-1)[: pairs.size] = pairs.get(Pairs.X) + s
    g_new = pairs.get(Pairs.GRADIENT) + y
    along = pairs.measure(x_new, g_new)
    pairs.keep(x_new, g_new, factor)
    return along


@pytest.mark.parametrize("n", [7, BLOCK, BLOCK + 1, 2 * BLOCK + 100, 20 * BLOCK])
@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize("chunk", [1, 1 << 22])
@pytest.mark.parametrize("factor", [1, 1.2])
def test_coefficients_are_the_two_loop_recursion(n, count, chunk, factor, monkeypatch):
    monkeypatch.setattr(pairs_module, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(n), rng.standard_normal(n)
    kept, pairs = Pairs(x, 4), []
    kept.set_gradient(g)
    weights = rng.uniform(0.5, 5, n)
    for _ in range(count):
        s = rng.standard_normal(n)
        y = weights * s
        pairs.append((s, y))
        assert gather(kept, s, y, factor) == pytest.approx(s @ (g + y), rel=1e-9, abs=1e-9 * n)
        x, g = x + factor * s, g + factor * y
        found = np.concatenate([kept.get(Pairs.X), kept.get(Pairs.GRADIENT)])
        np.testing.assert_allclose(found, np.concatenate([x, g]), rtol=0, atol=1e-13)
    np.testing.assert_allclose(direction_of(kept), -two_loop(g, pairs[-4:]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ["twins", pytest.param("compiled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("n", [7, BLOCK, 2 * BLOCK + 100, 9 * BLOCK])
@pytest.mark.parametrize("factor", [1, 1.2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairs_of_a_device_are_the_processors(engine, n, factor, dtype, monkeypatch):
    """Each pass in kernels of its own, and not one number that the other has not."""
    if engine == "compiled" and cuda_on_cpu.compiler() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(pairs_gpu, "GROUPS", 4)  # with more blocks than that, threads take several
    xp = StrictModule(cuda_twins.engine if engine == "twins" else cuda_on_cpu.engine)
    rng, bound = np.random.default_rng(0), {"float32": 2e-5, "float64": 1e-13}[dtype]
    x, g = (rng.standard_normal(n).astype(dtype) for _ in range(2))
    here, there = Pairs(x, 3), make_pairs(xp.asarray(x), 3)
    assert type(there) is DevicePairs
    here.set_gradient(g)
    there.set_gradient(xp.asarray(g))
    for step in range(5):
        s = rng.standard_normal(n).astype(dtype)
        x_new = np.zeros(here.padded_shape, dtype)
        x_new.reshape(-1)[:n] = here.get(Pairs.X) + s
        g_new = here.get(Pairs.GRADIENT) + (2 + step) * s
        xp.crossings.reset()
        xp.launches.clear()
        device = xp.asarray(x_new), xp.asarray(g_new)
        along = here.measure(x_new, g_new), there.measure(*device)
        assert along[1] == pytest.approx(along[0], rel=bound, abs=bound * n)
        here.keep(x_new, g_new, factor)
        there.keep(*device, factor)
        assert xp.launches == ["write_pair", "products", "keep"]
        assert len(xp.crossings.to_host) == 1
        assert here.order == there.order
        for one, other in ((here.products, there.products), (here.with_gradient, there.with_gradient)):
            np.testing.assert_allclose(other, one, rtol=0, atol=bound * n * 10)
        factors = here.direction()
        out = xp.empty(here.padded_shape, dtype=np.dtype(dtype))
        np.testing.assert_allclose(
            there.combine(factors, 1.0, out).get(),
            here.combine(factors, 1.0, np.empty(here.padded_shape, dtype)),
            rtol=0,
            atol=bound * 10,
        )
    np.testing.assert_allclose(there.rows.get(), here.rows, rtol=0, atol=bound * 10)


def test_a_measured_pair_counts_once_it_is_kept():
    """Trials that are not taken leave no trace but that of the oldest pair, whose place they had."""
    rng = np.random.default_rng(0)
    kept, pairs, g = Pairs(np.zeros(300), 3), [], np.ones(300)
    kept.set_gradient(g)
    for _ in range(4):
        s = rng.standard_normal(300)
        pairs.append((s, 2 * s))
        gather(kept, *pairs[-1])
        g = g + 2 * s
    kept.measure(np.full(kept.padded_shape, 1e9), rng.standard_normal(300))
    np.testing.assert_allclose(direction_of(kept), -two_loop(g, pairs[-2:]), rtol=1e-9, atol=1e-9)
    gather(kept, *pairs[0])
    g = g + pairs[0][1]
    expected = -two_loop(g, [*pairs[-2:], pairs[0]])
    np.testing.assert_allclose(direction_of(kept), expected, rtol=1e-9, atol=1e-9)
    with np.errstate(invalid="ignore"):
        kept.measure(np.full(kept.padded_shape, np.inf), np.full(300, np.nan))
    kept.clear()
    assert not kept.products.any() and not kept.with_gradient[:-1].any()
    gather(kept, *pairs[1])
    assert np.isfinite(direction_of(kept)).all()


def test_another_gradient_is_set():
    rng = np.random.default_rng(0)
    x, s, g, y, other = (rng.standard_normal(9000) for _ in range(5))
    kept = Pairs(x, 4)
    kept.set_gradient(g)
    gather(kept, s, y)
    kept.set_gradient(other)
    rows = kept.rows.transpose(1, 0, 2).reshape(10, -1)[:, :9000]
    np.testing.assert_allclose(kept.with_gradient, rows[:-1] @ other, rtol=1e-10, atol=1e-10)
    assert np.array_equal(rows[Pairs.GRADIENT], other)


def test_a_pair_without_curvature_is_skipped():
    s = np.arange(1.0, 6)
    kept = Pairs(np.zeros(5), 2)
    kept.set_gradient(-s)
    gather(kept, s, 2 * s)
    for y in (-s, 0 * s):
        gather(kept, s, y)
        kept.set_gradient(s)
    assert kept.order == [0]
    np.testing.assert_allclose(direction_of(kept), -s / 2)


@pytest.mark.parametrize("k, kept", [(0.5, False), (2.0, True)])
def test_curvature_below_rounding(k, kept):
    eps = np.finfo(float).eps
    pairs = Pairs(np.zeros(2), 2)
    pairs.set_gradient(np.array([-1.0, 0.0]))
    gather(pairs, np.array([1.0, 0.0]), np.array([k * eps, 1.0]))
    assert bool(pairs.order) == kept


def test_a_y_whose_square_is_0_is_dropped():
    pairs = Pairs(np.zeros(5), 2)
    pairs.set_gradient(np.full(5, -1e-190))
    gather(pairs, np.ones(5), np.full(5, 1e-200))
    assert pairs.order == []


def test_dot_adds_up_without_losing_digits():
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 1, 5 * BLOCK * 40 + 17).astype(np.float32)
    b = rng.uniform(0, 1, a.size).astype(np.float32)
    exact = float(np.sum(a.astype(np.float64) * b))
    assert dot(a, b) == pytest.approx(exact, rel=1e-6)
    assert dot(a[:5], b[:5]) == pytest.approx(float(a[:5].astype(np.float64) @ b[:5]), rel=1e-6)
