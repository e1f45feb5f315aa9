"""Who has which rows: an activation or picture lies in strips over the ranks, and rows go to where they are needed."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from minivgg.backend import Array, get_xp, to_numpy

PIPE = 1 << 16  # values that travel together along the chain of ranks
Range: TypeAlias = tuple[int, int]  # rows from … to


class Strip:
    """Rows of an array (1, C, H, W) of which a rank has no more. It is indexed like the whole, by four slices.

    part    (1, C, h, W): the rows from `top` on
    height  H
    """

    def __init__(self, part: Array, top: int, height: int):
        self.part, self.top = part, top
        self.shape, self.dtype = (*part.shape[:2], height, part.shape[3]), part.dtype

    @property
    def rows(self) -> Range:
        return self.top, self.top + self.part.shape[2]

    def __getitem__(self, at: Any) -> Array:
        n, c, rows, cols = at
        first, last, _ = rows.indices(self.shape[2])
        if not self.rows[0] <= first <= last <= self.rows[1]:
            raise IndexError(f"rows {first} to {last} are another rank's: here are {self.rows}")
        return self.part[n, c, first - self.top : last - self.top, cols]


def shares(count: int, ranks: int) -> list[Range]:
    """[(first, end), …] of `count` rows of tiles for each rank, as even as whole rows are."""
    return [(r * count // ranks, (r + 1) * count // ranks) for r in range(ranks)]


def common(a: Range, b: Range) -> Range | None:
    """The rows that two ranges share, or None."""
    found = max(a[0], b[0]), min(a[1], b[1])
    return found if found[0] < found[1] else None


def fetch(ranks: Any, what: str, strip: Strip, have: Sequence[Range], need: Sequence[Range]) -> Strip:
    """The Strip of the rows that this rank needs, from those that have them.

    have, need  rows of each rank; those that ranks have do not overlap
    """
    me, part, top = ranks.rank, strip.part, strip.top
    xp, (_, C, _, W) = get_xp(part), part.shape
    outgoing = [
        (rank, to_numpy(part[:, :, at[0] - top : at[1] - top]))
        for rank, rows in enumerate(need)
        if (at := common(have[me], rows)) is not None
    ]
    incoming = [(rank, at) for rank, rows in enumerate(have) if (at := common(need[me], rows)) is not None]
    came = ranks.exchange(what, outgoing, [(r, (1, C, b - a, W), part.dtype) for r, (a, b) in incoming])
    first, end = need[me]
    out = xp.empty_like(part, shape=(1, C, end - first, W))
    for (_, (a, b)), rows in zip(incoming, came, strict=True):
        out[:, :, a - first : b - first] = xp.asarray(rows)
    return Strip(out, first, strip.shape[2])


class Accumulated:
    """The adjoint of fetch: what each rank's tiles say about rows goes to the rank that has them, and adds up.

    In the order in which one process adds: a tile's share of a row that another rank's tiles share in as well is kept
    until all of them are there.

    ranks    ranks.Ranks
    have     rows of each rank;  need  rows that its tiles share in
    regions  of each rank, {tile's number: (top, bottom, left, right)}; the numbers are those of one process
    like     an array (1, C, h, W), for type, order and device
    """

    def __init__(self, ranks: Any, have: Sequence[Range], need: Sequence[Range], regions: Sequence[dict], like: Array):
        self.ranks, self.have, self.regions, self.like = ranks, have, regions, like
        me = ranks.rank
        self.first, self.end = have[me]
        shape = (*like.shape[:2], self.end - self.first, like.shape[3])
        self.out = get_xp(like).zeros_like(like, shape=shape)
        others = [rows for rank, rows in enumerate(need) if rank < me and rows[0] < rows[1]]
        later = [rows for rank, rows in enumerate(need) if rank > me and rows[0] < rows[1]]
        low = max([self.first, *(rows[1] for rows in others)])
        high = min([self.end, *(rows[0] for rows in later)])
        self.alone = (low, max(low, high))  # rows that no other rank's tiles share in
        self.kept: list[tuple[int, tuple, Array]] = []  # (tile, (first, end, left, right), values)
        self.sent: dict[int, list] = {}

    def add(self, number: int, values: Array) -> None:
        """A tile's share, (1, C, h, w) over its region. Tiles come with falling numbers."""
        top, bottom, left, right = self.regions[self.ranks.rank][number]

        def part(rows):
            return values[:, :, rows[0] - top : rows[1] - top]

        for rank, have in enumerate(self.have):
            rows = common(have, (top, bottom))
            if rows is None:
                continue
            if rank != self.ranks.rank:
                self.sent.setdefault(rank, []).append(to_numpy(part(rows)).ravel())
                continue
            if (mine := common(rows, self.alone)) is not None:
                self.out[:, :, mine[0] - self.first : mine[1] - self.first, left:right] += part(mine)
            for shared in ((rows[0], self.alone[0]), (self.alone[1], rows[1])):
                if (both := common(rows, shared)) is not None:
                    self.kept.append((number, (*both, left, right), part(both).copy()))

    def total(self) -> Strip:
        """The Strip of this rank's own rows."""
        me, dtype, C = self.ranks.rank, self.like.dtype, self.like.shape[1]
        outgoing = [(rank, np.concatenate(parts)) for rank, parts in self.sent.items()]
        incoming: dict[int, list] = {}
        for rank, regions in enumerate(self.regions):
            for number in sorted(regions, reverse=True):
                top, bottom, left, right = regions[number]
                rows = common(self.have[me], (top, bottom))
                if rank != me and rows is not None:
                    incoming.setdefault(rank, []).append((number, (*rows, left, right)))
        sizes = {r: [C * (b - a) * (right - left) for _, (a, b, left, right) in v] for r, v in incoming.items()}
        came = self.ranks.exchange("gradients", outgoing, [(r, (sum(s),), dtype) for r, s in sizes.items()])
        for rank, values in zip(incoming, came, strict=True):
            pieces = np.split(values, np.cumsum(sizes[rank])[:-1])
            self.kept += [(n, at, v) for (n, at), v in zip(incoming[rank], pieces, strict=True)]
        xp = get_xp(self.out)
        for _, (a, b, left, right), values in sorted(self.kept, key=lambda k: -k[0]):
            shape = (1, C, b - a, right - left)
            self.out[:, :, a - self.first : b - self.first, left:right] += xp.asarray(values).reshape(shape)
        self.kept = []
        return Strip(self.out, self.first, self.have[-1][1])
