"""The objective in tiles: the same loss and gradient as undivided, to rounding, in a fraction of the memory.

A Gram matrix is a sum over places, so tiles add up. A first pass over the tiles (tiling.py says where they lie) sums
the Gram matrices of the whole picture; a second goes through each tile again and sends the gradient of the whole loss
back. Derived in MATH.md 11.
"""

from minivgg import Given
from minivgg.backend import get_xp
from minivgg.table import activation_size

from .. import losses
from ..objective import Evaluating, both
from .tiling import segments

TV_STRIP = 1 << 18  # values of the picture in a strip of the TV term
BAND = 1 << 20  # values of an activation that one product of the Gram sum reads


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
                    grams[name] = grams.get(name, 0) + gram_of_core(feats[name], tile.within(depth), net.kernels.matmul)
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
        last, dfeats = None, {}
        for name in reversed(names):
            feat, depth = feats.pop(name), segment.depths[name]
            core = tile.within(depth)
            if name in self.terms.style:
                dfeats[name] = CoreStyleGradient(dgrams[name], feat, core)
            if name in self.terms.content:
                loss, dcontent = self._content(name, feat, core, tile.in_whole(depth))
                content[name] = content.get(name, 0.0) + loss
                dfeats[name] = both(dfeats.get(name), dcontent)
            if name == segment.end:
                dfeats[name] = both(dfeats.get(name), Embedded(dend[tile.in_whole(depth)], feat, core))
        del feat
        return self.net.backward(dfeats, cache)

    def _content(self, name, feat, core, in_whole):
        """α · a tile's share of the content loss, and its gradient by the tile's activation, a Given."""
        target = self.content[name]
        part = feat[core]
        loss, dpart = losses.content_loss(part, target[in_whole])
        factor = self.terms.content[name] * (part.size / target.size)  # the mean is over the whole picture
        dpart *= factor
        return factor * loss, Embedded(dpart, feat, core)


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


def _places(name, H, W):
    h, w = activation_size(name, H, W)
    return h * w


def gram_of_core(feat, core, matmul):
    """Gram matrix of a core in double precision, a band of rows at a time: nothing of the core's size is copied."""
    xp = get_xp(feat)
    part = feat[core]
    N, C, h, w = part.shape
    rows = max(1, BAND // (C * w))
    total = 0
    for y in range(0, h, rows):
        band = part[:, :, y : y + rows].copy(order="K")  # in the same memory order, so that features() is a view
        G = losses.gram_forward(losses.features(band), matmul=matmul)
        total = total + G.astype(xp.result_type(G.dtype, xp.float64))
    return total


class CoreStyleGradient(Given):
    """Gradient of the style loss by a tile's activation: 0 in the halo.

    dG    (C, C), of the whole picture
    feat  (1, C, h, w)
    """

    def __init__(self, dG, feat, core):
        self.factor = dG + dG.T
        self.feat, self.core, self.shape = feat, core, feat.shape

    def whole(self):
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
        _, _, rows, cols = self.core
        _, C, h, w = self.shape
        out = get_xp(self.feat).zeros((y1 - y0, w, C), dtype=self.feat.dtype)
        top, bottom = max(y0, rows.start), min(y1, rows.stop)
        if top < bottom:
            part = self.feat[n, :, top:bottom, cols].transpose(1, 2, 0)
            out[top - y0 : bottom - y0, cols] = part @ self.factor
        return out

    def done(self):
        self.feat = None


class Embedded(Given):
    """A core's gradient, 0 in the halo around it; in the memory order of `like`, of which it keeps nothing."""

    def __init__(self, dcore, like, core):
        self.dcore, self.core, self.shape = dcore, core, like.shape
        self.order = get_xp(like).empty_like(like, shape=(1, *like.shape[1:2], 1, 1))

    def whole(self):
        dfeat = get_xp(self.order).zeros_like(self.order, shape=self.shape)
        dfeat[self.core] = self.dcore
        return dfeat

    def rows(self, n, y0, y1):
        _, _, rows, cols = self.core
        _, C, h, w = self.shape
        out = get_xp(self.order).zeros((y1 - y0, w, C), dtype=self.order.dtype)
        top, bottom = max(y0, rows.start), min(y1, rows.stop)
        if top < bottom:
            part = self.dcore[n, :, top - rows.start : bottom - rows.start]
            out[top - y0 : bottom - y0, cols] = part.transpose(1, 2, 0)
        return out

    def done(self):
        self.dcore = None
