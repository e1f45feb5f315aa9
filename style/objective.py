"""The objective: a picture in, its loss and the gradient by every pixel out, each term reported.

L(x) = Σ over terms of factor · loss, in the units of losses.py. The picture is a network input (1, 3, H, W): grey
levels less the average colour, in the network's channel order, on the network's device.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minivgg import VGG
from minivgg.backend import Array, get_xp, to_numpy

from .passes import Whole
from .terms import Term, layers


@dataclass
class Evaluation:
    """Loss and gradient at one picture.

    values    {term's name: factor · loss}, Python floats
    gradient  (1, 3, H, W), dL/dpicture
    exact     whether nothing in it is an approximation (faster/deferred.py)
    """

    values: dict[str, float] = field(repr=False)
    gradient: Array = field(repr=False)
    exact: bool = True

    @property
    def loss(self) -> float:
        return sum(self.values.values())

    def totals(self) -> dict[str, float]:
        """{"loss": …} and the sum of each kind of term, {"content": …, "style": …}."""
        return {"loss": self.loss, **by_kind(self.values)}


def by_kind(values: Mapping[str, float]) -> dict[str, float]:
    """{"content": …, "style": …}: the values of terms, added up by the first word of their names."""
    found: dict[str, float] = {}
    for name, value in values.items():
        kind = name.partition(" ")[0]
        found[kind] = found.get(kind, 0.0) + value
    return found


class Evaluating:
    """What an optimiser asks of an objective. One that is exact need only have `evaluate`."""

    def evaluate(self, image: Array, *, fresh: bool = True) -> Evaluation:
        """Evaluation at `image`.

        fresh  whether approximations may be renewed here: not within a line search, where losses are compared
        """
        raise NotImplementedError

    def exact(self, image: Array) -> Evaluation:
        """Evaluation without approximations."""
        return self.evaluate(image)

    def candidates(self) -> Iterable[Array]:
        """Pictures that may be better than any that was evaluated exactly; to be judged by exact()."""
        return ()

    def computing(self) -> contextlib.AbstractContextManager:
        """A context to hold over many evaluations and what lies between them."""
        return contextlib.nullcontext()

    def state(self) -> dict[str, np.ndarray]:
        """{name: NumPy array}: what approximations go by; none here."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what state() gave."""


class Objective(Evaluating):
    """Loss and gradient of pictures of one size.

    net     minivgg.VGG, or None where no term has a layer
    terms   list of terms.Term with their targets
    passes  how the network is run over a picture: Whole(net), or large.tiles.Tiled
    """

    def __init__(self, net: VGG | None, terms: Iterable[Term], passes: Any = None):
        self.net, self.terms = net, list(terms)
        names = [t.name for t in self.terms]
        if len({*names}) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"two terms are called {twice!r}: their values would be one")
        self.passes = passes or Whole(net)

    @classmethod
    def of(cls, net: VGG | None, terms: Iterable[Term], pictures: Mapping[str, Any], passes: Any = None) -> "Objective":
        """The objective whose targets are those of {"content": picture, "style": picture}, (1, 3, H, W) each."""
        passes = passes or Whole(net)
        return cls(net, aim(terms, passes, pictures), passes)

    def evaluate(self, image: Array, *, fresh: bool = True) -> Evaluation:
        """Evaluation at `image` (1, 3, H, W). Raises ValueError when its size is not the content's."""
        with self.computing():
            values, gradient = self.compute(image)
            return Evaluation(to_floats(values), gradient)

    def compute(self, image: Array) -> tuple[dict[str, Array], Array]:
        """evaluate() up to where the host must wait: {name: value} and the gradient, all on the device."""
        sums, spread = self.passes.gather(image, self.terms)  # forward: what each term needs of the whole picture
        values, dsums = {}, {}
        for term in self.terms:
            values[term.name], dsums[term] = term.compare(sums.pop(term), image.dtype)  # small
        return values, spread(dsums)  # backward: local again

    def computing(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext() if self.net is None else self.net.computing()


def aim(terms: Iterable[Term], passes: Any, pictures: Mapping[Any, Any]) -> list[Term]:
    """The terms with their targets. A term that has its target already keeps it.

    pictures  {source: (1, 3, H, W)}, or, for a blend, [(weight, picture), …] with weights that add up to 1; after a
              picture may stand the terms.Region of it that counts
    """
    found, aimless = {}, [t for t in terms if t.source is not None and t.target is None]
    for source in dict.fromkeys(t.source for t in aimless):
        blend = pictures[source] if isinstance(pictures[source], list) else [(1.0, pictures[source])]
        own = [t for t in aimless if t.source == source]
        targets = [(w, _targets(own, passes, *picture)) for w, *picture in blend]
        for term in own:
            each = [(w, t[term]) for w, t in targets]
            found[term] = term.aimed(each[0][1] if len(each) == 1 else term.statistic.blend(each))
    return [found.get(t, t) for t in terms]


def _targets(terms, passes, picture, region=None):
    """{term: target} from one picture, of which `region` counts. A term's own region is of the picture optimised."""
    places = [t for t in terms if t.statistic.per_place]
    targets = {}
    if places:
        names = layers(places)
        activations = {None: picture, **(passes.activations(picture, names) if names else {})}
        targets = {t: activations[t.layer] for t in places}
    whole = {t: replace(t, region=region, statistic=t.statistic.for_target) for t in terms if t not in targets}
    if whole:
        sums = passes.sums(picture, list(whole.values()))
        targets |= {t: t.statistic.target_of(sums[w]) for t, w in whole.items()}
    return targets


def to_floats(values: Mapping[str, Array]) -> dict[str, float]:
    """{name: float} of 0-d values on the device, which go to the host together, in one transfer."""
    if not values:
        return {}
    xp = get_xp(next(iter(values.values())))
    return dict(zip(values, to_numpy(xp.stack(list(values.values()))).tolist(), strict=True))
