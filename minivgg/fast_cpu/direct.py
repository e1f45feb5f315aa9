"""What Winograd does not suit: few channels (conv1_1 and its backward), and the gradients of the filters.

Few channels: 3×3 with padding 1 as one product a strip of rows, the columns of im2col laid out channel by channel so
that filling them, or adding them up in backward, runs along whole picture rows.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..threads import cores, one_blas_thread, parallel
from .memory import Arena

STRIP_BYTES = 1 << 21  # of columns and activations in a strip: less makes the two rows of overlap and the calls count
TAPS = [(i, j) for i in range(3) for j in range(3)]


def _strips(pictures, H, W, width, itemsize):
    """[(n, y0, y1), …] and the rows of a strip, an even number: as many rows as STRIP_BYTES holds."""
    rows = max(2, STRIP_BYTES // max(1, width * W * itemsize) // 2 * 2)
    return [(n, y, min(y + rows, H)) for n in range(pictures) for y in range(0, H, rows)], min(rows, H)


def memory(C, F, size, itemsize):
    """(scratch of each worker, padded input) in bytes, for one picture of size (H, W), from above."""
    H, W = size
    rows = _strips(1, H, W, 9 * C + 1 + F, itemsize)[1] + 2
    return itemsize * rows * W * (9 * C + 1 + 3 * F // 2), itemsize * C * (H + 2) * (W + 2)


def convolve(x, sinks, w, bias, workspace):
    """3×3, padding 1, from few input channels.

    x      (N, C, H, W)
    sinks  per picture, as in winograd.convolve
    w, bias  (F, C, 3, 3), (F,)
    """
    B, C, H, W = x.shape
    F = len(w)
    padded = workspace.empty((B, C, H + 2, W + 2), x.dtype)
    padded[:, :, 0] = padded[:, :, -1] = 0
    padded[:, :, :, 0] = padded[:, :, :, -1] = 0
    padded[:, :, 1:-1, 1:-1] = x
    wb = np.vstack([w.reshape(F, 9 * C).T, bias[None]])  # (9C+1, F)
    strips, rows = _strips(B, H, W, len(wb) + F, x.itemsize)
    workers = min(cores(), len(strips))
    need = Arena.need(x.dtype, (len(wb), rows, W)) + sinks[0].need(rows)
    arenas = [workspace.arena(i, need) for i in range(workers)]

    def task(worker, strip):
        n, y0, y1 = strip
        arena = arenas[worker]
        arena.release(0)
        cols = arena.array((len(wb), y1 - y0, W), x.dtype)
        s = padded.strides
        patches = as_strided(padded[n, :, y0:], (C, 3, 3, y1 - y0, W), (s[1], s[2], s[3], s[2], s[3]))
        cols[:-1].reshape(patches.shape)[...] = patches
        cols[-1] = 1
        out = sinks[n].target(y0, y1, arena)
        np.matmul(cols.reshape(len(wb), -1).T, wb, out=out.reshape(-1, F))
        sinks[n].finish(y0, y1, out, arena)

    with one_blas_thread():
        parallel(task, strips, workers)


def convolve_transposed(sources, size, w, workspace):
    """dx of a 3×3 convolution with padding 1 of few input channels.

    forward: out = Σ over taps of w[:, :, i, j] @ x shifted by (i-1, j-1), so dx is the sum of w[:, :, i, j]ᵀ @ dout
    shifted back.

    sources  per picture, as in winograd.convolve: rows of dout (H, W, F)
    dx       (N, C, H, W)
    """
    H, W = size
    F, C = w.shape[:2]
    dx = workspace.empty((len(sources), C, H, W), w.dtype)
    wt = np.ascontiguousarray(w.transpose(2, 3, 1, 0)).reshape(9 * C, F)
    strips, rows = _strips(len(sources), H, W, 9 * C + F, w.itemsize)
    workers = min(cores(), len(strips))
    need = Arena.need(w.dtype, (9 * C, rows + 2, W)) + sources[0].need(rows + 2)
    arenas = [workspace.arena(i, need) for i in range(workers)]

    def task(worker, strip):
        n, y0, y1 = strip
        arena = arenas[worker]
        arena.release(0)
        d0, d1 = max(0, y0 - 1), min(H, y1 + 1)
        dout, first = sources[n].rows(d0, d1, arena)
        dout = dout[d0 - first : d1 - first].reshape(-1, F)
        cols = arena.array((3, 3, C, d1 - d0, W), w.dtype)
        np.matmul(wt, dout.T, out=cols.reshape(9 * C, -1))
        _add_taps(cols, dx[n, :, y0:y1], y0 - d0)

    with one_blas_thread():
        parallel(task, strips, workers)
    return dx


def _add_taps(cols, dx, offset):
    """dx[c, y, x] = Σ_ij cols[i, j, c, y + 1 - i, x + 1 - j], rows of cols counted from `offset` above dx's first."""
    rows, (h, W) = cols.shape[3], dx.shape[1:]
    dx[...] = cols[1, 1, :, offset : offset + h]
    for i, j in TAPS:
        if (i, j) == (1, 1):
            continue
        shift = offset + 1 - i
        y0, y1 = max(0, -shift), min(h, rows - shift)
        x0, x1 = max(0, j - 1), min(W, W + j - 1)
        dx[:, y0:y1, x0:x1] += cols[i, j, :, y0 + shift : y1 + shift, x0 + 1 - j : x1 + 1 - j]


def filter_gradients(x, dout, workspace):
    """dw and db of a 3×3 convolution with padding 1.

    Both are laid out on one grid of (H+2)×(W+2) places a picture, dout zero in the frame: a tap's shift is then a
    shift of the flat index, and dw[:, :, i, j] one product of dout with shifted x, without any columns.

    x     (N, H, W, C)
    dout  (N, H, W, F)  already masked where a ReLU follows
    dw    (F, C, 3, 3)   dw[f, c, i, j] = Σ_p dout[p, f] x[p + (i-1, j-1), c]
    db    (F,)
    """
    B, H, W, C = x.shape
    F = dout.shape[3]
    pitch = W + 2
    total = B * (H + 2) * pitch
    grid = workspace.empty((total, C), x.dtype)
    dgrid = workspace.empty((total, F), x.dtype)
    _frame(grid.reshape(B, H + 2, pitch, C), x)
    _frame(dgrid.reshape(B, H + 2, pitch, F), dout)
    margin = pitch + 1  # the first and last places with a non-zero dout lie at least this far from the ends
    step = max(256, min(4096, (1 << 20) // (C + F)))
    chunks = [(i, min(i + step, total - margin)) for i in range(margin, total - margin, step)]
    workers = min(cores(), len(chunks))
    sums = [(np.zeros((9, F, C), x.dtype), np.empty((F, C), x.dtype), np.zeros(F, x.dtype)) for _ in range(workers)]

    def task(worker, chunk):
        dw, part, db = sums[worker]
        p0, p1 = chunk
        d = dgrid[p0:p1]
        for k, (i, j) in enumerate(TAPS):
            shift = (i - 1) * pitch + j - 1
            np.matmul(d.T, grid[p0 + shift : p1 + shift], out=part)
            dw[k] += part
        db += d.sum(axis=0)

    with one_blas_thread():
        parallel(task, chunks, workers)
    dw = sum(s[0] for s in sums)
    return np.ascontiguousarray(dw.transpose(1, 2, 0)).reshape(F, C, 3, 3), sum(s[2] for s in sums)


def _frame(grid, x):
    """grid = x inside, 0 in the one-place frame.  grid (N, H+2, W+2, C), x (N, H, W, C)"""
    grid[:, 0] = grid[:, -1] = 0
    grid[:, :, 0] = grid[:, :, -1] = 0
    grid[:, 1:-1, 1:-1] = x
