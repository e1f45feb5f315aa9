"""A finished transfer: the picture and all that is known of it."""

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .outcome import Outcome
from .pictures import images, saving
from .units import format_size


@dataclass
class Result:
    """A finished transfer. In a notebook it shows itself.

    rgb       (H, W, 3) float32, 0..255
    alpha     (H, W) or None: the content's, where it had one
    outcome   outcome.Outcome: values, evaluations, seconds, status, message
    metadata  everything that went into the picture
    losses    the loss of each evaluation, over all scales
    depth     bits a sample that a file of it gets, 8 or 16
    """

    rgb: NDArray[np.float32] = field(repr=False)
    alpha: NDArray[np.float32] | None = field(repr=False)
    outcome: Outcome
    metadata: dict[str, Any] = field(repr=False)
    losses: list[float] = field(default_factory=list, repr=False)
    depth: int = 8

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8."""
        return images.to_uint8(self.rgb)

    def save(
        self,
        path: str | os.PathLike[str],
        replace: bool = True,
        quality: int | None = None,
        dpi: float | None = None,
    ) -> None:
        """Write the picture with its metadata, atomically; the format is the suffix's. The rest as for saving.save."""
        more = {"metadata": self.metadata, "quality": quality, "depth": self.depth, "dpi": dpi}
        saving.save(path, self.rgb, alpha=self.alpha, replace=replace, **more)

    def _repr_png_(self) -> bytes:
        return saving.encode("picture.png", self.rgb, alpha=self.alpha, metadata=self.metadata)

    def __repr__(self) -> str:
        o = self.outcome
        size = format_size(self.rgb.shape[:2])
        return f"Result({size}, loss {o.loss:.6g}, {o.evaluations} evaluations, {o.status})"
