"""Between pictures and the network's input: grey levels less the average colour, in the network's channel order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minivgg.backend import Array, Device, get_xp, to_device, to_numpy
from weights import Network

from . import images


@dataclass(frozen=True)
class ColourSpace:
    """What a network takes as its input.

    mean    (3,) the average colour of its training pictures, in `order`
    order   "RGB" or "BGR"
    device  minivgg.backend.Device on which inputs lie
    margin  pixels of the picture that are mirrored around it in the input, and cut off on the way back: where the
            network pads with zeros, the outermost pixels are smeared
    depth   bits a value of the picture that is saved
    """

    mean: np.ndarray
    order: str = "RGB"
    device: Device = Device("cpu")  # noqa: RUF009  frozen
    margin: int = 0
    depth: int = 8

    @classmethod
    def of(cls, network: Network, device: Device | None = None) -> "ColourSpace":
        """That of a weights.Network."""
        return cls(network.mean, network.order, device or Device("cpu"))

    def to_input(self, rgb: images.PictureLike, dtype: DTypeLike = np.float32) -> Array:
        """(1, 3, H, W) on the device, margins included, from (h, w, 3) RGB 0..255, or what images.as_picture takes."""
        pixels: Any = rgb
        if not (isinstance(rgb, np.ndarray) and rgb.ndim == 3 and rgb.shape[2] == 3):
            pixels = images.as_picture(rgb).rgb
        return images.to_network(self.with_margin(pixels), self.mean, self.order, dtype, self.device)

    def with_margin(self, a: np.ndarray) -> np.ndarray:
        """(h, w) or (h, w, 3) with what lies in the margins mirrored around."""
        if not self.margin:
            return a
        return np.pad(a, ((self.margin,) * 2,) * 2 + ((0, 0),) * (a.ndim - 2), mode="symmetric")

    def to_rgb(self, x: Array, *, clip: bool = True) -> np.ndarray:
        """(h, w, 3) float32 on the host, from a network input; cut off at 0 and 255 unless `clip` is False."""
        H, W = x.shape[2:]
        inside = (..., slice(self.margin, H - self.margin), slice(self.margin, W - self.margin))
        rgb = images.from_network(to_numpy(x[inside]), self.mean, self.order)
        return np.clip(rgb, 0, 255) if clip else rgb

    def as_saved(self, x: Array, bounds: tuple[Array, Array] | None = None) -> Array:
        """The network input that a picture of `depth` bits a value has, margins as they are: cut off and rounded.

        bounds  grey levels 0 and 255, in the shape that x has if it is not a picture's
        """
        xp, (low, high) = get_xp(x), bounds or self.bounds()
        step = 255 / (2**self.depth - 1)
        return xp.round((xp.clip(x, low, high) - low) / step) * step + low

    def bounds(self) -> tuple[Array, Array]:
        """Grey levels 0 and 255 as network inputs, (1, 3, 1, 1) each, on the device."""
        mean = np.asarray(self.mean, np.float32).reshape(1, 3, 1, 1)
        return to_device(-mean, self.device), to_device(255 - mean, self.device)
