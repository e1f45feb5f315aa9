"""What the sample pictures are drawn with: a grid of coordinates, seeded noise, gradients of colour, a pen.

Everything is in units of the picture's height and comes from seeded noise over them, so that a picture is the same
at every size and the same seed gives the same picture. x runs over 0..4/3, y over 0..1, downwards. Colours are sRGB
0..255.
"""

import numpy as np
from PIL import Image, ImageDraw

ASPECT = 4 / 3


def grid(size):
    """Coordinates of the pixel centres of a picture `size` wide: x (1, W), y (H, 1)."""
    H, W = max(1, round(size / ASPECT)), size
    return (np.arange(W)[None] + 0.5) / W * ASPECT, (np.arange(H)[:, None] + 0.5) / H


def _spline(t, cells):
    """Weights of the cubic B-splines on `cells` unit cells at positions t·cells: (len(t), cells + 3)."""
    p = np.clip(t * cells, 0, cells - 1e-9)
    i = p.astype(int)
    f = p - i
    weights = np.zeros((len(t), cells + 3))
    rows = np.arange(len(t))
    for k, w in enumerate(((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)):
        weights[rows, i + k] = w / 6
    return weights


def noise(rng, x, y, cells, stretch=1.0, octaves=1):
    """Smooth noise of about unit variance at the points of the grid: (H, W).

    cells: bumps along the height, doubled and halved in strength at each octave; stretch: their width by height.
    Separable: spline weights down × random lattice × spline weights across. Octaves finer than the pixels are left
    out, but drawn from `rng`, so that every size sees the same numbers.
    """
    out, strength, total = np.zeros((y.size, x.size)), 1.0, 0.0
    for _ in range(octaves):
        across = max(2, round(cells * ASPECT / stretch))
        lattice = rng.standard_normal((cells + 3, across + 3))
        if max(cells / y.size, across / x.size) < 0.5:
            out = out + strength * (_spline(y[:, 0], cells) @ lattice @ _spline(x[0] / ASPECT, across).T)
        total += strength**2
        cells, strength = cells * 2, strength / 2
    return out / (0.48 * np.sqrt(total))


def noise_line(rng, x, cells):
    """Smooth noise of about unit variance along x (W,); cells counted as in noise."""
    across = round(cells * ASPECT)
    lattice = rng.standard_normal(across + 3)
    return _spline(x / ASPECT, across) @ lattice / 0.69 if across < x.size / 2 else np.zeros(x.size)


def rough_line(rng, x, cells, octaves):
    return sum(0.5**o * noise_line(rng, x, cells * 2**o) for o in range(octaves))


def step(a, low, high):
    """0 below low, 1 above high, smooth between."""
    t = np.clip((a - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def ramp(t, stops):
    """Colours along a gradient: t (...) → (..., 3); stops [(position, (r, g, b)), …]."""
    at, colours = [s[0] for s in stops], np.array([s[1] for s in stops], dtype=float)
    return np.stack([np.interp(t, at, colours[:, c]) for c in range(3)], axis=-1)


def blend(picture, mask, colour):
    """Lay a colour (or a picture) over the picture where mask (H, W) is 1, in place."""
    picture += mask[..., None] * (np.asarray(colour, dtype=float) - picture)


def finish(picture):
    return np.clip(picture, 0, 255).astype(np.float32)


class Pen:
    """Pillow's drawing in our units, on a transparent sheet three times as fine as the picture, laid over it after."""

    FINE = 3

    def __init__(self, shape):
        self.h = shape[0] * self.FINE
        self.sheet = Image.new("RGBA", (shape[1] * self.FINE, self.h))
        self.draw = ImageDraw.Draw(self.sheet)

    def polygon(self, points, colour):
        self.draw.polygon([(px * self.h, py * self.h) for px, py in points], fill=tuple(int(c) for c in colour))

    def box(self, x0, y0, x1, y1, colour):
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def line(self, points, colour, width):
        points = [(px * self.h, py * self.h) for px, py in points]
        self.draw.line(points, fill=tuple(int(c) for c in colour), width=max(1, round(width * self.h)), joint="curve")

    def disc(self, px, py, r, colour):
        box = [(px - r) * self.h, (py - r) * self.h, (px + r) * self.h, (py + r) * self.h]
        self.draw.ellipse(box, fill=tuple(int(c) for c in colour))

    def lay_over(self, picture):
        sheet = np.asarray(self.sheet.reduce(self.FINE), dtype=float)
        blend(picture, sheet[..., 3] / 255, sheet[..., :3])
