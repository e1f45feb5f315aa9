"""The fast path on the processor: equal to the textbook on any shape, with any number of workers; buffers; threads."""

import itertools
import threading

import numpy as np
import pytest
import threadpoolctl
from conftest import assert_close

from minivgg import Given, fast_cpu, layers, threads
from minivgg.fast_cpu import direct, memory, pooling, product, rows, strip, taps, winograd

# N, C, F, H, W: Winograd and direct, whole and cut tiles, one tile and many strips, C below and above F
SHAPES = [
    (1, 16, 16, 8, 8),
    (2, 17, 33, 9, 13),
    (2, 64, 32, 1, 1),
    (1, 32, 48, 2, 3),
    (1, 16, 16, 5, 4),
    (1, 16, 24, 3, 70),
    (1, 16, 16, 150, 37),
    (2, 3, 64, 33, 20),
    (1, 64, 3, 17, 18),
    (1, 1, 2, 1, 5),
    (1, 260, 300, 6, 7),
]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(params=[1, 2, 13], ids="{} workers".format)
def workers(request, monkeypatch):
    """Any machine: fewer cores than strips, more cores than frequencies."""
    for module in (taps, winograd, direct, product, pooling):
        monkeypatch.setattr(module, "cores", lambda: request.param)
    return request.param


@pytest.fixture
def small_strips(monkeypatch):
    """Strips of one row of tiles, so that small pictures have several."""
    monkeypatch.setattr(strip, "STRIP_TILES", 1)
    monkeypatch.setattr(strip, "STRIP_VALUES", 1)
    monkeypatch.setattr(direct, "STRIP_BYTES", 1)


def conv_case(rng, shape, dtype):
    N, C, F, H, W = shape
    x = rng.standard_normal((N, C, H, W)).astype(dtype)
    w = (rng.standard_normal((F, C, 3, 3)) / (3 * C**0.5)).astype(dtype)
    return x, w, rng.standard_normal(F).astype(dtype)


def float64(*arrays):
    return [a.astype(np.float64) for a in arrays]


# --- equal to the textbook -----------------------------------------------------------------------------------------


@dtypes
@shapes
def test_convolution_is_the_textbooks(rng, workers, shape, dtype):
    x, w, b = conv_case(rng, shape, dtype)
    expected, cache = layers.conv2d_forward(*float64(x, w, b), pad=1)
    dout = rng.standard_normal(expected.shape).astype(dtype)
    out, fast_cache = fast_cpu.conv2d_forward(x, w, b, pad=1)
    assert out.dtype == dtype
    assert_close(out, expected, TOLERANCE[dtype])
    for found, wanted in zip(
        fast_cpu.conv2d_backward(dout, fast_cache), layers.conv2d_backward(*float64(dout), cache), strict=True
    ):
        assert found.dtype == dtype
        assert_close(found, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("pool", [None, "max", "avg"])
@shapes
def test_fused_is_its_parts(rng, workers, small_strips, shape, pool):
    """Convolution, ReLU and pooling in one pass give what the textbook's three give, forward and backward."""
    if pool and min(shape[3:]) < 2:
        pytest.skip("no 2x2 window fits")
    x, w, b = conv_case(rng, shape, np.float64)
    out, conv = layers.conv2d_forward(x, w, b, pad=1)
    out, relu = layers.relu_forward(out)
    if pool:
        out, pooled = getattr(layers, f"{pool}pool2d_forward")(out)
    dout, add = rng.standard_normal(out.shape), None
    if pool:
        dwhole = getattr(layers, f"{pool}pool2d_backward")(dout, pooled)
    else:
        add = rng.standard_normal(out.shape)
        dwhole = dout + add
    expected = layers.conv2d_backward(layers.relu_backward(dwhole, relu), conv)
    workspace = fast_cpu.Workspace()
    for keep in (False, True):
        found, cache = fast_cpu.conv_relu_forward(x, w, b, pool=pool, param_grads=True, keep=keep, workspace=workspace)
        assert_close(found, out, 1e-12)
        for extra in (None,) if add is None else (Given.of(add), RowsOf(add)):
            grads = fast_cpu.conv_relu_backward(dout, cache, param_grads=True, add=extra, workspace=workspace)
            for g, e in zip(grads, expected, strict=True):
                assert_close(g, e, 1e-12)
            dx, dw, db = fast_cpu.conv_relu_backward(dout, cache, add=extra, workspace=workspace)
            assert_close(dx, expected[0], 1e-12)
            assert dw is None and db is None


@pytest.mark.parametrize("channels", [32, 64, 512])
def test_strips_divide_a_picture_evenly_between_two_or_four(channels):
    """They cover it once, are nearly equal, and of no size that leaves one worker with most of the work."""
    for ty, tx in itertools.product((1, 2, 3, 15, 17, 22, 33, 130), (1, 20, 33, 256, 5000)):
        cuts = strip.edges(ty, tx, channels, channels)
        heights = np.diff(cuts)
        assert (cuts[0], cuts[-1]) == (0, ty) and heights.min() > 0
        assert heights.max() - heights.min() <= 1
        assert len(heights) in (1, 2, ty) or len(heights) % 4 == 0
        least = max(strip.STRIP_TILES, strip.STRIP_VALUES / channels)
        assert len(heights) == 1 or heights.max() * tx > least / 2  # long enough that its calls are worth it
        assert heights.max() == 1 or (heights.max() - 1) * tx <= 1.5 * least  # short enough for the cache


class RowsOf(Given):
    """A gradient that is made when its rows are asked for."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def rows(self, n, y0, y1):
        return self.array[n].transpose(1, 2, 0)[y0:y1].copy()


@pytest.mark.parametrize("name", ["relu", "maxpool2d", "avgpool2d"])
@pytest.mark.parametrize("shape", [(2, 3, 6, 4), (2, 5, 7, 9), (1, 1, 2, 2), (1, 70, 40, 61)], ids=str)
def test_pair_is_the_textbooks(rng, workers, name, shape):
    x = rng.integers(-2, 3, shape).astype(np.float32)  # few values: ties and zeros in many windows
    out, cache = getattr(layers, f"{name}_forward")(x)
    dout = rng.standard_normal(out.shape).astype(np.float32)
    found, fast_cache = getattr(fast_cpu, f"{name}_forward")(x)
    assert_close(found, out)
    assert_close(
        getattr(fast_cpu, f"{name}_backward")(dout, fast_cache), getattr(layers, f"{name}_backward")(dout, cache)
    )


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_fused_pooling_on_ties_and_zeros(rng, pool):
    """Whole numbers make ties between places and zeros before the ReLU; filters that copy channels keep them."""
    x = rng.integers(-2, 3, (1, 16, 10, 9)).astype(np.float64)
    w = np.zeros((16, 16, 3, 3))
    w[range(16), range(16), 1, 1] = 1
    out, cache = fast_cpu.conv_relu_forward(x, w, np.zeros(16), pool=pool)
    np.rint(out * 4, out=out)  # Winograd's rounding could hide a tie from max; what is checked is the code below
    relu, relu_cache = layers.relu_forward(x)
    expected, pool_cache = getattr(layers, f"{pool}pool2d_forward")(relu)
    assert_close(out, expected * 4)
    code = np.empty(expected.transpose(0, 2, 3, 1).shape[1:], np.uint8)
    band, arena = x[0].transpose(1, 2, 0)[:, :8].copy(), memory.Arena(np.empty(1 << 16, np.uint8))
    pooled = np.empty(code.shape)
    (rows.pool_max if pool == "max" else rows.pool_avg)(band, pooled, code, arena, relu=True)
    assert_close(pooled, expected[0].transpose(1, 2, 0))
    dout = rng.standard_normal(expected.shape)
    dx = np.zeros((10, 8, 16))
    scale = 1 if pool == "max" else 0.25
    rows.unpool(dout[0].transpose(1, 2, 0).copy(), code, scale, dx, np.empty(code.shape, np.uint8), arena)
    wanted = layers.relu_backward(getattr(layers, f"{pool}pool2d_backward")(dout, pool_cache), relu_cache)
    assert_close(dx, wanted[0].transpose(1, 2, 0)[:, :8])


@pytest.mark.parametrize("options", [{}, {"stride": 2, "pad": 1}, {"pad": 2}])
def test_other_shapes_are_left_to_the_textbook(rng, options):
    x, w, b = rng.standard_normal((2, 3, 9, 8)), rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4)
    out, cache = fast_cpu.conv2d_forward(x, fast_cpu.prepare(w, b), b, **options)
    expected, expected_cache = layers.conv2d_forward(x, w, b, **options)
    assert_close(out, expected)
    for found, wanted in zip(fast_cpu.conv2d_backward(out, cache), layers.conv2d_backward(out, expected_cache)):
        assert_close(found, wanted)


def test_channel_mismatch_is_named(rng):
    x, w, b = conv_case(rng, (1, 16, 16, 5, 5), np.float32)
    with pytest.raises(ValueError, match="x has 15 channels, the filters expect 16"):
        fast_cpu.conv_relu_forward(x[:, :15], w, b)


def test_any_layout_goes_in_and_nothing_is_modified(rng):
    x, w, b = conv_case(rng, (2, 20, 18, 9, 11), np.float64)
    expected, _ = fast_cpu.conv_relu_forward(x, w, b)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    wide = np.zeros((2, 20, 9, 22))
    wide[..., ::2] = x
    for same in (channels_last, wide[..., ::2], np.asfortranarray(x)):
        before = same.copy()
        same.flags.writeable = w.flags.writeable = False
        out, cache = fast_cpu.conv_relu_forward(same, w, b)
        dout = np.ones_like(out)
        dout.flags.writeable = False
        fast_cpu.conv_relu_backward(dout, cache)
        assert_close(out, expected)
        assert_close(same, before)


@dtypes
@pytest.mark.parametrize("shape", [(5, 3), (64, 5000), (300, 1750)], ids=str)
def test_a_long_product_is_the_product(rng, workers, shape, dtype):
    F = rng.standard_normal(shape).astype(dtype)
    expected = F.astype(np.float64) @ F.T.astype(np.float64)
    for layout in (F, np.asfortranarray(F)):
        found = product.matmul(layout, layout.T)
        assert found.dtype == dtype
        assert_close(found, expected, TOLERANCE[dtype])


@dtypes
@pytest.mark.parametrize("shape", [(5, 3), (64, 20001), (300, 1750)], ids=str)
def test_a_wide_product_is_the_product(rng, workers, shape, dtype):
    F, S = rng.standard_normal(shape).astype(dtype), rng.standard_normal((shape[0],) * 2).astype(dtype)
    expected = S.astype(np.float64) @ F.astype(np.float64)
    for layout in (F, np.asfortranarray(F)):
        found = product.matmul(S, layout)
        assert found.dtype == dtype
        assert found.strides == layout.strides
        assert_close(found, expected, TOLERANCE[dtype])


# --- Winograd ------------------------------------------------------------------------------------------------------


def test_one_dimension_is_a_correlation(rng):
    """AT ((G g) * (BT d)) = Σ_j g[j] d[i+j]; with a wrong point it is not."""
    G, BT, AT = taps.matrices(np.dtype(np.float64))
    g, d = rng.standard_normal(3), rng.standard_normal(6)
    expected = np.correlate(d, g, "valid")
    assert_close(AT @ ((G @ g) * (BT @ d)), expected, 1e-13)
    G = G.copy()
    G[1] *= 1.001
    assert np.abs(AT @ ((G @ g) * (BT @ d)) - expected).max() > 1e-5


def test_flipped_filters_are_the_transform_read_backwards(rng):
    """Whole and in columns, from the filters' own taps and from the flipped ones'; and the filters come back."""
    w = rng.standard_normal((5, 7, 3, 3))
    straight = taps.Taps.of(w)
    mirrored = taps.Taps(straight.taps, mirrored=True)
    flipped = taps.Taps.of(np.ascontiguousarray(w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)))
    G = taps.matrices(np.dtype(np.float64))[0]
    U = np.einsum("ui,vj,fcij->vucf", G, G, w)
    assert mirrored.channels == flipped.channels == straight.channels[::-1] == (5, 7)
    for lo, hi in ((0, 7), (2, 6)):
        space = np.empty(6 * 5 * (hi - lo))
        for v in range(6):
            expected = U[5 - v, ::-1, lo:hi].transpose(0, 2, 1)
            assert_close(mirrored.frequency(v, lo, hi, space)[:, 0], expected, 1e-14)
            assert_close(flipped.frequency(v, lo, hi, space)[:, 0], expected, 1e-14)
    assert_close(straight.frequency(2, 0, 5, np.empty(6 * 7 * 5))[:, 0], U[2], 1e-14)
    assert_close(straight.filters(), w)


def test_large_filters_are_kept_once(rng):
    small, large = (fast_cpu.prepare(rng.standard_normal((F, 256, 3, 3)).astype(np.float32)) for F in (64, 260))
    assert not np.shares_memory(small.forward.taps, small.backward.taps)
    assert np.shares_memory(large.forward.taps, large.backward.taps)


# --- memory --------------------------------------------------------------------------------------------------------


def test_workspace_never_gives_away_what_is_held():
    workspace = fast_cpu.Workspace()
    a = workspace.empty((100, 10), np.float32)
    inner = a[3:5].T.reshape(-1)[:0]  # any view counts
    kept = a[7:9].T
    a[...] = 1
    address = a.ctypes.data
    del a, inner
    b = workspace.empty((100, 10), np.float32)
    b[...] = 2
    assert b.ctypes.data != address
    assert_close(kept, np.ones((10, 2), np.float32))
    del kept
    assert workspace.empty((900,), np.float32).ctypes.data == address


def test_memory_stays_the_same_over_many_calls(rng):
    """Alternating sizes settle: the workspace holds as much after 3 rounds as after 30."""
    workspace = fast_cpu.Workspace()
    cases = [
        conv_case(rng, shape, np.float32) for shape in [(1, 16, 32, 40, 33), (1, 32, 16, 9, 8), (1, 3, 16, 50, 50)]
    ]
    held = []
    for _ in range(30):
        for x, w, b in cases:
            out, cache = fast_cpu.conv_relu_forward(x, w, b, pool="max", workspace=workspace)
            dx, _, _ = fast_cpu.conv_relu_backward(out, cache, workspace=workspace)
        del out, cache, dx
        held.append(workspace.nbytes)
    assert held[2] == held[-1]


def test_cache_keeps_no_activation(rng):
    """With frozen filters what backward keeps is one byte an element, or one a window."""
    x, w, b = conv_case(rng, (1, 16, 16, 32, 32), np.float32)
    for pool, count in ((None, 32 * 32), ("max", 16 * 16)):
        _, cache = fast_cpu.conv_relu_forward(x, w, b, pool=pool)
        assert sum(a.nbytes for a in cache if isinstance(a, np.ndarray)) == 16 * count


# --- threads -------------------------------------------------------------------------------------------------------


def test_cores_follow_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads.cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    everything = threads.cores()
    for nonsense in ("", "0", "all", "-3"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert threads.cores() == everything


def test_parallel_does_every_item_once_and_raises():
    done, lock = [], threading.Lock()

    def task(worker, item):
        if item == 77:
            raise ArithmeticError("77")
        with lock:
            done.append(item)

    threads.parallel(task, range(50), 4)
    assert sorted(done) == list(range(50))
    with pytest.raises(ArithmeticError, match="77"):
        threads.parallel(task, range(100), 4)


@pytest.mark.parametrize("workers", [2, 4])
def test_parallel_within_parallel_ends(workers):
    """The inner call does its items where it is; or a thread of the pool would wait for itself."""
    done, lock = [], threading.Lock()

    def outer(_, item):
        def inner(worker, part):
            with lock:
                done.append((item, part, worker, threading.get_ident() == thread))

        thread = threading.get_ident()
        threads.parallel(inner, range(6), workers)

    runner = threading.Thread(target=threads.parallel, args=(outer, range(10), workers), daemon=True)
    runner.start()
    runner.join(30)
    assert not runner.is_alive()
    assert sorted(done) == [(item, part, 0, True) for item in range(10) for part in range(6)]


def test_after_a_task_the_thread_may_share_again():
    """Also after one that failed: the next call, not nested, has several workers."""
    with pytest.raises(ZeroDivisionError):
        threads.parallel(lambda _, i: 1 // i, range(4), 4)
    barrier = threading.Barrier(3)
    threads.parallel(lambda *_: barrier.wait(10), range(3), 3)  # three at once, or it breaks


def test_blas_threads_are_restored(rng):
    """Also when two threads compute at once, each with its own workspace; and both get the right result."""
    limits = [i["num_threads"] for i in threadpoolctl.threadpool_info() if i["user_api"] == "blas"]
    x, w, b = conv_case(rng, (1, 32, 32, 60, 60), np.float32)
    expected, _ = fast_cpu.conv_relu_forward(x, w, b)
    wrong = []

    def compute():
        workspace = fast_cpu.Workspace()
        for _ in range(20):
            out, _ = fast_cpu.conv_relu_forward(x, w, b, workspace=workspace)
            if not np.array_equal(out, expected):
                wrong.append(out)

    running = [threading.Thread(target=compute) for _ in range(3)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong
    assert [i["num_threads"] for i in threadpoolctl.threadpool_info() if i["user_api"] == "blas"] == limits


def test_the_limit_stands_until_the_last_has_left():
    """Or a product on the other thread would be cut in two half-way through a run, and its last digits with it."""

    def limits():
        return [i["num_threads"] for i in threadpoolctl.threadpool_info() if i["user_api"] == "blas"]

    before = limits()
    entered, leave = threading.Event(), threading.Event()

    def compute():
        with threads.one_blas_thread():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=compute)
    with threads.one_blas_thread():
        other.start()
        assert entered.wait(10)
        with threads.one_blas_thread():
            pass
        assert set(limits()) == {1}
    assert set(limits()) == {1}
    leave.set()
    other.join()
    assert limits() == before


@pytest.mark.parametrize("C, F", [(48, 32), (40, 64), (20, 24), (512, 64)])
def test_kept_transforms_change_nothing(rng, workers, C, F):
    """Beyond the last digits, for blocks add up in another order; nor do they outlive the picture they are for."""
    x, w, b = conv_case(rng, (1, C, F, 32, 24), np.float64)
    filters = fast_cpu.prepare(w, b)
    kept, fresh = fast_cpu.Workspace(), fast_cpu.Workspace()
    kept.keep_transforms = True
    outs, grads = [], []
    for workspace in (fresh, kept, kept):
        out, cache = fast_cpu.conv_relu_forward(x, filters, b, workspace=workspace)
        outs.append(out)
        grads.append(fast_cpu.conv_relu_backward(out, cache, workspace=workspace)[0])
    assert filters.forward._stored is not None
    assert filters.backward._stored is not None
    for out, grad in zip(outs[1:], grads[1:], strict=True):
        assert_close(out, outs[0], 1e-13)
        assert_close(grad, grads[0], 1e-13)
    fast_cpu.conv_relu_forward(np.zeros((1, C, 80, 80)), filters, b, workspace=kept)
    assert filters.forward._stored is None


@pytest.mark.parametrize("shape", [(4, 6, 6), (6, 9, 5), (1, 7, 3)], ids=str)
@pytest.mark.parametrize("dtype", [np.complex128, np.float32, np.int64])
def test_other_products_are_numpys_own(rng, shape, dtype):
    """Other shapes, other types, two types, vectors and stacks."""
    n, m, k = shape
    A, B = ((10 * rng.standard_normal(s)).astype(dtype) for s in ((n, m), (m, k)))
    for a, b in ((A, B), (A, B.astype(np.complex64)), (A, B[:, 0]), (A[0], B), (A[None], B), (A.astype(bool), A.T)):
        assert_close(product.matmul(a, b), a @ b)
    with pytest.raises(ValueError, match="mismatch"):
        product.matmul(A, A[:, : m - 1])


def test_products_within_a_worker(rng):
    """As a tile that is a task of its own takes them: with the digits of the one outside, and an end."""
    F = rng.standard_normal((24, 30000), dtype=np.float32)
    S, found = rng.standard_normal((24, 24), dtype=np.float32), [None] * 6
    expected = product.matmul(F, F.T), product.matmul(S, F)

    def task(_, k):
        found[k] = product.matmul(F, F.T), product.matmul(S, F)

    runner = threading.Thread(target=threads.parallel, args=(task, range(6), 3), daemon=True)
    runner.start()
    runner.join(60)
    assert not runner.is_alive()
    for pair in found:
        assert all(np.array_equal(a, b) for a, b in zip(pair, expected, strict=True))


@pytest.mark.parametrize("matmul", [lambda F: product.matmul(F, F.T), lambda F: product.matmul(F[:, :7], F)])
def test_products_have_the_same_digits_on_any_number_of_cores(matmul, monkeypatch):
    F = np.random.default_rng(0).standard_normal((7, 70001), dtype=np.float32)
    found = []
    for workers in (1, 2, 5):
        monkeypatch.setenv("OMP_NUM_THREADS", str(workers))
        monkeypatch.setattr(product, "cores", lambda workers=workers: workers)
        found.append(matmul(F))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
