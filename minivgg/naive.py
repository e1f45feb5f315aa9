"""Each forward pass as index loops: the definition, and what the tests hold every faster version against.

Nothing here is meant to be fast or to have a gradient. One line of arithmetic per layer, copied from the
formula in MATH.md, on arrays small enough to wait for. NumPy only, any real or complex type.
"""

import itertools

import numpy as np


def conv2d(x, w, b, *, stride=1, pad=0):
    """Cross-correlation of x with the filters w, zeros outside x, plus a bias per filter.

    x   (N, C, H, W)
    w   (F, C, KH, KW)
    b   (F,)
    out (N, F, OH, OW),  OH = (H + 2 pad - KH) // stride + 1,  OW likewise

    out[n,f,i,j] = b[f] + Σ_{c,p,q} w[f,c,p,q] · x[n, c, i·stride + p - pad, j·stride + q - pad]
    """
    N, C, H, W = x.shape
    F, _, KH, KW = w.shape
    OH, OW = (H + 2 * pad - KH) // stride + 1, (W + 2 * pad - KW) // stride + 1
    out = np.empty((N, F, OH, OW), dtype=np.result_type(x, w, b))
    for n, f, i, j in np.ndindex(out.shape):
        total = b[f]
        for c, p, q in itertools.product(range(C), range(KH), range(KW)):
            y, z = i * stride + p - pad, j * stride + q - pad
            if 0 <= y < H and 0 <= z < W:
                total = total + w[f, c, p, q] * x[n, c, y, z]
        out[n, f, i, j] = total
    return out


def relu(x):
    """out[k] = max(x[k], 0), at every index k; x and out have any one shape. A NaN stays a NaN."""
    out = np.empty_like(x)
    for k in np.ndindex(x.shape):
        out[k] = 0 if x[k] <= 0 else x[k]  # asked this way round: no comparison with a NaN is true
    return out


def maxpool2d(x):
    """The largest of each 2x2 window at stride 2, NaN if one is; an odd last row or column is dropped (floor rule).

    x   (N, C, H, W)
    out (N, C, H // 2, W // 2)

    out[n,c,i,j] = max_{p,q in {0,1}} x[n, c, 2i + p, 2j + q]
    """
    N, C, H, W = x.shape
    out = np.empty((N, C, H // 2, W // 2), dtype=x.dtype)
    for n, c, i, j in np.ndindex(out.shape):
        out[n, c, i, j] = np.max([x[n, c, 2 * i + p, 2 * j + q] for p in (0, 1) for q in (0, 1)])
    return out


def avgpool2d(x):
    """The mean of each 2x2 window at stride 2; an odd last row or column is dropped (floor rule).

    x   (N, C, H, W)
    out (N, C, H // 2, W // 2)

    out[n,c,i,j] = 1/4 Σ_{p,q in {0,1}} x[n, c, 2i + p, 2j + q]
    """
    N, C, H, W = x.shape
    out = np.empty((N, C, H // 2, W // 2), dtype=x.dtype)
    for n, c, i, j in np.ndindex(out.shape):
        out[n, c, i, j] = sum(x[n, c, 2 * i + p, 2 * j + q] for p in (0, 1) for q in (0, 1)) / 4
    return out
