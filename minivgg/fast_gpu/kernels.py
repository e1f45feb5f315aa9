"""The fast kernels on an NVIDIA GPU as a set, and the bytes they take: see minivgg/kernels.py and footprint.py."""

from .. import fast_gpu
from ..backend import get_xp
from ..footprint import Footprint, count
from ..kernels import Kernels
from . import winograd


class GPUFootprint(Footprint):
    """See Footprint."""

    def scratch(self, shapes, size):
        return winograd.WORKSPACE

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

    def prepare(self, w, b, precision="float32"):
        return fast_gpu.prepare(w, b, precision=precision)

    def matmul(self, A, B):
        if A.ndim != 2 or A.shape[0] != A.shape[1] or A.dtype != B.dtype:
            return A @ B
        xp = get_xp(B)
        out = xp.empty_like(B)  # keeps B's memory order: with channels last, the product writes channels last
        xp.matmul(A, B, out=out)
        return out
