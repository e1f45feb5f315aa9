"""The bytes that objective and optimiser take at their worst moment, and the work of an evaluation: counted."""

import math

from minivgg.footprint import Walk, count
from minivgg.table import activation_size

from ..faster.deferred import deferred_terms
from ..passes import STRIP
from ..terms import layers
from .tiles import BAND
from .tiling import segments


def optimiser_bytes(method, history, bounds=False, metric=False):
    """(kept, passing) bytes per value of the picture: during an evaluation, and on top of that between two.

    l-bfgs-b  SciPy, float64 on the host: 2·history + 5 vectors of its workspace, the rest its copies (measured)
    two-loop  2·history vectors of pairs, x, its gradient, direction, trial
    l-bfgs    2·history vectors of pairs, x, its gradient, trial; with bounds the direction, and copies; with a metric
              its product with the gradient, and what the transforms take; float32
    adam      x and two moments
    All with the best picture so far.
    """
    if method is None:
        return 0, 0
    if method == "l-bfgs-b":
        return 16 * history + 144 + (144 if bounds else 0), 20 + (36 if bounds else 0)
    if method == "l-bfgs":
        kept, passing = {(0, 0): (16, 5), (1, 0): (20, 9), (0, 1): (24, 14), (1, 1): (26, 13)}[bounds, metric]
        return 8 * history + kept, passing
    if method == "two-loop":
        return 8 * history + 20, 12
    return 16, 12


def evaluation_peak(net, terms, H, W, *, scratch=True, deferred=()):
    """Bytes that an undivided evaluation takes at its worst moment, with or without the kernels' scratch.

    deferred  [(term, base), …] that are refreshed in it: each a pass of its own from the base while all is there
    """
    between = max((t.statistic.passing * _activation_bytes(net, t.layer, H, W) for t in terms if t.layer), default=0)
    # a refreshed expansion's slope, a product with φ, and how far φ has moved
    between = max([between, *(3 * _activation_bytes(net, base, H, W) for _, base in deferred)])
    within = []
    for term, base in deferred:
        h, w = activation_size(base, H, W) if base else (H, W)
        within.append(Walk(net, (term.layer,), base, h, w))
    walk = Walk(net, layers(terms), None, H, W)
    peak = walk.peak(backward=True, needed=layers(terms), between=between, within=within)
    return int(peak) - (0 if scratch else walk.footprint.scratch(walk.shapes, walk.size))


def whole_peak(net, terms, H, W, lag=1):
    """Bytes that Objective.evaluate takes at its worst moment, with the content targets; Deferred's with lag."""
    size = net.dtype.itemsize
    if not layers(terms):
        return 9 * 3 * H * W * size + _strip_bytes(terms, 3 * H * W, size)
    deferred = deferred_terms(terms, net.names) if lag > 1 else []
    peak = _target_bytes(net, terms, H, W) + evaluation_peak(net, terms, H, W, deferred=deferred)
    peak += sum(2 * _activation_bytes(net, base, H, W) for _, base in deferred)  # slopes and origins
    if deferred:
        peak += 3 * H * W * size  # the lowest picture since an expansion was refreshed
    return peak + 3 * H * W * size + _strip_bytes(terms, 3 * H * W, size)


def segment_peak(net, terms, H, W, tiling, index):
    """Bytes that Objective.evaluate takes in tiles at its worst moment in one segment, with the content targets."""
    parts = segments(net, layers(terms), H, W, tiling)
    if index >= len(parts):
        return 0
    part, size = parts[index], net.dtype.itemsize
    targets = _target_bytes(net, terms, H, W)
    names = part.names(layers(terms))
    ends = [_end_bytes(net, p) for p in parts]  # the last has none
    # forward: all ends up to this segment's; backward: the ends up to its input, its end's gradient, its input's
    forward = sum(ends[: index + 1]) + _tile_peak(net, part, names, backward=False)
    channels = 3 if part.start is None else net.channels[part.start]
    own = size * channels * part.shape[0] * part.shape[1]
    dx = own if len(part.tiles) > 1 else 0
    backward = sum(ends[:index]) + ends[index] + dx + _tile_peak(net, part, names, backward=True)
    strips = _strip_bytes(terms, 3 * H * W, size) if index == 0 else 0
    return int(net.kernels.footprint.tiled * (targets + max(forward, backward, own + strips)))


def style_peak(net, terms, style_size, tiling):
    """Bytes that the style's targets take while they are computed in tiles; 0 where style_size (h, w) is None."""
    names = layers([t for t in terms if not t.statistic.per_place])
    if style_size is None or not names:
        return 0
    h, w = style_size
    live = peak = 3 * h * w * net.dtype.itemsize
    for part in segments(net, names, h, w, tiling):
        live += _end_bytes(net, part)
        peak = max(peak, live + _tile_peak(net, part, part.names(names), backward=False))
    return peak


def style_transforms(net, terms, style_size, tiling):
    """Bytes of the filters' transforms that are kept while the style's targets are computed: those of small tiles."""
    names = layers([t for t in terms if not t.statistic.per_place])
    if style_size is None or not names:
        return 0
    tiles = [tile for part in segments(net, names, *style_size, tiling) for tile in part.tiles]
    return Walk(net, names, None, *max((_region(t) for t in tiles), key=math.prod)).transforms()


def tiled_time(net, terms, H, W, tiling):
    """Work of a tiled evaluation as a multiple of an undivided one's."""
    parts = segments(net, layers(terms), H, W, tiling)
    total = 0.0
    for part in parts:
        costs = {}
        for tile in part.tiles:
            shape = _region(tile)
            if shape not in costs:
                costs[shape] = Walk(net, part.names(layers(terms)), part.start, *shape).cost()
            total += costs[shape] * 3
        if part is parts[-1]:
            total -= costs[_region(part.tiles[-1])]  # the last tile's forward pass serves both
    return total / (2 * Walk(net, layers(terms), None, H, W).cost())


def _tile_peak(net, part, names, *, backward):
    """Peak over the largest tile of a segment, with the copy of its input."""
    h, w = max((_region(t) for t in part.tiles), key=lambda s: s[0] * s[1])
    channels = 3 if part.start is None else net.channels[part.start]
    size, walk = net.dtype.itemsize, Walk(net, names, part.start, h, w)
    band = min(BAND, max(count(after) for step, (_, after) in zip(walk.steps, walk.shapes) if step.output in names))
    # a copy of the band, and for content a difference and its square
    peak = walk.peak(backward=backward, needed=names, between=3 * band * size)
    return peak + channels * h * w * size


def _region(tile):
    t, b, l, r = tile.region
    return b - t, r - l


def _end_bytes(net, part):
    if part.end is None:
        return 0
    h, w = (s >> part.depths[part.end] for s in part.shape)
    return net.channels[part.end] * h * w * net.dtype.itemsize


def _target_bytes(net, terms, H, W):
    """What targets take, and what a loss makes of sums beside them."""
    total = 0
    for term in terms:
        if term.statistic.per_place:
            total += _activation_bytes(net, term.layer, H, W)
        elif term.layer is not None:
            total += 8 * term.statistic.kept(net.channels[term.layer])
    return total


def _activation_bytes(net, layer, H, W):
    """Of a layer, or, for None, of the picture."""
    channels, at = (3, (H, W)) if layer is None else (net.channels[layer], activation_size(layer, H, W))
    return net.dtype.itemsize * channels * math.prod(at)


def _strip_bytes(terms, values, size):
    """What the terms of the picture itself, of so many values, take a strip at a time."""
    return max((t.statistic.passing for t in terms if t.layer is None), default=0) * min(STRIP, values) * size
