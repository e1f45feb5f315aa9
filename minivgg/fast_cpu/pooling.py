"""2×2 pooling by itself, where somebody asks for what lies before it: rows at a time, on all cores."""

import numpy as np

from ..threads import cores, parallel
from .layout import nchw, nhwc
from .memory import Arena, Workspace
from .rows import pool_avg, pool_max, unpool


def maxpool2d_forward(x, *, workspace=None):
    """layers.maxpool2d_forward"""
    return _pool_forward(x, "max", workspace or Workspace())


def maxpool2d_backward(dout, cache, *, workspace=None):
    """layers.maxpool2d_backward"""
    return _pool_backward(dout, cache, 1, workspace or Workspace())


def avgpool2d_forward(x, *, workspace=None):
    """layers.avgpool2d_forward"""
    return _pool_forward(x, "avg", workspace or Workspace())


def avgpool2d_backward(dout, cache, *, workspace=None):
    """layers.avgpool2d_backward"""
    return _pool_backward(dout, cache, 0.25, workspace or Workspace())


def _pool_forward(x, kind, workspace):
    N, C, H, W = x.shape
    if H < 2 or W < 2:
        raise ValueError(f"{kind}pool2d: a 2x2 window does not fit into {H}x{W}")
    x = nhwc(x, workspace)[:, : H // 2 * 2, : W // 2 * 2]
    out = workspace.empty((N, H // 2, W // 2, C), x.dtype)
    code = workspace.empty(out.shape, np.uint8)
    pool = pool_max if kind == "max" else pool_avg

    def task(arena, n, p0, p1):
        pool(x[n, 2 * p0 : 2 * p1], out[n, p0:p1], code[n, p0:p1], arena)

    _over_rows(task, out.shape, x.dtype, workspace)
    return nchw(out), (code, (N, C, H, W))


def _pool_backward(dout, cache, scale, workspace):
    code, (N, C, H, W) = cache
    dout = nhwc(dout, workspace)
    dx = workspace.empty((N, H, W, C), dout.dtype)
    dx[:, H // 2 * 2 :] = 0
    dx[:, :, W // 2 * 2 :] = 0
    inside = dx[:, : H // 2 * 2, : W // 2 * 2]

    def task(arena, n, p0, p1):
        scratch = arena.array(code[n, p0:p1].shape, np.uint8)
        unpool(dout[n, p0:p1], code[n, p0:p1], scale, inside[n, 2 * p0 : 2 * p1], scratch, arena)

    _over_rows(task, code.shape, dout.dtype, workspace)
    return nchw(dx)


def _over_rows(task, shape, dtype, workspace):
    """task(arena, n, p0, p1) over all pooled rows, a cache's worth at a time, on all cores."""
    N, PH, PW, C = shape
    step = max(1, min(-(-PH // cores()), (1 << 17) // (PW * C)))
    items = [(n, p, min(p + step, PH)) for n in range(N) for p in range(0, PH, step)]
    places = (step, PW, C)
    need = Arena.need(dtype, places) + Arena.need(np.uint8, places, places)
    arenas = [workspace.arena(i, need) for i in range(min(cores(), len(items)))]

    def run(worker, item):
        arenas[worker].release(0)
        task(arenas[worker], *item)

    parallel(run, items, len(arenas))
