"""Where a convolution's rows come from and where they go: mask, pooling and rectifier fused into the strip.

A source makes the rows that a convolution reads, a sink takes the rows it has made, both a few at a time while they
are in the cache; all arrays are one picture's, channels last. One byte a pooled place, `code`, says where its
gradient goes: bit 2i+j is set where row i, column j of the 2×2 window takes part and is alive after the ReLU.
"""

import numpy as np

from .memory import Arena

WINDOW = [(i, j) for i in range(2) for j in range(2)]


class Rows:
    """The rows of an array as they are."""

    def __init__(self, x):
        self.x = x

    def need(self, rows):
        return 0

    def rows(self, y0, y1, arena):
        return self.x[y0:y1], y0


class MaskedRows:
    """Backward of ReLU: (dout + add) where mask, 0 elsewhere.

    dout  (H, W, F) or None for 0
    alive (H, W, F)  bool, or the ReLU's own output (alive where > 0)
    add   a Given, of which this is picture n, or None
    """

    def __init__(self, dout, alive, add=None, n=0):
        self.dout, self.alive, self.add, self.n = dout, alive, add, n

    def need(self, rows):
        _, W, F = self.dout.shape
        return Arena.need(self.dout.dtype, (rows, W, F)) + Arena.need(bool, (rows, W, F))

    def rows(self, y0, y1, arena):
        shape = (y1 - y0, *self.dout.shape[1:])
        out = arena.array(shape, self.dout.dtype)
        alive = self.alive[y0:y1]
        if alive.dtype != bool:
            alive = np.greater(alive, 0, out=arena.array(shape, bool))
        if self.add is None:
            np.multiply(self.dout[y0:y1], alive, out=out)
            return out, y0
        np.add(self.dout[y0:y1], self.add.rows(self.n, y0, y1), out=out)
        np.multiply(out, alive, out=out)
        return out, y0


class UnpooledRows:
    """Backward of pooling (and of the ReLU before it): each window's gradient at the places its code names.

    dout  (H//2, W//2, F)
    code  (H//2, W//2, F)  uint8
    """

    def __init__(self, dout, code, size, scale):
        self.dout, self.code, self.size, self.scale = dout, code, size, scale

    def need(self, rows):
        (_, W), F, half = self.size, self.dout.shape[2], (rows + 3) // 2
        per_place = Arena.need(bool, (half, W // 2, F)) + Arena.need(self.dout.dtype, (half, W // 2, F))
        return Arena.need(self.dout.dtype, (2 * half, W, F)) + per_place

    def rows(self, y0, y1, arena):
        (_, W), (PH, PW, F) = self.size, self.dout.shape
        p0, p1 = y0 // 2, -(-y1 // 2)
        out = arena.array((2 * (p1 - p0), W, F), self.dout.dtype)
        p = max(0, min(p1, PH) - p0)  # windows; below them may lie an odd last row, which gets 0
        scratch = arena.array((p, PW, F), np.uint8)
        unpool(self.dout[p0 : p0 + p], self.code[p0 : p0 + p], self.scale, out[: 2 * p, : 2 * PW], scratch, arena)
        out[2 * p :] = 0
        out[:, 2 * PW :] = 0
        return out, 2 * p0


class Store:
    """The rows as they come out."""

    def __init__(self, out):
        self.out = out

    def need(self, rows):
        return 0

    def target(self, y0, y1, arena):
        return self.out[y0:y1]

    def finish(self, y0, y1, rows, arena):
        pass


class StoreRelu(Store):
    """max(rows, 0), and where it is alive if a mask (H, W, F) is asked for."""

    def __init__(self, out, mask=None):
        self.out, self.mask = out, mask

    def finish(self, y0, y1, rows, arena):
        np.maximum(rows, 0, out=rows)
        if self.mask is not None:
            np.greater(rows, 0, out=self.mask[y0:y1])


class StorePool:
    """2×2 pooling of max(rows, 0); the rows themselves are never kept.

    out   (H//2, W//2, F)
    code  (H//2, W//2, F)  uint8
    """

    def __init__(self, out, code, kind, W):
        self.out, self.code, self.kind, self.W = out, code, kind, W

    def need(self, rows):
        (_, PW, F), half, dtype = self.out.shape, rows // 2, self.out.dtype
        places = (half, PW, F)
        return Arena.need(dtype, (rows, self.W, F), places) + Arena.need(np.uint8, places, places)

    def target(self, y0, y1, arena):
        return arena.array((y1 - y0, self.W, self.out.shape[2]), self.out.dtype)

    def finish(self, y0, y1, rows, arena):
        p0, p1 = y0 // 2, y1 // 2  # y0 is even: strips are whole tiles
        if p1 <= p0:
            return
        rows = rows[: 2 * (p1 - p0), : 2 * self.out.shape[1]]
        pool = pool_max if self.kind == "max" else pool_avg
        pool(rows, self.out[p0:p1], self.code[p0:p1], arena, relu=True)


def pool_max(x, out, code, arena, *, relu=False):
    """2×2 maximum and its code; ties go to the first place, row by row. With relu, of max(x, 0).

    x     (2h, 2w, F)
    out   (h, w, F)
    code  (h, w, F)  uint8: 1, 2, 4 or 8, and 0 where relu cuts off
    """
    a, b, c, d = (x[i::2, j::2] for i, j in WINDOW)
    upper = out
    lower = arena.array(out.shape, out.dtype)
    first, second = arena.array(code.shape, np.uint8), arena.array(code.shape, np.uint8)
    np.greater(b, a, out=first.view(bool))
    np.maximum(a, b, out=upper)
    np.greater(d, c, out=second.view(bool))
    np.maximum(c, d, out=lower)
    first += 1  # 1 or 2
    second += 1
    second <<= 2  # 4 or 8
    np.greater(lower, upper, out=code.view(bool))
    np.maximum(upper, lower, out=out)
    np.negative(code, out=code)  # 255 where the lower row wins: choose second there, first elsewhere, without branches
    second ^= first
    code &= second
    code ^= first
    if relu:
        np.maximum(out, 0, out=out)
        np.greater(out, 0, out=first.view(bool))
        code *= first


def pool_avg(x, out, code, arena, *, relu=False):
    """2×2 mean and its code. With relu, of max(x, 0), which is put in place of x.

    x     (2h, 2w, F)
    out   (h, w, F)
    code  (h, w, F)  uint8: the places that are alive
    """
    if relu:
        np.maximum(x, 0, out=x)
        alive = arena.array(code.shape, np.uint8)
        for k, (i, j) in enumerate(WINDOW):
            np.greater(x[i::2, j::2], 0, out=alive.view(bool))
            if k == 0:
                np.copyto(code, alive)
            else:
                alive <<= k
                code |= alive
    else:
        code.fill(15)
    np.add(x[0::2, 0::2], x[0::2, 1::2], out=out)
    out += x[1::2, 0::2]
    out += x[1::2, 1::2]
    out *= out.dtype.type(0.25)


def unpool(dout, code, scale, dx, scratch, arena):
    """dx = scale · dout at the places of each 2×2 window that its code names, 0 elsewhere.

    dout, code, scratch  (h, w, F); scratch uint8
    dx                   (2h, 2w, F)
    """
    if scale != 1:
        dout = np.multiply(dout, dout.dtype.type(scale), out=arena.array(dout.shape, dout.dtype))
    for k, (i, j) in enumerate(WINDOW):
        np.bitwise_and(code, 1 << k, out=scratch)
        alive = np.not_equal(scratch, 0, out=scratch.view(bool))
        np.multiply(dout, alive, out=dx[i::2, j::2])
