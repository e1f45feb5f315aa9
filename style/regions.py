"""Weights of places: what part of a picture counts for a term. MATH.md 3, "Regions"."""

from collections.abc import Sequence

from scipy import ndimage

from minivgg.backend import Array, get_xp, to_numpy
from minivgg.table import context, level

GUIDANCE = ("simple", "inside", "all")


class Region:
    """Weights of places, from weights of pixels.

    pixels    (H, W) from 0 to 1, on the network's device: how much a pixel belongs to the region
    guidance  what a place of a layer has of the pixels, of which it stands for 2^level x 2^level and sees more:
              "simple" the mean over those that it stands for, "inside" the least and "all" the largest of those that
              it sees (its receptive field): so with "inside" nothing outside the region has a say, with "all" nothing
              of it is missed
    names     the network's layers in order, for the receptive fields
    wraps     whether the picture goes on at its opposite edge (--wrap), and what is seen there counts
    Gatys et al. 2017, section 4.1. Raises ValueError where no place has any weight.
    """

    def __init__(self, pixels: Array, guidance: str = "simple", names: Sequence[str] = (), wraps: bool = False):
        if guidance not in GUIDANCE:
            raise ValueError(f"guidance {guidance!r}: expected {', '.join(GUIDANCE)}")
        self.pixels, self.guidance, self.names, self.wraps = pixels, guidance, names, wraps
        self._found: dict[str | int | None, Array] = {}

    def weights(self, layer: str | None) -> Array:
        """(h, w) weights of the places of a layer's activation; layer None: of the pixels."""
        key = level(layer) if self.guidance == "simple" else layer
        if key not in self._found:
            found = self._weights(layer)
            if not float(found.sum()) > 0:
                raise ValueError(f"the region covers no place of {layer or 'the picture'}: use a larger one")
            self._found[key] = found
        return self._found[key]

    def _weights(self, layer):
        (h, w), step = (n >> level(layer) for n in self.pixels.shape), 1 << level(layer)
        pixels = self.pixels
        if self.guidance != "simple":
            seen = ndimage.minimum_filter if self.guidance == "inside" else ndimage.maximum_filter
            reach = 2 * context(layer, self.names) + 1
            beyond = "wrap" if self.wraps else "nearest"
            pixels = get_xp(pixels).asarray(seen(to_numpy(pixels), size=reach, mode=beyond))
        blocks = pixels[: h * step, : w * step].reshape(h, step, w, step)
        return {"simple": blocks.mean, "inside": blocks.min, "all": blocks.max}[self.guidance](axis=(1, 3))
