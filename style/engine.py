"""What several transfers share: the device, the network on it, and the targets of style pictures."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import weights
from minivgg import VGG, Outline
from minivgg.backend import get_xp, resolve_device, to_device
from minivgg.table import check_layer_name, reached_layers

from .objective import aim
from .options import SettingsError, flag
from .pictures.colour import ColourSpace
from .settings import Settings
from .terms import Term, layers

KEPT = 60  # targets of style pictures, of a megabyte or four at most: an engine may live for long


class Engine:
    """A network for the settings `weights`, `device`, `pooling`, `wrap`, `kernels` and `precision`.

    Made, it has read and checked the file; the device is filled by load(). The same engine serves a batch, a sweep or
    a page, one run at a time: what it has computed of a style picture is kept.
    """

    OPTIONS = ("weights", "device", "pooling", "wrap", "kernels", "precision")  # of Settings, which make a network

    def __init__(self, settings: Settings):
        self.settings = settings
        self.device = resolve_device(settings.device)
        if self.device.kind == "cpu" and settings.precision != "float32":
            raise SettingsError(
                f"--precision {settings.precision}: on a GPU only; the processor has float32", "precision"
            )
        if settings.kernels == "textbook" and settings.precision != "float32":
            raise SettingsError(
                f"--precision {settings.precision}: of the fast kernels only; the textbook has float32", "precision"
            )
        self.network = weights.load(settings.weights)
        if settings.pooling == "max" and self.network.pooling == "avg":
            raise SettingsError(f"--pooling max: {self.network.name} was trained with averages; use avg", "pooling")
        self.names = reached_layers(self.network.arch, self.network.params)
        self.colours = ColourSpace.of(self.network, self.device)
        self.net: VGG | None = None
        self._lock = threading.Lock()
        self._targets: dict[tuple, Any] = {}  # {(picture's hash, size, resampling, layer, statistic): target}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """A context in which no other run may use this engine: its network's buffers are one run's."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("this engine is in use by another run: one at a time, or an engine for each")
        try:
            yield
        finally:
            self._lock.release()

    def check(self, settings: Settings) -> None:
        """Raise SettingsError where settings ask for another network, or for a layer that this one has not."""
        for name in self.OPTIONS:
            own, asked = getattr(self.settings, name), getattr(settings, name)
            if asked != own:
                raise SettingsError(f"{flag(name)} {asked}: the engine was made for {own}; make another", name)
        for name in ("content_layers", "style_layers"):
            for layer in getattr(settings, name):
                try:
                    check_layer_name(layer, self.names)
                except ValueError as e:
                    raise SettingsError(f"{flag(name)}: {self.network.name}: {e}", name) from None

    def outline(self, terms: Sequence[Term]) -> Outline:
        """The network's shape, on which memory is planned. Nothing is loaded for it."""
        if self.net is not None and self._reaches(terms):
            return self.net
        xp = get_xp(to_device(np.zeros(1), self.device))
        return Outline(self._needed(terms), xp, kernels=self.settings.kernels, padding=self.settings.padding)

    def load(self, terms: Sequence[Term]) -> VGG:
        """The network on its device, with no more layers than the loss needs. The file's own copy is let go."""
        if self.net is None or not self._reaches(terms):
            self.net = None  # a shallower one goes first
            params = {n: tuple(to_device(a, self.device) for a in pair) for n, pair in self._needed(terms).items()}
            s = self.settings
            self.net = VGG(params, pooling=s.pooling, padding=s.padding, kernels=s.kernels, precision=s.precision)
            self.network.params = {}
        return self.net

    def aim(
        self, terms: Sequence[Term], passes: Any, pictures: Mapping[str, Any], keys: Mapping[str, tuple]
    ) -> list[Term]:
        """objective.aim, with the targets of style pictures kept: a hash a picture in `keys`, {source: key}."""
        known = [t.aimed(self._targets[k]) if (k := self._key(t, keys)) in self._targets else t for t in terms]
        found = aim(known, passes, pictures)
        for term in found:
            key = self._key(term, keys)
            if key is not None:
                self._targets[key] = term.target
        for key in [*self._targets][:-KEPT]:  # the oldest go
            del self._targets[key]
        return found

    def _key(self, term, keys):
        """None for what is not kept: targets as large as an activation."""
        if term.source not in keys or term.statistic.per_place:
            return None
        return (*keys[term.source], term.layer, repr(term.statistic))

    def _reaches(self, terms):
        return {*layers(terms)} <= {*self.net.names}

    def _needed(self, terms):
        """Filters up to the deepest layer of the loss: deeper ones would only cost memory."""
        if not self.network.params:  # let go by an earlier job, whose loss was less deep
            self.network = weights.load(self.settings.weights)
        positions = [self.names.index(n) for n in layers(terms)]
        params = self.network.params
        return {n: p for n, p in params.items() if self.names.index(n) <= max(positions)} if positions else params
