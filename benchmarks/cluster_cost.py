"""What an evaluation over MPI ranks costs, counted without running it: messages, bytes and work; seconds from a fit.

Talking is linear in what describes a network: latency · messages + bytes / bandwidth, of those on the longest way.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from style.cluster.plan import Request
from style.cluster.strips import PIPE, common
from style.cluster.tiles import Division
from style.cluster.vectors import Layout, overlaps, unit_of
from style.faster.pairs import BLOCK, blocks_together
from style.large.tiling import segments
from style.terms import layers

from .common import TERMS

KINDS = ("halos", "gradients", "vectors", "sums", "products")
HISTORY, MARGIN = 10, 8


@dataclass(frozen=True)
class Cost:
    """Of an evaluation of a picture (size, size) that needs no resizing.

    sent  {kind: (messages, bytes) of the rank that sends most}
    way   {kind: (messages, bytes) one after the other, until the last rank has what it needs}
    work  of the busiest rank, as a multiple of an undivided evaluation's
    plan  of the rank that has most
    """

    size: int
    ranks: int
    sent: dict[str, tuple[float, float]]
    way: dict[str, tuple[float, float]]
    work: float
    plan: Any

    def talking(self, latency, bandwidth):
        """Seconds, by a network's latency (seconds) and bandwidth (bytes a second)."""
        return sum(messages * latency + sent / bandwidth for messages, sent in self.way.values())

    def computing(self, rate, cores=1.0):
        """Seconds on `cores` for each rank; rate: µs a pixel of an undivided evaluation on one core."""
        return rate * 1e-6 * self.size**2 * self.work / cores


def cost(net, size, ranks, history=HISTORY):
    """The Cost of content and style with L-BFGS in bounds, `history` pairs, a margin of 8."""
    reading = 12 * (size**2 + 512**2)
    plan = Request(net, TERMS, ranks, 1 << 50, "l-bfgs", history, True, MARGIN, reading).plan(size, size)
    side = size + 2 * MARGIN
    parts = [Division(s, ranks) for s in segments(net, layers(TERMS), side, side, plan.tiling)]
    sent = {kind: np.zeros((ranks, 2)) for kind in KINDS}
    _halos(net, parts, ranks, sent)
    _vectors((1, 3, side, side), parts[0].cores, unit_of("l-bfgs", history), sent)
    sums = 8 * sum(net.channels[t.layer] ** 2 + 1 if not t.statistic.per_place else 2 for t in TERMS)
    pieces = -(-sums // (8 * PIPE))
    rows = 2 * history + 2
    values, chunk = 3 * side**2, BLOCK * blocks_together(rows)
    # measure, of all chunks; and two products of all blocks
    tables = 8 * (rows + 3) * values / chunk + 2 * 4 * values / BLOCK
    if ranks > 1:
        sent["sums"][:-1] += pieces, sums
        sent["sums"][-1] += 1, sums
        sent["products"] += 3, tables / ranks
    most = {kind: tuple(v.max(axis=0).tolist()) for kind, v in sent.items()}
    way = dict(most)
    if ranks > 1:  # a pipeline along the ranks, and back to all; tables go round
        piece = min(sums, 8 * PIPE)
        way["sums"] = ranks - 1 + pieces + math.log2(ranks), (ranks - 1 + pieces) * piece + sums
        way["products"] = 3 * (ranks - 1), tables
    busiest = max(sum(len(p.tiles[r]) / len(p.segment.tiles) for p in parts) / len(parts) for r in range(ranks))
    return Cost(size, ranks, most, way, plan.time * busiest, plan)


def _halos(net, parts, ranks, sent):
    """Rows of each segment's input to who needs them, and their gradients back."""
    for k, part in enumerate(parts):
        have = parts[k - 1].ends() if k else part.cores
        channels = net.channels[part.segment.start] if k else 3
        for a in range(ranks):
            for b in set(range(ranks)) - {a}:
                if (rows := common(have[a], part.regions[b])) is not None:
                    sent["halos"][a] += 1, 4 * channels * (rows[1] - rows[0]) * part.segment.shape[1]
                pieces = [(t.region, common(have[b], t.region[:2])) for t in part.tiles[a].values()]
                if shares := [4 * channels * (r[1] - r[0]) * (t[3] - t[2]) for t, r in pieces if r is not None]:
                    sent["gradients"][a] += 1, sum(shares)


def _vectors(shape, cores, unit, sent):
    """Values from strips to the optimiser's pieces, and from these to strips."""
    layout = Layout(None, shape, cores, unit)
    for a in range(len(cores)):
        for b in set(range(len(cores))) - {a}:
            for have, want in ((layout.strips, layout.held), (layout.held, layout.strips)):
                if parts := overlaps(have[a], want[b]):
                    sent["vectors"][a] += 1, 4 * sum(last - first for first, last in parts)


def fit(found):
    """(latency, bandwidth) that explain what was measured best: least squares of relative errors, neither below zero.

    found  [((messages, bytes), seconds), …]
    """
    from scipy.optimize import nnls

    rows = np.array([[messages, sent] for (messages, sent), _ in found], float)
    took = np.array([seconds for _, seconds in found])
    if len(took) < 2:
        raise ValueError(f"{len(took)} measurements: a fit of latency and bandwidth needs two or more")
    (latency, slowness), _ = nnls(rows / took[:, None], np.ones(len(took)))
    return latency, 1 / slowness if slowness else math.inf
