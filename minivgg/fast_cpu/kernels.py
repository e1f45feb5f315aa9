"""The fast kernels on the processor as a set: see minivgg/kernels.py for what each of these is."""

from .. import fast_cpu
from ..kernels import Kernels
from ..threads import one_blas_thread
from .footprint import CPUFootprint
from .layout import nchw
from .memory import Workspace
from .product import matmul
from .winograd import keeps_transforms


class FastCPU(Kernels):
    """Winograd by strips, fused layers, buffers that are used again."""

    name, pairs, fused = "fast_cpu", fast_cpu, True
    footprint = CPUFootprint()

    def prepare(self, w, b):
        return fast_cpu.prepare(w, b)

    def workspace(self):
        return Workspace()

    def empty(self, like, shape, workspace):
        N, C, H, W = shape
        return nchw((workspace or Workspace()).empty((N, H, W, C), like.dtype))

    def keeps_transforms(self, pixels):
        return keeps_transforms(pixels)

    def release(self, workspace, filters):
        workspace.release()
        for f in filters:
            f.drop()

    def computing(self):
        """BLAS keeps to one thread meanwhile, so that its threads leave the cores to the kernels' own."""
        return one_blas_thread()

    def matmul(self, A, B):
        return matmul(A, B)
