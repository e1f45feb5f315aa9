"""Samples of any depth, as a file holds them → grey levels 0..255 in sRGB, and alpha."""

import numpy as np
from PIL import Image

from . import ImageError
from .profiles import AT_EIGHT, D50, grey_to_srgb, rgb_to_srgb, to_srgb, xyz_to_srgb
from .tiff import CIELAB, CMYK, ICCLAB, INT, PALETTE, RGB, UINT, WHITE_IS_0, YCBCR


def of_samples(samples, tags, label, notes):
    """A function from rows of a TIFF's samples (h, W, S) to colour (h, W, 3) 0..255 and alpha (h, W) 0..1 or None.

    Integers are parts of the largest there is. Floats within 0..1 count as 1 = white, within 0..255 as 255 = white;
    those that fit neither, and signed integers below 0, are stretched from the smallest to the largest value, and a
    note says so. Raises ImageError for colours that are not known here.
    """
    colour = _colour(tags, label, notes)
    levels = _levels(samples, tags, label, notes)
    where = next((tags.inks + k for k, kind in enumerate(tags.extra) if kind in (1, 2)), None)

    def convert(part):
        if where is None:
            return colour(levels(part[..., : tags.inks])), None
        alpha = (levels(part[..., where]) / 255).clip(0, 1)
        inks = levels(part[..., : tags.inks])
        if tags.alpha == 1:  # colours that are multiplied by it
            inks = np.divide(inks, alpha[..., None], out=np.zeros_like(inks), where=alpha[..., None] > 0).clip(0, 255)
        return colour(inks), alpha

    return convert


def scale_of(low, high, kind, bits, label, notes):
    """(black, white) of numbers from `low` to `high`: white is 255."""
    if not np.isfinite([low, high]).all():
        raise ImageError(f"{label}: it has values that are not finite; replace them first")
    if kind == UINT:
        return 0.0, float(2**bits - 1)
    if low >= 0 and kind == INT:
        return 0.0, float(2 ** (bits - 1) - 1)
    if low >= 0 and high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    notes.append(f"values {low:g} to {high:g} stretched to black and white")
    return low, max(high, low + 1e-300)


def _levels(samples, tags, label, notes):
    """A function from samples to grey levels 0..255, float32; palettes' and Lab's samples stay what they are."""
    if tags.photometric in (PALETTE, CIELAB, ICCLAB):
        return lambda part: part
    kind, bits = tags.formats[0], tags.bits[0]
    whole = (0, 0)
    if kind != UINT:
        inks = samples[..., : tags.inks]
        whole = float(inks.min()), float(inks.max())
    black, white = scale_of(*whole, kind, bits, label, notes)
    precise = np.float64 if bits > 16 else np.float32
    return lambda part: ((part.astype(precise) - precise(black)) * precise(255 / (white - black))).astype(np.float32)


def _colour(tags, label, notes):
    """A function from grey levels of the inks to RGB."""
    photometric, bits = tags.photometric, tags.bits[0]
    if photometric in (0, 1):
        grey = grey_to_srgb(tags.profile, notes)
        return lambda v: grey(255 - v[..., 0] if photometric == WHITE_IS_0 else v[..., 0])
    if photometric == RGB:
        return rgb_to_srgb(tags.profile, notes, bits)
    if photometric == PALETTE and tags.palette is not None and tags.formats[0] == UINT:
        table = tags.palette.astype(np.float32) / (257 if tags.palette.max() > 255 else 1)
        table = rgb_to_srgb(tags.profile, notes, 16)(table[None])[0]
        return lambda v: table[v[..., 0].clip(0, len(table) - 1)]
    if photometric == CMYK:
        convert = to_srgb("CMYK", tags.profile, notes)
        notes.extend([AT_EIGHT] if bits > 8 else [])
        return lambda v: _through(convert, v, "CMYK")
    full = (0, 255, 128, 255, 128, 255)
    if photometric == YCBCR and bits == 8 and tags.formats[0] == UINT and (tags.reference or full) == full:
        convert = to_srgb("RGB", tags.profile, notes)
        return lambda v: _through(lambda image: convert(image.convert("RGB")), v, "YCbCr")
    if photometric in (CIELAB, ICCLAB) and bits in (8, 16):
        return lambda v: _from_lab(v, bits, photometric)
    raise ImageError(f"{label}: a TIFF of this kind ({tags}) is not supported; export it as RGB")


def _through(convert, levels, mode):
    rounded = np.rint(levels.clip(0, 255)).astype(np.uint8)
    return np.asarray(convert(Image.frombytes(mode, rounded.shape[1::-1], rounded.tobytes())), np.float32)


def _from_lab(samples, bits, photometric):
    """sRGB of L*, a* and b* under D50 (ISO 11664-4); CIELAB has the latter in two's complement, ICCLAB from -128 up."""
    v = samples.astype(np.float32)
    if bits == 16:
        v /= np.float32([257 if photometric == CIELAB else 256, 256, 256])
    ab = (v[..., 1:] + 128) % 256 - 128 if photometric == CIELAB else v[..., 1:] - 128
    y = (v[..., 0] * (100 / 255) + 16) / 116
    f = (y + ab[..., 0] / 500, y, y - ab[..., 1] / 200)
    return xyz_to_srgb([w * np.where(t > 6 / 29, t**3, 3 * (6 / 29) ** 2 * (t - 4 / 29)) for w, t in zip(D50, f)])
