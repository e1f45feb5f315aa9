"""The objective in tiles: the same loss and gradient as undivided, to rounding, in a fraction of the memory.

A Gram matrix is a sum over places, so tiles add up. A first pass over the tiles sums the Gram matrices of the whole
picture; a second goes through each tile again and sends the gradient of the whole loss back. A tile is a core with a
halo of neighbouring pixels around it: cores divide the picture, halos overlap. The zero padding of the convolutions
is wrong at a tile's inner edge, but what is wrong stays inside the halo (see MATH.md), and nothing but the core is
counted.

The network is cut into segments at some activations (pool3, say), which are kept whole between the segments. A
segment has fewer layers, so a smaller halo, and fewer of them must be computed a second time.
"""

import itertools
from dataclasses import dataclass

from minivgg.backend import get_xp
from minivgg.vgg import activation_size, level

from . import losses
from .objective import Evaluating, both

TV_STRIP = 1 << 18  # values of the picture in a strip of the TV term
BAND = 1 << 20  # values of an activation that one product of the Gram sum reads


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
    """One tile, in places of its segment's input: its core, and its region, which is the core with the halo."""

    core: tuple  # (top, bottom, left, right)
    region: tuple

    @property
    def place(self):
        """Index of the region in the segment's input."""
        return _index(*self.region)

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


def segments(names, layers, H, W, tiling):
    """The segments of a network for a picture of H×W, down to the deepest of `layers` and no further.

    names  the network's layers in order (VGG.names)
    """
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
            Tile((t, b, l, r), (*_grown(t, b, margin, shape[0]), *_grown(l, r, margin, shape[1])))
            for t, b in itertools.pairwise(rows)
            for l, r in itertools.pairwise(cols)
        )
        found.append(Segment(start, end, depths, margin, shape, tiles))
    return found


def _grown(start, end, margin, size):
    return max(start - margin, 0), min(end + margin, size)


def forward_pass(net, image, segments, *, gram=(), store=(), last_names=None):
    """One pass over all tiles of all segments: Gram matrices summed, activations put together.

    gram        layers to sum over: {name: (C, C)}, in the network's type, summed over tiles in double precision
    store       layers to put together: {name: (1, C, h, w)}; the segments' ends come with them
    last_names  if given, the last tile of the last segment goes forward to these layers and keeps its cache

    Returns grams, stored, last: (feats, cache) of the last tile or None.
    """
    xp = get_xp(image)
    grams, stored, last = {}, {}, None
    x = image
    for segment in segments:
        for tile in segment.tiles:
            names = segment.names({*gram, *store})
            keep = last_names is not None and tile is segments[-1].tiles[-1]
            part = x[tile.place].copy(order="K")
            feats, cache = net.forward(part, last_names if keep else names, start=segment.start, cached=keep)
            last = (feats, cache) if keep else None
            for name in names:
                depth = segment.depths[name]
                if name in gram:
                    grams[name] = grams.get(name, 0) + gram_of_core(feats[name], tile.within(depth))
                if name in store or name == segment.end:
                    if name not in stored:
                        size = tuple(s >> depth for s in segment.shape)
                        stored[name] = xp.empty_like(feats[name], shape=feats[name].shape[:2] + size)
                    stored[name][tile.in_whole(depth)] = feats[name][tile.within(depth)]
            del part, feats, cache
        x = stored.get(segment.end)
        if segment is not segments[-1]:
            net.release()  # the next segment's tiles have other sizes
    return {name: G.astype(image.dtype) for name, G in grams.items()}, stored, last


def style_targets(net, image, layers, tiling):
    """objective.style_targets in tiles: {layer: A / M} of a style picture (1, 3, H, W)."""
    if not layers:
        return {}
    H, W = image.shape[2:]
    grams, _, _ = forward_pass(net, image, segments(net.names, layers, H, W, tiling), gram=layers)
    return {name: G / _places(name, H, W) for name, G in grams.items()}


def content_targets(net, image, layers, tiling):
    """objective.content_targets in tiles: {layer: activation (1, C, h, w)} of the content picture."""
    if not layers:
        return {}
    parts = segments(net.names, layers, *image.shape[2:], tiling)
    _, stored, _ = forward_pass(net, image, parts, store=layers)
    return {name: stored[name] for name in net.names if name in layers}


class TiledObjective(Evaluating):
    """Loss and gradient in tiles: evaluate() gives what Objective's gives, to rounding.

    net      minivgg.VGG
    terms    objective.Terms
    content  {layer: activation} of the whole content picture
    style    {layer: A / M}
    tiling   Tiling
    """

    def __init__(self, net, terms, content, style, *, tiling):
        self.net, self.terms, self.content, self.style, self.tiling = net, terms, content, style, tiling

    def enqueue(self, image):
        """As Objective.enqueue: (content, style, tv, gradient), all on the device."""
        terms, net = self.terms, self.net
        H, W = image.shape[2:]
        content, style, gradient = {}, {}, None
        if terms.layers:
            self._check_size(H, W)
            parts = segments(net.names, terms.layers, H, W, self.tiling)
            summed = self._segments_to_sum(parts)
            all_names = parts[-1].names(terms.layers) if summed == len(parts) else None
            grams, stored, last = forward_pass(net, image, parts[:summed], gram=terms.style, last_names=all_names)
            dgrams = {}
            for name, G in grams.items():
                style[name], dgrams[name] = self._style(name, G, _places(name, H, W))
            for segment in reversed(parts):
                x = image if segment.start is None else stored.pop(segment.start)
                gradient = self._segment_backward(segment, x, dgrams, gradient, content, last)
                x = last = None
                if segment.start is not None:
                    net.release()
        else:
            gradient = get_xp(image).zeros_like(image)
        tv = add_tv(image, gradient, terms.tv, terms.tv_beta) if terms.tv else None
        content = {name: content[name] for name in sorted(content, key=net.names.index)} if content else {}
        return content, style, tv, gradient

    def _check_size(self, H, W):
        for name, target in self.content.items():
            size = activation_size(name, H, W)
            if target.shape[2:] != size:
                raise ValueError(f"{name}: the picture gives {size}, the content target has {target.shape[2:]}")

    def _segments_to_sum(self, parts):
        """How many segments the first pass visits: to the last with a style layer, and all that lead to the last."""
        with_style = [i for i, s in enumerate(parts, 1) if any(n in self.terms.style for n in s.depths)]
        return max([len(parts) - 1, *with_style])

    def _style(self, name, G, M):
        loss, dG = losses.style_loss(G, self.style[name] * M, M)
        factor = self.terms.style[name]
        return factor * loss, dG * factor

    def _segment_backward(self, segment, x, dgrams, dend, content, last):
        """Gradient by the segment's input x: each tile's cores send theirs back, and what overlaps adds up.

        dend     gradient by the activation at the segment's end, None in the last segment
        content  receives the content losses
        last     (feats, cache) of the last tile if the first pass has just left them
        """
        dx = None
        for tile in reversed(segment.tiles):
            dtile = self._tile_backward(segment, tile, x, dgrams, dend, content, last)
            last = None
            if len(segment.tiles) == 1:
                return dtile
            if dx is None:
                dx = get_xp(x).zeros_like(x)
            dx[tile.place] += dtile
            del dtile  # or its memory would lie in the next tile's way
        return dx

    def _tile_backward(self, segment, tile, x, dgrams, dend, content, last):
        """Gradient by a tile's region of x. What the tile has needed is gone when this returns."""
        names = segment.names(self.terms.layers)
        feats, cache = last or self.net.forward(x[tile.place].copy(order="K"), names, start=segment.start)
        last, dfeats, deeper = None, {}, None
        for name in reversed(names):
            feat, depth = feats.pop(name), segment.depths[name]
            core = tile.within(depth)
            if name in self.terms.style:
                dfeats[name] = deeper = CoreStyleGradient(dgrams[name], feat, core, deeper)
            if name in self.terms.content:
                loss, dcontent = self._content(name, feat, core, tile.in_whole(depth))
                content[name] = content.get(name, 0.0) + loss
                dfeats[name] = both(dfeats.get(name), dcontent)
            if name == segment.end:
                dfeats[name] = both(dfeats.get(name), _embedded(dend[tile.in_whole(depth)], feat, core))
        del feat
        return self.net.backward(dfeats, cache)

    def _content(self, name, feat, core, in_whole):
        """α · a tile's share of the content loss, and a function that gives its gradient by the tile's activation."""
        target = self.content[name]
        part = feat[core]
        loss, dpart = losses.content_loss(part, target[in_whole])
        factor = self.terms.content[name] * (part.size / target.size)  # the mean is over the whole picture
        dpart *= factor
        return factor * loss, _embedded(dpart, feat, core)


def add_tv(image, gradient, factor, beta):
    """factor · tv_loss of the whole image, computed in strips; its gradient is added to `gradient` in place.

    A strip of rows a … b shares row b with the next one. TV(strip) counts the differences within its rows; those within
    row b would be counted twice, so TV(row b) is taken off (it is 0 where the exponent ties both differences together).
    """
    N, C, H, W = image.shape
    rows = max(1, TV_STRIP // (N * C * W))
    total = 0.0
    for a in range(0, H, rows):
        b = min(a + rows, H - 1)
        total += _tv_part(image, gradient, factor, beta, a, b)
        if a + rows < H:
            total += _tv_part(image, gradient, -factor, beta, b, b)
    return total


def _tv_part(image, gradient, factor, beta, top, bottom):
    part = image[:, :, top : bottom + 1]
    factor = factor * (part.size / image.size)  # tv_loss is a mean over its pixels
    loss, dpart = losses.tv_loss(part, beta=beta)
    gradient[:, :, top : bottom + 1] += factor * dpart
    return factor * loss


def _index(top, bottom, left, right):
    return (slice(None), slice(None), slice(top, bottom), slice(left, right))


def _places(name, H, W):
    h, w = activation_size(name, H, W)
    return h * w


def gram_of_core(feat, core):
    """Gram matrix of a core in double precision, a band of rows at a time: nothing of the core's size is copied."""
    xp = get_xp(feat)
    part = feat[core]
    N, C, h, w = part.shape
    rows = max(1, BAND // (C * w))
    total = 0
    for y in range(0, h, rows):
        band = part[:, :, y : y + rows].copy(order="K")  # in the same memory order, so that features() is a view
        G = losses.gram_forward(losses.features(band))
        total = total + G.astype(xp.result_type(G.dtype, xp.float64))
    return total


class CoreStyleGradient:
    """Gradient of the style loss by a tile's activation: 0 in the halo. Whole by a call, or rows of it.

    Computed when backward asks for it, and by then backward is done with the layers below: `deeper`, their gradient,
    may let go of its activation.

    dG    (C, C), of the whole picture
    feat  (1, C, h, w)
    """

    def __init__(self, dG, feat, core, deeper):
        self.factor = dG + dG.T
        self.feat, self.core, self.deeper = feat, core, deeper

    def _begin(self):
        deeper, self.deeper = self.deeper, None
        if deeper is not None:
            deeper.feat = None

    def __call__(self):
        self._begin()
        F = losses.features(self.feat)
        xp = get_xp(F)
        dF = xp.empty_like(F)
        xp.matmul(self.factor, F, out=dF)  # losses.gram_backward
        dfeat = dF.reshape(self.feat.shape)
        _, _, rows, cols = self.core
        dfeat[:, :, : rows.start] = 0
        dfeat[:, :, rows.stop :] = 0
        dfeat[..., : cols.start] = 0
        dfeat[..., cols.stop :] = 0
        return dfeat

    def rows(self, n, y0, y1):
        """Rows y0 to y1, channels last: (y1-y0, w, C)."""
        self._begin()
        _, _, rows, cols = self.core
        _, C, h, w = self.feat.shape
        out = get_xp(self.feat).zeros((y1 - y0, w, C), dtype=self.feat.dtype)
        top, bottom = max(y0, rows.start), min(y1, rows.stop)
        if top < bottom:
            part = self.feat[n, :, top:bottom, cols].transpose(1, 2, 0)
            out[top - y0 : bottom - y0, cols] = part @ self.factor
        return out


def _embedded(dcore, like, core):
    """A function that gives an array like `like` (of which it keeps nothing) with dcore in its core and 0 around."""
    xp = get_xp(like)
    shape, order = like.shape, xp.empty_like(like, shape=(1, *like.shape[1:2], 1, 1))

    def gradient():
        dfeat = xp.zeros_like(order, shape=shape)
        dfeat[core] = dcore
        return dfeat

    return gradient
