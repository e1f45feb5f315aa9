"""The pairs of layers.py, as fast as BLAS on a few cores allows: Winograd by strips, fused, channels last.

Same signatures and results as layers.py, arrays (N, C, H, W). Inside, memory is channels last: what these functions
return are (N, C, H, W) views of (N, H, W, C) arrays, and such views go in without a copy; any other array is copied
once. Every function takes a `workspace` (memory.Workspace) whose buffers the results lie in; a buffer is used again
only when nobody holds its array. `conv_relu_forward` and its backward fuse convolution, ReLU and pooling.
"""

import numpy as np

from .. import layers, unfused
from . import direct, winograd
from .layout import nchw, nhwc, nhwc_shape
from .memory import Workspace
from .pooling import avgpool2d_backward, avgpool2d_forward, maxpool2d_backward, maxpool2d_forward
from .rows import MaskedRows, Rows, Store, StorePool, StoreRelu, UnpooledRows
from .taps import Taps

__all__ = [
    "Filters",
    "Workspace",
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

SHARE = 256 * 256  # channels in times out: beyond it backward reads the forward transform, transposed
FEW = 16  # channels: with fewer, on either side, the tiles' products are too thin


class Filters:
    """Filters laid out as the passes read them. Stands wherever w (F, C, 3, 3) stands; keeps no reference to w."""

    def __init__(self, w):
        self.shape, self.dtype, self.ndim = w.shape, w.dtype, w.ndim
        self.forward = self.backward = self._w = None
        if algorithm(self, 1, 1) != "winograd":
            self._w = np.ascontiguousarray(w)
            return
        self.forward = Taps.of(w)
        # With long products BLAS loses 5 % or less to reading the filters transposed, so that backward shares
        # forward's where they are large; where they are small it loses up to half, and a copy costs little.
        if w.shape[0] * w.shape[1] > SHARE:
            self.backward = Taps(self.forward.taps, mirrored=True)
        else:
            self.backward = Taps.of(w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))

    def drop(self):
        """Let go of transforms that are kept from call to call."""
        for taps in (self.forward, self.backward):
            if taps is not None:
                taps.drop()

    @property
    def w(self):
        """(F, C, KH, KW)"""
        return self.forward.filters() if self._w is None else self._w


def prepare(w, b=None):
    """Filters to be passed in place of w, so that they are laid out once."""
    return w if isinstance(w, Filters) else Filters(w)


def algorithm(filters, stride, pad):
    """ "winograd", "direct" or "textbook" for a convolution, by its shape.

    Measured per layer of VGG-19 (benchmarks/layers.py): Winograd is ahead from 16 channels on both sides up.
    The 3 channels of a picture, in or out, leave its products too thin: direct. Anything but 3×3, stride 1 and
    padding 1, which VGG does not have, is the textbook's.
    """
    F, C, KH, KW = filters.shape
    if (KH, KW, stride, pad) != (3, 3, 1, 1) or filters.dtype not in (np.float32, np.float64):
        return "textbook"
    return "direct" if min(C, F) < FEW else "winograd"


def conv2d_forward(x, w, b, *, stride=1, pad=0, param_grads=True, workspace=None):
    """layers.conv2d_forward; w may be prepared Filters."""
    filters, workspace = prepare(w), workspace or Workspace()
    if algorithm(filters, stride, pad) == "textbook" or x.dtype != filters.dtype:
        out, cache = layers.conv2d_forward(x, filters.w, b, stride=stride, pad=pad, param_grads=param_grads)
        return out, ("textbook", cache)
    out = _empty(x.shape, filters, workspace)
    _convolve(x, filters, b, [Store(o) for o in out], workspace)
    return nchw(out), ("fast", x if param_grads else None, x.shape, filters)


def conv2d_backward(dout, cache, *, param_grads=True, workspace=None):
    """layers.conv2d_backward: dx is the same convolution with the filters flipped and transposed."""
    workspace = workspace or Workspace()
    if cache[0] == "textbook":
        return layers.conv2d_backward(dout, cache[1], param_grads=param_grads)
    _, x, x_shape, filters = cache
    dout = nhwc(dout, workspace)
    sources = [Rows(d) for d in dout]
    dx = _convolve_back(sources, filters, x_shape, workspace)
    return dx, *_filter_gradients(x, dout, param_grads, workspace)


def conv_relu_forward(x, w, b, *, pool=None, param_grads=False, keep=False, workspace=None):
    """Convolution (3×3, padding 1), ReLU and, if asked for, 2×2 pooling, in one pass over memory.

    x     (N, C, H, W)
    pool  None, "max" or "avg"
    keep  say True when the caller holds `out` until backward anyway: the cache then refers to it instead of keeping
          one byte an element
    out   (N, F, H, W), or (N, F, H//2, W//2) with pool
    """
    filters, workspace = prepare(w), workspace or Workspace()
    if algorithm(filters, 1, 1) == "textbook" or x.dtype != filters.dtype:
        return unfused.conv_relu_forward(x, filters.w, b, pool=pool, param_grads=param_grads)
    N, C, H, W = x.shape
    F = filters.shape[0]
    x_kept = x if param_grads else None
    if pool is None:
        out = _empty(x.shape, filters, workspace)
        mask = out if keep else workspace.empty(out.shape, bool)
        _convolve(x, filters, b, [StoreRelu(o, None if keep else m) for o, m in zip(out, mask)], workspace)
        return nchw(out), ("fast", x_kept, x.shape, filters, pool, mask)
    if H < 2 or W < 2:
        raise ValueError(f"{pool}pool2d: a 2x2 window does not fit into {H}x{W}")
    out = workspace.empty((N, H // 2, W // 2, F), x.dtype)
    code = workspace.empty(out.shape, np.uint8)
    _convolve(x, filters, b, [StorePool(o, c, pool, W) for o, c in zip(out, code)], workspace)
    return nchw(out), ("fast", x_kept, x.shape, filters, pool, code)


def conv_relu_backward(dout, cache, *, param_grads=False, add=None, workspace=None):
    """Gradients of conv_relu_forward.

    dout  like out
    add   a further gradient by out, where pool is None: a Given, or None
    dx    (N, C, H, W); dw, db as conv2d_backward
    """
    workspace = workspace or Workspace()
    if cache[0] == "textbook":
        dout = dout if add is None else dout + add.whole()
        return unfused.conv_relu_backward(dout, cache, param_grads=param_grads)
    _, x, x_shape, filters, pool, kept = cache
    N, C, H, W = x_shape
    dout = nhwc(dout, workspace)
    if pool is None:
        sources = [MaskedRows(d, k, add, n) for n, (d, k) in enumerate(zip(dout, kept))]
    else:
        scale = 1 if pool == "max" else 0.25
        sources = [UnpooledRows(d, k, (H, W), scale) for d, k in zip(dout, kept)]
    if param_grads:  # then the masked gradient is needed twice: keep it whole
        masked = workspace.empty((N, H, W, filters.shape[0]), dout.dtype)
        arena = workspace.arena("whole", sources[0].need(H + 2))
        for m, source in zip(masked, sources):
            arena.release(0)
            m[...] = source.rows(0, H, arena)[0][:H]
        sources, dout = [Rows(m) for m in masked], masked
    dx = _convolve_back(sources, filters, x_shape, workspace)
    return dx, *_filter_gradients(x, dout, param_grads, workspace)


def relu_forward(x, *, workspace=None):
    """layers.relu_forward; the cache is the output itself."""
    workspace = workspace or Workspace()
    out = nchw(workspace.empty(nhwc_shape(x), x.dtype))
    np.maximum(x, 0, out=out)
    return out, (out,)


def relu_backward(dout, cache, *, workspace=None):
    """layers.relu_backward"""
    (out,) = cache
    workspace = workspace or Workspace()
    dx = nchw(workspace.empty(nhwc_shape(out), dout.dtype))
    return np.multiply(dout, out > 0, out=dx)


def _convolve(x, filters, b, sinks, workspace):
    """Forward of a 3×3 convolution into sinks, one a picture."""
    b = np.asarray(b, filters.dtype)
    if x.shape[1] != filters.shape[1]:
        raise ValueError(f"conv2d: x has {x.shape[1]} channels, the filters expect {filters.shape[1]}")
    if algorithm(filters, 1, 1) == "direct":
        direct.convolve(x, sinks, filters.w, b, workspace)
        return
    sources = [Rows(picture) for picture in nhwc(x, workspace)]
    winograd.convolve(sources, sinks, filters.forward, b, x.shape[2:], workspace)


def _convolve_back(sources, filters, x_shape, workspace):
    """dx of a 3×3 convolution, (N, C, H, W), from sources of dout."""
    N, C, H, W = x_shape
    if algorithm(filters, 1, 1) == "direct":
        return direct.convolve_transposed(sources, (H, W), filters.w, workspace)
    dx = workspace.empty((N, H, W, C), filters.dtype)
    winograd.convolve(sources, [Store(d) for d in dx], filters.backward, None, (H, W), workspace)
    return nchw(dx)


def _filter_gradients(x, dout, param_grads, workspace):
    """(dw, db) or (None, None).  x (N, C, H, W) as forward kept it, dout (N, H, W, F)"""
    if not param_grads:
        return None, None
    if x is None:
        raise ValueError("conv2d_backward: forward ran with param_grads=False and kept no x")
    return direct.filter_gradients(x.transpose(0, 2, 3, 1), dout, workspace)


def _empty(x_shape, filters, workspace):
    """A convolution's output, (N, H, W, F)."""
    N, _, H, W = x_shape
    return workspace.empty((N, H, W, filters.shape[0]), filters.dtype)
