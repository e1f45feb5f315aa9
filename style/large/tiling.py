"""Where tiles lie: cores that divide the picture, each with a halo of neighbouring places around it.

Halos overlap. The zero padding of the convolutions is wrong at a tile's inner edge, but what is wrong stays inside the
halo (MATH.md 2 and 3), and nothing but the core is counted.

The network is cut into segments at some activations (pool3, say), which are kept whole between the segments. A segment
has fewer layers, so a smaller halo, and fewer of them must be computed a second time.
"""

import itertools
from dataclasses import dataclass

from minivgg.table import activation_size, level
from minivgg.torus import add_window, window


@dataclass(frozen=True)
class Tiling:
    """Where the network is cut into segments, and how large the tiles' cores are in each.

    cuts   layers whose activation is kept whole, in the order of the network: ("pool3",)
    cores  (height, width) of a core in each segment, one more than cuts, in pixels of the picture
    """

    cuts: tuple
    cores: tuple

    def __post_init__(self):
        if len(self.cores) != len(self.cuts) + 1:
            raise ValueError(f"{len(self.cuts)} cuts make {len(self.cuts) + 1} segments, found {len(self.cores)} cores")


@dataclass(frozen=True)
class Tile:
    """One tile, in places of its segment's input: its core, and its region, which is the core with the halo.

    On a torus (circular padding) a region goes on at the opposite edge: it may begin below 0 and end beyond the size.
    """

    core: tuple  # (top, bottom, left, right)
    region: tuple

    def read(self, x):
        """The region of the segment's input x, a copy in its memory order."""
        return window(x, self.region[:2], self.region[2:]).copy(order="K")

    def add(self, dregion, dx):
        """Add the gradient by the region to that by the segment's input."""
        add_window(dx, dregion, self.region[:2], self.region[2:])

    def within(self, depth):
        """Index of the core in an activation of the region, `depth` poolings below the segment's input."""
        t, b, l, r = (v >> depth for v in self.core)
        T, _, L, _ = (v >> depth for v in self.region)
        return _index(t - T, b - T, l - L, r - L)

    def in_whole(self, depth):
        """Index of the core in the whole picture's activation, `depth` poolings below the segment's input."""
        return _index(*(v >> depth for v in self.core))


@dataclass(frozen=True)
class Segment:
    """A stretch of the network, from the activation at `start` (None: the picture) to that at `end` (None: the last).

    depths  {layer: poolings between the segment's input and the layer}, for the layers of interest and `end`
    halo    places of the segment's input that a core needs around it
    shape   (h, w) of the segment's input
    """

    start: str | None
    end: str | None
    depths: dict
    halo: int
    shape: tuple
    tiles: tuple

    def names(self, layers):
        """What a forward pass must return when `layers` are of interest: those in this segment, and its end."""
        return [n for n in self.depths if n in layers or n == self.end]


def halo(table, start_level):
    """Places of a segment's input that a core needs around it: each 3×3 convolution needs one place of its own level.

    table  layer names of the segment in order; a place at `depth` poolings is 2^depth places of the input wide, so
           halo = Σ over convolutions of 2^(level - start_level)
    """
    return sum(1 << (level(n) - start_level) for n in table if n.startswith("conv"))


def edges(size, core, align, offset, last):
    """Edges of cores along an axis: 0, …, size, nearly equal, about `core` apart.

    The inner ones lie `offset` past a multiple of `align`; the last core has `last` places or more, so that it does not
    vanish at any depth.
    """
    n = -(-size // core)
    inner = {round((i * size / n - offset) / align) * align + offset for i in range(1, n)}
    return [0, *sorted(e for e in inner if 0 < e <= size - last), size]


def segments(net, layers, H, W, tiling):
    """The segments of a network (minivgg.Outline) for a picture of H×W, down to the deepest of `layers` and no further.

    Where the network's padding is circular, a region that is cut off lies beyond the opposite edge; an axis with one
    core has no halo, for the padding itself goes round there.
    """
    names, places = net.names, net.places
    deepest = max(names.index(n) for n in layers)
    cuts = [c for c in tiling.cuts if names.index(c) < deepest]
    cores = tiling.cores[: len(cuts) + 1]
    found = []
    for start, end, core in zip([None, *cuts], [*cuts, None], cores, strict=True):
        first = 0 if start is None else names.index(start) + 1
        last = names.index(end) if end else deepest
        table = names[first : last + 1]
        base = level(start)
        depths = {n: level(n) - base for n in table if n in layers or n == end}
        # Regions begin where pooling windows do, and Winograd's 4×4 tiles at the deepest convolution: then both, and
        # with them the rounding, are those of the whole picture. In float32 a maximum that tips over by rounding would
        # send a gradient another way.
        windows = 1 << max(depths.values())
        winograd = 4 << max((level(n) - base for n in table if n.startswith("conv")), default=0)
        margin = -(-halo(table, base) // windows) * windows
        shape = (H, W) if start is None else activation_size(start, H, W)
        rows, cols = (
            edges(s, max(windows, c >> base), max(windows, winograd), margin % winograd, windows)
            for s, c in zip(shape, core, strict=True)
        )
        tiles = tuple(
            Tile((t, b, l, r), (*_region((t, b), margin, shape[0], places), *_region((l, r), margin, shape[1], places)))
            for t, b in itertools.pairwise(rows)
            for l, r in itertools.pairwise(cols)
        )
        found.append(Segment(start, end, depths, margin, shape, tiles))
    return found


def _region(core, margin, size, places):
    """A core along an axis, with as much of its halo as there is; a core that is the whole axis has none."""
    start, end = core
    return core if end - start == size else places((start - margin, end + margin), size)


def _index(top, bottom, left, right):
    return (slice(None), slice(None), slice(top, bottom), slice(left, right))
