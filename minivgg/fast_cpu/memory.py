"""Memory for the fast path: buffers that are used again, scratch memory for each worker."""

import math
import sys

import numpy as np

_ALIGN = 64  # bytes: one cache line, one AVX-512 register


class Workspace:
    """Memory that outlives the call that asked for it, because fresh large arrays cost a page fault per 4 KB.

    `empty` hands out an array whose memory comes back by itself once nobody holds the array or a view of it: every
    view refers to the block it lies in, so a block with no reference but the workspace's own is free. Blocks lie in
    a few slabs, each request at the lowest place that is free, so that what one layer leaves another takes up. A slab
    is reserved with room to spare: the system counts only what has been written to. `arena` is scratch memory for one
    worker, valid until the same worker's arena is asked for again. One thread at a time.

    keep_transforms  whether filters may keep their transforms from call to call (winograd.Taps.store)
    """

    ROOM = 4  # a new slab's size by the request that it was made for: VGG's largest request is its first, conv1_1's

    def __init__(self):
        self._slabs = []
        self._arenas = {}
        self.keep_transforms = False

    def empty(self, shape, dtype):
        """An uninitialised C-contiguous array in reused memory."""
        nbytes = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        return _carve(self._find(-(-nbytes // _ALIGN) * _ALIGN), 0, shape, dtype)

    def _find(self, nbytes):
        """A free block of nbytes, in a new slab if need be, which takes the place of smaller slabs that are free."""
        for slab in self._slabs:
            block = slab.take(nbytes)
            if block is not None:
                return block
        self._slabs = [s for s in self._slabs if s.held() or len(s.memory) > nbytes]
        try:
            slab = _Slab(self.ROOM * nbytes)
        except MemoryError:  # a system that counts what is reserved
            slab = _Slab(nbytes)
        self._slabs.append(slab)
        return slab.take(nbytes)

    def release(self):
        """Give what is free, and the scratch memory, back to the system: what comes next has other sizes."""
        self._slabs = [s for s in self._slabs if s.held()]
        self._arenas.clear()

    def arena(self, worker, nbytes):
        """At least nbytes of scratch memory for one worker, as an Arena."""
        held = self._arenas.get(worker)
        if held is None or held.size < nbytes:
            held = None
            self._arenas[worker] = None  # the smaller one goes before the larger one comes
            held = self._arenas[worker] = np.empty(nbytes, np.uint8)
        return Arena(held)

    @property
    def nbytes(self):
        """Bytes that have been in use, handed out now or free."""
        return sum(s.high for s in self._slabs) + sum(a.size for a in self._arenas.values())


class _Slab:
    """One piece of memory and the blocks handed out of it, in the order of their addresses."""

    def __init__(self, nbytes):
        memory = np.empty(nbytes + _ALIGN, np.uint8)
        # The views of a memoryview's array refer to that array and no further: it is what `_references` counts.
        self.memory = memoryview(_carve(memory, 0, (nbytes,), np.uint8))
        self.high = 0  # the end of what has ever been handed out
        self._places, self._blocks = [], []

    def held(self):
        """Forget the blocks that nobody else refers to, and say whether any are left."""
        held = [count != _UNHELD for count in _references(self._blocks)]
        self._places = [p for p, h in zip(self._places, held) if h]
        self._blocks = [b for b, h in zip(self._blocks, held) if h]
        return bool(self._blocks)

    def take(self, nbytes):
        """The lowest free block of nbytes, or None."""
        self.held()
        start = 0
        for i, (low, high) in enumerate([*self._places, (len(self.memory), None)]):
            if low - start >= nbytes:
                block = np.frombuffer(self.memory[start : start + nbytes], np.uint8)
                self._places.insert(i, (start, start + nbytes))
                self._blocks.insert(i, block)
                self.high = max(self.high, start + nbytes)
                return block
            start = high
        return None


def _references(objects):
    """The reference count of each, as seen from here: it includes the list's and this loop's own."""
    return [sys.getrefcount(o) for o in objects]


_UNHELD = _references([np.empty(0, np.uint8)])[0]  # measured: interpreters differ in the references a loop takes


class Arena:
    """Scratch memory handed out piece by piece; `need` tells how much a list of pieces takes."""

    def __init__(self, buffer):
        self._buffer, self._used = buffer, 0

    @staticmethod
    def need(dtype, *shapes):
        """Bytes for arrays of these shapes and one dtype."""
        return sum(math.prod(s) * np.dtype(dtype).itemsize + _ALIGN for s in shapes)

    def array(self, shape, dtype):
        """The next piece, uninitialised."""
        out = _carve(self._buffer, self._used, shape, dtype)
        self._used += out.nbytes + _ALIGN
        return out

    def mark(self):
        """The place up to which the memory is in use, for `release`."""
        return self._used

    def release(self, mark):
        """Give back everything handed out since `mark`."""
        self._used = mark


def _carve(buffer, offset, shape, dtype):
    """An aligned array inside a byte buffer, at or just after an offset."""
    offset += -(buffer.ctypes.data + offset) % _ALIGN
    return np.ndarray(shape, dtype, buffer=buffer, offset=offset)
