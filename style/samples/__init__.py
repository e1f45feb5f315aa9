"""Sample pictures by the project's own code: a scene to stylise, and two paintings to take a style from.

Each is a function of size (the width in pixels; the height is 3/4 of it) and seed → (H, W, 3) float32, RGB 0..255.
"""

from .landscape import scene
from .paintings import mosaic, strokes

SAMPLES = {"scene": scene, "strokes": strokes, "mosaic": mosaic}

__all__ = ["SAMPLES", "mosaic", "scene", "strokes"]
