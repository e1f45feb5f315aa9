"""VGG-16 and VGG-19 by hand: every layer's forward beside its backward, on NumPy or CuPy arrays."""

from .vgg import ARCHS, VGG, layer_names

__all__ = ["ARCHS", "VGG", "layer_names"]
