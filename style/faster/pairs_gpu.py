"""The matrix of pairs.py on a GPU: its passes in kernels of their own, pairs.cu."""

from pathlib import Path

import numpy as np

from minivgg import cuda
from minivgg.backend import get_xp, to_numpy

from .pairs import BLOCK, Pairs

KERNELS = Path(__file__).with_name("pairs.cu")
GROUPS = 512  # threads' sums of a row's products: so many times 128


class DevicePairs(Pairs):
    """The same on a GPU: an iteration is four launches of pairs.cu's kernels, where CuPy would take thirty."""

    def _measure(self, s, x_new, g_new, m_new):
        xp, (n, R, _) = self.xp, self.rows.shape
        self._launch("write_pair", (self.rows, x_new, m_new, R, R + self.metric, s, self.size, n * BLOCK))
        groups = min(n, GROUPS)
        parts = xp.empty((groups, 2, R, cuda.BLOCK), dtype=self.rows.dtype)
        args = (self.rows, g_new, m_new, parts, R, self.size, n)
        self._launch("products", args, grid=(groups, R))
        with_new, with_y = to_numpy(parts.sum(axis=(0, 3), dtype=xp.float64))
        # in x's place the kernel has g_new's with itself, and m_new's with it
        with_new[self.GRADIENT], with_new[self.metric] = with_new[self.X], with_y[self.X]
        return with_new[: self.X], with_y[: self.X]

    def _keep(self, s, x_new, g_new, m_new, factor):
        n, R, _ = self.rows.shape
        moved = float(factor), int(factor == 1)
        self._launch("keep", (self.rows, x_new, g_new, m_new, R, R + self.metric, s, *moved, self.size, n * BLOCK))

    def combine(self, factors, on_x, out):
        n, R, _ = self.rows.shape
        factors = self.xp.asarray(np.append(factors, on_x), dtype=self.rows.dtype)
        self._launch("combine", (self.rows, factors, out, R, n * BLOCK))
        return out

    def _launch(self, name, args, grid=None):
        n = len(self.rows) * BLOCK
        grid = grid or (cuda.blocks(n), 1)
        cuda.launch(self.xp, KERNELS, cuda.compile_options(self.rows.dtype), name, grid, args)


def make_pairs(x, history, **options):
    """The Pairs for x's device."""
    return (DevicePairs if getattr(get_xp(x), "__name__", "") == "cupy" else Pairs)(x, history, **options)
