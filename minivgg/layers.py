"""The textbook pairs: each layer's forward directly above its backward, for NumPy and CuPy, any float type.

Arrays are (N, C, H, W), filters (F, C, KH, KW). d<name> is the derivative of the loss by <name> and has its shape.
A cache is a plain tuple that only the matching backward opens; it holds what backward needs and no more.
Each names its section of MATH.md, which has the derivation and the check; naive.py has the definitions as index loops.
"""

from typing import Any, TypeAlias

from .backend import Array, get_xp

Cache: TypeAlias = tuple[Any, ...]
POOL = 2  # every pooling layer of VGG is 2×2 with stride 2


def out_size(size: int, kernel: int, stride: int, pad: int) -> int:
    """Number of places a kernel of `kernel` pixels takes along an axis of `size` pixels."""
    return (size + 2 * pad - kernel) // stride + 1


def im2col(x: Array, KH: int, KW: int, stride: int, pad: int) -> Array:
    """Columns of x: every patch that a KH×KW kernel sees, as one column. MATH.md 2, (3).

    x     (N, C, H, W)
    cols  (N, C·KH·KW, OH·OW)   cols[n, (c,i,j), (p,q)] = x[n, c, p·stride + i - pad, q·stride + j - pad], 0 outside
    """
    xp = get_xp(x)
    N, C, H, W = x.shape
    OH, OW = out_size(H, KH, stride, pad), out_size(W, KW, stride, pad)
    padded = xp.zeros((N, C, H + 2 * pad, W + 2 * pad), dtype=x.dtype)
    padded[:, :, pad : pad + H, pad : pad + W] = x
    cols = xp.empty((N, C, KH, KW, OH, OW), dtype=x.dtype)
    for i in range(KH):
        for j in range(KW):
            cols[:, :, i, j] = padded[:, :, i : i + stride * OH : stride, j : j + stride * OW : stride]
    return cols.reshape(N, C * KH * KW, OH * OW)


def col2im(cols: Array, x_shape: tuple[int, ...], KH: int, KW: int, stride: int, pad: int) -> Array:
    """Adjoint of im2col: the same loop with += in place of =, so patches that overlap add up. MATH.md 2.

    cols  (N, C·KH·KW, OH·OW)
    x     (N, C, H, W) = x_shape   x[n, c, h, w] = Σ of the entries of cols that im2col filled from x[n, c, h, w]
    """
    xp = get_xp(cols)
    N, C, H, W = x_shape
    OH, OW = out_size(H, KH, stride, pad), out_size(W, KW, stride, pad)
    cols = cols.reshape(N, C, KH, KW, OH, OW)
    padded = xp.zeros((N, C, H + 2 * pad, W + 2 * pad), dtype=cols.dtype)
    for i in range(KH):
        for j in range(KW):
            padded[:, :, i : i + stride * OH : stride, j : j + stride * OW : stride] += cols[:, :, i, j]
    return padded[:, :, pad : pad + H, pad : pad + W]


def conv2d_forward(
    x: Array, w: Array, b: Array, *, stride: int = 1, pad: int = 0, param_grads: bool = True
) -> tuple[Array, Cache]:
    """Convolution (in the networks' sense: correlation) with zero padding. MATH.md 3, (4)-(5).

    x    (N, C, H, W)
    w    (F, C, KH, KW)
    b    (F,)
    out  (N, F, OH, OW)   out[n,f,p,q] = b[f] + Σ_{c,i,j} w[f,c,i,j] · x[n, c, p·stride+i-pad, q·stride+j-pad]

    With param_grads=False (frozen filters) the cache does not keep x: dx needs only the filters.
    Raises ValueError when the channels disagree or the kernel does not fit into the padded picture.
    """
    N, C, H, W = x.shape
    F, CW, KH, KW = w.shape
    if C != CW:
        raise ValueError(f"conv2d: x has {C} channels, the filters expect {CW}")
    OH, OW = out_size(H, KH, stride, pad), out_size(W, KW, stride, pad)
    if OH < 1 or OW < 1:
        raise ValueError(f"conv2d: a {KH}x{KW} kernel does not fit into {H}x{W} with padding {pad}")
    cols = im2col(x, KH, KW, stride, pad)  # (N, C·KH·KW, M), M = OH·OW
    out = w.reshape(F, -1) @ cols + b[:, None]  # (N, F, M)
    return out.reshape(N, F, OH, OW), (x if param_grads else None, x.shape, w, stride, pad)


def conv2d_backward(dout: Array, cache: Cache, *, param_grads: bool = True) -> tuple[Array, Any, Any]:
    """Gradients of conv2d_forward: MATH.md 3, (6)-(8); checked by `conv2d …` of python -m minivgg.gradcheck.

    dout  (N, F, OH, OW)
    dx    (N, C, H, W)     forward: out = W @ cols + b, so dcols = Wᵀ @ dout, and dx = col2im(dcols)
    dw    (F, C, KH, KW)   forward: out = W @ cols + b, so dW = Σ_n dout @ colsᵀ      (None without param_grads)
    db    (F,)             forward: b is added at every place, so db = Σ_{n,p,q} dout  (None without param_grads)

    The columns are computed again from x instead of being kept: KH·KW times the memory of x for a copy's worth of time.
    """
    x, x_shape, w, stride, pad = cache
    N, F, OH, OW = dout.shape
    F, C, KH, KW = w.shape
    dout2 = dout.reshape(N, F, OH * OW)
    dcols = w.reshape(F, -1).T @ dout2  # (N, C·KH·KW, M)
    dx = col2im(dcols, x_shape, KH, KW, stride, pad)
    if not param_grads:
        return dx, None, None
    if x is None:
        raise ValueError("conv2d_backward: forward ran with param_grads=False and kept no x")
    cols = im2col(x, KH, KW, stride, pad)
    dw = (dout2 @ cols.transpose(0, 2, 1)).sum(axis=0).reshape(w.shape)
    db = dout2.sum(axis=(0, 2))
    return dx, dw, db


def relu_forward(x: Array) -> tuple[Array, Cache]:
    """Rectifier: out = max(x, 0), element by element. The cache is one byte an element: where x > 0. MATH.md 4.

    A NaN stays a NaN (a comparison would make it 0, and a run that went wrong would look well).
    """
    return get_xp(x).maximum(x, x.dtype.type(0)), (x > 0,)


def relu_backward(dout: Array, cache: Cache) -> Array:
    """forward: out = x where x > 0 and 0 elsewhere, so dx = dout where x > 0 and 0 elsewhere. MATH.md 4, (9).

    At x = 0 the function has a kink; like every framework we take the derivative from the left there, 0.
    """
    (mask,) = cache
    return dout * mask


def maxpool2d_forward(x: Array) -> tuple[Array, Cache]:
    """2×2 maximum with stride 2. Odd sizes, the floor rule: a last odd row or column is dropped. MATH.md 5, (10).

    x    (N, C, H, W), H and W at least 2 (ValueError where they are not)
    out  (N, C, H//2, W//2)   out[n,c,p,q] = max over i, j in {0, 1} of x[n, c, 2p+i, 2q+j]

    The cache is one byte a window: which of the four (row by row) was the largest, the first one where several are.
    """
    xp = get_xp(x)
    quarters = _quarters(x, "maxpool2d")
    out = quarters[0].copy()
    index = xp.zeros(out.shape, dtype=xp.uint8)
    for k in range(1, POOL * POOL):
        index[quarters[k] > out] = k
        out = xp.maximum(out, quarters[k])  # passes a NaN on, like relu
    return out, (index, x.shape)


def maxpool2d_backward(dout: Array, cache: Cache) -> Array:
    """forward: out = x at the window's largest place, so dx = dout there and 0 at the other three (and where dropped).

    dout  (N, C, H//2, W//2)
    dx    (N, C, H, W)   MATH.md 5, (11)
    """
    index, x_shape = cache
    dx = get_xp(dout).zeros(x_shape, dtype=dout.dtype)
    for k, quarter in enumerate(_quarters(dx, "maxpool2d")):
        quarter[...] = dout * (index == k)
    return dx


def avgpool2d_forward(x: Array) -> tuple[Array, Cache]:
    """2×2 mean with stride 2. Odd sizes, the floor rule: a last odd row or column is dropped. MATH.md 6, (12).

    x    (N, C, H, W), H and W at least 2 (ValueError where they are not)
    out  (N, C, H//2, W//2)   out[n,c,p,q] = (Σ over i, j in {0, 1} of x[n, c, 2p+i, 2q+j]) / 4
    """
    q = _quarters(x, "avgpool2d")
    return (q[0] + q[1] + q[2] + q[3]) / (POOL * POOL), (x.shape,)


def avgpool2d_backward(dout: Array, cache: Cache) -> Array:
    """forward: out = Σ x / 4 over the window, so dx = dout / 4 at each of its four places (0 where dropped).

    dout  (N, C, H//2, W//2)
    dx    (N, C, H, W)   MATH.md 6, (12)
    """
    (x_shape,) = cache
    dx = get_xp(dout).zeros(x_shape, dtype=dout.dtype)
    for quarter in _quarters(dx, "avgpool2d"):
        quarter[...] = dout / (POOL * POOL)
    return dx


def _quarters(x, layer):
    """Four views of x, one for each place (i, j) of the 2×2 window, row by row; each (N, C, H//2, W//2)."""
    N, C, H, W = x.shape
    if H < POOL or W < POOL:
        raise ValueError(f"{layer}: a 2x2 window does not fit into {H}x{W}")
    even = x[:, :, : H // POOL * POOL, : W // POOL * POOL]
    return [even[:, :, i::POOL, j::POOL] for i in range(POOL) for j in range(POOL)]
