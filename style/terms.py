"""What the loss is made of: terms. Each is a statistic of one layer, compared with a target's, times a factor.

A statistic works in three steps (MATH.md 3): *gather* what it needs of the picture, place by place, so that tiles add
up; compare the sums with the target's, which is *loss*, whole and small; *spread* the gradient to each place, local
again. Tiles, regions, several styles and deferred terms need no more than that of any loss.
"""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from minivgg.backend import Array, get_xp
from minivgg.torus import seen

from . import losses
from .regions import Region

Sums: TypeAlias = tuple[Any, ...]  # arrays or numbers: what a statistic gathers, and the derivatives by it


@dataclass(eq=False)
class Part:
    """What a statistic sees of an activation: all of it, a tile's core, or a few rows."""

    feat: Array  # (1, C, h, w)
    at: Any  # index of these places in the whole activation, four slices; on a torus they may lie beyond its edge
    m: Array | None = None  # (h·w,) weights of the places (a region's), or None: all 1
    target: Any = None  # of a statistic with a target per place these places' part, (1, C, h, w); else all of it
    _: KW_ONLY
    shared: tuple[int, int] = (0, 0)  # rows and columns at the end that another part has too, as its own
    size: tuple[int, int] | None = None  # (H, W) of the whole activation; None: this part is all of it
    weights: Array | None = None  # (H, W) of all its places, of which m has these places'
    matmul: Any  # the product of two matrices, on the kernels that compute the network

    @cached_property
    def F(self) -> Array:
        """(C, M), M = h·w; a view where the memory allows."""
        return losses.features(self.feat)

    @property
    def own(self) -> int:
        """Numbers in feat but for the shared rows and columns."""
        N, C, h, w = self.feat.shape
        return N * C * (h - self.shared[0]) * (w - self.shared[1])

    @property
    def M(self) -> Any:
        """Number of places, or the sum of their weights."""
        return self.feat.shape[2] * self.feat.shape[3] if self.m is None else self.m.sum(dtype=double(self.m))

    @cached_property
    def root(self) -> Array | None:
        """√m as a row (M,), or None. Where a loss is quadratic in F, a region's weights are F times their roots."""
        return None if self.m is None else get_xp(self.m).sqrt(self.m)

    def weighted(self, F: Array) -> Array:
        """F √m."""
        return F if self.root is None else F * self.root


class Statistic:
    """The contract; losses.py has what each computes as plain functions.

    gather(part) -> S        a tuple of arrays or numbers which add up over parts; the last may be the count of places
    loss(S, target) -> value, dS   of the whole picture's sums; dS a tuple: the derivatives that `spread` needs
    spread(dS, part) -> dfeat      like part.feat
    target_of(S) -> target   what of a style picture's sums a loss compares with: per place, so that sizes may differ
    for_target               the statistic that gathers those sums: itself, where they are like the picture's own
    """

    per_place = False  # whether the target is an activation, one value a place, of which a part gets its own
    reach = 0  # rows below a place, and columns at its right, that it looks at; above 0 for terms of the picture alone
    every = 1  # rows of which a part of the picture must begin at a multiple; above 1 for such terms only
    smallest = 1  # pixels that a side must have for such a term to see anything
    least = 0.0  # the smallest value that the loss can have
    regional = True  # whether it knows weights of places
    passing = 0  # arrays as large as the activation, or as a strip of the picture, that are made on the way
    analytic = True  # whether it takes complex numbers, for the complex-step check

    def gather(self, part: Part) -> Sums:
        raise NotImplementedError

    def loss(self, S: Sums, target: Any) -> tuple[Any, Sums]:
        raise NotImplementedError

    def spread(self, dS: Sums, part: Part) -> Array:
        raise NotImplementedError

    def target_of(self, S: Sums) -> Any:
        raise NotImplementedError

    @property
    def for_target(self) -> "Statistic":
        return self

    def kept(self, channels: int) -> int:
        """Numbers in double precision that target, sums and loss take, where that is much."""
        return 0

    def blend(self, targets: list[tuple[float, Any]]) -> Any:
        """The target of several pictures, from [(weight, target), …] with weights that add up to 1."""
        if isinstance(targets[0][1], tuple):
            return tuple(sum(w * t[k] for w, t in targets) for k in range(len(targets[0][1])))
        return sum(w * t for w, t in targets)

    def __repr__(self) -> str:
        return type(self).__name__


class Content(Statistic):
    """losses.content_loss; in a region its mean with the weights m: Σ m (F - P)² / (C Σ m)."""

    per_place = True
    passing = 2  # the difference and its square

    def gather(self, part):
        return self._loss(part, share=1, gradient=False)[0], part.F.shape[0] * part.M

    def loss(self, S, target):
        total, n = S
        return total / n, (1.0 / n,)

    def spread(self, dS, part):
        return part.weighted(self._loss(part, share=dS[0])[1]).reshape(part.feat.shape)

    def _loss(self, part, **options):
        P = losses.features(part.target)
        return losses.content_loss(part.weighted(part.F), part.weighted(P), **options)


class Gram(Statistic):
    """losses.style_loss of the Gram matrix; in a region G = Σ_m m f fᵀ, and M = Σ m."""

    def gather(self, part):
        return losses.gram_forward(part.weighted(part.F), matmul=part.matmul), part.M

    def loss(self, S, target):
        G, M = S
        value, dG = losses.style_loss(G, target * M, M)
        return value, (dG,)

    def spread(self, dS, part):
        dF = losses.gram_backward(dS[0], part.weighted(part.F), matmul=part.matmul)
        return part.weighted(dF).reshape(part.feat.shape)

    def target_of(self, S):
        G, M = S
        return G / M


class TotalVariation(Statistic):
    """losses.tv_loss. A part shares its last row with the next one, whose differences are then counted once.

    TV(part) counts the differences within its rows; those within the shared row would be counted twice, so TV(row) is
    taken off (it is 0 where the exponent ties both differences together). On a torus the same goes for the first
    column, which a part has at its right as well.
    """

    reach, regional = 1, False
    passing = 12

    def __init__(self, beta: float = 2.0):
        self.beta = beta

    def gather(self, part):
        parts = [(sign * x.size, x) for sign, x, _ in self._pieces(part)]
        total = sum(n * losses.tv_loss(x, beta=self.beta, gradient=False)[0] for n, x in parts)
        return total, part.own

    def loss(self, S, target):
        total, n = S
        return total / n, (1.0 / n,)

    def spread(self, dS, part):
        dfeat = 0
        for sign, x, place in self._pieces(part):
            dx = losses.tv_loss(x, beta=self.beta)[1] * (sign * x.size * dS[0])
            if place is None:
                dfeat = dx
            else:
                dfeat[place] += dx
        return dfeat

    def _pieces(self, part):
        """(sign, picture, its place in the part or None for all)"""
        yield 1, part.feat, None
        rows, columns = part.shared
        for shared, place in ((rows, np.s_[..., -rows:, :]), (columns, np.s_[..., -columns:])):
            if shared:
                yield -1, part.feat[place], place


@dataclass(frozen=True, eq=False)
class Term:
    """One line of the loss: factor · statistic.loss at a layer.

    name    what it is called in results and logs: its kind, then where ("style relu4_1")
    layer   a layer of the network, or None: the picture itself
    source  the picture that its target comes from: "content", "style", …; None where it has no target
    target  what statistic.target_of gave, or, per place, the activation (1, C, h, w)
    region  Region of the picture to which the term is confined, or None
    """

    name: str
    statistic: Statistic
    layer: str | None = None
    factor: float = 1.0
    source: str | None = None
    target: Any = field(default=None, repr=False)
    region: Region | None = None

    def __post_init__(self):
        if self.layer is None and self.source is not None and not self.statistic.per_place:
            raise ValueError(
                f"{self.name}: a term of the picture itself has no target from another picture but its pixels"
            )
        if self.region is not None and not self.statistic.regional:
            raise ValueError(f"{self.name}: {self.statistic} knows no regions")

    @property
    def kind(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def least(self) -> float:
        """The smallest value that the term can have."""
        return self.factor * self.statistic.least

    def part(
        self, feat: Array, within: Any, at: Any, *, size: tuple[int, int], shared: tuple[int, int] = (0, 0), matmul: Any
    ) -> Part:
        """The Part of `feat` at the index `within`, which lies at `at` in an activation of `size` (h, w) places."""
        target, m, weights = self.target, None, None
        if self.statistic.per_place:
            if self.target.shape[2:] != tuple(size):
                raise ValueError(
                    f"{self.name}: the picture gives {size} places, the target has {self.target.shape[2:]}"
                )
            target = seen(self.target, at)
        if self.region is not None:
            weights = self.region.weights(self.layer)
            if weights.shape != tuple(size):
                raise ValueError(f"{self.name}: the picture gives {size} places, its region has {weights.shape}")
            m = weights[at[2:]].reshape(-1)
        return Part(feat[within], at, m, target, shared=shared, weights=weights, size=size, matmul=matmul)

    def compare(self, S: Sums, dtype: Any) -> tuple[Any, Sums]:
        """(factor · loss, factor · dS) of the whole picture's sums; dS in the type of the activations."""
        value, dS = self.statistic.loss(S, self.target)
        return self.factor * value, tuple(_as(self.factor * d, dtype) for d in dS)

    def aimed(self, target: Any) -> "Term":
        """The same term with a target."""
        return replace(self, target=target)

    def confined(self, region: Region | None) -> "Term":
        """The same term in a region of the picture (None: everywhere)."""
        return replace(self, region=region)


def confined(terms: Iterable[Term], regions: Mapping[Any, Region | None]) -> list[Term]:
    """The terms, each in the Region of its source. regions  {source: Region}"""
    return [t.confined(regions[t.source]) if t.source in regions else t for t in terms]


def layers(terms: Iterable[Term]) -> tuple[str, ...]:
    """The layers that terms look at, each once."""
    return tuple(dict.fromkeys(t.layer for t in terms if t.layer is not None))


def merge(first: Sums | None, second: Sums) -> Sums:
    """Sums of two parts added up, arrays in double precision. first  a tuple, or None for nothing yet"""
    second = tuple(s.astype(double(s), copy=False) if hasattr(s, "dtype") else s for s in second)
    return second if first is None else tuple(a + b for a, b in zip(first, second, strict=True))


def double(a: Array) -> Any:
    """The type in which sums of an array are taken: complex stays complex."""
    xp = get_xp(a)
    return xp.complex128 if a.dtype.kind == "c" else xp.float64


def _as(d, dtype):
    """A derivative in the activations' type; what is complex (the complex-step check) and plain numbers stay."""
    if not hasattr(d, "dtype") or d.dtype.kind == "c":
        return d
    return d.astype(dtype, copy=False)
