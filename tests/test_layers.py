"""The layer pairs: against the index loops, gradients by three methods, and identities; every backend, every kernel."""

import itertools

import numpy as np
import pytest
from conftest import assert_close, assert_passed

from minivgg import fast_cpu, gradcheck, naive
from minivgg import layers as textbook
from minivgg.fast_cpu.winograd_textbook import winograd_textbook
from minivgg.gradcheck import rows
from minivgg.layers import col2im, im2col

PAIRS = ("relu", "maxpool2d", "avgpool2d")
# (N, C, F, H, W): one place, less than a tile, whole tiles, odd sizes; channels enough for the fast path, or few
WINOGRAD_SHAPES = [(2, 3, 4, 1, 1), (1, 2, 3, 3, 2), (2, 16, 17, 8, 12), (1, 18, 16, 13, 7), (2, 17, 16, 5, 22)]
EXACT = {"textbook": 1e-14, "fast": 1e-11}  # float64; fast: Winograd's transforms lose two to three digits


def conv_inputs(rng, case):
    shape, (F, KH, KW), stride, pad = case
    x, w, b = (rng.standard_normal(s) for s in (shape, (F, shape[1], KH, KW), (F,)))
    return x, w, b, {"stride": stride, "pad": pad}


def pair(layers, name):
    return getattr(layers, f"{name}_forward"), getattr(layers, f"{name}_backward")


# --- against the definition ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", rows.CONV_CASES, ids=str)
def test_conv2d_is_its_definition(backend, layers, kernels, rng, case):
    x, w, b, options = conv_inputs(rng, case)
    out, _ = layers.conv2d_forward(*map(backend.array, (x, w, b)), **options)
    assert_close(out, naive.conv2d(x, w, b, **options), EXACT[kernels])


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", [(2, 3, 6, 4), (2, 2, 7, 5), (1, 1, 2, 3), (2, 1, 3, 2)], ids=str)
def test_relu_and_pooling_are_their_definitions(backend, layers, rng, name, shape):
    x = rng.standard_normal(shape)
    out, _ = pair(layers, name)[0](backend.array(x))
    assert_close(out, getattr(naive, name)(x), 1e-15)


@pytest.mark.parametrize("shape", WINOGRAD_SHAPES, ids=str)
def test_winograd_textbook_is_a_convolution(rng, shape):
    """And so is its backward, with the filters flipped and their channel axes exchanged (MATH.md 3)."""
    N, C, F, H, W = shape
    x, w, dout = (rng.standard_normal(s) for s in ((N, C, H, W), (F, C, 3, 3), (N, F, H, W)))
    before = [a.copy() for a in (x, w)]
    expected, cache = textbook.conv2d_forward(x, w, np.zeros(F), pad=1)
    assert_close(winograd_textbook(x, w), expected, 1e-12)
    dx, _, _ = textbook.conv2d_backward(dout, cache)
    assert_close(winograd_textbook(dout, w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)), dx, 1e-12)
    for a, kept in zip((x, w), before):
        assert_close(a, kept)


@pytest.mark.parametrize("shape", [s for s in WINOGRAD_SHAPES if min(s[1:3]) >= fast_cpu.FEW], ids=str)
def test_fast_winograd_is_its_textbook(rng, shape):
    """The same transforms in another order: what strips, slots and strides must not change."""
    N, C, F, H, W = shape
    x, w = rng.standard_normal((N, C, H, W)), rng.standard_normal((F, C, 3, 3))
    assert fast_cpu.algorithm(fast_cpu.prepare(w), 1, 1) == "winograd"
    out, _ = fast_cpu.conv2d_forward(x, w, np.zeros(F), pad=1)
    assert_close(out, winograd_textbook(x, w), 1e-12)


def test_every_gradient(backend, kernels):
    """The table that `python -m minivgg.gradcheck` prints, for this backend and these kernels."""
    table = assert_passed(rows.layer_rows(backend.device, kernels))
    assert {row.method for row in table} >= {"central difference", "adjoint identity", "against float64"}


# --- identities ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", rows.CONV_CASES, ids=str)
def test_col2im_is_the_adjoint_of_im2col(backend, rng, case):
    """<cols, im2col(x)> = <col2im(cols), x>, exactly: on whole numbers nothing is rounded."""
    shape, (_, KH, KW), stride, pad = case
    x = backend.array(rng.integers(-9, 10, shape))
    columns = im2col(x, KH, KW, stride, pad)
    cols = backend.array(rng.integers(-9, 10, columns.shape))
    assert gradcheck.inner(cols, columns) == gradcheck.inner(col2im(cols, shape, KH, KW, stride, pad), x) != 0


@pytest.mark.parametrize("size", [(6, 4), (7, 5)], ids=str)
def test_average_pooling_is_a_convolution_with_a_constant_filter(backend, layers, rng, size):
    """One 2x2 filter of quarters per channel, stride 2; a convolution drops an odd last row just so."""
    C = 3
    x = backend.array(rng.standard_normal((2, C, *size)))
    w, b = backend.array(np.eye(C)[:, :, None, None] * np.full((2, 2), 0.25)), backend.array(np.zeros(C))
    expected, conv_cache = layers.conv2d_forward(x, w, b, stride=2)
    out, cache = layers.avgpool2d_forward(x)
    assert_close(out, expected, 1e-14)
    dout = backend.array(rng.standard_normal(out.shape))
    assert_close(layers.avgpool2d_backward(dout, cache), layers.conv2d_backward(dout, conv_cache)[0], 1e-14)


def test_convolution_with_a_single_one_shifts_the_picture(backend, layers, kernels):
    """w is 1 at (i, j) and 0 elsewhere: out[p, q] = x[p + i - 1, q + j - 1], which no transposed filter would give."""
    x = np.arange(1.0, 36.0).reshape(1, 1, 5, 7)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for i, j in itertools.product(range(3), repeat=2):
        w = np.zeros((1, 1, 3, 3))
        w[0, 0, i, j] = 1
        out, _ = layers.conv2d_forward(backend.array(x), backend.array(w), backend.array([0.0]), pad=1)
        assert_close(out, padded[:, :, i : i + 5, j : j + 7], EXACT[kernels])


def test_convolution_of_zero_is_the_bias(backend, layers, rng):
    w, b = rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)
    out, _ = layers.conv2d_forward(backend.array(np.zeros((2, 2, 4, 5))), backend.array(w), backend.array(b), pad=1)
    assert_close(out, np.broadcast_to(b[:, None, None], (2, 3, 4, 5)))


def test_relu_splits_a_number_into_its_positive_and_negative_part(backend, layers, rng):
    x = backend.array(rng.standard_normal((2, 3, 5, 4)))
    positive, negative = layers.relu_forward(x)[0], layers.relu_forward(-x)[0]
    assert_close(positive - negative, x)
    assert_close(positive + negative, abs(x))


def test_relu_has_gradient_zero_at_its_kink(backend, layers):
    x = backend.array([[[[0.0, -1.0, 2.0]]]])
    _, cache = layers.relu_forward(x)
    assert_close(layers.relu_backward(backend.array([[[[5.0, 6.0, 7.0]]]]), cache), np.array([[[[0.0, 0.0, 7.0]]]]))


def test_max_pooling_sends_a_tie_to_the_first_in_row_order(backend, layers):
    for first in range(4):
        window = np.zeros(4)
        window[first:] = 1  # equal from `first` on
        x = backend.array(np.tile(window.reshape(1, 1, 2, 2), (2, 3, 2, 3)))
        out, cache = layers.maxpool2d_forward(x)
        expected = np.zeros(4)
        expected[first] = 5
        dx = layers.maxpool2d_backward(backend.array(np.full(out.shape, 5.0)), cache)
        assert_close(dx, np.tile(expected.reshape(1, 1, 2, 2), (2, 3, 2, 3)))


@pytest.mark.parametrize("name", ["maxpool2d", "avgpool2d"])
def test_pooling_drops_an_odd_last_row_and_column(backend, layers, rng, name):
    """The floor rule: forward is that of the even part, and what was dropped gets no gradient."""
    forward, backward = pair(layers, name)
    x = rng.standard_normal((2, 3, 7, 5))
    out, cache = forward(backend.array(x))
    even, even_cache = forward(backend.array(x[:, :, :6, :4]))
    assert_close(out, even)
    dout = backend.array(rng.standard_normal((2, 3, 3, 2)))
    dx = backend.host(backward(dout, cache))
    assert dx.shape == x.shape and not dx[:, :, 6].any() and not dx[:, :, :, 4].any()
    assert_close(dx[:, :, :6, :4], backward(dout, even_cache))


@pytest.mark.parametrize("name", ["maxpool2d", "avgpool2d"])
def test_pooling_hands_the_whole_gradient_on(backend, layers, rng, name):
    """Every window's weights add up to 1: whole numbers in, the same sum out, window by window."""
    forward, backward = pair(layers, name)
    _, cache = forward(backend.array(rng.standard_normal((2, 3, 6, 4))))
    dout = 4 * rng.integers(-9, 10, (2, 3, 3, 2))
    dx = backend.host(backward(backend.array(dout), cache))
    assert_close(dx.reshape(2, 3, 3, 2, 2, 2).sum(axis=(3, 5)), dout.astype(float))


# --- types, memory, errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("place", range(4))
def test_a_nan_is_passed_on(backend, layers, name, place):
    """A comparison with a NaN is false: written carelessly, these layers would turn it into a number."""
    x = np.array([-1.0, -2.0, -3.0, -4.0])
    x[place] = np.nan
    out, _ = pair(layers, name)[0](backend.array(x.reshape(1, 1, 2, 2)))
    assert np.isnan(backend.host(out)).any()


@pytest.mark.parametrize("name", PAIRS)
def test_nan_are_where_the_definition_has_them(backend, layers, rng, name):
    """And the definition has them where a NaN goes in: at the same place, or in the window that it belongs to."""
    x = rng.integers(-3, 4, (2, 3, 9, 12)).astype(float)
    nan = rng.random(x.shape) < 0.2
    x[nan] = np.nan
    expected = getattr(naive, name)(x)
    if name != "relu":
        nan = nan[:, :, :8].reshape(2, 3, 4, 2, 6, 2).any(axis=(3, 5))
    np.testing.assert_array_equal(np.isnan(expected), nan)
    out, _ = pair(layers, name)[0](backend.array(x))
    np.testing.assert_array_equal(backend.host(out), expected)  # equal numbers, and NaN in the same places


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_stay_and_inputs_are_not_modified(backend, layers, rng, dtype):
    x, w, b = (backend.array(rng.standard_normal(s), dtype) for s in ((2, 3, 6, 5), (4, 3, 3, 3), (4,)))
    before = [backend.host(a).copy() for a in (x, w, b)]
    out, cache = layers.conv2d_forward(x, w, b, pad=1)
    results = [out, *layers.conv2d_backward(out, cache)]
    for name in PAIRS:
        forward, backward = pair(layers, name)
        out, cache = forward(x)
        dout = backend.array(rng.standard_normal(out.shape), dtype)
        kept = backend.host(dout).copy()
        results += [out, backward(dout, cache)]
        assert_close(dout, kept)
    assert [a.dtype for a in results] == [dtype] * len(results)
    for a, kept in zip((x, w, b), before):
        assert_close(a, kept)


def test_views_are_as_good_as_copies(backend, layers, kernels, rng):
    """Nothing may rely on an array being contiguous: a transposed picture gives what its copy gives."""
    x = backend.array(rng.standard_normal((2, 5, 6, 3))).transpose(0, 3, 2, 1)
    w, b = backend.array(rng.standard_normal((4, 3, 3, 3))), backend.array(rng.standard_normal(4))
    for view, copy in zip(layers.conv2d_forward(x, w, b, pad=1)[:1], layers.conv2d_forward(x.copy(), w, b, pad=1)):
        assert_close(view, copy, EXACT[kernels])
    for name in PAIRS:
        forward, backward = pair(layers, name)
        (out, cache), (expected, expected_cache) = forward(x), forward(x.copy())
        assert_close(out, expected)
        dout = backend.array(rng.standard_normal(out.shape[::-1])).transpose(3, 2, 1, 0)
        assert_close(backward(dout, cache), backward(dout.copy(), expected_cache))


def test_frozen_filters_keep_no_input(backend, layers, rng):
    x, w, b = (backend.array(rng.standard_normal(s)) for s in ((2, 3, 6, 5), (4, 3, 3, 3), (4,)))
    out, cache = layers.conv2d_forward(x, w, b, pad=1, param_grads=False)
    assert all(item is not x for item in cache)
    dx, dw, db = layers.conv2d_backward(out, cache, param_grads=False)
    assert dw is None and db is None
    full = layers.conv2d_backward(out, layers.conv2d_forward(x, w, b, pad=1)[1])
    # on a card the gradients by the filters come from the textbook, and dx with them
    assert_close(dx, full[0], 0.0 if backend.name == "numpy" else 1e-14)
    with pytest.raises(ValueError, match="param_grads"):
        layers.conv2d_backward(out, cache)


def test_conv2d_says_what_does_not_fit(backend, layers):
    def zeros(*shape):
        return backend.array(np.zeros(shape))

    with pytest.raises(ValueError, match=r"2 channels.*expect 3"):
        layers.conv2d_forward(zeros(1, 2, 5, 5), zeros(4, 3, 3, 3), zeros(4), pad=1)
    with pytest.raises(ValueError, match=r"3x3.*2x5"):
        layers.conv2d_forward(zeros(1, 3, 2, 5), zeros(4, 3, 3, 3), zeros(4))


@pytest.mark.parametrize("name", ["maxpool2d", "avgpool2d"])
def test_pooling_says_what_does_not_fit(backend, layers, name):
    with pytest.raises(ValueError, match=r"2x2.*1x4"):
        pair(layers, name)[0](backend.array(np.zeros((1, 1, 1, 4))))
