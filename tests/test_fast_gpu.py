"""fast_gpu on a stand-in device: every pair against layers.py, with NumPy twins of the kernels and with kernels.cu.

The default run takes the twins; `slow` compiles kernels.cu for the processor and runs the very code of the device, and
compiles it for the cards it is meant for.
"""

import shutil
import subprocess
import sys

import cuda_on_cpu
import cuda_twins
import numpy as np
import pytest
from strict_device import StrictModule

from minivgg import Given, cuda, fast_gpu, layers
from minivgg.fast_gpu import runtime, winograd
from minivgg.gradcheck.rows import random_params
from minivgg.vgg import VGG
from style.faster import pairs_gpu

ENGINES = {"twins": cuda_twins.engine, "compiled": cuda_on_cpu.engine}
CARDS = ("75", "80", "86", "89", "90")  # compute capabilities: Turing to Hopper
BUILDS = [(c, runtime.KERNELS, "float32", False) for c in CARDS] + [
    (c, source, *v)
    for c in ("75", "90")
    for source, v in (
        *((runtime.KERNELS, v) for v in (("float32", True), ("float64", False))),
        *((pairs_gpu.KERNELS, v) for v in (("float32", False), ("float64", False))),
    )
]

# float32, of 5·64 terms and more; tensor cores round their factors to 10 bits, and Winograd enlarges that
ERRORS = {"float64": 1e-13, "float32": 2e-6, "tf32": 4e-3, "float16": 5e-3}

# (N, C, F, H, W): first layer, odd sizes, several pictures, rows of 4 (vectors), one tile, one place
SHAPES = [(1, 3, 8, 9, 8), (2, 3, 9, 12, 16), (2, 5, 7, 13, 10), (1, 16, 12, 8, 20), (1, 4, 3, 3, 2), (1, 8, 5, 1, 1)]


@pytest.fixture(params=["twins", pytest.param("compiled", marks=pytest.mark.slow)])
def xp(request):
    if request.param == "compiled" and cuda_on_cpu.compiler() is None:
        pytest.skip("no C++ compiler (g++ or clang++) to compile kernels.cu with")
    return StrictModule(ENGINES[request.param])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def error(found, expected):
    """‖found - expected‖ / ‖expected‖; NaN, which fresh memory is filled with, never passes."""
    found, expected = found.get().astype(np.float64), expected.astype(np.float64)
    assert found.shape == expected.shape
    return np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30)


def problem(rng, shape, dtype, scale=1.0):
    N, C, F, H, W = shape
    x = (scale * rng.standard_normal((N, C, H, W))).astype(dtype)
    w = (rng.standard_normal((F, C, 3, 3)) / (3 * C**0.5)).astype(dtype)
    return x, w, (scale * rng.standard_normal(F)).astype(dtype)


def textbook_forward(x, w, b, pool):
    x, w, b = (a.astype(np.float64) for a in (x, w, b))
    out, conv = layers.conv2d_forward(x, w, b, pad=1)
    out, relu = layers.relu_forward(out)
    pooled = None
    if pool:
        out, pooled = getattr(layers, f"{pool}pool2d_forward")(out)
    return out, (conv, relu, pooled, pool)


def textbook_backward(dout, cache):
    conv, relu, pooled, pool = cache
    if pool:
        dout = getattr(layers, f"{pool}pool2d_backward")(dout, pooled)
    return layers.conv2d_backward(layers.relu_backward(dout, relu), conv)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pool", [None, "max", "avg"])
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_layer_is_the_textbooks(xp, rng, shape, pool, dtype):
    if pool and min(shape[3:]) < 2:
        pytest.skip("no 2x2 window fits")
    x, w, b = problem(rng, shape, dtype)
    expected, reference = textbook_forward(x, w, b, pool)
    device = [xp.asarray(a) for a in (x, w, b)]
    out, cache = fast_gpu.conv_relu_forward(*device, pool=pool, param_grads=True)
    assert error(out, expected) < ERRORS[dtype]
    dout, add = (rng.standard_normal(expected.shape).astype(dtype) for _ in range(2))
    dx, dw, db = textbook_backward(dout.astype(np.float64) + add, reference)
    device_dout, device_add = xp.asarray(dout), xp.asarray(add)
    found = fast_gpu.conv_relu_backward(device_dout, cache, add=Given.of(device_add))
    assert found[1:] == (None, None)
    assert error(found[0], dx) < ERRORS[dtype]
    found = fast_gpu.conv_relu_backward(device_dout, cache, add=Given.of(device_add), param_grads=True)
    for got, want in zip(found, (dx, dw, db)):
        assert error(got, want) < ERRORS[dtype]
    found, _, _ = fast_gpu.conv_relu_backward(device_dout, cache)
    assert error(found, textbook_backward(dout.astype(np.float64), reference)[0]) < ERRORS[dtype]
    for a, host in zip(device, (x, w, b)):
        np.testing.assert_array_equal(a.get(), host)  # inputs are not modified


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_is_the_textbooks(xp, rng, shape, dtype):
    x, w, b = problem(rng, shape, dtype)
    expected, reference = layers.conv2d_forward(*(a.astype(np.float64) for a in (x, w, b)), pad=1)
    out, cache = fast_gpu.conv2d_forward(*[xp.asarray(a) for a in (x, w, b)], pad=1)
    assert error(out, expected) < ERRORS[dtype]
    dout = rng.standard_normal(out.shape).astype(dtype)
    wanted = layers.conv2d_backward(dout.astype(np.float64), reference)
    for got, want in zip(fast_gpu.conv2d_backward(xp.asarray(dout), cache), wanted):
        assert error(got, want) < ERRORS[dtype]
    dx, dw, db = fast_gpu.conv2d_backward(xp.asarray(dout), cache, param_grads=False)
    assert (dw, db) == (None, None)
    assert error(dx, wanted[0]) < ERRORS[dtype]


def test_other_convolutions_are_the_textbooks_own(xp, rng):
    x, w, b = problem(rng, (1, 4, 6, 9, 8), "float64")
    for options in ({"pad": 0}, {"pad": 1, "stride": 2}):
        out, cache = fast_gpu.conv2d_forward(*[xp.asarray(a) for a in (x, w, b)], **options)
        expected, reference = layers.conv2d_forward(x, w, b, **options)
        assert error(out, expected) < 1e-15
        got, want = (f.conv2d_backward(d, c)[0] for f, d, c in ((fast_gpu, out, cache), (layers, expected, reference)))
        assert error(got, want) < 1e-15


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e5])
@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_tensor_core_precisions_keep_their_error(xp, rng, precision, scale):
    """Also for data that half precision could not hold: the scale is found from the data."""
    x, w, b = problem(rng, (1, 64, 48, 16, 20), "float32", scale)
    filters = fast_gpu.prepare(xp.asarray(w), precision=precision)
    expected, reference = layers.conv2d_forward(*(a.astype(np.float64) for a in (x, w, b)), pad=1)
    out, cache = fast_gpu.conv2d_forward(xp.asarray(x), filters, xp.asarray(b), pad=1)
    found = error(out, expected)
    assert 1e-5 < found < ERRORS[precision]  # and the precision asked for was indeed used
    dout = (scale * rng.standard_normal(out.shape)).astype(np.float32)
    dx, _, _ = fast_gpu.conv2d_backward(xp.asarray(dout), cache, param_grads=False)
    assert error(dx, layers.conv2d_backward(dout.astype(np.float64), reference)[0]) < ERRORS[precision]


def test_half_precision_cannot_overflow(xp, rng):
    """The worst case of the bound: all that V and M can reach, reached."""
    w = np.ones((8, 64, 3, 3), np.float32)
    sign = np.sign(winograd.matrices(np.dtype(np.float64))[1])
    x = np.tile(np.outer(sign[3], sign[3])[1:5, 1:5], (1, 64, 3, 3)).astype(np.float32) * 1e6
    filters = fast_gpu.prepare(xp.asarray(w), precision="float16")
    out, _ = fast_gpu.conv2d_forward(xp.asarray(x), filters, xp.asarray(np.zeros(8, np.float32)), pad=1)
    assert np.isfinite(out.get()).all()
    out, _ = fast_gpu.conv2d_forward(xp.asarray(0 * x), filters, xp.asarray(np.zeros(8, np.float32)), pad=1)
    assert not out.get().any()


def test_strips_change_nothing(xp, rng, monkeypatch):
    x, w, b = problem(rng, (2, 5, 6, 21, 14), "float32")
    device = [xp.asarray(a) for a in (x, w, b)]
    results = []
    for workspace in (1, 36 * 11 * 4 * 4 * 3, 1 << 30):  # one row of tiles at a time, three, all
        monkeypatch.setattr(winograd, "WORKSPACE", workspace)
        out, cache = fast_gpu.conv_relu_forward(*device, pool="max")
        dx, _, _ = fast_gpu.conv_relu_backward(out, cache)
        results.append((out.get(), dx.get()))
    for out, dx in results[1:]:
        np.testing.assert_allclose(out, results[0][0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(dx, results[0][1], rtol=0, atol=1e-6)


def test_strip_rows_fill_the_workspace_evenly(monkeypatch):
    monkeypatch.setattr(winograd, "WORKSPACE", 36 * 128 * 128 * 4 * 10)  # ten rows of 128 tiles, 128 channels
    assert winograd.strip_rows(32, 128, 128, 4) == 8  # four strips of 8, not 10 + 10 + 10 + 2
    assert winograd.strip_rows(7, 128, 128, 4) == 7
    assert winograd.strip_rows(7, 10**9, 128, 4) == 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pool", ["maxpool2d", "avgpool2d"])
@pytest.mark.parametrize("shape", [(1, 2, 4, 6), (2, 3, 7, 5), (1, 1, 2, 3)])
def test_pooling_is_the_textbooks(xp, rng, shape, pool, dtype):
    x = rng.integers(-3, 3, shape).astype(dtype)  # with ties
    expected, reference = getattr(layers, f"{pool}_forward")(x)
    out, cache = getattr(fast_gpu, f"{pool}_forward")(xp.asarray(x))
    np.testing.assert_array_equal(out.get(), expected)
    dout = rng.standard_normal(expected.shape).astype(dtype)
    dx = getattr(fast_gpu, f"{pool}_backward")(xp.asarray(dout), cache)
    np.testing.assert_array_equal(dx.get(), getattr(layers, f"{pool}_backward")(dout, reference))


def with_nans(rng, a, share):
    """A copy of a in which that share of the entries, in random places, is NaN."""
    return np.where(rng.random(a.shape) < share, a.dtype.type(np.nan), a)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pool", ["maxpool2d", "avgpool2d"])
def test_pooling_has_a_nan_where_the_textbook_has_one(xp, rng, pool, dtype):
    """Also whose gradient goes where: beside a NaN, the place of the maximum is the textbook's."""
    x = with_nans(rng, rng.integers(-3, 4, (2, 4, 17, 24)).astype(dtype), 0.2)
    expected, reference = getattr(layers, f"{pool}_forward")(x)
    assert 100 < np.isnan(expected).sum() < expected.size - 100
    out, cache = getattr(fast_gpu, f"{pool}_forward")(xp.asarray(x))
    np.testing.assert_array_equal(out.get(), expected)  # equal numbers, and NaN in the same places
    dout = with_nans(rng, rng.standard_normal(expected.shape).astype(dtype), 0.2)
    dx = getattr(fast_gpu, f"{pool}_backward")(xp.asarray(dout), cache)
    np.testing.assert_array_equal(dx.get(), getattr(layers, f"{pool}_backward")(dout, reference))


def tiles_with(nan):
    """The 4x4 tiles of output (N, 1, H, W) whose 6x6 patch of the input meets a NaN. nan  (N, C, H, W) bool"""
    N, _, H, W = nan.shape
    TH, TW = -(-H // 4), -(-W // 4)
    padded = np.zeros((N, 1, 4 * TH + 2, 4 * TW + 2), bool)
    padded[:, 0, 1 : H + 1, 1 : W + 1] = nan.any(axis=1)
    met = np.lib.stride_tricks.sliding_window_view(padded, (6, 6), axis=(2, 3))[:, :, ::4, ::4].any(axis=(4, 5))
    return met.repeat(4, axis=2).repeat(4, axis=3)[:, :, :H, :W]


def check_nans(found, expected, may, tolerance):
    """NaN where the textbook has one, and nowhere but where `may` is set: there the numbers are the textbook's."""
    found, nan = found.get(), np.isnan(expected)
    may = np.broadcast_to(may, nan.shape)
    assert nan.any() and not may.all()
    assert np.isnan(found[nan]).all(), f"{(~np.isnan(found[nan])).sum()} of {nan.sum()} NaN became numbers"
    assert np.linalg.norm((found - expected)[~may]) < tolerance * np.linalg.norm(expected[~may])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pool", [None, "max", "avg"])
@pytest.mark.parametrize("channels", [3, 5])
def test_fused_layer_has_a_nan_where_the_textbook_has_one(xp, rng, channels, pool, dtype):
    """The first layer in its places exactly; Winograd, which mixes a tile's places, in the tiles that meet it."""
    x, w, b = problem(rng, (2, channels, 6, 13, 18), dtype)
    x[0, 1, 5, 9] = b[4] = np.nan
    expected, _ = textbook_forward(x, w, b, pool)
    out, _ = fast_gpu.conv_relu_forward(*map(xp.asarray, (x, w, b)), pool=pool)
    may = tiles_with(np.isnan(x)) | np.isnan(b)[:, None, None]
    if pool:
        may = layers.avgpool2d_forward(may.astype(float))[0] > 0
    check_nans(out, expected, np.isnan(expected) if channels == 3 else may, ERRORS[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pool", [None, "max", "avg"])
@pytest.mark.parametrize("channels", [3, 5])
def test_fused_backward_has_a_nan_where_the_textbook_has_one(xp, rng, channels, pool, dtype):
    """A mask multiplies: 0 times NaN is NaN, and so no closed ReLU hides one that came from further up."""
    x, w, b = problem(rng, (2, channels, 6, 13, 18), dtype)
    expected, (conv, relu, pooled, _) = textbook_forward(x, w, b, pool)
    _, cache = fast_gpu.conv_relu_forward(*map(xp.asarray, (x, w, b)), pool=pool, param_grads=True)
    dout, add = (rng.standard_normal(expected.shape).astype(dtype) for _ in range(2))
    closed = np.argwhere(expected == 0)
    dout[tuple(closed[0])] = add[tuple(closed[-1])] = dout[1, 2, 3, 1] = np.nan
    summed = dout.astype(np.float64) + add
    dconv = layers.relu_backward(getattr(layers, f"{pool}pool2d_backward")(summed, pooled) if pool else summed, relu)
    dx, dw, db = layers.conv2d_backward(dconv, conv)
    dout, add = xp.asarray(dout), Given.of(xp.asarray(add))
    found, _, _ = fast_gpu.conv_relu_backward(dout, cache, add=add)
    check_nans(found, dx, np.isnan(dx) if channels == 3 else tiles_with(np.isnan(dconv)), ERRORS[dtype])
    _, found_dw, found_db = fast_gpu.conv_relu_backward(dout, cache, add=add, param_grads=True)
    assert 0 < np.isnan(db).sum() < len(db)
    np.testing.assert_array_equal(np.isnan(found_dw.get()), np.isnan(dw))
    np.testing.assert_array_equal(np.isnan(found_db.get()), np.isnan(db))


@pytest.mark.parametrize("pool", [None, "max", "avg"])
def test_half_precision_keeps_a_nan(xp, rng, pool):
    """One NaN leaves no scale for the picture's transforms, so that all of the layer is NaN: no number at least."""
    x, w, b = problem(rng, (1, 5, 6, 8, 8), "float32")
    x[0, 1, 3, 4] = np.nan
    filters = fast_gpu.prepare(xp.asarray(w), precision="float16")
    out, _ = fast_gpu.conv_relu_forward(xp.asarray(x), filters, xp.asarray(b), pool=pool)
    assert np.isnan(out.get()).all()


def test_a_window_that_does_not_fit_is_refused(xp):
    x = xp.zeros((1, 3, 1, 8), dtype=np.float32)
    w, b = xp.zeros((4, 3, 3, 3), dtype=np.float32), xp.zeros(4, dtype=np.float32)
    for call in (fast_gpu.maxpool2d_forward, fast_gpu.avgpool2d_forward):
        with pytest.raises(ValueError, match="does not fit into 1x8"):
            call(x)
    with pytest.raises(ValueError, match="does not fit into 1x8"):
        fast_gpu.conv_relu_forward(x, w, b, pool="max")


def test_a_gradient_of_the_wrong_shape_is_refused(xp):
    x = xp.zeros((1, 3, 8, 8), dtype=np.float32)
    w, b = xp.zeros((4, 3, 3, 3), dtype=np.float32), xp.zeros(4, dtype=np.float32)
    out, cache = fast_gpu.conv_relu_forward(x, w, b)
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 4\), expected \(1, 4, 8, 8\)"):
        fast_gpu.conv_relu_backward(out, cache, add=Given.of(xp.zeros((1, 4, 4, 4), dtype=np.float32)))
    with pytest.raises(ValueError, match="precision 'fp8': use float32, tf32, float16"):
        fast_gpu.prepare(w, precision="fp8")


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_network_and_launch_count(xp, rng, pooling):
    """The whole network against the textbook's; three launches a layer and pass, one for the first, nothing fetched."""
    widths, convs, params, C = (4, 6, 8), ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1)), {}, 3
    for block, k in convs:
        F = widths[block - 1]
        w = rng.standard_normal((F, C, 3, 3)) * (2 / (9 * C)) ** 0.5
        params[f"conv{block}_{k}"], C = (w, 0.1 * rng.standard_normal(F)), F
    names = ["relu1_1", "relu2_2", "relu3_1"]
    x = rng.standard_normal((1, 3, 22, 17))
    expected, reference = VGG(params, pooling=pooling, kernels="textbook").forward(x, names)
    on_device = {name: tuple(xp.asarray(a) for a in pair) for name, pair in params.items()}
    net, image = VGG(on_device, pooling=pooling, kernels="fast"), xp.asarray(x)
    net.forward(image, names)  # transforms the filters
    xp.crossings.reset()
    xp.launches.clear()
    feats, cache = net.forward(image, names)
    assert len(xp.launches) == 1 + 3 * 4 + 1  # conv1_1; four layers; pool2, whose ReLU was asked for
    dfeats = {name: rng.standard_normal(f.shape) for name, f in expected.items()}
    on_device = {name: xp.asarray(d) for name, d in dfeats.items()}
    xp.crossings.reset()
    dx = net.backward(on_device, cache)
    assert len(xp.launches) == 2 * (1 + 3 * 4 + 1)
    assert not xp.crossings.to_host and not xp.crossings.to_device
    for name in names:
        assert error(feats[name], expected[name]) < 1e-13
    dx_expected = VGG(params, pooling=pooling, kernels="textbook").backward(dfeats, reference)
    assert error(dx, dx_expected) < 1e-12


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_a_network_on_a_torus(xp, rng, pooling):
    """Circular padding around the device's kernels, against that around the textbook's; nothing is fetched."""
    params = random_params(rng, widths=(16, 17, 18), last="conv3_1")
    names, x = ["relu1_1", "conv2_2", "pool2", "relu3_1"], rng.standard_normal((1, 3, 16, 20))
    textbook = VGG(params, pooling=pooling, kernels="textbook", padding="circular")
    expected, reference = textbook.forward(x, names)
    on_device = {name: tuple(xp.asarray(a) for a in pair) for name, pair in params.items()}
    net, image = VGG(on_device, pooling=pooling, kernels="fast", padding="circular"), xp.asarray(x)
    assert net.kernels.name == "fast_gpu"
    dfeats = {name: rng.standard_normal(f.shape) for name, f in expected.items()}
    on_device = {name: xp.asarray(d) for name, d in dfeats.items()}
    net.forward(image, names)  # transforms the filters
    xp.crossings.reset()
    feats, cache = net.forward(image, names)
    dx = net.backward(on_device, cache)
    assert not xp.crossings.to_host and not xp.crossings.to_device
    for name in names:
        assert error(feats[name], expected[name]) < 1e-13
    assert error(dx, textbook.backward(dfeats, reference)) < 1e-12


def test_the_comparison_can_fail(rng):
    """A twin that is slightly wrong (the bias left out of one filter) is found by the test above."""

    def wrong(code, options):
        kernels = cuda_twins.engine(code, options)
        right = kernels["output_relu"]

        def run(grid, block, args):
            right(grid, block, args)
            args[2]._values[:, 0] *= 1.001

        return {**kernels, "output_relu": run}

    with pytest.raises(AssertionError):
        test_fused_layer_is_the_textbooks(StrictModule(wrong), rng, (2, 5, 7, 13, 10), None, "float32")


def test_a_write_beside_an_array_is_found(rng):
    def wrong(code, options):
        def run(grid, block, args):
            args[1]._buffer[-1] = 0

        return {"maxpool_forward": run}

    with pytest.raises(AssertionError, match="wrote outside argument 1"):
        fast_gpu.maxpool2d_forward(StrictModule(wrong).asarray(rng.standard_normal((1, 2, 4, 4))))


@pytest.mark.slow
@pytest.mark.parametrize(("card", "source", "dtype", "half"), BUILDS)
def test_kernels_compile_for_cards(card, source, dtype, half, tmp_path):
    """NVRTC where CuPy is installed (as at run time), or nvcc: no error, no warning."""
    options = (*runtime.compile_options(np.dtype(dtype), half), f"-arch=sm_{card}")
    probe = "from cupy.cuda import nvrtc; nvrtc.getVersion()"
    if subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0:
        from cupy.cuda import nvrtc

        program = nvrtc.createProgram(cuda.source(source), source.name, (), ())
        nvrtc.compileProgram(program, options)
        assert nvrtc.getProgramLog(program).strip("\0\n") == ""
    elif shutil.which("nvcc"):
        command = ["nvcc", *options, "-cubin", "-o", tmp_path / "kernels.cubin", source]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    else:
        pytest.skip("neither CuPy with NVRTC nor nvcc is installed")
