"""Pictures out: whole or not at all, with what went into them stored inside.

A picture is (H, W, 3), RGB 0..255 in sRGB. Every failure is an `ImageError` of one line.
"""

import io
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from minivgg.files import FileError, FileTakenError, atomic_file, check_folder
from minivgg.program import first_line

from . import ImageError, deep
from .decode import composite
from .files import open_regular
from .images import to_uint8
from .profiles import srgb_profile

METADATA_KEY = "minivgg-style"
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
}
QUALITY = {"JPEG": 95, "WEBP": 95, "AVIF": 90}  # of formats that have one
DEEP = ("PNG", "TIFF")  # formats that hold 16 bits a sample
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65536}  # what the formats can hold
_TEXT_LIMIT = 60_000  # bytes; a JPEG segment ends at 65533


class OutputExistsError(ImageError):
    """There is a file of this name, which is not to be replaced."""


def check_output(path, overwrite=False, *, size_hw=None, depth=8):
    """Raise ImageError for an output that could not be written, before any work is done. Returns the path.

    A temporary file is really made (and removed); an existing picture is not touched.
    """
    path = Path(path)
    fmt = check_depth(path, depth)
    check_name(path)
    folder = Path(os.path.realpath(path)).parent
    if os.path.isdir(path):
        raise ImageError(f"{path}: a folder; expected a file name such as {path / 'out.png'}")
    if not os.path.isdir(folder):
        raise ImageError(f"{path}: the folder {folder} does not exist; make it first")
    if os.path.exists(path):
        if not os.path.isfile(path):
            raise ImageError(f"{path}: not a regular file; expected a new name, or that of a picture")
        if not overwrite:
            raise OutputExistsError(f"{path}: exists already; give another name or --overwrite")
        if not os.access(path, os.W_OK):
            raise ImageError(f"{path}: write-protected; give another name")
    if size_hw is not None:
        _check_limits(path, fmt, *size_hw)
    try:
        check_folder(path)
    except FileError as error:
        raise ImageError(f"{error}; choose another folder") from None
    if size_hw is not None:
        needed = 2**20 + 4 * (depth // 8) * size_hw[0] * size_hw[1]  # the picture uncompressed, and some
        free = shutil.disk_usage(folder).free
        if free < needed:
            found = f"{free / 2**20:.1f} MiB free on the disk, {needed / 2**20:.1f} needed"
            raise ImageError(f"{path}: {found}; free some space")
    return path


def check_name(path):
    """Raise ImageError for a name that is longer than its folder takes: 255 bytes on most disks."""
    path = Path(path)
    try:
        longest = os.pathconf(Path(os.path.realpath(path)).parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows has no pathconf; a folder that is missing is said elsewhere
        longest = 255
    length = len(os.fsencode(path.name))
    if length > longest:
        raise ImageError(f"{path.name[:40]}…: a name of {length} bytes; the folder takes {longest}, give a shorter one")


def holds(path):
    """Bytes of metadata that a file of this name takes, or None for any number."""
    return _TEXT_LIMIT if _format(Path(path)) == "JPEG" else None


def save(path, rgb, *, alpha=None, metadata=None, quality=None, depth=8, dpi=None, replace=True):
    """Write a picture whole or not at all (files.atomic_file).

    rgb (H, W, 3) 0..255, alpha (H, W) 0..1 or None
    `metadata` (JSON values) is stored inside the picture: PNG in an iTXt chunk "minivgg-style", JPEG and WebP in
    EXIF's UserComment, TIFF in ImageDescription. An sRGB profile is embedded. JPEG has no alpha: the picture is
    composited on white. `quality` 1..100 is JPEG's, WebP's and AVIF's (None: QUALITY); WebP's colour is half-resolution
    unless it is 100. `depth` is 8 or, of PNG and TIFF, 16 bits a sample. `dpi` pixels an inch are stored in PNG, TIFF
    and JPEG.
    Without `replace` a file that is there stays, also one that came a moment ago: OutputExistsError.
    """
    path = Path(path)
    data = encode(path, rgb, alpha=alpha, metadata=metadata, quality=quality, depth=depth, dpi=dpi)
    try:
        with atomic_file(path, replace=replace) as file:
            file.write(data)
    except FileTakenError as error:
        raise OutputExistsError(str(error)) from None
    except FileError as error:
        raise ImageError(str(error)) from None


def encode(path, rgb, *, alpha=None, metadata=None, quality=None, depth=8, dpi=None):
    """The bytes of a file of this name, as `save` writes it. Encoded in memory: a full disk is met by the write alone.

    `path` says the format, by its suffix, and stands in what is refused; nothing is written.
    """
    path, rgb = Path(path), np.asarray(rgb)
    fmt = check_depth(path, depth)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ImageError(f"{path}: array of shape {rgb.shape}; expected (H, W, 3)")
    bad = int(rgb.size - np.isfinite(rgb).sum())
    if bad:
        raise ImageError(f"{path}: {bad} of {rgb.size} values are not finite; nothing was written")
    _check_limits(path, fmt, *rgb.shape[:2])
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ImageError(f"{path}: alpha of shape {alpha.shape}; expected {rgb.shape[:2]}")
    if alpha is not None and fmt == "JPEG":
        rgb, alpha = composite(rgb, alpha)[0], None
    levels = to_uint8 if depth == 8 else deep.to_uint16
    pixels = levels(rgb)
    if alpha is not None:
        pixels = np.dstack([pixels, levels(np.asarray(alpha) * 255.0)])
    options = {"icc_profile": srgb_profile()} | _format_options(fmt, QUALITY.get(fmt) if quality is None else quality)
    if metadata is not None:
        # ASCII, since EXIF and TIFF know no more; wrapped, so that another program's JSON is not taken as ours.
        text = json.dumps({METADATA_KEY: metadata}, default=_plain)
        if fmt == "JPEG" and len(text) > _TEXT_LIMIT:
            raise ImageError(f"{path}: {len(text)} bytes of metadata, JPEG holds {_TEXT_LIMIT}; choose .png")
        options |= _metadata_options(fmt, text)
    if dpi is not None and fmt in ("PNG", "JPEG", "TIFF"):
        options["dpi"] = (dpi, dpi)
    buffer = io.BytesIO()
    try:
        if depth == 16:
            return {"PNG": deep.png, "TIFF": deep.tiff}[fmt](pixels, **options)
        Image.fromarray(pixels).save(buffer, fmt, **options)
    except Exception as error:  # encoders raise OSError, ValueError, struct.error …
        raise ImageError(f"{path}: cannot be encoded as {fmt} ({first_line(error)})") from None
    return buffer.getvalue()


def check_depth(path, depth):
    """Pillow's name of the format that the suffix asks for. Raises ImageError where it has not that depth."""
    fmt = _format(path)
    if depth == 16 and fmt not in DEEP:
        raise ImageError(f"{path}: {fmt} holds 8 bits a sample, not 16; choose .png or .tif")
    return fmt


def read_metadata(path):
    """What `save` stored in the picture, or None where there is nothing of ours."""
    path = Path(path)
    with open_regular(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file) as image:
                text = _stored_text(image)
        except Exception as error:
            raise ImageError(f"{path}: cannot be read as a picture ({first_line(error)})") from None
    try:
        stored = json.loads(text)[METADATA_KEY]
    except (TypeError, ValueError, KeyError, IndexError):
        return None
    return stored if isinstance(stored, dict) else None


def _stored_text(image):
    """The text in which `save` puts its JSON, or None."""
    if image.format == "PNG":
        return image.info.get(METADATA_KEY)
    if image.format == "TIFF":
        return image.tag_v2.get(ExifTags.Base.ImageDescription)
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(comment, bytes) and comment.startswith(b"ASCII\0\0\0"):
        return comment[8:].decode("ascii", "replace")
    return None


def _format(path):
    """Pillow's name of the format that the file's suffix asks for."""
    fmt = FORMATS.get(path.suffix.lower())
    if fmt is None:
        found = f'the suffix "{path.suffix}"' if path.suffix else "no suffix"
        raise ImageError(f"{path}: {found}; expected one of {', '.join(FORMATS)}")
    Image.init()
    if fmt not in Image.SAVE:
        raise ImageError(f"{path}: this Pillow cannot write {fmt}; choose .png")
    return fmt


def _check_limits(path, fmt, h, w):
    limit = LONGEST_SIDE.get(fmt)
    if limit and max(h, w) > limit:
        raise ImageError(f"{path}: {w}x{h} pixels, {fmt} holds at most {limit} a side; choose .png or .tif")


def _plain(value):
    """JSON values for what run parameters are made of: NumPy numbers and arrays, paths, the rest as text."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def _format_options(fmt, quality):
    if fmt == "JPEG":
        return {"quality": quality, "subsampling": 0}  # full colour resolution: style lives in colour edges
    if fmt == "AVIF":
        return {"quality": quality, "subsampling": "4:4:4"}
    if fmt == "WEBP":
        return {
            "quality": quality,
            "lossless": quality >= 100,
            "exact": True,
        }  # exact: colours under transparent pixels are kept
    return {"compression": "tiff_adobe_deflate"} if fmt == "TIFF" else {}


def _metadata_options(fmt, text):
    if fmt == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt(METADATA_KEY, text)
        return {"pnginfo": chunks}
    if fmt == "TIFF":
        return {"description": text, "software": METADATA_KEY}
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = METADATA_KEY
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + text.encode("ascii")
    return {"exif": exif}
