"""VGG-16 and VGG-19 by hand: every layer's forward beside its backward, on NumPy or CuPy arrays."""

from . import start  # noqa: F401  first: see there

# isort: split
from .given import Given
from .table import ARCHS, layer_names
from .vgg import VGG, Outline

__all__ = ["ARCHS", "VGG", "Given", "Outline", "layer_names"]
