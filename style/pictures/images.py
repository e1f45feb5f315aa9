"""Pictures in: decode, orient, resize, to and from the network's input. Writing is saving.py's.

Outside the network a picture is (H, W, 3) float32, RGB 0..255 in sRGB. Files are known here and in decode.py
(depth, colour profiles, orientation, transparency) only. Every failure is an `ImageError` of one line.
"""

import hashlib
import os
import stat
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from minivgg import backend
from minivgg.program import first_line

from . import ImageError
from .decode import composite, decode

MIN_SIDE = 16  # VGG halves a picture four times before conv5_1: below 16 pixels nothing is left

# First bytes of files that people hand over as pictures → what to say.
_NOT_PICTURES = (
    (b"%PDF", "a PDF; export the page as PNG"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"<svg", "an SVG drawing; export it as PNG"),
    (b"<?xml", "an XML or SVG file; export it as PNG"),
    (b"<!doctype", "a web page saved under this name; download the picture itself"),
    (b"<html", "a web page saved under this name; download the picture itself"),
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    rgb    (H, W, 3) float32, sRGB 0..255, upright, composited on white where it was transparent
    alpha  (H, W) float32, 0..1, or None for an opaque picture
    sha256 of the file, or of the values of a picture from memory; mode, size: Pillow's, as stored in the file
    notes  what was decided on the way in and may surprise, one line each
    origin  the hash before filters.py changed the colours, or None: `sha256` is then of what the change depends on
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    sha256: str
    path: Path | None
    mode: str
    size: tuple[int, int]
    notes: tuple[str, ...] = ()
    origin: str | None = None


# --------------------------------------------------------------------------------------------- reading


def as_picture(source, *, min_side=MIN_SIDE):
    """Picture from a path, a Pillow image, an array, a Picture, or the name of a sample.

    "sample:scene", "sample:strokes", "sample:mosaic" are drawn 512 pixels wide, "sample:scene:1024" 1024.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, str) and source.startswith("sample:"):
        return _sample(source)
    if isinstance(source, (str, os.PathLike)):
        return read(source, min_side=min_side)
    if isinstance(source, Image.Image):
        return from_pil(source, min_side=min_side)
    if are_pictures(source):
        raise ImageError(f"a list of {len(source)} pictures: expected one")
    return from_array(source, min_side=min_side)


def read(path, *, min_side=MIN_SIDE):
    """Picture from a file: JPEG, PNG, WebP, TIFF, and whatever else Pillow opens."""
    path = Path(path)
    with open_regular(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        head = file.read(64)
        if not head:
            raise ImageError(f"{path}: the file is empty; expected a picture")
        file.seek(0)
        with warnings.catch_warnings():  # Pillow warns of odd metadata; what matters becomes an error or a note
            warnings.simplefilter("ignore")
            try:
                with Image.open(file) as image:
                    return _picture(image, path, path, sha256, min_side)
            except ImageError:
                raise
            except Image.UnidentifiedImageError:
                raise ImageError(f"{path}: not a picture that can be read: {_describe(head)}") from None
            except Image.DecompressionBombError:
                limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
                raise ImageError(f"{path}: more than {limit} million pixels; scale the picture down first") from None
            except MemoryError:
                raise ImageError(f"{path}: not enough memory to decode; scale the picture down first") from None
            except Exception as error:  # decoders raise anything on bad data: OSError, SyntaxError, struct.error …
                raise ImageError(f"{path}: damaged or cut short ({first_line(error)}); get the file again") from None


def from_pil(image, *, min_side=MIN_SIDE):
    """Picture from a Pillow image, with its profile and orientation where it carries them."""
    label = "picture from memory"
    try:
        sha256 = hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
        return _picture(image, label, None, sha256, min_side)
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
    _check_size("picture from memory", H, W, min_side)
    sha256 = hashlib.sha256(f"{a.dtype.str} {a.shape}".encode() + a.tobytes()).hexdigest()
    scale = {"b1": 255.0, "u2": 1 / 257}.get(a.dtype.str[1:], 1.0)
    values = a.astype(np.float32).reshape(H, W, -1) * np.float32(scale)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ImageError(f"picture from memory: it has values that are not finite; {expected}")
    if low < -255 or high > 510:
        raise ImageError(f"picture from memory: values from {low:g} to {high:g}; {expected}")
    if a.dtype.kind == "f" and 0 < high <= 1:
        raise ImageError(f"picture from memory: values in 0..{high:g}; expected 0..255: multiply by 255")
    values = values.clip(0, 255)
    alpha = values[..., 3] / 255 if values.shape[2] == 4 else None
    colour = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[..., :3]
    rgb, alpha = composite(colour, alpha)
    return Picture(rgb, alpha, sha256, None, f"array {a.dtype}", (W, H))


def are_pictures(source):
    """Whether `source` is a list of pictures, not an array written out in rows."""
    return isinstance(source, list | tuple) and any(map(_is_picture, source))


def _is_picture(item):
    """Whether an item of a list is a picture of its own, not a row of one."""
    return isinstance(item, (str, os.PathLike, Image.Image, Picture)) or getattr(item, "ndim", 0) == 3


def _sample(name):
    """One of the project's own pictures by name, with its width in pixels after a second colon (512 without)."""
    from style.samples import SAMPLES  # here, since what draws them takes longer to load than all the rest

    key, _, size = name.removeprefix("sample:").partition(":")
    if key not in SAMPLES:
        raise ImageError(f"{name}: no such sample; expected one of {', '.join(f'sample:{k}' for k in SAMPLES)}")
    if size and not (size.isdecimal() and MIN_SIDE * 2 <= int(size) <= 8192):
        raise ImageError(f'{name}: size "{size}"; expected a number of pixels from {MIN_SIDE * 2} to 8192')
    drawn = from_array(SAMPLES[key](int(size or 512)))
    return replace(drawn, mode=name)


def open_regular(path):
    """The file opened for reading, or the reason why not."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path}: a folder; expected a picture file")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{path}: not a regular file; expected a picture file")
        return path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the name") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be opened ({first_line(error)})") from None


def _describe(head):
    """What a file that is no picture seems to be, from its first bytes."""
    if head[4:8] == b"ftyp":
        return "an HEIC, AVIF or video file; convert it to JPEG or PNG first"
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    for magic, what in _NOT_PICTURES:
        if start.startswith(magic.lower()):
            return what
    return f"it starts with {head[:12]!r}; expected JPEG, PNG, WebP or TIFF"


def _check_size(label, H, W, min_side):
    if H < 1 or W < 1:
        raise ImageError(f"{label}: {W}x{H} pixels: an empty picture")
    if min(H, W) < min_side:
        raise ImageError(f"{label}: {W}x{H} pixels; each side must have at least {min_side}")


def _picture(image, label, path, sha256, min_side):
    mode, size = image.mode, image.size
    _check_size(label, size[1], size[0], min_side)
    rgb, alpha, notes = decode(image, label)
    return Picture(rgb, alpha, sha256, path, mode, size, notes)


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


def resize(a, size_hw, *, method="auto"):
    """`a` at another size; a copy where the size is the same.

    a (H, W) or (H, W, C) float → (h, w) or (h, w, C) float32
    "auto": Lanczos down, bicubic up, on floats: no rounding to 8 bits, no values beyond those of `a`.
    "bilinear": Pillow's on 8-bit values, antialiased, which other programs' published curves were made with.
    """
    h, w = size_hw
    if a.shape[:2] == (h, w):
        return np.array(a, dtype=np.float32)
    channels = np.moveaxis(a, -1, 0) if a.ndim == 3 else a[None]  # (C, H, W)
    if method == "bilinear":
        planes, kernel = to_uint8(channels), Image.Resampling.BILINEAR
    elif method == "auto":
        down = h * w < a.shape[0] * a.shape[1]
        planes = np.asarray(channels, dtype=np.float32)
        kernel = Image.Resampling.LANCZOS if down else Image.Resampling.BICUBIC
    else:
        raise ImageError(f'resize method "{method}" is unknown; expected "auto" or "bilinear"')
    out = np.stack([np.asarray(Image.fromarray(p).resize((w, h), kernel)) for p in planes])
    out = out.astype(np.float32).clip(planes.min(), planes.max())  # Lanczos and bicubic overshoot at edges
    return np.ascontiguousarray(np.moveaxis(out, 0, -1)) if a.ndim == 3 else out[0]


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
