"""Masks: how much each pixel of a picture belongs to a region, from 0 to 1, from a file, an array or a picture's alpha.

A mask is named by

    mask.png           its lightness: white belongs, black does not, greys in part; where it has transparency, that
    map.png#ff0000     one colour of a picture with flat colours: 1 there, falling to 0 at 64 grey levels from it
    alpha              the opacity of the picture itself that is to have the mask
    not:…              one of these turned round
    rest               what no other mask of the list covers
    all                everywhere

or is an array (H, W) of booleans, of bytes 0..255, or of floats 0..1.
"""

import math
import os
import re
from pathlib import Path

import numpy as np
from PIL import ImageColor

from . import ImageError, images

ALPHA, REST, ALL, NOT = "alpha", "rest", "all", "not:"
MEMORY = "array"  # what a mask without a name is called
NEAR = 64  # grey levels in any channel at which a colour is another one
SHAPE = 0.03  # by which the proportions of a mask may differ from the picture's
TINT = 0.5  # of an overlay's colours
LIGHTNESS = np.array([0.2126, 0.7152, 0.0722], np.float32)


def mask_of(source, picture, what):
    """(H, W) float32 from 0 to 1 in the picture's own size, from a mask's name or array; `rest` is the caller's.

    picture  images.Picture that the mask is for
    what     the picture's name in errors

    Raises ImageError where it cannot be read, has other proportions, or is black everywhere.
    """
    found = _read(source, picture, what)
    W, H = picture.size
    h, w = found.shape
    if is_stretched((w, h), (W, H)):
        raise ImageError(f"mask {label(source)}: {w}x{h}, {what} has {W}x{H}; expected the same proportions")
    found = np.clip(images.resize(found, picture.rgb.shape[:2]), 0, 1)
    if not found.max() > 0:
        raise ImageError(f"mask {label(source)}: it covers nothing of {what}; expected white where it is to hold")
    return found


def is_stretched(size, other):
    """Whether (width, height) has other proportions than another one, by more than rounding."""
    return abs(math.log(size[0] / size[1] * other[1] / other[0])) > SHAPE


def label(source):
    """What a mask is called in messages and metadata: never its folder."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        inverse = NOT if text.startswith(NOT) else ""
        return inverse + Path(text.removeprefix(NOT)).name
    return MEMORY


def split(text):
    """The masks in "a.png,rest": at commas, but for a name that has them itself; a list as it is."""
    if not isinstance(text, str):
        return list(text)
    return [text] if os.path.exists(text) else [part.strip() for part in text.split(",")]


def file_of(text, folder=""):
    """The file that a mask's name means, as it stands there; of other masks what is no file."""
    name = text.removeprefix(NOT)
    return name if os.path.isfile(os.path.join(folder, name)) else name.rpartition("#")[0]


def absolute(text, folder=""):
    """The same mask from any folder: with its file's whole path. folder  from which it is seen (default: this one)"""
    inverse = NOT if text.startswith(NOT) else ""
    name = text.removeprefix(NOT)
    file = file_of(text, folder)
    path = os.path.join(folder, file)
    return inverse + (os.path.abspath(path) + name[len(file) :] if os.path.isfile(path) else name)


def rest(masks):
    """What the others leave: 1 - their sum, not below 0."""
    return np.clip(1 - sum(masks), 0, 1)


def overlay(rgb, regions, kept=None):
    """(H, W, 3): a picture in grey with each region in a colour of its own over it, what is kept left as it is.

    rgb      (H, W, 3) 0..255
    regions  [(H, W) from 0 to 1, or None: everywhere]
    """
    out = np.repeat((rgb @ LIGHTNESS)[..., None], 3, axis=2)
    for k, m in enumerate(regions):
        colour = np.array(ImageColor.getrgb(f"hsl({(k * 137 + 10) % 360}, 90%, 50%)"), np.float32)  # far from the last
        out += TINT * (1 if m is None else m[..., None]) * (colour - out)
    return out if kept is None else out + kept[..., None] * (rgb - out)


def _read(source, picture, what):
    if not isinstance(source, str | os.PathLike):
        return _from_array(source)
    text = os.fspath(source)
    if text.startswith(NOT):
        return 1 - _read(text.removeprefix(NOT), picture, what)
    if text == ALL:
        return np.ones(picture.rgb.shape[:2], np.float32)
    if text == ALPHA:
        if picture.alpha is None:
            raise ImageError(f"mask alpha: {what} has no transparency; give a file, or leave the mask out")
        return picture.opacity(picture.rgb.shape[:2])
    if text == REST:
        raise ImageError("mask rest: what no other mask covers; expected only in a list, beside others")
    if text == MEMORY and not os.path.exists(text):  # out of a picture's metadata
        raise ImageError("mask array: it came from memory, and no picture keeps it; give the array again")
    name, colour = _colour(text)
    found = images.as_picture(name)
    if colour is not None:
        return np.clip(1 - np.abs(found.rgb - np.float32(colour)).max(axis=2) / NEAR, 0, 1)
    return found.rgb @ LIGHTNESS / 255 if found.alpha is None else found.alpha


def _colour(text):
    """(file, RGB or None) of "map.png#ff0000"; a file that has such a name itself comes first."""
    name, hash_, colour = text.rpartition("#")
    if not hash_ or os.path.exists(text):
        return text, None
    if not re.fullmatch(r"[0-9a-fA-F]{3}|[0-9a-fA-F]{6}", colour):
        raise ImageError(f"mask {label(text)}: colour {colour!r}; expected six hexadecimal digits, as in #ff0000")
    return name, ImageColor.getrgb(f"#{colour}")[:3]


def _from_array(a):
    try:
        a = np.asarray(a)
    except Exception:
        raise ImageError("mask: expected a file's name or an array (H, W)") from None
    if a.ndim != 2 or not a.size or a.dtype not in (bool, np.uint8, np.float16, np.float32, np.float64):
        raise ImageError(f"mask: array {a.shape} of {a.dtype}; expected (H, W) of bool, uint8, or floats 0..1")
    values = a.astype(np.float32) / (255 if a.dtype == np.uint8 else 1)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise ImageError("mask: values outside 0..1; expected bool, uint8, or floats 0..1")
    return values
