"""Judges of the layers: the definitions of minivgg/naive.py, the methods of gradcheck, numbers known from courses."""

import functools

import numpy as np

from minivgg import gradcheck, layers, naive
from minivgg.program import first_line

from ..checks import Check, adjoint, compare, gradients, keeps_float32, parts, refuses, slopes

# (N, C, H, W), (F, KH, KW), stride, pad: odd sizes, strides that leave a rest, no padding (slices to -pad are empty)
CASES = (
    ((2, 3, 6, 5), (4, 3, 3), 1, 1),
    ((1, 2, 7, 6), (2, 3, 2), 2, 1),
    ((2, 1, 5, 7), (2, 2, 3), 3, 2),
    ((1, 2, 4, 5), (2, 3, 3), 1, 0),
)
# Stanford's CS231n, assignment 2: conv_forward_naive, stride 2 and padding 1, as its notebook prints them
# fmt: off
CS231N_CONV = np.array([
    -0.08759809, -0.10987781, -0.18387192, -0.2109216, 0.21027089, 0.21661097, 0.22847626, 0.23004637,
    0.50813986, 0.54309974, 0.64082444, 0.67101435, -0.98053589, -1.03143541, -1.19128892, -1.24695841,
    0.69108355, 0.66880383, 0.59480972, 0.56776003, 2.36270298, 2.36904306, 2.38090835, 2.38247847,
]).reshape(2, 3, 2, 2)
CS231N_POOL = np.array([
    -0.26315789, -0.24842105, -0.20421053, -0.18947368, -0.14526316, -0.13052632, -0.08631579, -0.07157895,
    -0.02736842, -0.01263158, 0.03157895, 0.04631579, 0.09052632, 0.10526316, 0.14947368, 0.16421053,
    0.20842105, 0.22315789, 0.26736842, 0.28210526, 0.32631579, 0.34105263, 0.38526316, 0.4,
]).reshape(2, 3, 2, 2)
# fmt: on
CS231N_RELU = [[0] * 4, [0, 0, 0.04545455, 0.13636364], [0.22727273, 0.31818182, 0.40909091, 0.5]]
CS231N_DIGITS = 1e-8  # what printing left
NINE = [[4, 6, 4], [6, 9, 6], [4, 6, 4]]  # in how many 3×3 windows of padding 1 each pixel of 3×3 stands


def cs231n_conv():
    """x, w, b of CS231n's check."""
    x = np.linspace(-0.1, 0.5, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    w = np.linspace(-0.2, 0.3, 3 * 3 * 4 * 4).reshape(3, 3, 4, 4)
    return x, w, np.linspace(-0.1, 0.2, 3)


def cs231n_pool():
    return np.linspace(-0.3, 0.4, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


def cs231n_relu():
    return np.linspace(-0.5, 0.5, 12).reshape(3, 4)


def _cases():
    rng = np.random.default_rng(1)
    for shape, (F, KH, KW), stride, pad in CASES:
        x, w, b = (rng.standard_normal(s) for s in (shape, (F, shape[1], KH, KW), (F,)))
        yield x, w, b, {"stride": stride, "pad": pad}


def conv2d(f):
    for x, w, b, options in _cases():
        expected = layers.conv2d_forward(x, w, b, **options)[0]
        yield compare(f"as a product {_size(w, **options)}", out=(f(x, w, b, **options), expected))
    x, w, b, _ = next(_cases())
    around = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="wrap")
    found, expected = f(x, w, b, pad=1, padding="circular"), layers.conv2d_forward(around, w, b)[0]
    yield compare(f'padding="circular", {_size(w, 1, 1)}', out=(found, expected))
    yield compare("CS231n's values", CS231N_DIGITS, out=(f(*cs231n_conv(), stride=2, pad=1), CS231N_CONV))


def _size(w, stride, pad):
    return f"{w.shape[2]}x{w.shape[3]} stride {stride} pad {pad}"


def _columns(x, KH, KW, stride, pad):
    """im2col by its formula, MATH.md 2, (3)."""
    N, C, H, W = x.shape
    OH, OW = layers.out_size(H, KH, stride, pad), layers.out_size(W, KW, stride, pad)
    cols = np.zeros((N, C, KH, KW, OH, OW), x.dtype)
    for n, c, i, j, p, q in np.ndindex(cols.shape):
        h, w = p * stride + i - pad, q * stride + j - pad
        if 0 <= h < H and 0 <= w < W:
            cols[n, c, i, j, p, q] = x[n, c, h, w]
    return cols.reshape(N, C * KH * KW, OH * OW)


def im2col(f):
    for x, w, _, options in _cases():
        where = *w.shape[2:], options["stride"], options["pad"]
        yield compare(f"definition {_size(w, **options)}", cols=(f(x, *where), _columns(x, *where)))
    row = np.array([[[[1.0, 2.0, 3.0, 4.0]]]])
    expected = np.zeros((1, 3, 12))  # the padding gives a row of places above and below
    expected[0, :, 4:8] = [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 0]]
    yield compare("golden values", cols=(f(row, 1, 3, 1, 1), expected))


def col2im(f):
    for x, w, _, options in _cases():
        where = *w.shape[2:], options["stride"], options["pad"]
        v = np.random.default_rng(2).standard_normal(_columns(x, *where).shape)
        # the transpose, entry by entry: <v, im2col(e_k)> for each pixel k
        expected = slopes(gradcheck.central_difference, lambda a, where=where: _columns(a, *where), x, v)
        size = _size(w, **options)
        yield compare(f"transpose {size}", gradcheck.BOUND_CENTRAL, x=(f(v, x.shape, *where), expected))
        back = functools.partial(lambda v, s, where: f(v, s, *where), s=x.shape, where=where)
        yield adjoint(lambda a, where=where: layers.im2col(a, *where), back, x, v, size)
    ones = np.ones((1, 1, 3, 3))
    yield compare("golden values", x=(f(layers.im2col(ones, 3, 3, 1, 1), ones.shape, 3, 3, 1, 1)[0, 0], NINE))


def conv2d_forward(f):
    for x, w, b, options in _cases():
        out, cache = parts(f(x, w, b, **options), "out", "cache")
        yield compare(f"definition {_size(w, **options)}", out=(out, naive.conv2d(x, w, b, **options)))
        yield _cache(layers.conv2d_backward, cache, layers.conv2d_forward(x, w, b, **options), "dx", "dw", "db")
    x, w, b = cs231n_conv()
    out, _ = parts(f(x, w, b, stride=2, pad=1), "out", "cache")
    yield compare("CS231n's values", CS231N_DIGITS, out=(out, CS231N_CONV))
    z = x + 1j * x[::-1]
    yield compare("complex numbers, for complex steps", out=(f(z, w, b)[0], naive.conv2d(z, w, b)))
    yield keeps_float32(out=f(*(a.astype(np.float32) for a in (x, w, b)))[0])
    yield refuses("other channels", f, x[:, :2], w, b)
    yield refuses("a kernel that is too large", f, x[:, :, :2], w, b)


def _cache(backward, cache, ours, *names):
    """The learner's cache serves the matching backward."""
    out, own = ours
    dout = np.random.default_rng(3).standard_normal(out.shape)
    method = "cache, by backward"
    try:
        found = backward(dout, cache)
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        return Check(method, False, f"{backward.__name__} finds another cache than it needs, and raises {said}")
    found, expected = (a if isinstance(a, tuple) else (a,) for a in (found, backward(dout, own)))
    return compare(method, **dict(zip(names, zip(found, expected))))


def conv2d_backward(f):
    names = "dx", "dw", "db"
    for x, w, b, options in _cases():
        forward = functools.partial(layers.conv2d_forward, **options)
        out, cache = forward(x, w, b)
        dout = np.random.default_rng(4).standard_normal(out.shape)
        found = parts(f(dout, cache), *names)
        alone = (
            lambda a, w=w, b=b, forward=forward: forward(a, w, b)[0],
            lambda a, x=x, b=b, forward=forward: forward(x, a, b)[0],
            lambda a, x=x, w=w, forward=forward: forward(x, w, a)[0],
        )
        yield from gradients(dict(zip(names, found)), alone, (x, w, b), dout, case=_size(w, **options))
        J = functools.partial(lambda u, f, zero: f(u) - zero, f=alone[0], zero=alone[0](0 * x))
        yield adjoint(J, lambda v, cache=cache: f(v, cache)[0], x, dout, _size(w, **options))
    ones = np.ones((1, 1, 3, 3))
    out, cache = layers.conv2d_forward(ones, ones, np.zeros(1), pad=1)
    dx, dw, db = parts(f(ones, cache), *names)
    yield compare("golden values", dx=(dx, [[NINE]]), dw=(dw, [[NINE]]), db=(db, [9]))
    single = [a.astype(np.float32) for a in (ones, ones, np.zeros(1))]
    found = f(single[0], layers.conv2d_forward(*single, pad=1)[1])
    yield keeps_float32(**dict(zip(names, found)))
    frozen = layers.conv2d_forward(ones, ones, np.zeros(1), pad=1, param_grads=False)[1]
    dx, *others = parts(f(ones, frozen, param_grads=False), *names)
    yield compare(
        "frozen filters",
        dx=(dx, [[NINE]]),
        **{"number of gradients by w and b": (sum(o is not None for o in others), 0)},
    )


def _forward(f, name, shapes, definition, golden, *, nan=True):
    """A pair without parameters: the definition, what its own backward makes of the cache, a course's numbers."""
    ours, backward = getattr(layers, f"{name}_forward"), getattr(layers, f"{name}_backward")
    for shape in shapes:
        x = gradcheck.off_kinks(np.random.default_rng(5), shape)
        out, cache = parts(f(x), "out", "cache")
        yield compare(f"definition {shape[2]}x{shape[3]}", out=(out, definition(x)))
        yield _cache(backward, cache, ours(x), "dx")
        yield keeps_float32(out=f(x.astype(np.float32))[0])
    x, expected, bound, title = golden
    yield compare(title, bound, out=(parts(f(x), "out", "cache")[0], expected))
    if nan:
        x = np.arange(16.0).reshape(1, 1, 4, 4)
        x[0, 0, 0, 1] = np.nan
        yield compare("a NaN stays", out=(f(x)[0], definition(x)))


def _backward(f, name, shapes, golden):
    forward = getattr(layers, f"{name}_forward")
    for shape in shapes:
        x = gradcheck.off_kinks(np.random.default_rng(6), shape)
        out, cache = forward(x)
        dout = np.random.default_rng(7).standard_normal(out.shape)
        yield from gradients(
            {"dx": f(dout, cache)}, [lambda a: forward(a)[0]], [x], dout, case=f"{shape[2]}x{shape[3]}"
        )
        single = [a.astype(np.float32) for a in (x, dout)]
        yield keeps_float32(dx=f(single[1], forward(single[0])[1]))
    x, dout, expected = golden
    yield compare("golden values", dx=(f(dout, forward(x)[1]), expected))


SHAPES = ((2, 3, 6, 4), (2, 2, 7, 5))


def relu_forward(f):
    golden = cs231n_relu(), CS231N_RELU, CS231N_DIGITS, "CS231n's values"
    yield from _forward(f, "relu", SHAPES, naive.relu, golden)


def relu_backward(f):
    yield from _backward(f, "relu", SHAPES, (np.array([-1.0, 0.0, 2.0]), np.array([5.0, 6.0, 7.0]), [0, 0, 7]))


def maxpool2d_forward(f):
    golden = cs231n_pool(), CS231N_POOL, 3e-8, "CS231n's values"
    yield from _forward(f, "maxpool2d", SHAPES, naive.maxpool2d, golden)
    yield from _ties(f)
    yield refuses("a window that does not fit", f, np.ones((1, 1, 1, 4)))


def _ties(f):
    ones = np.ones((1, 1, 2, 2))
    _, cache = parts(f(ones), "out", "cache")
    yield _cache(layers.maxpool2d_backward, cache, layers.maxpool2d_forward(ones), "dx of equal pixels")


def maxpool2d_backward(f):
    x = np.array([[[[1.0, 4.0, 2.0], [3.0, 2.0, 8.0]]]])
    yield from _backward(f, "maxpool2d", SHAPES, (x, np.array([[[[5.0]]]]), [[[[0, 5, 0], [0, 0, 0]]]]))


def avgpool2d_forward(f):
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    golden = x, [[[[2.5, 4.5], [10.5, 12.5]]]], 1e-12, "golden values"
    yield from _forward(f, "avgpool2d", SHAPES, naive.avgpool2d, golden)
    yield refuses("a window that does not fit", f, np.ones((1, 1, 1, 4)))


def avgpool2d_backward(f):
    x = np.ones((1, 1, 2, 3))
    yield from _backward(f, "avgpool2d", SHAPES, (x, np.array([[[[4.0]]]]), [[[[1, 1, 0], [1, 1, 0]]]]))
