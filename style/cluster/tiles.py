"""large/tiles.py over several ranks: whole rows of tiles each, the same digits as one process.

Each rank has a strip of the picture and of what is kept between the segments, and a halo of its neighbours' rows while
it computes. Per evaluation: halos, once a segment each way, and one sum of what the statistics gather.
"""

import numpy as np

from minivgg.backend import get_xp, to_numpy
from minivgg.torus import on_plane

from ..large.tiles import _Backward, _Forward
from ..large.tiling import segments
from ..passes import picture_strips, strip_part
from ..terms import layers
from .strips import Accumulated, Strip, common, fetch, shares


class Division:
    """How the tiles of a segment lie over the ranks.

    segment  tiling.Segment
    tiles    of each rank, {number: tiling.Tile}; the numbers are those of segment.tiles
    cores, regions  rows of the segment's input that the cores, and the regions, of each rank take
    seen     rows of the picture that its `terms` of the picture itself look at;  reads  both: what a rank gets
    """

    def __init__(self, segment, ranks, terms=()):
        self.segment = segment
        tops = sorted({tile.core[0] for tile in segment.tiles})
        self.tiles, self.cores, self.regions = [], [], []
        for first, end in shares(len(tops), ranks):
            mine = {n: t for n, t in enumerate(segment.tiles) if t.core[0] in tops[first:end]}
            self.tiles.append(mine)
            edge = tops[first] if first < len(tops) else segment.shape[0]
            self.cores.append(_span([t.core for t in mine.values()], edge))
            self.regions.append(_span([t.region for t in mine.values()], edge))
        local = [t for t in terms if t.layer is None and segment.start is None]
        self.seen = [_seen(local, segment.shape, core) for core in self.cores]
        self.reads = [_span([r, s], r[0]) if s[0] < s[1] else r for r, s in zip(self.regions, self.seen, strict=True)]

    def ends(self):
        """Rows of the activation at the segment's end that each rank's cores make."""
        return self.at(self.segment.end)

    def at(self, name):
        depth = self.segment.depths[name]
        return [(a >> depth, b >> depth) for a, b in self.cores]


class Distributed:
    """Like large.tiles.Tiled, on all ranks at once; pictures, gradients and activations are strips.Strips.

    net     minivgg.VGG
    tiling  tiling.Tiling
    ranks   ranks.Ranks
    """

    def __init__(self, net, tiling, ranks):
        self.net, self.tiling, self.ranks = net, tiling, ranks
        self._templates = {}

    def rows(self, height, width, terms):
        """Rows of the picture that each rank has."""
        return self._divisions(height, width, layers(terms))[0].cores

    def gather(self, image, terms):
        """({term: sums} of the whole picture, spread), where spread({term: dS}) is the gradient: to be called once.

        image  Strip of the rows that rows() says
        """
        parts = self._divisions(*image.shape[2:], layers(terms), terms)
        found, inputs, _, last = self._forward(image, parts[0].cores, parts, terms, keep_last=True)
        kept, picture, own = [last], inputs[0], parts[0].cores[self.ranks.rank]
        del last

        def spread(dsums):
            gradient = None
            for number in reversed(range(len(parts))):
                have = parts[number - 1].ends() if number else parts[0].cores
                x = inputs.pop()
                task = _Backward(self.net, parts[number].segment, x, terms, dsums, gradient, image.shape[2:])
                gradient = self._add_up(task, parts[number], have, kept)
                del task, x
                if number:
                    self.net.release()
            return _add_picture_gradient(gradient, picture, dsums)

        found += _picture_sums(picture, terms, own)
        key = (image.shape, *((t.name, t.layer, repr(t.statistic)) for t in terms))
        if key not in self._templates:  # else all ranks know them
            self._templates[key] = _kinds(found, terms, self.ranks)
        return self._total(found, terms, self._templates[key]), spread

    def sums(self, image, terms):
        """{term: sums} without a way back: for targets."""
        have = self.ranks.everyone(image.rows)
        found = self._forward(image, have, self._divisions(*image.shape[2:], layers(terms)), terms)[0]
        return self._total(found, terms, _kinds(found, terms, self.ranks))

    def activations(self, image, names):
        """{layer: Strip of the activation}."""
        parts = self._divisions(*image.shape[2:], names)
        stored = self._forward(image, self.ranks.everyone(image.rows), parts, (), store=names)[2]
        return {name: stored[name] for name in self.net.names if name in names}

    def placed(self, terms, height, width):
        """The terms, targets that are activations laid as gather() needs them: where the tiles of all terms lie."""
        found, need = [], rows_at(self._divisions(height, width, layers(terms), terms))
        for term in terms:
            if isinstance(term.target, Strip):
                have = self.ranks.everyone(term.target.rows)
                term = term.aimed(fetch(self.ranks, "targets", term.target, have, need[term.layer]))
            found.append(term)
        return found

    def _divisions(self, height, width, names, terms=()):
        found = segments(self.net, names, height, width, self.tiling)
        return [Division(segment, self.ranks.size, terms) for segment in found]

    def _forward(self, image, have, parts, terms, *, store=(), keep_last=False):
        """([{term: S} of each own tile], [the segments' inputs with their halos], {name: Strip}, last tile's way back).

        have       rows of the picture that each rank has
        keep_last  the last tile of this rank keeps its way back: its gradient can follow at once
        """
        me, sums, inputs, stored, last = self.ranks.rank, [], [], {}, None
        x = image
        for part in parts:
            x = fetch(self.ranks, "halos", x, have, part.reads)
            inputs.append(x)
            task = _Forward(self.net, part.segment, x, terms, store, image.shape[2:])
            wanted = part.segment.names({*layers(terms), *store})
            cores = {name: None for name in wanted if name in store or name == part.segment.end}
            for number, tile in part.tiles[me].items():
                if keep_last and part is parts[-1] and number == max(part.tiles[me]):
                    last = task.run(tile, cached=True)
                    found, own = task.read(tile, last[0])
                else:
                    found, own = task(tile)
                sums.append(found)
                for name, core in own.items():
                    cores[name] = self._put(cores[name], core, tile, part, name)
            for name, whole in cores.items():
                stored[name] = self._strip(whole, part, name, image)
            if part is not parts[-1]:
                have, x = part.ends(), stored[part.segment.end]
                if part.segment.end not in store:
                    del stored[part.segment.end]
                self.net.release()
        return sums, inputs, stored, last

    def _put(self, whole, core, tile, part, name):
        """Put a tile's core where it belongs in this rank's strip."""
        depth = part.segment.depths[name]
        top, bottom = part.at(name)[self.ranks.rank]
        if whole is None:
            shape = (*core.shape[:2], bottom - top, part.segment.shape[1] >> depth)
            whole = get_xp(core).empty_like(core, shape=shape)
        n, c, rows, cols = tile.in_whole(depth)
        whole[n, c, rows.start - top : rows.stop - top, cols] = core
        return whole

    def _strip(self, whole, part, name, image):
        """The Strip of an activation; a rank without tiles has none of its rows, in the others' memory order."""
        depth = part.segment.depths[name]
        if name not in self._templates:
            orders = self.ranks.everyone(None if whole is None else whole.strides[1] < whole.strides[3])
            self._templates[name] = next(order for order in orders if order is not None)
        if whole is None:
            xp, C, w = get_xp(image.part), self.net.channels[name], part.segment.shape[1] >> depth
            last = self._templates[name]  # whether channels lie together
            whole = xp.empty((1, 0, w, C) if last else (1, C, 0, w), dtype=image.dtype)
            whole = whole.transpose(0, 3, 1, 2) if last else whole
        return Strip(whole, part.at(name)[self.ranks.rank][0], part.segment.shape[0] >> depth)

    def _add_up(self, task, part, have, kept):
        """Strip of the gradient by a segment's input: each tile sends its share back to who has the rows."""
        regions = [{n: t.region for n, t in tiles.items()} for tiles in part.tiles]
        total = Accumulated(self.ranks, have, part.regions, regions, task.x.part)
        tiles = sorted(part.tiles[self.ranks.rank].items(), reverse=True)
        last = kept.pop() if kept else None
        for number, tile in tiles:
            if last is not None:
                total.add(number, task.backward(tile, *last))
                last = None
            else:
                total.add(number, task(tile))
        return total.total()

    def _total(self, found, terms, kinds):
        """{term: S} of all tiles of all ranks, added up in their order. kinds  what _kinds() gives"""
        offsets = np.cumsum([0, *(size for kind in kinds for _, size, _ in kind)])
        starts = np.cumsum([0, *map(len, kinds)])
        items = []
        for sums in found:
            item = []
            for k, term in enumerate(terms):
                for j, s in enumerate(sums.get(term, ())):
                    item.append((int(offsets[starts[k] + j]), _flat(s)))
            items.append(item)
        total = self.ranks.chained("sums", int(offsets[-1]), items)
        xp, result = self.net.xp, {}
        for k, term in enumerate(terms):
            values = []
            for j, (what, size, shape) in enumerate(kinds[k]):
                start = int(offsets[starts[k] + j])
                values.append(_restored(what, total[start : start + size], shape, xp))
            result[term] = tuple(values)
        return result


def rows_at(parts):
    """{layer, or None for the picture: rows that each rank has there} of the Divisions of a pass."""
    need = {None: parts[0].seen}
    for part in parts:
        need |= {name: part.at(name) for name in part.segment.depths}
    return need


def _kinds(found, terms, ranks):
    """Of each term, of each of its sums: (what it is, how many values, their shape). All ranks know it then."""
    own = {}
    for sums in found:
        own |= {k: [_kind(s) for s in sums[t]] for k, t in enumerate(terms) if t in sums}
    everyone = ranks.everyone(own)
    return [next(o[k] for o in everyone if k in o) for k in range(len(terms))]


def _seen(terms, size, rows):
    """Rows that the strips with a say in `rows` of a picture (height, width) look at, for terms of the picture."""
    strips = [s for t in terms for s in picture_strips((1, 3, *size), t.statistic, on_plane, rows)]
    return _span([(first, seen) for first, _, seen in strips], rows[0])


def _picture_sums(picture, terms, rows):
    """passes.picture_sums, of each strip of a term that begins in `rows`: [{term: S}, …]. picture  Strip"""
    return [
        {term: term.statistic.gather(strip_part(picture, term, strip, on_plane)[0])}
        for term in terms
        if term.layer is None
        for strip in picture_strips(picture.shape, term.statistic, on_plane, rows)
        if rows[0] <= strip[0]
    ]


def _add_picture_gradient(gradient, picture, dsums):
    """passes.add_picture_gradient of a rank's rows: a strip that reaches into another rank's is computed by both."""
    for term, dS in dsums.items():
        own = gradient.rows if term.layer is None else (0, 0)
        for strip in picture_strips(picture.shape, term.statistic, on_plane, own):
            part, rows, _ = strip_part(picture, term, strip, on_plane)
            a, b = common(rows, gradient.rows)
            values = term.statistic.spread(dS, part)[:, :, a - rows[0] : b - rows[0]]
            gradient.part[:, :, a - gradient.top : b - gradient.top] += values
    return gradient


def _span(boxes, edge):
    """Rows that boxes (top, bottom, …) take together; none at `edge` where there is no box."""
    return (min(b[0] for b in boxes), max(b[1] for b in boxes)) if boxes else (edge, edge)


def _kind(s):
    if not hasattr(s, "dtype"):
        return type(s).__name__, 1, ()
    return "scalar" if isinstance(s, np.generic) else "array", s.size, s.shape


def _flat(s):
    return to_numpy(s).reshape(-1) if hasattr(s, "dtype") else np.array([s], dtype=np.float64)


def _restored(what, values, shape, xp):
    if what in ("int", "float"):
        return {"int": int, "float": float}[what](values[0])
    return np.float64(values[0]) if what == "scalar" else xp.asarray(values.reshape(shape))
