"""Each forward pass as index loops: the definition, and what the tests hold every faster version against.

Nothing here is meant to be fast or to have a gradient. One line of arithmetic per layer, copied from the
formula in MATH.md with its letters, (p, q) the place in the output and (i, j) that in the kernel or window, on
arrays small enough to wait for. NumPy only, any real or complex type.
"""

import itertools

import numpy as np


def conv2d(x, w, b, *, stride=1, pad=0, padding="zeros"):
    """Cross-correlation of x with the filters w, plus a bias per filter. Outside x are zeros, or x again, "circular".

    x   (N, C, H, W)
    w   (F, C, KH, KW)
    b   (F,)
    out (N, F, OH, OW),  OH = (H + 2 pad - KH) // stride + 1,  OW likewise

    out[n,f,p,q] = b[f] + Σ_{c,i,j} w[f,c,i,j] · x[n, c, p·stride + i - pad, q·stride + j - pad]
    """
    N, C, H, W = x.shape
    F, _, KH, KW = w.shape
    OH, OW = (H + 2 * pad - KH) // stride + 1, (W + 2 * pad - KW) // stride + 1
    out = np.empty((N, F, OH, OW), dtype=np.result_type(x, w, b))
    for n, f, p, q in np.ndindex(out.shape):
        total = b[f]
        for c, i, j in itertools.product(range(C), range(KH), range(KW)):
            y, z = p * stride + i - pad, q * stride + j - pad
            if padding == "circular":
                y, z = y % H, z % W
            if 0 <= y < H and 0 <= z < W:
                total = total + w[f, c, i, j] * x[n, c, y, z]
        out[n, f, p, q] = total
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

    out[n,c,p,q] = max_{i,j in {0,1}} x[n, c, 2p + i, 2q + j]
    """
    N, C, H, W = x.shape
    out = np.empty((N, C, H // 2, W // 2), dtype=x.dtype)
    for n, c, p, q in np.ndindex(out.shape):
        out[n, c, p, q] = np.max([x[n, c, 2 * p + i, 2 * q + j] for i in (0, 1) for j in (0, 1)])
    return out


def avgpool2d(x):
    """The mean of each 2x2 window at stride 2; an odd last row or column is dropped (floor rule).

    x   (N, C, H, W)
    out (N, C, H // 2, W // 2)

    out[n,c,p,q] = 1/4 Σ_{i,j in {0,1}} x[n, c, 2p + i, 2q + j]
    """
    N, C, H, W = x.shape
    out = np.empty((N, C, H // 2, W // 2), dtype=x.dtype)
    for n, c, p, q in np.ndindex(out.shape):
        out[n, c, p, q] = sum(x[n, c, 2 * p + i, 2 * q + j] for i in (0, 1) for j in (0, 1)) / 4
    return out
