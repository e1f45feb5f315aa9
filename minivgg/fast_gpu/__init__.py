"""The pairs of layers.py on an NVIDIA GPU: Winograd F(4×4, 3×3) in kernels of our own around cuBLAS.

Same signatures and results as layers.py, arrays (N, C, H, W) in CuPy's usual memory order. A convolution is three
launches for a strip of tiles (winograd.py, kernels.cu): transform the input, one batched product at 36 frequencies,
transform the result. Padding, bias, ReLU, its mask and pooling happen inside the two transforms, so an activation is
written once and read once, and what ReLU and pooling let through is kept in 16 bits to 4×4 places. The first layer's 3
channels go a direct way. Everything is enqueued on the current stream; nothing here waits for the host.

Bytes and operations of a layer with C channels in, F out, M places (float32):
  operations  direct 2·9·C·F·M, here a quarter of it: 2·36·C·F·M/16
  bytes       4·M·(C + F) for the arrays, and 4·M·(C + F)·36/16, written and read, for the transforms: 5.5 times
              4·M·(C + F) in all; with transforms in half precision 3.25 times, and one more reading of the input
benchmarks/README.md adds them up over VGG-19 and says what to expect of them.

Precision, for float32 arrays (`prepare(w, b, precision=…)`); arrays are float32 and sums accumulate in float32 always:
  "float32"  true float32 products
  "tf32"     products of factors rounded to 10 bits on tensor cores (compute capability 8.0 and later)
  "float16"  the transforms and filters stored in half precision (the same 10 bits, half the bytes), scaled by a power
             of two found from the data on the device, so that nothing overflows
float64 arrays are computed in float64 whatever was asked.
"""

from .. import layers, unfused
from ..backend import get_xp
from ..cuda import REALS, blocks
from .runtime import NULL, launch
from .winograd import PLAIN, POOLS, PRECISIONS, Filters, convolve, convolve_back, unmask

__all__ = [
    "PRECISIONS",
    "Filters",
    "avgpool2d_backward",
    "avgpool2d_forward",
    "conv2d_backward",
    "conv2d_forward",
    "conv_relu_backward",
    "conv_relu_forward",
    "maxpool2d_backward",
    "maxpool2d_forward",
    "prepare",
    "relu_backward",
    "relu_forward",
]


def prepare(w, b=None, *, precision="float32"):
    """Filters to be passed in place of w, so that their transform is computed once."""
    return w if isinstance(w, Filters) else Filters(w, precision)


def conv2d_forward(x, w, b, *, stride=1, pad=0, param_grads=True):
    """layers.conv2d_forward; w may be prepared Filters. Other than 3×3, stride 1, padding 1: the textbook's."""
    filters = prepare(w)
    if not _supported(x, filters, stride, pad):
        out, cache = layers.conv2d_forward(x, filters.w, b, stride=stride, pad=pad, param_grads=param_grads)
        return out, ("textbook", cache)
    x = get_xp(x).ascontiguousarray(x)
    out, _ = convolve(x, filters, b, PLAIN)
    return out, ("fast", x if param_grads else None, x.shape, filters)


def conv2d_backward(dout, cache, *, param_grads=True):
    """layers.conv2d_backward: dx is the same convolution with the filters flipped and transposed."""
    if cache[0] == "textbook":
        return layers.conv2d_backward(dout, cache[1], param_grads=param_grads)
    _, x, x_shape, filters = cache
    dout = get_xp(dout).ascontiguousarray(dout)
    if param_grads:
        return layers.conv2d_backward(dout, (x, x_shape, filters.w, 1, 1))
    return convolve_back(dout, None, None, x_shape, filters, PLAIN), None, None


def conv_relu_forward(x, w, b, *, pool=None, param_grads=False, keep=False):
    """Convolution (3×3, padding 1), ReLU and, if asked for, 2×2 pooling, as one.

    x     (N, C, H, W), float32 or float64
    pool  None, "max" or "avg"
    keep  of no interest here (fast_cpu has it): the cache takes half a per cent of what the activation takes
    out   (N, F, H, W), or (N, F, H//2, W//2) with pool
    """
    filters = prepare(w)
    if not _supported(x, filters, 1, 1):
        return unfused.conv_relu_forward(x, filters.w, b, pool=pool, param_grads=param_grads)
    H, W = x.shape[2:]
    if pool and (H < 2 or W < 2):
        raise ValueError(f"{pool}pool2d: a 2x2 window does not fit into {H}x{W}")
    x = get_xp(x).ascontiguousarray(x)
    out, code = convolve(x, filters, b, POOLS[pool])
    return out, ("fast", x if param_grads else None, x.shape, filters, pool, code)


def conv_relu_backward(dout, cache, *, param_grads=False, add=None):
    """Gradients of conv_relu_forward.

    dout       like out
    add        a further gradient by out, added on the way in: a Given, or None
    dx         (N, C, H, W); dw, db as conv2d_backward
    """
    if cache[0] == "textbook":
        dout = dout if add is None else dout + _like(add, dout)
        return unfused.conv_relu_backward(dout, cache, param_grads=param_grads)
    _, x, x_shape, filters, pool, code = cache
    xp = get_xp(dout)
    dout = xp.ascontiguousarray(dout)
    add = None if add is None else _like(add, dout)
    if param_grads:
        dconv = unmask(dout, add, code, x_shape, filters, POOLS[pool])
        return layers.conv2d_backward(dconv, (x, x_shape, filters.w, 1, 1))
    return convolve_back(dout, add, code, x_shape, filters, POOLS[pool]), None, None


relu_forward, relu_backward = layers.relu_forward, layers.relu_backward  # alone only where someone asks for conv…


def maxpool2d_forward(x):
    """layers.maxpool2d_forward in one launch."""
    return _pool_forward(x, "maxpool")


def maxpool2d_backward(dout, cache):
    """layers.maxpool2d_backward in one launch."""
    return _pool_backward(dout, cache)


def avgpool2d_forward(x):
    """layers.avgpool2d_forward in one launch."""
    return _pool_forward(x, "avgpool")


def avgpool2d_backward(dout, cache):
    """layers.avgpool2d_backward in one launch."""
    return _pool_backward(dout, cache)


def _like(add, dout):
    """The further gradient as an array in the usual memory order; ValueError if its shape is not dout's."""
    array = add.whole()
    if array.shape != dout.shape:
        raise ValueError(f"conv_relu_backward: a further gradient of {array.shape}, expected {dout.shape}")
    return get_xp(dout).ascontiguousarray(array)


def _supported(x, filters, stride, pad):
    return (
        (*filters.shape[2:], stride, pad) == (3, 3, 1, 1)
        and x.dtype == filters.dtype
        and x.dtype in REALS
        and x.shape[1] == filters.shape[1]
        and min(x.shape) > 0
    )


def _pool_forward(x, name):
    xp = get_xp(x)
    N, C, H, W = x.shape
    if x.dtype not in REALS:
        return (layers.maxpool2d_forward if name == "maxpool" else layers.avgpool2d_forward)(x)
    if H < 2 or W < 2:
        raise ValueError(f"{name}2d: a 2x2 window does not fit into {H}x{W}")
    x = xp.ascontiguousarray(x)
    out = xp.empty((N, C, H // 2, W // 2), dtype=x.dtype)
    index = (xp.empty(out.shape, dtype=xp.uint8),) if name == "maxpool" else ()
    launch(xp, x.dtype, False, f"{name}_forward", (blocks(out.size), 1), (x, out, *index, H, W, out.size))
    return out, (*index, x.shape)


def _pool_backward(dout, cache):
    *index, x_shape = cache
    xp = get_xp(dout)
    if dout.dtype not in REALS:
        return (layers.maxpool2d_backward if index else layers.avgpool2d_backward)(dout, cache)
    dout = xp.ascontiguousarray(dout)
    dx = xp.empty(x_shape, dtype=dout.dtype)
    args = (dout, index[0] if index else NULL, dx, *x_shape[2:], dx.size)
    launch(xp, dout.dtype, False, "pool_backward", (blocks(dx.size), 1), args)
    return dx
