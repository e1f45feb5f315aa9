"""The transforms of Winograd's F(4×4, 3×3), and filters laid out for them (MATH.md, "Winograd").

Names: v and u count the six frequencies along x and along y, C channels in, F channels out.
"""

from functools import lru_cache

import numpy as np

from ..threads import cores, parallel

M, K = 4, 3  # tile of the output, kernel
N = M + K - 1  # tile of the input = number of points
# The sixth point is infinity. The set is closed under p → 1/p, and 1/p stands where p stands when read backwards:
# that makes the transform of flipped filters the transform of the filters read backwards (Taps.mirrored).
POINTS = (0.0, 2 / 3, -2 / 3, -3 / 2, 3 / 2)
SMALL = 8192  # columns of one small product: OpenBLAS takes its kernels without packing up to about 1e6 multiplications
# OpenBLAS does products of up to so many multiplications without packing its operands, which a few tiles do not repay.
UNPACKED = 1_000_000
UNPACKED_TILES = 64  # measured with 512 channels: from 100 tiles on, packing pays


@lru_cache
def matrices(dtype):
    """The transforms of F(4, 3) for POINTS and infinity: G (6, 3), BT (6, 6), AT (4, 6).

    y = AT @ ((G @ g) * (BT @ d)) is the correlation y[i] = Σ_j g[j] d[i+j] of 3 with 6 numbers. The rows of G are
    (1, 0, 0), then (1/p, 1, p) for each other point, then (0, 0, 1): so G @ g[::-1] is (G @ g)[::-1] (MATH.md 3).
    """
    p = np.array(POINTS)
    A = np.vstack([p[:, None] ** np.arange(M), np.eye(M)[-1:]])
    G = np.vstack([p[:, None] ** np.arange(K), np.eye(K)[-1:]])
    BT = np.zeros((N, N))
    for k in range(N - 1):  # Lagrange's polynomial that is 1 at point k and 0 at the others
        others = np.delete(p, k)
        BT[k, : N - 1] = np.polynomial.polynomial.polyfromroots(others) / np.prod(p[k] - others)
    BT[N - 1] = np.polynomial.polynomial.polyfromroots(p)
    G[1:-1] /= p[1:, None]  # (1/p, 1, p): symmetric under p → 1/p
    BT[1:-1] *= p[1:, None]
    return tuple(np.ascontiguousarray(m, dtype) for m in (G, BT, A.T))


class Taps:
    """Filters laid out tap by tap, from which a pass transforms a frequency's share at the moment it needs it.

    The transforms U[v, u] = Σ_ij G[u, i] G[v, j] w[:, :, i, j]ᵀ, (6, 6, C, F), take four times the filters' memory,
    and computing them takes 9 multiplications where the products take one for every tile: with many tiles that is
    nothing. With few, `store` keeps them.

    taps      (9, C, F): taps[3j + i] = w[:, :, i, j]ᵀ
    mirrored  read the same taps as the flipped, transposed filters': for our points G @ g[::-1] = (G @ g)[::-1]
    """

    def __init__(self, taps, mirrored=False):
        self.taps, self.mirrored = taps, mirrored
        self._stored = None
        self.dtype = taps.dtype
        self.channels = taps.shape[:0:-1] if mirrored else taps.shape[1:]  # in, out

    @classmethod
    def of(cls, w):
        """From w (F, C, 3, 3)."""
        F, C = w.shape[:2]
        return cls(np.ascontiguousarray(w.transpose(3, 2, 1, 0)).reshape(K * K, C, F))

    def filters(self):
        """w (F, C, 3, 3) again."""
        return np.ascontiguousarray(self.taps.reshape(K, K, *self.taps.shape[1:]).transpose(3, 2, 1, 0))

    def store(self, tiles):
        """Keep U from now on, for pictures of so many tiles."""
        if self._stored is None:
            C, F = self.channels
            b = _block(tiles, C, F)
            stored = np.empty((N, N, F // b, C, b), self.dtype)

            def transform(_, v):
                U = self.frequency(v, 0, F, np.empty(N * C * F, self.dtype))
                stored[v] = U.reshape(N, C, F // b, b).transpose(0, 2, 1, 3)

            parallel(transform, range(N), cores())
            self._stored = stored

    def drop(self):
        """Keep it no longer."""
        self._stored = None

    def frequency(self, v, lo, hi, out):
        """U[v, :, :, lo:hi] in blocks of columns, (6, blocks, in, columns of a block).

        Computed into `out`, an array of as many entries, as a single block, unless it is stored. lo and hi are
        multiples of 32 or the ends.
        """
        if self._stored is not None:
            blocks, b = self._stored.shape[2], self._stored.shape[-1]
            return self._stored[v, :, :, :, lo:hi] if blocks == 1 else self._stored[v, :, lo // b : -(-hi // b)]
        G = matrices(self.dtype)[0]
        if self.mirrored:  # channels out are the taps' rows
            taps, v = self.taps[:, lo:hi], N - 1 - v
        else:
            taps = self.taps[:, :, lo:hi]
        out = out.reshape(N, *taps.shape[1:])
        kernel = np.kron(G[v], G)  # (6, 9)
        if taps[0].flags.c_contiguous:
            c = divisor(taps[0].size)
            taps = taps.reshape(K * K, -1, c)
            np.matmul(kernel, taps.transpose(1, 0, 2), out=out.reshape(N, -1, c).transpose(1, 0, 2))
        else:
            np.matmul(kernel, taps.transpose(1, 0, 2), out=out.transpose(1, 0, 2))
        return (out[::-1].transpose(0, 2, 1) if self.mirrored else out)[:, None]


def _block(tiles, C, F):
    """Columns of U in a block: few where that keeps the products of a few tiles unpacked, else all."""
    for b in (32, 16):
        if tiles <= UNPACKED_TILES and F % b == 0 and (tiles // 2 if tiles % 2 == 0 else tiles) * C * b <= UNPACKED:
            return b
    return F


@lru_cache(maxsize=1024)
def divisor(n):
    """The largest divisor of n up to SMALL, or n itself where the divisors are too small to be worth it."""
    pieces = -(-n // SMALL)
    while n % pieces and n // pieces >= SMALL // 16:
        pieces += 1
    return n if n % pieces else n // pieces
