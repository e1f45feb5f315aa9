"""A strip of a picture: a few rows of Winograd's tiles, small enough to stay in the cache, and what is done with it.

Names as in winograd.py: t counts tiles along a row, v and u the six frequencies along x and along y, R tile rows in a
strip, T = R·tx tiles in a strip, C channels in, F channels out.
"""

import itertools

import numpy as np

from .taps import UNPACKED, M, N, divisor, matrices

# Tiles in a strip: with fewer, the calls count (the more the fewer channels there are); with more, the cache overflows.
# Measured on VGG-19 and mini at 512×512: 64 channels gain 18 % from 512 tiles, 32 channels 40 % from 1024.
STRIP_TILES = 256
STRIP_VALUES = 512 * 64  # tiles × channels


def edges(ty, tx, C, F):
    """0, …, ty: where a picture of ty × tx tiles is cut into strips, of heights that are nearly equal.

    One strip, two, or a multiple of four, so that two or four workers have the same to do. By the shape alone: a
    run's last digits are not to depend on the number of cores.
    """
    strips = ty * tx / max(STRIP_TILES, STRIP_VALUES / max(C, F))
    count = (1 if strips < 1.5 else 2) if strips < 3 else 4 * round(strips / 4)
    count = min(count, ty)
    return [i * ty // count for i in range(count + 1)]


def tallest(cuts):
    """Rows of tiles in the tallest strip."""
    return max(b - a for a, b in itertools.pairwise(cuts))


class Strip:
    """The working arrays of a strip and its three steps.

    X  (6v, 4R+2, tx, C)     input, transformed along x
    D  (6u, T, C)            one v: transformed along y as well
    P  (6u, T, F)            one v: D[u] @ U[v, u]
    Z  (7, 4R, tx, F)        transformed back along y; Z[6] is the bias, which the last product adds

    Z[v] may lie where X[v] lay: once P is there, X[v] is not needed any more.
    """

    def __init__(self, space_x, space_z, shape, W, bias):
        R, tx, C, F = shape
        dtype = space_x.dtype
        X = space_x[:N, : (M * R + 2) * tx * C].reshape(N, M * R + 2, tx, C)
        Z = space_z[:, : M * R * tx * F].reshape(N + 1, M * R, tx, F)
        self.X, self.Z, self.W, self.tx = X, Z, W, tx
        _, self.BT, self.AT = matrices(dtype)
        self.AT1 = self.AT
        if bias is not None:
            self.AT1 = np.ascontiguousarray(np.hstack([self.AT, np.ones((M, 1), dtype)]))
            Z[N] = bias
        self.X1 = X.transpose(1, 2, 0, 3)  # (4R+2, tx, 6, C)
        self.Z1 = Z[: self.AT1.shape[1]].transpose(1, 2, 0, 3)  # (4R, tx, 6 or 7, F)

    @staticmethod
    def slots(R, tx, C, F):
        """Shape of the memory for X and Z: seven slots, each as large as the larger of X[v] and Z[v]."""
        return N + 1, max((M * R + 2) * C, M * R * F) * tx

    def transform_input(self, source, r0, i0, i1, H, arena):
        """X[v, i, t] = Σ_j BT[v, j] x[4·r0 - 1 + i, 4t - 1 + j] for i0 ≤ i < i1; x is 0 outside the picture."""
        top = M * r0 - 1
        y0, y1 = max(0, top + i0), min(H, top + i1)
        X1, BT, W, tx = self.X1, self.BT, self.W, self.tx
        X1[i0 : max(i0, y0 - top)] = 0
        X1[max(i0, y1 - top) : i1] = 0
        if y1 <= y0:
            return
        x, first = source.rows(y0, y1, arena)
        x = x[y0 - first : y1 - first]
        X1 = X1[y0 - top : y1 - top]
        n = min(N - 1, W)  # tile 0: its first column lies outside
        np.matmul(BT[:, 1 : 1 + n], x[:, :n], out=X1[:, 0])
        last = max(1, (W - 1) // M)  # tiles 1..last-1 lie inside
        if last > 1:
            s = x.strides
            shape, strides = (len(x), last - 1, N, x.shape[2]), (s[0], M * s[1], s[1], s[2])
            inside = np.ndarray(shape, x.dtype, x, (M - 1) * s[1], strides)
            np.matmul(BT, inside, out=X1[:, 1:last])
        if last < tx:
            start = M * last - 1
            np.matmul(BT[:, : W - start], x[:, start:], out=X1[:, last])

    def multiply(self, v, U, R, D, P, f0=0):
        """For one v and the first R tile rows: D = BT X[v], P = D U, Z[v] = AT P, the outer two along y.

        U  (6, B, C, b)   the filters' columns f0..f0+F', F' = B·b
        """
        tx = self.tx
        B, C, b = U.shape[1:]
        F = B * b
        T = R * tx
        X = self.X[v, : M * R + 2].reshape(M * R + 2, tx * C)
        D, P = D.reshape(-1)[: N * T * C].reshape(N, T, C), P.reshape(-1)[: N * T * F].reshape(N, T, F)
        c = divisor(tx * C)
        s = X.strides
        tiles = np.ndarray((R, tx * C // c, N, c), X.dtype, X, 0, (M * s[0], c * s[1], s[0], s[1]))
        np.matmul(self.BT, tiles, out=D.reshape(N, R, -1, c).transpose(1, 2, 0, 3))
        halves = 2 if B > 1 and T * C * b > UNPACKED and T % 2 == 0 else 1
        blocks = P.reshape(N, halves, T // halves, B, b).transpose(0, 3, 1, 2, 4)
        np.matmul(D.reshape(N, 1, halves, T // halves, C), U[:, :, None], out=blocks)
        Z = self.Z[v, : M * R]  # (4R, tx, F of all)
        if Z.shape[2] == F:
            c = divisor(tx * F)
            Z = Z.reshape(R, M, -1, c).transpose(0, 2, 1, 3)
            np.matmul(self.AT, P.reshape(N, R, -1, c).transpose(1, 2, 0, 3), out=Z)
        else:
            Z = Z.reshape(R, M, tx, -1)[..., f0 : f0 + F].transpose(0, 2, 1, 3)
            np.matmul(self.AT, P.reshape(N, R, tx, F).transpose(1, 2, 0, 3), out=Z)

    def transform_output(self, sink, r0, i0, i1, H, arena):
        """out[4·r0 + i, 4t + j] = Σ_v AT[j, v] Z[v, i, t] + bias for i0 ≤ i < i1, what lies inside the picture."""
        y0, y1 = M * r0 + i0, min(H, M * r0 + i1)
        if y1 <= y0:
            return
        Z, W = self.Z1[i0 : i0 + y1 - y0], self.W
        out = sink.target(y0, y1, arena)
        whole = W // M
        n, w, F = out.shape
        s = out.strides
        if whole:
            tiles = np.ndarray((n, whole, M, F), out.dtype, out, 0, (s[0], M * s[1], s[1], s[2]))
            np.matmul(self.AT1, Z[:, :whole], out=tiles)
        if W % M:
            np.matmul(self.AT1[: W % M], Z[:, whole], out=out[:, M * whole :])
        sink.finish(y0, y1, out, arena)
