"""The network over a picture in tiles: the same sums and gradient as undivided, to rounding, in less memory.

What a statistic gathers adds up over tiles. A first pass over the tiles (tiling.py says where they lie) adds up the
sums of the whole picture; a second goes through each tile again and sends the gradient of the whole loss back. Derived
in MATH.md 1.
"""

from minivgg.backend import get_xp
from minivgg.given import Given
from minivgg.table import activation_size
from minivgg.torus import on_plane

from ..passes import ALL, TermGradient, add_picture_gradient, embedded, picture_sums
from ..terms import layers, merge
from .tiling import segments

BAND = 1 << 20  # values of an activation that one call of gather reads


class Tiled:
    """Like passes.Whole, in tiles.

    net     minivgg.VGG
    tiling  tiling.Tiling
    run     map, or what else calls a function for each of some tiles and gives the results in their order. A tile is a
            pure task: from its region of an activation to sums and cores, or to the gradient by the region
    """

    def __init__(self, net, tiling, *, run=map):
        self.net, self.tiling, self.run = net, tiling, run
        self.places = on_plane if net is None else net.places

    def gather(self, image, terms):
        """({term: sums}, spread), where spread({term: dS}) is the gradient by the image: to be called once."""
        pictures = picture_sums(image, terms, self.places)
        if not layers(terms):
            nothing = get_xp(image).zeros_like(image)
            return pictures, lambda dsums: add_picture_gradient(nothing, image, dsums, self.places)
        parts = self._segments(image, terms)
        sums, stored, last = self._forward(image, parts, terms, keep_last=True)
        kept = [last]
        del last

        def spread(dsums):
            gradient = None
            for segment in reversed(parts):
                x = image if segment.start is None else stored.pop(segment.start)
                task = _Backward(self.net, segment, x, terms, dsums, gradient, image.shape[2:])
                gradient = self._add_up(task, kept)
                del task, x
                if segment.start is not None:
                    self.net.release()  # the next segment's tiles have other sizes
            return add_picture_gradient(gradient, image, dsums, self.places)

        return sums | pictures, spread

    def sums(self, image, terms):
        """{term: sums} without a way back: for targets."""
        return self._forward(image, self._segments(image, terms), terms)[0]

    def activations(self, image, names):
        """{layer: activation (1, C, h, w)}"""
        parts = segments(self.net, names, *image.shape[2:], self.tiling)
        stored = self._forward(image, parts, (), store=names)[1]
        return {name: stored[name] for name in self.net.names if name in names}

    def _segments(self, image, terms):
        return segments(self.net, layers(terms), *image.shape[2:], self.tiling)

    def _forward(self, image, parts, terms, *, store=(), keep_last=False):
        """One pass over all tiles of all segments.

        store      layers to put together: {name: (1, C, h, w)}; the segments' ends come with them
        keep_last  the last tile of the last segment keeps its way back: its gradient can follow at once

        Returns sums {term: S}, stored, and (feats, cache) of the last tile or None.
        """
        sums, stored, last, x = {}, {}, None, image
        for segment in parts:
            task = _Forward(self.net, segment, x, terms, store, image.shape[2:])
            tiles = list(segment.tiles)
            final = tiles.pop() if keep_last and segment is parts[-1] else None
            results = iter(self.run(task, tiles))
            for tile in tiles:
                self._put(next(results), tile, segment, sums, stored)
            if final is not None:
                feats, cache = task.run(final, cached=True)
                self._put(task.read(final, feats), final, segment, sums, stored)
                last = feats, cache
            x = stored.get(segment.end)
            if segment is not parts[-1]:
                self.net.release()
        return sums, stored, last

    def _put(self, result, tile, segment, sums, stored):
        """Add a tile's sums to the whole picture's, and put its cores where they belong."""
        found, cores = result
        for term, S in found.items():
            sums[term] = merge(sums.get(term), S)
        for name, core in cores.items():
            if name not in stored:
                size = tuple(s >> segment.depths[name] for s in segment.shape)
                stored[name] = get_xp(core).empty_like(core, shape=core.shape[:2] + size)
            stored[name][tile.in_whole(segment.depths[name])] = core

    def _add_up(self, task, kept):
        """Gradient by a segment's input: each tile's cores send theirs back, and what overlaps adds up."""
        tiles, dx = list(reversed(task.segment.tiles)), None
        first = kept.pop() if kept else None
        if first is not None:  # the first pass has just left its way back
            dx = task.place(task.backward(tiles.pop(0), *first), task.segment.tiles[-1], dx)
            del first
        results = iter(self.run(task, tiles))
        for tile in tiles:
            dtile = next(results)
            dx = task.place(dtile, tile, dx)
            del dtile  # or its memory would lie in the next tile's way
        return dx


class _Task:
    """What the tiles of one segment have in common. x: the segment's input; size: (H, W) of the picture."""

    def __init__(self, net, segment, x, terms, size):
        self.net, self.segment, self.x, self.terms, self.size = net, segment, x, terms, size

    def run(self, tile, *, cached, names=None):
        names = names or self.segment.names(layers(self.terms))
        return self.net.forward(tile.read(self.x), names, start=self.segment.start, cached=cached)


class _Forward(_Task):
    """A tile of the first pass: its region in, the sums and cores of its activations out."""

    def __init__(self, net, segment, x, terms, store, size):
        super().__init__(net, segment, x, terms, size)
        self.store = store

    def __call__(self, tile):
        names = self.segment.names({*layers(self.terms), *self.store})
        return self.read(tile, self.run(tile, cached=False, names=names)[0])

    def read(self, tile, feats):
        sums, cores = {}, {}
        for name, feat in feats.items():
            depth = self.segment.depths[name]
            within, at = tile.within(depth), tile.in_whole(depth)
            for term in self.terms:
                if term.layer == name:
                    sums[term] = self._gather(term, feat, within, at)
            if name in self.store or name == self.segment.end:
                cores[name] = feat[within]
        return sums, cores

    def _gather(self, term, feat, within, at):
        """A term's sums over a core, a band of rows at a time: nothing of the core's size is copied."""
        _, _, rows, cols = within
        step = max(1, BAND // (feat.shape[1] * (cols.stop - cols.start)))
        down, total = at[2].start - rows.start, None
        size = activation_size(term.layer, *self.size)
        for y in range(rows.start, rows.stop, step):
            band = slice(y, min(y + step, rows.stop))
            there = (*ALL[:2], slice(band.start + down, band.stop + down), at[3])
            copy = feat[(*ALL[:2], band, cols)].copy(order="K")  # in the same memory order, so that F is a view
            part = term.part(copy, ALL, there, size=size, matmul=self.net.kernels.matmul)
            total = merge(total, term.statistic.gather(part))
        return total


class _Backward(_Task):
    """A tile of the second pass: its region in, the gradient by the region out.

    dend  gradient by the activation at the segment's end, None in the last segment
    """

    def __init__(self, net, segment, x, terms, dsums, dend, size):
        super().__init__(net, segment, x, terms, size)
        self.dsums, self.dend = dsums, dend

    def __call__(self, tile):
        return self.backward(tile, *self.run(tile, cached=True))

    def backward(self, tile, feats, cache):
        """Gradient by a tile's region of x. What the tile has needed is gone when this returns."""
        given, matmul = {}, self.net.kernels.matmul
        while feats:
            name, feat = feats.popitem()
            depth = self.segment.depths[name]
            within, at = tile.within(depth)[2:], tile.in_whole(depth)[2:]
            size = activation_size(name, *self.size)
            found = [
                TermGradient(term, self.dsums[term], feat, matmul, within, at, size)
                for term in self.terms
                if term.layer == name
            ]
            if name == self.segment.end:
                found.append(CoreGradient(self.dend[(*ALL[:2], *at)], feat, within))
            given[name] = found[0] if len(found) == 1 else sum(found[1:], found[0])
            del feat, found
        return self.net.backward(given, cache)

    def place(self, dtile, tile, dx):
        """dx with a tile's gradient added; of a single tile it is that gradient."""
        if len(self.segment.tiles) == 1:
            return dtile
        dx = get_xp(self.x).zeros_like(self.x) if dx is None else dx
        tile.add(dtile, dx)
        return dx


class CoreGradient(Given):
    """A gradient that is known in the core of an activation, and 0 around it. Of `like` nothing is kept."""

    def __init__(self, core, like, within):
        self.core, self.within, self.shape = core, within, like.shape
        self.order = get_xp(like).empty_like(like, shape=(1, like.shape[1], 1, 1))  # for its memory order

    def whole(self):
        return embedded(self.core, self.order, self.within, self.shape)

    def rows(self, n, y0, y1):
        rows, cols = self.within
        _, C, _, w = self.shape
        out = get_xp(self.core).zeros((y1 - y0, w, C), dtype=self.core.dtype)
        top, bottom = max(y0, rows.start), min(y1, rows.stop)
        if top < bottom:
            part = self.core[n, :, top - rows.start : bottom - rows.start]
            out[top - y0 : bottom - y0, cols] = part.transpose(1, 2, 0)
        return out

    def done(self):
        self.core = None
