"""The fast kernels on an NVIDIA GPU as a set, and the bytes they take: see minivgg/kernels.py and footprint.py."""

from .. import fast_gpu
from ..backend import get_xp
from ..footprint import Footprint, Heap, count
from ..kernels import Kernels
from . import blas, winograd
from .replay import Replay

GAPS = 1.15  # of what is in use, what a pool of blocks needs; seen at 256 pixels: 1.13


class PoolHeap(Heap):
    """CuPy's memory pool, which leaves gaps."""

    def held(self):
        return GAPS * self.used


class GPUFootprint(Footprint):
    """See Footprint."""

    tiled = 1.7

    def heap(self):
        return PoolHeap()

    def scratch(self, shapes, size):
        return winograd.WORKSPACE + blas.WORKSPACE

    def passing(self, step, before, after, size, *, backward):
        return 0

    def cache(self, step, after, asked):
        return count(after) // 8  # 16 bits to 4×4 places

    def filters(self, F, C, size):
        transformed = min(C, F) >= 16
        return (5 if transformed else 1) * super().filters(F, C, size)  # the transforms, and w


class FastGPU(Kernels):
    """Winograd in kernels of our own around cuBLAS, fused layers, products in lower precision if asked for."""

    name, pairs, fused, precisions = "fast_gpu", fast_gpu, True, winograd.PRECISIONS
    footprint = GPUFootprint()

    def prepare(self, w, b):
        return fast_gpu.prepare(w, b, precision=self.precision)

    def release(self, workspace, filters):
        """Give what the pool keeps for later back to the card: what comes next has other sizes."""
        for f in filters:
            get_xp(f.w).get_default_memory_pool().free_all_blocks()
            break

    def matmul(self, A, B):
        return blas.matmul(get_xp(B), A, B, "float32" if self.precision == "float32" else "tf32")

    def record(self, function, example, reserve=0):
        """A Replay, where the function can be recorded; else the function itself."""
        try:
            return Replay(function, example, reserve)
        except Exception:  # what CuPy cannot record it refuses in many ways; the plain call then says what is wrong
            return function
