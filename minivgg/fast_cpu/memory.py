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

    keep_transforms  whether filters may keep their transforms from call to call (taps.Taps.store)
    """

    def __init__(self):
        self._slabs = Slabs(_Slab)
        self._arenas = {}
        self.keep_transforms = False

    def empty(self, shape, dtype):
        """An uninitialised C-contiguous array in reused memory."""
        nbytes = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        _, block = self._slabs.take(-(-nbytes // _ALIGN) * _ALIGN)
        return _carve(block, 0, shape, dtype)

    def release(self):
        """Give what is free, and the scratch memory, back to the system: what comes next has other sizes."""
        self._slabs.release()
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
        return self._slabs.touched + sum(a.size for a in self._arenas.values())


class Slabs:
    """Slabs of one kind, and the rule by which they come and go. With Places as their kind they only count."""

    ROOM = 4  # a new slab's size by the request that it was made for: VGG's largest request is its first, conv1_1's

    def __init__(self, kind):
        self._kind, self._slabs = kind, []

    def take(self, nbytes):
        """(slab, what its take() gave): in a new slab if need be, in the place of smaller ones that are free."""
        for slab in self._slabs:
            found = slab.take(nbytes)
            if found is not None:
                return slab, found
        self._slabs = [s for s in self._slabs if s.held() or s.size > nbytes]
        try:
            slab = self._kind(self.ROOM * nbytes)
        except MemoryError:  # a system that counts what is reserved
            slab = self._kind(nbytes)
        self._slabs.append(slab)
        return slab, slab.take(nbytes)

    def release(self):
        """Let go of the slabs that are free."""
        self._slabs = [s for s in self._slabs if s.held()]

    @property
    def touched(self):
        """Bytes that have been in use, taken now or free."""
        return sum(s.high for s in self._slabs)


class Places:
    """The places taken in a slab of `size` bytes, in the order of their addresses; as such, without memory."""

    def __init__(self, size):
        self.size, self.high = size, 0  # high: the end of what has ever been taken
        self._taken = []

    def held(self):
        """Whether anything is taken."""
        return bool(self._taken)

    def take(self, nbytes):
        """(start, stop), the lowest free place of nbytes, from now on taken; None if there is none."""
        start = 0
        for i, (low, high) in enumerate([*self._taken, (self.size, None)]):
            if low - start >= nbytes:
                self._taken.insert(i, (start, start + nbytes))
                self.high = max(self.high, start + nbytes)
                return self._taken[i]
            start = high
        return None

    def give(self, place):
        """It is free again."""
        self._taken.remove(place)


class _Slab(Places):
    """Places in one piece of memory. A place is free again when nobody holds the block that lies in it."""

    def __init__(self, nbytes):
        super().__init__(nbytes)
        memory = np.empty(nbytes + _ALIGN, np.uint8)
        # The views of a memoryview's array refer to that array and no further: it is what `_references` counts.
        self._memory = memoryview(_carve(memory, 0, (nbytes,), np.uint8))
        self._blocks = []  # in the order of the places

    def held(self):
        """Forget the blocks that nobody else refers to, and say whether any are left."""
        held = [count != _UNHELD for count in _references(self._blocks)]
        self._taken = [p for p, h in zip(self._taken, held) if h]
        self._blocks = [b for b, h in zip(self._blocks, held) if h]
        return bool(self._blocks)

    def take(self, nbytes):
        """The lowest free block of nbytes, or None."""
        self.held()
        place = super().take(nbytes)
        if place is None:
            return None
        block = np.frombuffer(self._memory[slice(*place)], np.uint8)
        self._blocks.insert(self._taken.index(place), block)
        return block


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
