"""3×3 convolution with padding 1 by Winograd's algorithm F(4×4, 3×3): kernels.cu's transforms around cuBLAS's product.

A strip is some rows of tiles, counted through all pictures; its transforms V and M take WORKSPACE bytes at most, and
the next strip's and layer's lie in the same place.
"""

import math
from functools import lru_cache

import numpy as np

from ..backend import get_xp
from ..cuda import blocks
from ..fast_cpu.taps import matrices
from .blas import multiply
from .runtime import NULL, launch, pointer, vectors

PRECISIONS = ("float32", "tf32", "float16")
WORKSPACE = 256 << 20  # bytes that a strip's transforms may take; benchmarks/gpu/ tries others
SMALL = 16 << 20  # bytes under which they are CuPy's pool's affair
ALIGNED = 256  # bytes
TILE = 4
GROUPS = 4  # shares of the filters in the first layer's backward
HALF_MAX = 60000.0  # just under the largest half-precision number
PLAIN, POOLS = "plain", {None: "relu", "max": "relu_max", "avg": "relu_avg"}  # the kernels' suffixes


class Filters:
    """Filters with their Winograd transform, computed when first needed. Stands wherever w (F, C, 3, 3) stands.

    U       (36, F, C)   U[6i+j] = (G w Gᵀ)[i, j]; in half precision divided by `unit`, a power of two
    ranges  forward and back: for |d| ≤ 1, and V and M multiplied by it, no |V| or |M| passes HALF_MAX

    Flipped and transposed, as backward needs them, they are the same array, frequencies and channels read backwards
    and transposed (fast_cpu/winograd.py, `mirrored`; fast_cpu/MATH.md 3).
    """

    def __init__(self, w, precision="float32"):
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r}: use {', '.join(PRECISIONS)}")
        self.w = get_xp(w).ascontiguousarray(w)
        self.shape, self.dtype, self.ndim = w.shape, w.dtype, w.ndim
        self.precision = "float64" if w.dtype == np.float64 else precision
        self.unit, self.ranges = 1.0, (1.0, 1.0)
        self._U = None

    @property
    def half(self):
        return self.precision == "float16"

    @property
    def U(self):
        if self._U is None:
            self._transform()
        return self._U

    def _transform(self):
        """In float64, as one product with a 36×9 matrix. In half precision it waits for the host, once."""
        xp = get_xp(self.w)
        kept = xp.empty((36, *self.shape[:2]), dtype="float16" if self.half else self.dtype)  # a block of its own
        F, C = self.shape[:2]
        G, BT, _ = matrices(np.dtype(np.float64))
        U = xp.asarray(np.kron(G, G)) @ self.w.reshape(F * C, 9).T.astype(np.float64)  # (36, F·C)
        U = U.reshape(36, F, C)
        if self.half:
            size = abs(U)
            largest = float(size.max())
            self.unit = 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0
            growth = float(abs(BT).sum(axis=1).max()) ** 2  # |V| ≤ growth · |d|
            # |M| ≤ Σ |U| · |V|, summed over the channels in: C forward, F backward
            sums = [max(1.0, float(size.sum(axis=a).max()) / self.unit) for a in (2, 1)]
            self.ranges = tuple(HALF_MAX / (growth * s) for s in sums)
            U = U / self.unit
        kept[...] = U
        self._U = kept
        del U  # what this took in passing is several times what stays: cut up, it would never go back
        xp.get_default_memory_pool().free_all_blocks()


def convolve(x, filters, b, kind):
    """The convolution of x, after ReLU and pooling as `kind` says; and their code (None for PLAIN)."""
    xp = get_xp(x)
    N, C, H, W = x.shape
    F = filters.shape[0]
    TH, TW = _tiles(H), _tiles(W)
    pooled = kind in ("relu_max", "relu_avg")
    out = xp.empty((N, F, H // 2, W // 2) if pooled else (N, F, H, W), dtype=x.dtype)
    code = None if kind == PLAIN else xp.empty((N, F, TH, TW), dtype=xp.uint16)
    if C == 3:
        T = N * TH * TW
        args = (x, filters.w, pointer(b), out, pointer(code), F, H, W, TH, TW, T, vectors(W, x), vectors(W, out))
        launch(xp, x.dtype, False, f"first_{kind}", (blocks(T), -(-F // 8)), args)
        return out, code
    _winograd(x, None, None, out, code, b, filters, (PLAIN, kind), H, W)
    return out, code


def convolve_back(dout, add, code, x_shape, filters, kind):
    """dx (N, C, H, W): the gradient that comes through pooling, ReLU and the convolution."""
    xp = get_xp(dout)
    N, C, H, W = x_shape
    F = filters.shape[0]
    if C == 3:
        TH, TW = _tiles(H), _tiles(W)
        T, groups = N * TH * TW, min(GROUPS, F)
        part = xp.empty((groups, N, 3, H, W), dtype=dout.dtype)
        vec = vectors(W, dout, add)
        args = (dout, pointer(add), pointer(code), filters.w, part, N, F, H, W, TH, TW, T, vec, vectors(W, part))
        launch(xp, dout.dtype, False, f"first_backward_{kind}", (blocks(T), groups), args)
        return part.sum(axis=0)
    dx = xp.empty(x_shape, dtype=dout.dtype)
    _winograd(dout, add, code, dx, None, None, filters, (kind, PLAIN), H, W, back=True)
    return dx


def unmask(dout, add, code, x_shape, filters, kind):
    """(N, F, H, W): the gradient by the convolution's output."""
    xp = get_xp(dout)
    N, _, H, W = x_shape
    F, TH, TW = filters.shape[0], _tiles(H), _tiles(W)
    dconv = xp.empty((N, F, H, W), dtype=dout.dtype)
    T = N * TH * TW
    vec = vectors(W, dout, add)
    args = (dout, pointer(add), code, dconv, F, H, W, TH, TW, T, vec, vectors(W, dconv))
    launch(xp, dout.dtype, False, f"unmask_{kind}", (blocks(T), F), args)
    return dconv


def _winograd(x, add, code_in, out, code_out, b, filters, kinds, H, W, *, back=False):
    """Strip by strip: transform x, multiply by the filters at each frequency, transform into out.

    x     (N, K, H, W), or its half size where kinds[0] pools; K channels in: C forward, F back
    out   (N, L, H, W), or its half size where kinds[1] pools
    V, M  (36, K, ld), (36, L, ld): ld tiles, a multiple of 8 for the tensor cores
    H, W  of the convolution
    """
    xp = get_xp(x)
    U, half, real = filters.U, filters.half, x.dtype
    K, L = x.shape[1], out.shape[1]
    TH, TW = _tiles(H), _tiles(W)
    rows = x.shape[0] * TH
    strip = strip_rows(rows, TW, K + L, U.dtype.itemsize)
    ld = -(-strip * TW // 8) * 8
    V, M = _transforms(xp, [(36, channels, ld) for channels in (K, L)], U.dtype)
    peak, span = _peak(xp, x, add) if half else NULL, filters.ranges[back]
    vec = vectors(W, x, add)
    source = (x, pointer(add), pointer(code_in), V, peak, span, K, H, W, TH, TW)
    sink = (M, pointer(b), out, pointer(code_out), peak, span, filters.unit, L, H, W, TH, TW)
    for row in range(0, rows, strip):
        T = min(strip, rows - row) * TW
        launch(xp, real, half, f"input_{kinds[0]}", (blocks(T), K), (*source, row, T, ld, vec, int(back)))
        multiply(xp, U, V, M, T, filters.precision, back)
        launch(xp, real, half, f"output_{kinds[1]}", (blocks(T), L), (*sink, row, T, ld, vectors(W, out), int(back)))


def strip_rows(rows, TW, channels, itemsize):
    """Rows of tiles in a strip: what fits into WORKSPACE, at least one, and strips of about the same size."""
    most = max(1, WORKSPACE // (36 * channels * TW * itemsize))
    strips = -(-rows // most)
    return -(-rows // strips)


def _transforms(xp, shapes, dtype):
    """Arrays for a strip's transforms: in the one workspace that a device has, where they are large and fit into it.

    CuPy's pool cuts blocks up for whatever comes next, and a block as large as a strip's would seldom come back whole.
    """
    sizes = [math.prod(shape) * dtype.itemsize for shape in shapes]
    starts = [0, -(-sizes[0] // ALIGNED) * ALIGNED]
    if not SMALL < starts[1] + sizes[1] <= WORKSPACE:
        return [xp.empty(shape, dtype=dtype) for shape in shapes]
    buffer = _workspace(xp, xp.cuda.runtime.getDevice(), WORKSPACE)
    return [buffer[a : a + n].view(dtype).reshape(shape) for a, n, shape in zip(starts, sizes, shapes, strict=True)]


@lru_cache
def _workspace(xp, device, nbytes):
    """Kept as long as the process lives: recorded graphs (replay.py) have its address."""
    return xp.empty(nbytes, dtype=xp.uint8)


def _peak(xp, x, add):
    """(2,) on the device: largest |x| and largest |add|, for the scale of half-precision transforms."""
    peak = xp.zeros(2, dtype=x.dtype)
    for k, a in enumerate((x, add)):
        if a is not None:
            grid = min(blocks(a.size), 1024)
            launch(xp, x.dtype, True, "max_abs", (grid, 1), (a, peak[k : k + 1], a.size))
    return peak


def _tiles(size):
    return -(-size // TILE)
