"""The memory plan: whole or in tiles, how large the tiles, and what it costs, known before the start.

make_plan(net, terms, height, width, memory=parse_memory("2GB")) chooses the fastest division that fits and predicts
the peak of the whole process (on a GPU: of the device); objective_for(plan, …) builds the objective it describes.
The prediction is a count of what is alive (footprint.py) over a measured base; benchmarks/tiles.py compares.
"""

from dataclasses import dataclass, replace
from typing import Any

from minivgg.backend import Device, free_memory
from minivgg.footprint import Walk, network_bytes
from minivgg.table import MIN_SIDE

from ..faster.deferred import Deferred, deferred_terms
from ..faster.recorded import Recorded
from ..objective import Objective, aim
from ..passes import Whole
from ..terms import layers
from ..units import counted, format_memory, format_size
from .peaks import evaluation_peak, optimiser_bytes, segment_peak, style_peak, style_transforms, tiled_time, whole_peak
from .tiles import Tiled
from .tiling import Tiling, segments

BASE = 96 << 20  # the interpreter with NumPy, SciPy and Pillow, BLAS's and the threads' own (measured)
MARGIN = 0.1  # of what is free, left to others when no budget is given
CUTS = ((), ("pool3",), ("pool2", "pool3"), ("pool2", "pool4"), ("pool2", "pool3", "pool4"))
EDGES = (4096, 3072, 2048, 1536, 1280, 1024, 896, 768, 640, 512, 448, 384, 320, 256, 192, 128, 96, 64)
MIN_HISTORY = 3
SLOW = 2.0  # times the undivided evaluation: rather than that, L-BFGS remembers less


class MemoryBudgetError(ValueError):
    """The picture does not fit into the memory; the message names the largest size that does."""


@dataclass(frozen=True)
class Plan:
    """How a picture will be computed, and what that takes.

    margin   pixels on each side beside height and width, which are the picture's own
    tiling   Tiling, or None: undivided
    history  pairs that L-BFGS keeps; at most as many as asked for
    peak     predicted bytes at the worst moment: of the process, or of the device's memory
    memory   the budget, bytes
    time     predicted time of an evaluation, as a multiple of an undivided one's
    tiles    number of tiles of each segment
    keep_transforms  VGG.keep_transforms: whether there is room for them
    lag      evaluations between two exact ones of a deferred term, at most; 1: all are exact
    notes    what the plan could not give as it was asked for
    """

    height: int
    width: int
    margin: int
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
        size = format_size((self.height, self.width))
        memory = f"about {format_memory(self.peak)} of {format_memory(self.memory)}"
        if self.tiling is None:
            return f"{size}: undivided, {memory}"
        parts = zip(self.tiles, self.tiling.cores)
        edges = [f"{counted(count, 'tile')} of {format_size(core)}" for count, core in parts]
        where = f", cut at {', '.join(self.tiling.cuts[: len(edges) - 1])}" if len(edges) > 1 else ""
        return f"{size}: {' + '.join(edges)}{where}, {memory}, {self.time:.2f} times the undivided time"


def make_plan(net, terms, height, width, *, memory=None, device=None, reserved=0, **asked):
    """The fastest Plan that fits.

    net       minivgg.VGG;  terms  list of terms.Term
    memory    bytes the whole process (or the GPU) may take; None: what is free, less a margin
    device    minivgg.backend.Device; None: the CPU
    reserved  bytes that the caller keeps beside the objective and the optimiser: pictures in their own size, filters
              as loaded
    asked     optimizer, history, bounds, metric, lag, style_size, margin: see Request

    Raises MemoryBudgetError, naming the largest size of the same aspect that fits.
    """
    on_gpu = device is not None and device.kind == "gpu"
    base = network_bytes(net) + reserved + (0 if on_gpu else BASE)
    limit = "the budget that was given"
    if memory is None:
        memory, limit = available_memory(device, base)
    request = Request(net, terms, base, memory, limit, on_gpu, **asked)
    plan = request.plan(height, width)
    if plan is None:
        raise MemoryBudgetError(request.refusal(height, width))
    return plan


def available_memory(device, used):
    """(bytes, whose limit that is) for a plan when no budget is given.

    What may still be taken, less a margin, and `used`, which the plan counts as well.
    """
    limit = free_memory(device or Device("cpu"))
    return int(limit.left * (1 - MARGIN)) + used, limit.what


@dataclass(frozen=True)
class Request:
    """What is to be planned.

    base        bytes that are there whatever the picture's size
    memory      bytes that there are;  limit: whose limit that is, in words;  on_gpu: whether it is a card's
    optimizer   "l-bfgs-b", "l-bfgs", "two-loop" or "adam"; None: single evaluations
    history     pairs asked for;  fewer: how many are kept, or None: all
    bounds      whether the optimiser has them
    metric      whether `l-bfgs` has one (precondition.py)
    lag         evaluations between two exact ones of a deferred term, at most. In tiles, and where the loss has no term
                of low curvature, all are exact
    style_size  (height, width) of the style picture, if its targets are still to be computed
    margin      pixels on each side that are computed and are not of the height and width
    """

    net: Any
    terms: Any
    base: int
    memory: int
    limit: str
    on_gpu: bool
    optimizer: str | None = "l-bfgs-b"
    history: int = 10
    bounds: bool = False
    metric: bool = False
    lag: int = 1
    style_size: tuple | None = None
    margin: int = 0
    fewer: int | None = None

    @property
    def pairs(self):
        """That the optimiser keeps."""
        return self.history if self.fewer is None else self.fewer

    def plan(self, H, W):
        """The fastest Plan that fits, or None."""
        best = None
        pairs = self.history
        while True:
            found = replace(self, fewer=pairs)._plan(H, W)
            if found is not None and (best is None or found.time < best.time):
                best = found
            if self.optimizer in ("adam", None) or pairs <= MIN_HISTORY or (best is not None and best.time <= SLOW):
                return best
            pairs = max(MIN_HISTORY, pairs * 2 // 3)

    def _plan(self, H, W, edges=EDGES):
        H, W = H + 2 * self.margin, W + 2 * self.margin
        kept, passing = optimiser_bytes(self.optimizer, self.pairs, self.bounds, self.metric)
        if self.on_gpu and self.optimizer == "l-bfgs-b":  # SciPy's vectors are the host's: the picture, the best one
            kept, passing = 8, 4
        values = 3 * H * W
        size = self.net.dtype.itemsize
        # a run holds its start and the content picture as network inputs; a single evaluation the picture alone
        pictures = self.base + values * size * (1 if self.optimizer is None else 2)
        base = pictures + values * kept
        room = self.memory - base
        update = values * (size + passing)  # between evaluations: the gradient and the optimiser's temporaries
        if room < update:
            return None
        names = layers(self.terms)
        if not names:
            peak = whole_peak(self.net, self.terms, H, W)
            return self._made(H, W, None, base + max(peak, update), 1.0) if peak <= room else None
        # the targets are there before the optimiser is
        targets = style_peak(self.net, self.terms, self.style_size, Tiling((), ((H, W),))) - values * kept
        peak = max(whole_peak(self.net, self.terms, H, W, self.lag), targets)
        stored = Walk(self.net, names, None, H, W).transforms()
        evaluating = max(whole_peak(self.net, self.terms, H, W, self.lag), update) + stored
        aiming = targets + style_transforms(self.net, self.terms, self.style_size, Tiling((), ((H, W),)))
        if max(evaluating, aiming) <= room:
            return self._made(H, W, None, base + max(evaluating, aiming), 1.0, stored > 0)
        if peak <= room:
            return self._made(H, W, None, base + max(peak, update), 1.0)
        found = [p for p in (self._tiled(H, W, cuts, edges, room, values * kept) for cuts in CUTS) if p is not None]
        if not found:
            return None
        time, peak, tiling = min(found, key=lambda p: p[0])
        return self._made(H, W, tiling, base + max(peak, update), time)

    def _made(self, H, W, tiling, peak, time, keep_transforms=False):
        counts = ()
        if tiling is not None:
            parts = segments(self.net, layers(self.terms), H, W, tiling)
            counts = tuple(len(p.tiles) for p in parts)
        lag, notes = self.lag, []
        if self.pairs < self.history:
            notes.append(f"L-BFGS keeps {self.pairs} of {self.history} pairs")
        if lag > 1 and (tiling is not None or self.on_gpu or not deferred_terms(self.terms, self.net.names)):
            lag = 1  # on a card an exact evaluation is one launch (faster/recorded.py)
            why = "tiles" if tiling is not None else "a GPU" if self.on_gpu else "no term of low curvature"
            notes.append(f"every evaluation exact ({why})")
        H, W = H - 2 * self.margin, W - 2 * self.margin
        return Plan(
            H,
            W,
            self.margin,
            tiling,
            self.pairs,
            int(peak),
            self.memory,
            time,
            counts,
            keep_transforms,
            lag,
            tuple(notes),
        )

    def _tiled(self, H, W, cuts, edges, room, kept):
        """(time, peak, Tiling) with the largest tiles that fit, or None. Segments are chosen one by one: the peak of
        each lies in its own passes, with all that is kept between them."""
        names = self.net.names
        deepest = max(names.index(n) for n in layers(self.terms))
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
                    tiling = Tiling(cuts, (core,) * (len(cuts) + 1))
                    peak = max(peak, style_peak(self.net, self.terms, self.style_size, tiling) - kept)
                if peak <= room:
                    break
            else:
                return None
            cores.append(core)
            peaks.append(peak)
        tiling = Tiling(cuts, tuple(cores))
        return tiled_time(self.net, self.terms, H, W, tiling), max(peaks), tiling

    def fits(self, H, W):
        """Whether the smallest tiles and the shortest history fit."""
        smallest = replace(self, fewer=min(self.history, MIN_HISTORY))
        return min(H, W) >= MIN_SIDE and smallest._plan(H, W, edges=EDGES[-1:]) is not None

    def refusal(self, H, W):
        """What to say when nothing fits."""
        low, high = 0.0, 1.0
        for _ in range(9):
            middle = (low + high) / 2
            low, high = (middle, high) if self.fits(*_scaled(H, W, middle)) else (low, middle)
        h, w = _scaled(H, W, low)
        text = f"{W}x{H} does not fit into {format_memory(self.memory)} ({self.limit}), not even in tiles"
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


def objective_for(plan, net, terms, pictures, *, aim=aim):
    """The objective of a plan, with its targets.

    pictures  {"content": (1, 3, H, W) network input of the plan's size, "style": (1, 3, h, w)}
    aim       objective.aim, or what does the same (engine.Engine.aim)
    """
    H, W = pictures["content"].shape[2:]
    planned = plan.height + 2 * plan.margin, plan.width + 2 * plan.margin
    if planned != (H, W):
        raise ValueError(f"the plan is for {planned[1]}x{planned[0]}, the content picture is {W}x{H}")
    net = net.keeping_transforms(plan.keep_transforms)
    # targets are computed once: the memory of one pass is better given back than kept for the next
    aimed = aim(terms, Tiled(net, plan.tiling or Tiling((), ((H, W),))), pictures)
    net.release()
    if plan.tiling is not None:
        return Objective(net, aimed, Tiled(net, plan.tiling))
    whole = Objective(net, aimed, Whole(net))
    if plan.lag > 1:
        return Deferred(whole, lag=plan.lag)
    return Recorded(whole, evaluation_peak(net, aimed, H, W, scratch=False)) if layers(terms) else whole
