"""Pictures in: decode, orient, resize, to and from the network's input. Writing is saving.py's.

Outside the network a picture is (H, W, 3) float32, RGB 0..255 in sRGB. What a file is, is kinds.py's; what its
numbers mean (depth, colours, orientation, transparency), decode.py's. Every failure is an `ImageError` of one line.
"""

import hashlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from minivgg import backend
from minivgg.program import first_line
from minivgg.table import MIN_SIDE

from . import ImageError, decode, files, tiff

REACH = 4  # pixels of the coarser picture that resizing looks at to either side, at most
SAMPLE = "sample:"  # begins the name of a picture of our own


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    rgb    (H, W, 3) float32, sRGB 0..255, upright, composited on white where it was transparent
    alpha  (H, W) float32, 0..1, or None for an opaque picture
    sha256 of the file, or of the values of a picture from memory; mode: Pillow's, or the file's kind
    size   (width, height) of the whole picture, upright; rgb may have less: what was reduced while it was decoded
    notes  what was decided on the way in and may surprise, one line each
    box    (left, top, right, bottom) of the picture in rgb's pixels, or None: all of rgb
    origin  the hash before filters.py changed the colours, or None: `sha256` is then of what the change depends on
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    sha256: str
    path: Path | None
    mode: str
    size: tuple[int, int]
    notes: tuple[str, ...] = ()
    box: tuple[float, ...] | None = None
    origin: str | None = None

    def resized(self, size_hw, *, method="auto"):
        """(h, w, 3) float32 at another size."""
        return resize(self.rgb, size_hw, method=method, box=self.box)

    def opacity(self, size_hw):
        """(h, w) float32 0..1 at another size, or None for an opaque picture."""
        return None if self.alpha is None else resize(self.alpha, size_hw, box=self.box)


# --------------------------------------------------------------------------------------------- reading


PictureLike: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray | Picture  # what as_picture takes


def as_picture(source, *, min_side=MIN_SIDE, need=None, room=None):
    """Picture from a path, a Pillow image, an array, a Picture, or the name of a sample.

    "sample:scene", "sample:strokes", "sample:mosaic" are drawn 512 pixels wide, "sample:scene:1024" 1024.
    need, room  as for `read`, for a path
    """
    if isinstance(source, Picture):
        return source
    if is_sample(source):
        return _sample(source)
    if isinstance(source, (str, os.PathLike)):
        return read(source, min_side=min_side, need=need, room=room)
    if isinstance(source, Image.Image):
        return from_pil(source, min_side=min_side)
    if are_pictures(source):
        raise ImageError(f"a list of {len(source)} pictures: expected one")
    return from_array(source, min_side=min_side)


def read(path, *, min_side=MIN_SIDE, need=None, room=None):
    """Picture from a file: JPEG, PNG, WebP, TIFF, and what else kinds.FORMATS has.

    need  a function (H, W) → (h, w): the size at which the picture is wanted at most. One that is files.GAP times as
          large is averaged over squares while it is decoded. None: all of it is wanted.
    room  bytes that decoding may take; None: as many as it needs

    Raises ImageError: missing, damaged, a kind that is not decoded right here, or one that takes more than `room`.
    """
    found = files.read(path, files.Wish(min_side, need, room))
    (left, top, right, bottom), rgb = found.decoded.box, found.decoded.rgb
    size = (round((right - left) * found.factor), round((bottom - top) * found.factor))
    box = None if found.decoded.box == (0, 0, *rgb.shape[1::-1]) else found.decoded.box
    notes = tuple(found.decoded.notes)
    return Picture(rgb, found.decoded.alpha, found.sha256, Path(path), found.mode, size, notes, box)


def from_pil(image, *, min_side=MIN_SIDE):
    """Picture from a Pillow image, with its profile and orientation where it carries them."""
    label = "picture from memory"
    try:
        files.check_size(label, image.height, image.width, min_side)
        if image.format == "TIFF" and not tiff.right_in_pillow(image):
            raise ImageError(f"{label}: a TIFF of a kind that Pillow does not decode right; give its path instead")
        bits = 8 if image.mode.startswith("I") else image.info.get("bit_depth", 8)  # which a HEIC has
        if image.format == "PNG" and image.mode in ("RGB", "RGBA") and any(t[3].endswith(";16B") for t in image.tile):
            bits = 16
        sha256 = hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
        mode, done = image.mode, decode.decode(image, label)
        done.notes.extend([f"{bits} bits a sample, of which Pillow gives 8; give its path instead"] if bits > 8 else [])
        return Picture(done.rgb, done.alpha, sha256, None, mode, done.rgb.shape[1::-1], tuple(done.notes))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{label}: cannot be decoded ({first_line(error)})") from None


def from_array(a, *, min_side=MIN_SIDE):
    """Picture from an array of grey, RGB or RGBA values.

    a (H, W), (H, W, 3) or (H, W, 4): uint8, uint16 (65535 is white), bool, or float 0..255; alpha in the same
    unit. Floats a little outside 0..255, as an optimiser leaves them, are clipped.
    """
    try:
        a = backend.to_numpy(a) if hasattr(a, "__cuda_array_interface__") else np.asarray(a)
    except Exception as error:
        raise ImageError(f"picture from memory: not an array ({first_line(error)})") from None
    expected = "expected (H, W), (H, W, 3) or (H, W, 4), uint8 or float 0..255"
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] not in (1, 3, 4)):
        raise ImageError(f"picture from memory: array of shape {a.shape}; {expected}")
    if a.dtype.kind not in "buif":
        raise ImageError(f"picture from memory: array of {a.dtype}; {expected}")
    H, W = a.shape[:2]
    files.check_size("picture from memory", H, W, min_side)
    sha256 = hashlib.sha256(f"{a.dtype.str} {a.shape}".encode() + a.tobytes()).hexdigest()
    scale = {"b1": 255.0, "u2": 1 / 257}.get(a.dtype.str[1:], 1.0)
    values = a.astype(np.float32).reshape(H, W, -1) * np.float32(scale)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ImageError(f"picture from memory: it has values that are not finite; {expected}")
    if a.dtype.kind in "iu" and a.dtype != np.uint16 and (low < 0 or high > 255):
        raise ImageError(f"picture from memory: whole numbers from {low:g} to {high:g}; {expected}")
    if low < -255 or high > 510:
        raise ImageError(f"picture from memory: values from {low:g} to {high:g}; {expected}")
    if a.dtype.kind == "f" and 0 < high <= 1:
        raise ImageError(f"picture from memory: values in 0..{high:g}; expected 0..255: multiply by 255")
    values = values.clip(0, 255)
    alpha = values[..., 3] / 255 if values.shape[2] == 4 else None
    colour = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[..., :3]
    rgb, alpha = decode.composite(colour, alpha)
    return Picture(rgb, alpha, sha256, None, f"array {a.dtype}", (W, H))


def are_pictures(source):
    """Whether `source` is a list of pictures, not an array written out in rows."""
    return isinstance(source, list | tuple) and any(map(is_picture, source))


def several(source):
    """[picture, …] of one, of a list of them, or of None."""
    if source is None or (isinstance(source, list | tuple) and not source):
        return []
    return list(source) if are_pictures(source) else [source]


def is_picture(item):
    """Whether an item of a list is a picture of its own, not a row of one."""
    return isinstance(item, (str, os.PathLike, Image.Image, Picture)) or getattr(item, "ndim", 0) == 3


def is_sample(source):
    """Whether it names one of the project's own pictures."""
    return isinstance(source, str) and source.startswith(SAMPLE)


def _sample(name):
    """One of the project's own pictures by name, with its width in pixels after a second colon (512 without)."""
    from style.samples import SAMPLES  # here, since what draws them takes longer to load than all the rest

    key, _, size = name.removeprefix(SAMPLE).partition(":")
    if key not in SAMPLES:
        raise ImageError(f"{name}: no such sample; expected one of {', '.join(f'sample:{k}' for k in SAMPLES)}")
    if size and not (size.isdecimal() and MIN_SIDE * 2 <= int(size) <= 8192):
        raise ImageError(f'{name}: size "{size}"; expected a number of pixels from {MIN_SIDE * 2} to 8192')
    drawn = from_array(SAMPLES[key](int(size or 512)))
    return replace(drawn, mode=name)


# -------------------------------------------------------------------------------------------- geometry


def fit(size, h, w, *, side="longest"):
    """(h, w) scaled so that its longest (or shortest) side is `size`, the aspect kept, never below 1.

    The other side is rounded; for "shortest" it is cut off, as torchvision's Resize does, at whose sizes the
    published numbers were made.
    """
    if side == "shortest":
        return (size, int(size * w / h)) if h <= w else (int(size * h / w), size)
    scale = size / max(h, w)
    return (max(1, round(h * scale)), size) if w >= h else (size, max(1, round(w * scale)))


def resize(a, size_hw, *, method="auto", box=None):
    """`a` at another size; a copy where the size is the same.

    a (H, W) or (H, W, C) float → (h, w) or (h, w, C) float32
    "auto": Lanczos down, bicubic up, on floats: no rounding to 8 bits, no values beyond those of `a`.
    "bilinear": Pillow's on 8-bit values, antialiased, which other programs' published curves were made with.
    box  (left, top, right, bottom), the part of `a` to take, in its pixels; None: all
    """
    h, w = size_hw
    if a.shape[:2] == (h, w) and box is None:
        return np.array(a, dtype=np.float32)
    channels = np.moveaxis(a, -1, 0) if a.ndim == 3 else a[None]  # (C, H, W)
    prepared, kernel = way(method, h * w < a.shape[0] * a.shape[1])
    planes = prepared(channels)
    out = np.stack([np.asarray(Image.fromarray(p).resize((w, h), kernel, box=box)) for p in planes])
    out = out.astype(np.float32).clip(planes.min(), planes.max())  # Lanczos and bicubic overshoot at edges
    return np.ascontiguousarray(np.moveaxis(out, 0, -1)) if a.ndim == 3 else out[0]


def way(method, down):
    """(a function that prepares the values, Pillow's kernel) of one of resize's methods. down  to fewer pixels"""
    if method == "bilinear":
        return to_uint8, Image.Resampling.BILINEAR
    if method == "auto":
        kernel = Image.Resampling.LANCZOS if down else Image.Resampling.BICUBIC
        return lambda a: np.asarray(a, dtype=np.float32), kernel
    raise ImageError(f'resize method "{method}" is unknown; expected "auto" or "bilinear"')


def resize_around(a, size_hw):
    """resize() of a picture that goes on at its opposite edges, (H, W, C): so does what comes of it."""
    pads = []  # (before, after) of both axes: as many pixels as come out whole, and no fewer than the kernels reach
    for n, out in zip(a.shape[:2], size_hw, strict=True):
        unit = n // math.gcd(n, out)
        before = -(-REACH * max(1, n // out) // unit) * unit
        pads.append((before, before * out // n))
    (y, Y), (x, X) = pads
    h, w = size_hw
    larger = resize(np.pad(a, ((y, y), (x, x), (0, 0)), mode="wrap"), (h + 2 * Y, w + 2 * X))
    return np.ascontiguousarray(larger[Y : Y + h, X : X + w])


def to_network(rgb, mean, order, dtype=np.float32, device=None):
    """Picture → the network's input: x[0, c, y, x] = rgb[y, x, channel c of `order`] − mean[c].

    rgb (H, W, 3), mean (3,) in the order "RGB" or "BGR" → (1, 3, H, W) of `dtype`, on `device` if given
    """
    x = _reorder(np.asarray(rgb, dtype=np.float64), order) - np.asarray(mean, dtype=np.float64)
    x = np.ascontiguousarray(x.transpose(2, 0, 1)[None], dtype=dtype)  # (1, 3, H, W)
    return x if device is None else backend.to_device(x, device)


def from_network(x, mean, order):
    """The network's input → picture, the inverse of to_network (exact but for one rounding of `x`'s type).

    x (1, 3, H, W), mean (3,) → (H, W, 3) float32, not clipped
    """
    x = np.asarray(backend.to_numpy(x), dtype=np.float64)[0].transpose(1, 2, 0)  # (H, W, 3)
    return np.ascontiguousarray(_reorder(x + np.asarray(mean, dtype=np.float64), order), dtype=np.float32)


def _reorder(a, order):
    if order not in ("RGB", "BGR"):
        raise ImageError(f'channel order "{order}" is unknown; expected "RGB" or "BGR"')
    return a if order == "RGB" else a[..., ::-1]


def to_uint8(rgb):
    """Values rounded to the nearest of 0..255."""
    return np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)
