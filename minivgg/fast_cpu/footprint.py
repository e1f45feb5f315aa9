"""The bytes that the fast kernels on the processor take; buffers are counted as their Workspace hands them out."""

from ..footprint import Footprint, Heap, count
from ..threads import cores
from . import FEW, SHARE, direct, winograd
from .memory import Places, Slabs


class SlabHeap(Heap):
    """A Heap in slabs without memory: what has been touched once is held for reuse, so that it counts to the end."""

    def __init__(self):
        super().__init__()
        self._slabs = Slabs(Places)

    def take(self, nbytes):
        block = self._slabs.take(nbytes)
        self.note()
        return block

    def give(self, block):
        if block is not None:
            slab, place = block
            slab.give(place)

    def held(self):
        return self._slabs.touched


class CPUFootprint(Footprint):
    """See Footprint."""

    adds_rows = True

    def heap(self):
        return SlabHeap()

    def scratch(self, shapes, size):
        own, shared = zip(*(_convolution(*shape, size)[:2] for shape in shapes), strict=True)
        return cores() * max(own) + max(shared)

    def passing(self, step, before, after, size, *, backward):
        return 0

    def cache(self, step, after, asked):
        """A byte a place: alive or not, or the pooling's code."""
        return count(after) if step.kind in ("pool", "conv_relu_pool") or not asked else 0

    def holds_output(self, step):
        return step.kind in ("conv_relu", "relu")

    def transforms(self, step, before, after, size):
        return _convolution(before, after, size)[2] if step.conv else 0

    def kept_transforms(self, convs, pixels, size):
        if not winograd.keeps_transforms(pixels):
            return 0
        few = [C * after[0] for (C, H, W), after in convs if min(C, after[0]) >= FEW and winograd.has_few_tiles(H, W)]
        return 2 * winograd.N**2 * size * sum(few)

    def filters(self, F, C, size):
        copied = min(C, F) >= FEW and C * F <= SHARE  # small ones in another layout for backward
        return (2 if copied else 1) * super().filters(F, C, size)


def _convolution(before, after, size):
    """Bytes of a convolution: (scratch of each worker, scratch they share, transforms or padded input)."""
    C, H, W = before
    if min(C, after[0]) < FEW:
        own, padded = direct.memory(C, after[0], (H, W), size)
        return own, 0, padded
    return winograd.memory(C, after[0], (H, W), cores(), size)
