"""The memory plan of one rank, and where its tiles lie. Tiles follow from the picture's size, not from the ranks."""

from dataclasses import dataclass, replace
from typing import Any

from minivgg.footprint import network_bytes
from minivgg.table import MIN_SIDE

from ..large.peaks import optimiser_bytes, segment_peak, tiled_time
from ..large.plan import BASE, MIN_HISTORY, MemoryBudgetError, Plan
from ..large.tiling import Tiling, segments
from ..pictures import oklab
from ..terms import layers
from ..units import format_memory, format_size
from .checkpoint import PIECE
from .tiles import Division
from .vectors import Layout, unit_of

CUT = "pool3"
ROWS = 8  # rows of tiles, or a multiple, where the picture is high enough: as many ranks share them evenly
HIGHEST, WIDEST, LOWEST = 576, 1024, 64  # pixels of a tile's core
STEP = 8  # pixels of a place at CUT: so both segments have as many rows of tiles
PIECES = 3 * 4 * PIECE  # bytes of a state on their way into a file
MPI = 40 << 20  # bytes of MPI's library and its buffers (measured)


def tilings(net, terms, H, W):
    """Tilings of a picture, the fastest first; the first is taken wherever there is memory for it."""
    names = layers(terms)
    deepest = max(net.names.index(n) for n in names)
    cuts = (CUT,) if CUT in net.names[:deepest] else ()
    rows = ROWS * -(-H // (ROWS * HIGHEST))
    high = max(LOWEST, -(-H // rows // STEP) * STEP)
    while high >= LOWEST:
        for wide in (WIDEST, WIDEST // 2, WIDEST // 4, WIDEST // 8):
            deep = ((high, min(4 * wide, W)),) * len(cuts)  # few places, of which each has a wide halo
            yield Tiling(cuts, ((high, min(wide, W)), *deep))
        high //= 2


@dataclass(frozen=True)
class Request:
    """What is to be planned. The rest as for large.plan.make_plan.

    ranks    how many there are
    memory   bytes that one may take
    reading  bytes that the pictures take while a rank reads them and cuts its strips, or writes the whole
    cutting  bytes more of each row of its strip, where it reads no others
    beside   bytes a pixel of its strip that it keeps beside the pictures: of masks, and for the colours of what leaves
    painted  bytes of the masks of style pictures
    saving   whether states are saved, which takes a copy of the point, and pieces of the pairs on their way
    """

    net: Any
    terms: Any
    ranks: int
    memory: int
    optimizer: str
    history: int
    bounds: bool
    margin: int = 0
    reading: int = 0
    cutting: int = 0
    beside: int = 0
    painted: int = 0
    saving: bool = False

    def plan(self, height, width):
        """The Plan of the rank that has most. Raises MemoryBudgetError, naming the largest picture that fits."""
        one, (H, W) = self, self._padded(height, width)
        while True:
            for tiling in tilings(self.net, self.terms, H, W):
                peak, idle = one.peak(H, W, tiling)
                if peak <= self.memory:
                    return one._made(height, width, tiling, peak, idle, asked=self.history)
            if self.optimizer == "adam" or one.history <= MIN_HISTORY:
                raise MemoryBudgetError(one._refusal(height, width))
            one = replace(one, history=max(MIN_HISTORY, one.history * 2 // 3))

    def peak(self, H, W, tiling):
        """(bytes of the rank with the largest strip at its worst moment, how many ranks have no strip)."""
        net, terms = self.net, self.terms
        parts = [Division(s, self.ranks, terms) for s in segments(net, layers(terms), H, W, tiling)]
        strip = max(b - a for a, b in parts[0].cores)
        region = max(b - a for a, b in parts[0].reads)
        size, values = net.dtype.itemsize, 3 * strip * W
        unit = unit_of(self.optimizer, self.history)
        held = Layout(None, (1, 3, H, W), parts[0].cores, unit).most
        kept, passing = optimiser_bytes(self.optimizer, self.history, self.bounds)
        kept += 2 * size if self.bounds else 0  # the limits, two a value
        base = BASE + MPI + network_bytes(net)
        running = base + values * size + held * (size + kept)  # the content's strip; the start
        running += self.painted + self.beside * (strip * W + 2 * oklab.STRIP)  # with rows that are computed together
        evaluating = max(segment_peak(net, terms, region, W, tiling, k) for k in range(len(parts)))
        tiles = max(len(t) for p in parts for t in p.tiles)
        compared = [t for t in terms if t.layer is not None and not t.statistic.per_place]
        sums = (tiles + 2) * 8 * sum(net.channels[t.layer] ** 2 for t in compared)
        moving = 2 * (values + held) * size  # from strip to vector and back, with what is on the way
        running += max(evaluating + sums + moving, held * (size + passing))
        if self.saving:  # what evaluations work with stays meanwhile; the point is copied, the pairs are not
            running += held * size + PIECES
        return max(running, base + self.reading + self.cutting * strip), sum(a == b for a, b in parts[0].cores)

    def _padded(self, height, width):
        return height + 2 * self.margin, width + 2 * self.margin

    def _made(self, height, width, tiling, peak, idle, asked):
        H, W = self._padded(height, width)
        parts = segments(self.net, layers(self.terms), H, W, tiling)
        notes = [f"that is a rank's, of {self.ranks}", "every evaluation exact (tiles)"]
        if idle:
            notes.append(f"{idle} of {self.ranks} ranks idle: there are no more rows of tiles")
        if tiling != next(tilings(self.net, self.terms, H, W)):
            notes.append("tiles smaller than usual, for want of memory: the last digits are theirs")
        if self.history < asked:
            notes.append(f"L-BFGS keeps {self.history} of {asked} pairs")
        counts, time = tuple(len(p.tiles) for p in parts), tiled_time(self.net, self.terms, H, W, tiling)
        more = {"tiles": counts, "notes": tuple(notes)}
        return Plan(height, width, self.margin, tiling, self.history, int(peak), self.memory, time, **more)

    def _refusal(self, height, width):
        def fits(factor):
            H, W = self._padded(int(height * factor), int(width * factor))
            if min(H, W) < MIN_SIDE + 2 * self.margin:
                return False
            *_, smallest = tilings(self.net, self.terms, H, W)
            smaller = replace(self, reading=int(self.reading * factor**2), cutting=int(self.cutting * factor))
            return smaller.peak(H, W, smallest)[0] <= self.memory

        low, high = 0.0, 1.0
        for _ in range(9):
            middle = (low + high) / 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        size, on = format_size((height, width)), f"a rank on {self.ranks} rank{'s' * (self.ranks > 1)}"
        text = f"{size} does not fit into {format_memory(self.memory)} {on}"
        if not low:
            return f"{text}, nor does any smaller size"
        largest = format_size((int(height * low), int(width * low)))
        return f"{text}; the largest size that fits is {largest}; more machines hold more"
