"""How terms see a picture: a pass forward that gathers what they need, and one backward that spreads the gradient.

Whole runs the network over the picture at once; large/tiles.py does the same in tiles. Terms of the picture itself
(total variation) are gathered and spread by strips of rows in either.
"""

from minivgg.backend import get_xp
from minivgg.given import Given
from minivgg.torus import add_window, on_plane, window

from .terms import layers, merge

ALL = (slice(None),) * 4  # the index of a whole activation
STRIP = 1 << 18  # values of the picture in a strip


class Whole:
    """The network over a picture in one pass.

    net    minivgg.VGG
    start  None, or a layer: "the picture" is then the activation there
    """

    def __init__(self, net, start=None):
        self.net, self.start = net, start
        self.places = on_plane if net is None else net.places

    def gather(self, image, terms):
        """({term: sums}, spread), where spread({term: dS}) is the gradient by the image: to be called once."""
        names = layers(terms)
        feats, cache = self.forward(image, names) if names else ({}, None)
        sums = self._sums(feats, terms) | picture_sums(image, terms, self.places)

        def spread(dsums):
            given = {}
            while feats:  # what backward needs of an activation lives in what it is given, until it has used it
                name, feat = feats.popitem()
                for term in terms:
                    if term.layer == name:
                        found = TermGradient(term, dsums[term], feat, self.net.kernels.matmul)
                        given[name] = given[name] + found if name in given else found
                feat = None
            gradient = self.net.backward(given, cache) if names else get_xp(image).zeros_like(image)
            return add_picture_gradient(gradient, image, dsums, self.places)

        return sums, spread

    def forward(self, image, names):
        """Activations at `names`, and the cache of one backward pass."""
        return self.net.forward(image, names, start=self.start)

    def sums(self, image, terms):
        """{term: sums} without a way back: for targets."""
        feats, _ = self.net.forward(image, layers(terms), start=self.start, cached=False)
        return self._sums(feats, terms)

    def activations(self, image, names):
        """{layer: activation (1, C, h, w)}, copies: the buffers they were computed in are free."""
        feats, _ = self.net.forward(image, names, start=self.start, cached=False)
        return {name: feat.copy(order="K") for name, feat in feats.items()}

    def _sums(self, feats, terms):
        sums = {}
        for term in terms:
            if term.layer is not None:
                feat = feats[term.layer]
                part = term.part(feat, ALL, ALL, size=feat.shape[2:], matmul=self.net.kernels.matmul)
                sums[term] = term.statistic.gather(part)
        return sums


class TermGradient(Given):
    """A term's gradient by an activation, computed when backward asks for it: whole, or rows of it.

    feat    (1, C, h, w) of the picture or of a tile
    within  rows and columns of feat that count, two slices; elsewhere the gradient is 0
    at      where those lie in the whole activation, two slices
    size    (h, w) of the whole activation
    """

    def __init__(self, term, dS, feat, matmul, within=None, at=None, size=None):
        h, w = feat.shape[2:]
        self.term, self.dS, self.feat, self.matmul = term, dS, feat, matmul
        self.within = within or (slice(0, h), slice(0, w))
        self.at, self.size = at or self.within, size or (h, w)
        self.shape = feat.shape

    def whole(self):
        return embedded(self._part(self.within[0]), self.feat, self.within, self.shape)

    def rows(self, n, y0, y1):
        rows = slice(max(y0, self.within[0].start), min(y1, self.within[0].stop))
        if (rows, self.within[1]) == (slice(y0, y1), slice(0, self.shape[3])):
            return self._part(rows)[0].transpose(1, 2, 0)
        _, C, _, w = self.shape
        out = get_xp(self.feat).zeros((y1 - y0, w, C), dtype=self.feat.dtype)
        if rows.start < rows.stop:
            out[rows.start - y0 : rows.stop - y0, self.within[1]] = self._part(rows)[0].transpose(1, 2, 0)
        return out

    def done(self):
        self.feat = None

    def _part(self, rows):
        """The gradient at rows of feat, in the columns that count."""
        down = self.at[0].start - self.within[0].start
        at = (*ALL[:2], slice(rows.start + down, rows.stop + down), self.at[1])
        within = (*ALL[:2], rows, self.within[1])
        part = self.term.part(self.feat, within, at, size=self.size, matmul=self.matmul)
        return self.term.statistic.spread(self.dS, part)


def embedded(core, like, within, shape):
    """`core` at the rows and columns `within` of an array of this shape, 0 around; like `like` in type and order."""
    if core.shape == shape:
        return core
    out = get_xp(like).zeros_like(like, shape=shape)
    out[(*ALL[:2], *within)] = core
    return out


def picture_sums(image, terms, places):
    """{term: sums} of the terms that look at the picture itself. places  as for picture_strips"""
    sums = {}
    for term in terms:
        if term.layer is None:
            for strip in picture_strips(image.shape, term.statistic, places):
                sums[term] = merge(sums.get(term), term.statistic.gather(strip_part(image, term, strip, places)[0]))
    return sums


def add_picture_gradient(gradient, image, dsums, places):
    """`gradient` and that of the terms that look at the picture itself. It may be changed in place."""
    for term, dS in dsums.items():
        if term.layer is None:
            for strip in picture_strips(image.shape, term.statistic, places):
                part, rows, cols = strip_part(image, term, strip, places)
                add_window(gradient, term.statistic.spread(dS, part), rows, cols)
    return gradient


def picture_strips(shape, statistic, places, rows=None):
    """(first, end, seen), …: a term of the picture itself is computed in strips: rows first to end, of which it looks
    at those below up to `seen` as well.

    shape   (N, C, H, W) of the picture
    places  a network's: what there is of a range of rows or columns. On a torus the last strip has the first rows
            below it, and every strip the first columns at its right
    rows    (from, to): the strips that have a say in the gradient of these rows; None: all
    """
    N, C, H, W = shape
    reach, every = statistic.reach, statistic.every
    step = max(1, STRIP // (N * C * W) // every) * every
    start, stop = rows or (0, H)
    for y in range(max(start - reach, 0) // step * step, stop if start < stop else 0, step):
        own = min(y + step, H)
        yield y, own, places((y, own + reach), H)[1]


def strip_part(image, term, strip, places):
    """(Part, rows, columns) of one of picture_strips()."""
    H, W = image.shape[2:]
    first, own, seen = strip
    rows, cols = (first, seen), places((0, W + term.statistic.reach), W)
    feat, at = window(image, rows, cols), (*ALL[:2], slice(*rows), slice(*cols))
    return term.part(feat, ALL, at, size=(H, W), shared=(seen - own, cols[1] - W), matmul=None), rows, cols
