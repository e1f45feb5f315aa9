"""A fixed palette: which colours it has, and a picture of these colours only. MATH.md 5."""

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor
from scipy.spatial import cKDTree

from . import images, matching, oklab

MOST = 256  # colours: what a picture with a palette can hold
USUAL = 8  # colours taken of a picture that has more than MOST and does not say how many
EXPECTED = "expected colours such as #102030,#a0b0c0, or content, style or a picture's file with how many: style:8"


@dataclass(frozen=True)
class Spec:
    """What --palette says: `colours` ((r, g, b), …), or where to take `count` of them (None: not said)."""

    colours: tuple = ()
    source: str | None = None
    count: int | None = None


def read_spec(spec):
    """Spec of '#102030,#a0b0c0', 'style:8', 'content', 'FILE:8', or a list of colours. Raises ValueError."""
    if isinstance(spec, os.PathLike):
        return Spec(source=os.fspath(spec))
    if not isinstance(spec, str):
        return Spec(_some(tuple(_colour(c) for c in spec)))
    parts = [part.strip() for part in spec.split(",")]
    named = [_named(part) for part in parts]
    if all(named):
        return Spec(_some(tuple(named)))
    if spec.lstrip().startswith("#") or any(named):
        wrong = parts[named.index(None)]
        raise ValueError(f"{wrong!r} is no colour such as #102030, #abc or navy")
    name, colon, count = spec.rpartition(":")
    whole = spec in ("content", "style") or os.path.exists(spec) or (images.is_sample(spec) and spec.count(":") < 3)
    if whole or not colon:
        name, count = spec, None
    elif not (count.isdecimal() and len(count) < 9 and 1 <= int(count) <= MOST):
        raise ValueError(f"{count!r} colours: expected 1 to {MOST}")
    if not images.is_sample(name) and name not in ("content", "style") and not os.path.exists(name):
        raise ValueError(EXPECTED)
    return Spec(source=name, count=count and int(count))


def file_of(spec):
    """The picture's file that a palette on the command line is taken from, or None."""
    try:
        return None if spec is None else read_spec(spec).source
    except ValueError:  # said later, by the settings
        return None


def absolute(spec, folder=""):
    """The same palette from any folder: with its picture's whole path. folder  as for masks.absolute"""
    file = file_of(spec)
    path = None if file is None else os.path.join(folder, file)
    if path is None or not os.path.isfile(path) or not spec.startswith(file):
        return spec
    return os.path.abspath(path) + spec[len(file) :]


def as_text(spec):
    """The same as it is stored: '#102030,#a0b0c0', or where the colours come from."""
    found = read_spec(spec)
    if found.colours:
        return ",".join(map(hex_of, found.colours))
    return os.fspath(spec)


def hex_of(colour):
    """'#102030' of (r, g, b)."""
    return "#{:02x}{:02x}{:02x}".format(*(round(v) for v in colour))


def colours_of(rgb, weights=None, count=None):
    """(K, 3) colours of a picture: all it has, where `count` is None and they are at most MOST, else its main ones."""
    drawn = images.to_uint8(matching.sample(rgb, weights))
    if count is None:
        own = _all_of(rgb, None if weights is None or not weights.any() else weights.reshape(-1))
        if len(own) <= MOST:
            return np.stack([own >> 16, own >> 8 & 255, own & 255], axis=1).astype(np.float64)
    picture = Image.fromarray(drawn[None])
    count = count or USUAL
    found = picture.quantize(count, method=Image.Quantize.MAXCOVERAGE, kmeans=1).getpalette()[: 3 * count]
    return np.unique(np.reshape(found, (-1, 3)), axis=0).astype(np.float64)


def _all_of(rgb, weights):
    """The colours of a picture's pixels of a weight above 1/2, each once, as 65536 r + 256 g + b."""
    own = np.empty(0, np.int64)

    def add(k, pixels):
        nonlocal own
        if len(own) <= MOST:
            seen = images.to_uint8(pixels if weights is None else pixels[weights[k : k + len(pixels)] > 0.5])
            own = np.union1d(own, seen @ (65536, 256, 1))

    matching.runs(rgb, add)
    return own


def nearest(rgb, colours):
    """Each pixel as the colour of the palette (K, 3) that is nearest to it in Oklab; (H, W, 3) float32."""
    colours = np.asarray(colours, np.float32)
    tree = cKDTree(oklab.to_oklab(colours))
    return oklab.by_strips(lambda x: colours[tree.query(oklab.to_oklab(x))[1]], rgb)


def dithered(rgb, colours):
    """The palette's colours mixed dot by dot, so that their average is the picture (Floyd & Steinberg 1976)."""
    holder = Image.new("P", (1, 1))
    levels = images.to_uint8(colours)
    holder.putpalette(np.concatenate([levels, np.repeat(levels[:1], MOST - len(levels), axis=0)]).tobytes())
    found = Image.fromarray(images.to_uint8(rgb)).quantize(palette=holder, dither=Image.Dither.FLOYDSTEINBERG)
    return np.asarray(found.convert("RGB"), dtype=np.float32)


def _some(colours):
    if not 1 <= len(colours) <= MOST:
        raise ValueError(f"{len(colours)} colours: expected 1 to {MOST}")
    return colours


def _colour(value):
    """(r, g, b) of text or three numbers 0..255."""
    if isinstance(value, str):
        found = _named(value)
    else:
        numbers = np.asarray(value)
        fits = numbers.shape == (3,) and numbers.dtype.kind in "iuf" and ((numbers >= 0) & (numbers <= 255)).all()
        found = tuple(int(v) for v in np.rint(numbers)) if fits else None
    if found is None:
        raise ValueError(f"{value!r} is no colour such as '#102030' or (16, 32, 48)")
    return found


def _named(text):
    """(r, g, b) of '#abc', '#102030' or a colour's name; None for anything else."""
    try:
        found = ImageColor.getrgb(text) if "(" not in text else ()
    except ValueError:
        return None
    return found if len(found) == 3 else None
