"""The optimiser's vectors over several ranks, and their scalar products, to the digits of one process.

A picture's values (1, 3, H, W), read as one long vector, are cut into pieces, each a multiple of what pairs.py adds up
at a time. A piece goes to the rank whose strip its first value lies in, so nearly all of a rank's strip is its own
piece of the vector, and what is not comes from a neighbour.
"""

import numpy as np

from minivgg.backend import get_xp, to_numpy

from ..faster.pairs import BLOCK, Pairs, blocks_together
from ..method import check_finite
from .strips import Strip


def unit_of(optimizer, history):
    """Values of a piece of a vector: as many as L-BFGS adds up at a time; Adam adds up none."""
    return BLOCK * (blocks_together(2 * history + 2) if optimizer == "l-bfgs" else 32)


class Layout:
    """Who has what of a vector.

    shape  (1, C, H, W)
    rows   [(first, end), …] of the picture that each rank has
    unit   values of a piece
    """

    def __init__(self, ranks, shape, rows, unit=BLOCK):
        self.ranks, self.shape, self.unit, self.size = ranks, shape, unit, int(np.prod(shape))
        _, C, H, W = shape
        ends = [b for _, b in rows]
        self.rows = rows
        self.strips = [[((c * H + a) * W, (c * H + b) * W) for c in range(C) if a < b] for a, b in rows]
        self.held = [[] for _ in rows]  # of each rank, [(start, stop), …]
        for start in range(0, self.size, unit):
            owner = int(np.searchsorted(ends, start // W % H, side="right"))
            stop = min(start + unit, self.size)
            own = self.held[owner]
            if own and own[-1][1] == start:
                own[-1] = own[-1][0], stop
            else:
                own.append((start, stop))

    @property
    def most(self):
        """How many values the rank has that has most."""
        return max(sum(b - a for a, b in held) for held in self.held)

    @property
    def own(self):
        """How many values this rank has."""
        return sum(b - a for a, b in self.held[self.ranks.rank])

    def from_strip(self, strip):
        """This rank's part of the vector, flat, from each rank's Strip."""
        flat = strip.part.reshape(-1)
        return self._moved(flat, self.strips, self.held)

    def to_strip(self, vector):
        """The Strip of this rank, from each rank's part of the vector."""
        first, end = self.rows[self.ranks.rank]
        flat = self._moved(vector, self.held, self.strips)
        _, C, H, W = self.shape
        return Strip(flat.reshape(1, C, end - first, W), first, H)

    def broadcast(self, values):
        """This rank's part of the vector that has one value a channel, (1, C, 1, 1)."""
        xp, (_, _, H, W) = get_xp(values), self.shape
        parts = []
        for a, b in self.held[self.ranks.rank]:
            for c in range(a // (H * W), -(-b // (H * W))):
                count = min(b, (c + 1) * H * W) - max(a, c * H * W)
                parts.append(xp.full(count, values[0, c, 0, 0], dtype=values.dtype))
        return xp.concatenate(parts) if parts else xp.empty(0, dtype=values.dtype)

    def blocks(self, size):
        """[indices of each rank's blocks of `size` values among all]; the unit is a multiple of it."""
        return [
            np.concatenate([np.arange(a // size, -(-b // size)) for a, b in own]) if own else np.empty(0, int)
            for own in self.held
        ]

    def _moved(self, flat, have, want):
        """A vector that lies as `have` says, laid as `want` says: intervals of each rank."""
        me, xp = self.ranks.rank, get_xp(flat)
        host = to_numpy(flat)
        outgoing, incoming = [], []
        for rank in range(self.ranks.size):
            parts = [host[a:b] for a, b in overlaps(have[me], want[rank])]
            if parts:
                outgoing.append((rank, parts[0] if len(parts) == 1 else np.concatenate(parts)))
            places = overlaps(want[me], have[rank])
            if places:
                incoming.append((rank, places))
        sizes = [(rank, (sum(b - a for a, b in places),), flat.dtype) for rank, places in incoming]
        came = self.ranks.exchange("vectors", outgoing, sizes)
        out = np.empty(sum(b - a for a, b in want[me]), flat.dtype)
        for (_, places), values in zip(incoming, came, strict=True):
            at = 0
            for a, b in places:
                out[a:b] = values[at : at + b - a]
                at += b - a
        return xp.asarray(out)


def overlaps(own, other):
    """[(a, b), …] in the order of the whole: where in what `own` has lies what `other` has as well."""
    found, at = [], 0
    for a, b in own:
        for c, d in other:
            first, last = max(a, c), min(b, d)
            if first < last:
                found.append((at + first - a, at + last - a))
        at += b - a
    return found


class Space:
    """What L-BFGS asks of its vectors, over the ranks: see faster.space.Here. layout  Layout"""

    def __init__(self, layout):
        self.layout, self.ranks = layout, layout.ranks

    def size(self, x):
        return self.layout.size

    def pairs(self, x, history, metric=False):
        return SpreadPairs(x, history, metric=metric, layout=self.layout)

    def dot(self, a, b):
        """Scalar product as a float: faster.pairs.dot's blocks, from all ranks."""
        whole = a.size // BLOCK * BLOCK
        xp = get_xp(a)
        own = to_numpy(xp.matmul(a[:whole].reshape(-1, 1, BLOCK), b[:whole].reshape(-1, BLOCK, 1))).reshape(-1)
        tail = to_numpy(xp.matmul(a[whole:], b[whole:])).reshape(1)
        last = self.layout.size % BLOCK  # the last block, where it is not full
        places = [p[p < self.layout.size // BLOCK] for p in self.layout.blocks(BLOCK)]
        came = self.ranks.table("products", np.concatenate([own, tail]), [p.size + 1 for p in places])
        blocks = np.empty((self.layout.size // BLOCK, 1, 1), own.dtype)
        rest = own.dtype.type(0)
        for found, at in zip(came, places, strict=True):
            blocks[at, 0, 0] = found[:-1]
            if last and found[-1] != 0:
                rest = found[-1]
        return float(blocks.sum(dtype=np.float64) + rest)

    def check_finite(self, gradient, squared=False):
        """method.check_finite of the whole."""
        largest = float(abs(gradient).max()) if gradient.size else 0.0
        everywhere = max(self.ranks.everyone(largest), key=lambda v: (np.isnan(v), v))
        check_finite(np.full(1, everywhere, gradient.dtype), squared=squared, size=self.layout.size)


class SpreadPairs(Pairs):
    """The pairs' rows over the ranks; what is added up over them is added up chunk by chunk, as in one process."""

    def __init__(self, x, history, *, metric, layout):
        super().__init__(x, history, metric=metric)
        self.layout = layout
        size = BLOCK * blocks_together(self.rows.shape[1])
        if layout.unit % size:
            raise ValueError(f"pieces of {layout.unit} values: expected a multiple of {size}")
        self.places = layout.blocks(size)

    def _total(self, task):
        found = [to_numpy(part) for part in self._map(task)]
        length = found[0].size if found else 0
        if not all(len(p) for p in self.places):  # a rank without a chunk does not know it
            length = max(self.layout.ranks.everyone(length))
        own = np.concatenate(found) if found else np.empty(0)
        came = self.layout.ranks.table("products", own, [len(p) * length for p in self.places])
        rows = np.empty((sum(map(len, self.places)), length))
        for part, at in zip(came, self.places, strict=True):
            rows[at] = part.reshape(-1, length)
        return sum(rows)  # in the chunks' order
