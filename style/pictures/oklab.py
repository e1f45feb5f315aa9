"""Oklab (B. Ottosson 2020): lightness L and two opponent colours a, b, in which equal distances look about alike.

Pictures are (…, 3) RGB 0..255 in sRGB; Oklab's L is 0 for black and 1 for white, a and b are 0 for greys and within
±0.4. MATH.md 1 and 2 derive what is here.
"""

import numpy as np

STRIP = 1 << 16  # pixels that are worked on at once: what lies between stays small beside the picture
LMS = np.array(  # linear sRGB to the responses of the three cones
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LAB = np.array(  # their cube roots to L, a, b
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
FROM_LMS, FROM_LAB = np.linalg.inv(LMS), np.linalg.inv(LAB)
HALVINGS = 12  # of the chroma's interval: 1/4096 of it is left


def by_strips(function, *pictures):
    """`function` of some rows of pixels at a time: pictures (H, W, 3) of one size → (H, W, 3) float32.

    A picture whose rows are still in a file (parts.FileRows) stays there: they come out changed.
    """
    first = pictures[0]
    if not isinstance(first, np.ndarray):
        return first.changed(function)
    out = np.empty(first.shape, np.float32)
    rows = rows_together(first.shape[1])
    for row in range(0, len(first), rows):
        out[row : row + rows] = function(*(p[row : row + rows] for p in pictures))
    return out


def rows_together(width):
    """How many rows by_strips takes at a time."""
    return max(1, STRIP // width)


def linear(rgb):
    """Light of a pixel, 0..1: sRGB's curve undone."""
    v = np.asarray(rgb) / np.float32(255)
    return np.where(v <= 0.04045, v / 12.92, ((np.maximum(v, 0) + 0.055) / 1.055) ** 2.4)


def from_linear(light):
    """RGB 0..255 of light, which is cut off at 0 and 1."""
    v = np.clip(light, 0, 1)
    return 255 * np.where(v <= 0.0031308, 12.92 * v, 1.055 * np.maximum(v, 1e-9) ** (1 / 2.4) - 0.055)


def linear_to_oklab(light):
    """(…, 3) L, a, b of linear sRGB: LAB (LMS light)^⅓"""
    return np.cbrt(light @ LMS.T.astype(light.dtype)) @ LAB.T.astype(light.dtype)


def oklab_to_linear(lab):
    """(…, 3) linear sRGB of L, a, b, beyond 0..1 for what no screen of that kind shows."""
    return (lab @ FROM_LAB.T.astype(lab.dtype)) ** 3 @ FROM_LMS.T.astype(lab.dtype)


def to_oklab(rgb):
    """(…, 3) L, a, b of RGB 0..255."""
    return linear_to_oklab(linear(rgb))


def from_oklab(lab):
    """(…, 3) RGB 0..255 of L, a, b; what lies outside keeps its lightness and hue and loses chroma until it fits."""
    return from_linear(oklab_to_linear(into_gamut(lab)))


def into_gamut(lab, tolerance=1e-5):
    """L, a, b with a and b times the largest t ≤ 1 whose colour sRGB can show; L within 0..1.

    Light is a cubic in t (MATH.md, (3)), and halving the interval finds t for all pixels at once.
    """
    lab = np.concatenate([np.clip(lab[..., :1], 0, 1), lab[..., 1:]], axis=-1)
    light = oklab_to_linear(lab)
    outside = ((light < -tolerance) | (light > 1 + tolerance)).any(axis=-1)
    if not outside.any():
        return lab
    L, ab = lab[outside][:, :1], lab[outside][:, 1:]
    chroma = ab @ FROM_LAB[:, 1:].T.astype(lab.dtype)  # what a and b add to the cube roots
    low, high = np.zeros_like(L), np.ones_like(L)
    for _ in range(HALVINGS):
        t = (low + high) / 2
        light = (L + t * chroma) ** 3 @ FROM_LMS.T.astype(lab.dtype)
        fits = ((light > -tolerance) & (light < 1 + tolerance)).all(axis=-1, keepdims=True)
        low, high = np.where(fits, t, low), np.where(fits, high, t)
    lab[outside, 1:] = low * ab
    return lab
