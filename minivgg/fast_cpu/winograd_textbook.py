"""Winograd's convolution as its formula reads, whole arrays at a time; winograd.py does the same strip by strip."""

import numpy as np

from .taps import matrices


def winograd_textbook(x, w):
    """3×3 convolution at stride 1 with padding 1 by F(4×4, 3×3): 36 products for a tile's 16 outputs instead of 144.

    x    (N, C, H, W)
    w    (F, C, 3, 3)
    out  (N, F, H, W)   tile (s, t) of out[n,f] = Aᵀ [ Σ_c (G w[f,c] Gᵀ) ∘ (Bᵀ d[n,c,s,t] B) ] A, d its 6×6 patch of x

    What layers.conv2d_forward(x, w, 0, pad=1) gives, to rounding. Derived in MATH.md 1 and 2 beside this file.
    """
    N, C, H, W = x.shape
    F = w.shape[0]
    G, BT, AT = matrices(x.dtype)  # (6, 3), (6, 6), (4, 6)
    TH, TW = -(-H // 4), -(-W // 4)  # tiles down and across; the last ones reach past an edge that 4 does not divide
    padded = np.zeros((N, C, 4 * TH + 2, 4 * TW + 2), x.dtype)
    padded[:, :, 1 : H + 1, 1 : W + 1] = x
    # unfold: the patch of a tile is its 4×4 places and one more on each side, so neighbours share two rows or columns
    d = np.lib.stride_tricks.sliding_window_view(padded, (6, 6), axis=(2, 3))[:, :, ::4, ::4]  # (N, C, TH, TW, 6, 6)
    U = G @ w @ G.T  # (F, C, 6, 6)
    D = BT @ d @ BT.T  # (N, C, TH, TW, 6, 6)
    P = np.einsum("fcuv,ncstuv->nfstuv", U, D)  # all that grows with C·F: 36 numbers a tile and pair of channels
    tiles = AT @ P @ AT.T  # (N, F, TH, TW, 4, 4)
    # fold: side by side, for the outputs of two tiles do not overlap
    out = tiles.transpose(0, 1, 2, 4, 3, 5).reshape(N, F, 4 * TH, 4 * TW)
    return out[:, :, :H, :W]
