"""The memory plan: whole or in tiles, how large the tiles, and what it costs, known before the start.

make_plan(net, terms, height, width, memory=parse_memory("2GB")) chooses the fastest division that fits and predicts
the peak of the whole process (on a GPU: of the device); objective_for(plan, …) builds the objective it describes.
The prediction is a count of what is alive (footprint.py) over a measured base; benchmarks/tiles.py compares.
"""

import math
import re
from dataclasses import dataclass, replace

from minivgg.backend import free_memory
from minivgg.footprint import Walk, network_bytes
from minivgg.table import activation_size

from .. import objective
from ..faster.deferred import LaggedObjective, put_off
from . import tiles
from .tiles import TiledObjective
from .tiling import Tiling, segments

BASE = 110 << 20  # the interpreter with NumPy, SciPy and Pillow
EXCESS = 1.15  # what tiles take in times of what is counted (2048 and 4096 pixels): uneven buffers leave gaps
MARGIN = 0.1  # of what is free, left to others when no budget is given
CUTS = ((), ("pool3",), ("pool2", "pool3"), ("pool2", "pool4"), ("pool2", "pool3", "pool4"))
EDGES = (4096, 3072, 2048, 1536, 1280, 1024, 896, 768, 640, 512, 448, 384, 320, 256, 192, 128, 96, 64)
MIN_HISTORY = 3
SLOW = 2.0  # times the undivided evaluation: rather than that, L-BFGS remembers less
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class MemoryBudgetError(ValueError):
    """The picture does not fit into the memory; the message names the largest size that does."""


@dataclass(frozen=True)
class Plan:
    """How a picture will be computed, and what that takes.

    tiling   Tiling, or None: undivided
    history  pairs that L-BFGS keeps; at most as many as asked for
    peak     predicted bytes at the worst moment: of the process, or of the device's memory
    memory   the budget, bytes
    time     predicted time of an evaluation, in times of an undivided one
    tiles    number of tiles of each segment
    keep_transforms  VGG.keep_transforms: whether there is room for them
    lag      evaluations from one of a term that hardly bends to its next, at most; 1: all are exact
    notes    what the plan could not give as it was asked for
    """

    height: int
    width: int
    tiling: Tiling | None
    history: int
    peak: int
    memory: int
    time: float
    tiles: tuple = ()
    keep_transforms: bool = False
    lag: int = 1
    notes: tuple = ()

    def describe(self):
        """One line for the user."""
        return "; ".join([self._division(), *self.notes])

    def _division(self):
        size = f"{self.width}x{self.height}"
        memory = f"about {format_memory(self.peak)} of {format_memory(self.memory)}"
        if self.tiling is None:
            return f"{size}: undivided, {memory}"
        edges = [f"{count} tiles of {w}x{h}" for count, (h, w) in zip(self.tiles, self.tiling.cores)]
        where = f", cut at {', '.join(self.tiling.cuts[: len(edges) - 1])}" if len(edges) > 1 else ""
        return f"{size}: {' + '.join(edges)}{where}, {memory}, {self.time:.2f} times the undivided time"


def parse_memory(text):
    """Bytes of "2GB", "1.5 GiB", "800M" or a plain number. GB is 10^9, GiB 2^30. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)b?\s*", str(text), re.IGNORECASE)
    if not match or (match[3] and not match[2]):
        raise ValueError(f"memory {text!r}: expected a number with a unit, like 2GB, 1.5GiB or 800MB")
    unit = match[2].lower()
    found = int(float(match[1]) * (BINARY if match[3] else UNITS)[unit])
    if found <= 0:
        raise ValueError(f"memory {text!r}: expected more than 0")
    return found


def format_memory(nbytes):
    """2.4 GB, 850 MB"""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 999.5e6 else f"{nbytes / 1e6:.0f} MB"


def make_plan(
    net,
    terms,
    height,
    width,
    *,
    memory=None,
    device=None,
    optimizer="l-bfgs-b",
    history=10,
    bounds=False,
    lag=1,
    style_size=None,
    held=0,
):
    """The fastest Plan that fits.

    net         minivgg.VGG;  terms  objective.Terms
    memory      bytes the whole process (or the GPU) may take; None: what is free, less a margin
    device      minivgg.backend.Device; None: the CPU
    optimizer   "l-bfgs-b", "l-bfgs" or "adam"; None: single evaluations
    lag         evaluations from one of a term that hardly bends to its next, at most. In tiles, and where the loss has
                no such term, all are exact
    style_size  (height, width) of the style picture, if its targets are still to be computed
    held        bytes that the caller keeps beside the objective and the optimiser: pictures in their own size, filters
                as loaded

    Raises MemoryBudgetError, naming the largest size of the same aspect that fits.
    """
    on_gpu = device is not None and device.kind == "gpu"
    base = network_bytes(net) + (0 if on_gpu else BASE)
    if memory is None:
        memory = available_memory(device, base + held)
    job = _Job(net, terms, optimizer, history, history, bounds, lag, style_size, base + held, memory, on_gpu)
    plan = job.plan(height, width)
    if plan is None:
        raise MemoryBudgetError(job.refusal(height, width))
    return plan


def available_memory(device, used):
    """Bytes for a plan when none are given: what is free less a margin, and `used`, which the plan counts as well."""
    free = free_memory(device) if device is not None else free_memory(_CPU)
    if free is None:
        raise ValueError("the free memory is not known here; give a budget, like --memory 4GB")
    return int(free * (1 - MARGIN)) + used


class _CPU:
    kind = "cpu"


@dataclass(frozen=True)
class _Job:
    net: object
    terms: object
    optimizer: str
    history: int
    asked: int  # pairs, of which `history` may be fewer
    bounds: bool
    lag: int
    style_size: tuple | None
    base: int
    memory: int
    on_gpu: bool

    def plan(self, H, W):
        """The fastest Plan that fits, or None."""
        best = None
        history = self.history
        while True:
            found = replace(self, history=history)._plan(H, W)
            if found is not None and (best is None or found.time < best.time):
                best = found
            if self.optimizer in ("adam", None) or history <= MIN_HISTORY or (best is not None and best.time <= SLOW):
                return best
            history = max(MIN_HISTORY, history * 2 // 3)

    def _plan(self, H, W, edges=EDGES):
        kept, passing = optimiser_bytes(self.optimizer, self.history, self.bounds)
        if self.on_gpu and self.optimizer == "l-bfgs-b":  # SciPy's vectors are the host's: the picture, the best one
            kept, passing = 8, 4
        values = 3 * H * W
        size = self.net.dtype.itemsize
        # a run holds its start and the content picture as network inputs; a single evaluation the picture alone
        base = self.base + values * (size * (1 if self.optimizer is None else 2) + kept)
        room = self.memory - base
        update = values * (size + passing)  # between evaluations: the gradient and the optimiser's temporaries
        if room < update:
            return None
        names = self.terms.layers
        if not names:
            peak = values * size * 9
            return self._made(H, W, None, base + max(peak, update), 1.0) if peak <= room else None
        peak = max(whole_peak(self.net, self.terms, H, W, self.lag), self._style_peak(Tiling((), ((H, W),))))
        kept = Walk(self.net, names, None, H, W).transforms()
        if max(peak, update) + kept <= room:
            return self._made(H, W, None, base + max(peak, update) + kept, 1.0, kept > 0)
        if peak <= room:
            return self._made(H, W, None, base + max(peak, update), 1.0)
        found = [p for p in (self._tiled(H, W, cuts, edges, room) for cuts in CUTS) if p is not None]
        if not found:
            return None
        time, peak, tiling = min(found, key=lambda p: p[0])
        return self._made(H, W, tiling, base + max(peak, update), time)

    def _made(self, H, W, tiling, peak, time, keep_transforms=False):
        counts = ()
        if tiling is not None:
            parts = segments(self.net.names, self.terms.layers, H, W, tiling)
            counts = tuple(len(p.tiles) for p in parts)
        lag, notes = self.lag, []
        if self.history < self.asked:
            notes.append(f"L-BFGS keeps {self.history} of {self.asked} pairs")
        if lag > 1 and (tiling is not None or not put_off(self.terms, self.net.names)):
            lag = 1
            why = "no term to put off" if tiling is None else "tiles"
            notes.append(f"every evaluation exact ({why})")
        # the file's filters and the prepared ones are both there for a moment while the network is loaded
        return Plan(
            H, W, tiling, self.history, int(peak), self.memory, time, counts, keep_transforms, lag, tuple(notes)
        )

    def _tiled(self, H, W, cuts, edges, room):
        """(time, peak, Tiling) with the largest tiles that fit, or None. Segments are chosen one by one: the peak of
        each lies in its own passes, with all that is kept between them."""
        names, layers = self.net.names, self.terms.layers
        deepest = max(names.index(n) for n in layers)
        if any(c not in names[:deepest] for c in cuts):  # the network may end above it
            return None
        cores, peaks = [], []
        for index in range(len(cuts) + 1):
            for edge in edges:
                if edge > 2 * max(H, W) and edge != edges[-1]:
                    continue
                core = (min(edge, H), min(edge, W))
                tiling = Tiling(cuts, tuple([(H, W)] * index + [core] + [(H, W)] * (len(cuts) - index)))
                peak = segment_peak(self.net, self.terms, H, W, tiling, index)
                if index == 0 and self.style_size is not None:
                    peak = max(peak, self._style_peak(Tiling(cuts, (core,) * (len(cuts) + 1))))
                if peak <= room:
                    break
            else:
                return None
            cores.append(core)
            peaks.append(peak)
        tiling = Tiling(cuts, tuple(cores))
        return tiled_time(self.net, self.terms, H, W, tiling), max(peaks), tiling

    def _style_peak(self, tiling):
        """Peak while the style's targets are computed, with the same tiles."""
        if self.style_size is None or not self.terms.style:
            return 0
        h, w = self.style_size
        layers = tuple(self.terms.style)
        parts = segments(self.net.names, layers, h, w, tiling)
        live = 3 * h * w * self.net.dtype.itemsize
        peak = 0
        for part in parts:
            live += _end_bytes(self.net, part)
            peak = max(peak, live + _tile_peak(self.net, part, part.names(layers), self.terms, backward=False))
        return peak

    def fits(self, H, W):
        """Whether the smallest tiles and the shortest history fit."""
        smallest = replace(self, history=min(self.history, MIN_HISTORY))
        return min(H, W) >= 16 and smallest._plan(H, W, edges=EDGES[-1:]) is not None

    def refusal(self, H, W):
        """What to say when nothing fits."""
        low, high = 0.0, 1.0
        for _ in range(9):
            middle = (low + high) / 2
            low, high = (middle, high) if self.fits(*_scaled(H, W, middle)) else (low, middle)
        h, w = _scaled(H, W, low)
        text = f"{W}x{H} does not fit into {format_memory(self.memory)}, not even in tiles"
        if low:
            text += f"; the largest size that fits is {w}x{h}"
        else:
            rest = format_memory(self.base)
            text += f", nor does any smaller size: program, network and pictures as read take {rest} of their own"
        for other in ("l-bfgs", "adam") if self.optimizer else ():
            if replace(self, optimizer=other).fits(H, W):
                return f"{text} (with --optimizer {other} {W}x{H} fits)"
        return text


def _scaled(H, W, factor):
    return int(H * factor), int(W * factor)


def optimiser_bytes(method, history, bounds=False):
    """(kept, passing) bytes per value of the picture: during an evaluation, and on top of that between two.

    l-bfgs-b  SciPy, float64 on the host: 2·history + 5 vectors of its workspace, the rest its copies (measured)
    l-bfgs    2·history vectors of pairs, x, its gradient, trial; with bounds the direction, and copies; float32
    adam      x and two moments
    All with the best picture so far.
    """
    if method is None:
        return 0, 0
    if method == "l-bfgs-b":
        return 16 * history + 144 + (144 if bounds else 0), 20 + (36 if bounds else 0)
    if method == "l-bfgs":
        return 8 * history + 16 + (4 if bounds else 0), 4 + (12 if bounds else 0)
    return 16, 12


def whole_peak(net, terms, H, W, lag=1):
    """Bytes that Objective.evaluate takes at its worst moment, with the content targets; LaggedObjective's with lag."""
    size = net.dtype.itemsize
    targets = _content_bytes(net, terms, H, W)
    peak = Walk(net, terms.layers, None, H, W).peak(backward=True, needed=terms.style)
    peak += 2 * targets  # the targets, their differences
    if lag > 1:
        bases = [base for _, _, base in put_off(terms, net.names)]
        for base in set(bases):  # slopes and origins, the sum of the slopes, that with φ's part, a product with φ
            channels, at = (3, (H, W)) if base is None else (net.channels[base], activation_size(base, H, W))
            peak += (2 * bases.count(base) + 3) * size * channels * math.prod(at)
    return peak + (8 if terms.tv else 1) * 3 * H * W * size


def segment_peak(net, terms, H, W, tiling, index):
    """Bytes that TiledObjective.evaluate takes at its worst moment in one segment, with the content targets."""
    parts = segments(net.names, terms.layers, H, W, tiling)
    if index >= len(parts):
        return 0
    part, size = parts[index], net.dtype.itemsize
    targets = _content_bytes(net, terms, H, W)
    names = part.names(terms.layers)
    ends = [_end_bytes(net, p) for p in parts]  # the last has none
    # forward: all ends up to this segment's; backward: the ends up to its input, its end's gradient, its input's
    forward = sum(ends[: index + 1]) + _tile_peak(net, part, names, terms, backward=False)
    channels = 3 if part.start is None else net.channels[part.start]
    own = size * channels * part.shape[0] * part.shape[1]
    dx = own if len(part.tiles) > 1 else 0
    backward = sum(ends[:index]) + ends[index] + dx + _tile_peak(net, part, names, terms, backward=True)
    strips = 12 * tiles.TV_STRIP * size if terms.tv and index == 0 else 0
    return int(EXCESS * (targets + max(forward, backward, own + strips)))


def tiled_time(net, terms, H, W, tiling):
    """Work of a tiled evaluation in times of an undivided one."""
    parts = segments(net.names, terms.layers, H, W, tiling)
    with_style = [i for i, p in enumerate(parts) if any(n in terms.style for n in p.depths)]
    total = 0.0
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        first_pass = not last or (with_style and with_style[-1] == index)
        costs = {}
        for tile in part.tiles:
            shape = _region(tile)
            if shape not in costs:
                costs[shape] = Walk(net, part.names(terms.layers), part.start, *shape).cost()
            total += costs[shape] * (3 if first_pass else 2)
        if last and first_pass:
            total -= costs[_region(part.tiles[-1])]  # the last tile's forward pass serves both
    return total / (2 * Walk(net, terms.layers, None, H, W).cost())


def _tile_peak(net, part, names, terms, *, backward):
    """Peak over the largest tile of a segment, with the copy of its input."""
    h, w = max((_region(t) for t in part.tiles), key=lambda s: s[0] * s[1])
    channels = 3 if part.start is None else net.channels[part.start]
    return Walk(net, names, part.start, h, w).peak(backward=backward, needed=terms.style) + (
        channels * h * w * net.dtype.itemsize
    )


def _region(tile):
    t, b, l, r = tile.region
    return b - t, r - l


def _end_bytes(net, part):
    if part.end is None:
        return 0
    h, w = (s >> part.depths[part.end] for s in part.shape)
    return net.channels[part.end] * h * w * net.dtype.itemsize


def _content_bytes(net, terms, H, W):
    total = 0
    for name in terms.content:
        h, w = activation_size(name, H, W)
        total += net.channels[name] * h * w * net.dtype.itemsize
    return total


def objective_for(plan, net, terms, content_image, style_image):
    """The Objective, LaggedObjective or TiledObjective of a plan, with its targets.

    content_image  (1, 3, H, W) network input of the plan's size
    style_image    (1, 3, h, w) network input, or targets {layer: A / M} that are there already
    """
    H, W = content_image.shape[2:]
    if (plan.height, plan.width) != (H, W):
        raise ValueError(f"the plan is for {plan.width}x{plan.height}, the content picture is {W}x{H}")
    net = net.keeping_transforms(plan.keep_transforms)
    tiling = plan.tiling or Tiling((), ((H, W),))
    style = style_image
    if not isinstance(style, dict):
        style = tiles.style_targets(net, style_image, tuple(terms.style), tiling)
        net.release()
    content = tiles.content_targets(net, content_image, tuple(terms.content), tiling)
    net.release()
    if plan.tiling is not None:
        return TiledObjective(net, terms, content, style, tiling=plan.tiling)
    if plan.lag > 1:
        return LaggedObjective(net, terms, content, style, lag=plan.lag)
    return objective.Objective(net, terms, content, style)
