"""A large TIFF of which a process needs some rows: what images.read gives of it, to the bit, without the rest.

For colours of 8 or 16 bits in strips or tiles, opaque, upright, the only page, compressed without loss; profiles are
applied as always. Whatever else there is, images.read reads whole.
"""

import contextlib
import copy
import hashlib
import importlib.util
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from . import ImageError, decode, files, images, kinds, oklab, tiff
from .samples import of_samples

CONVERTING = 64  # bytes a pixel that converting a band takes
CHANGING = 24  # bytes a pixel that a change of a band takes
CUTTING = 96  # bytes a pixel that a strip takes on its way from the file to the network


@dataclass(frozen=True, eq=False)
class PartPicture(images.Picture):
    """images.Picture whose rgb is a FileRows: it has no pixels yet. alpha is None, and box."""

    def resized(self, size_hw, *, method="auto"):
        """images.resize of the whole, of which there is no more than a band: as Pillow, rows first, then columns."""
        (H, W), (h, w) = self.rgb.shape[:2], size_hw
        if (h, w) == (H, W):
            return self.rgb[:]
        prepared, kernel = images.way(method, h * w < H * W)
        narrow, ends = np.empty((3, H, w), prepared(np.zeros(1)).dtype), []

        def use(top, rows):
            band = prepared(np.moveaxis(rows, -1, 0))
            ends.extend((band.min(), band.max()))
            for plane, out in zip(band, narrow, strict=True):
                out[top : top + len(rows)] = np.asarray(Image.fromarray(plane).resize((w, len(rows)), kernel))

        self.rgb.each(0, H, use)
        out = np.empty((h, w, 3), np.float32)
        for k, plane in enumerate(narrow):
            out[..., k] = np.asarray(Image.fromarray(plane).resize((w, h), kernel))
        return out.clip(min(ends), max(ends), out=out)

    def reading(self, size_hw):
        """Bytes that resized() takes, what it gives included."""
        (H, _), (h, w) = self.rgb.shape[:2], size_hw
        return self.rgb.buffer + 4 * (3 * H * w + 4 * h * w)


class FileRows:
    """The pixels of a TIFF, (H, W, 3) float32 0..255 in sRGB: rgb[a:b] decodes the strips or tiles that these lie in.

    path  of a file that `parts.readable` takes
    nbytes  that it keeps: none;  buffer: that a call takes besides what it gives
    """

    nbytes = 0
    changes = ()  # functions of some rows, (h, W, 3) each, that they go through

    def __init__(self, path, tags):
        self.path, self.shape = path, (tags.size[1], tags.size[0], 3)
        self.high = tags.segment_rows
        self.band = min(decode.BAND, tags.size[0] * tags.size[1])  # pixels that are converted in one go
        self.buffer = CONVERTING * self.band + tiff.bytes_needed(tags)
        self.mode, self.notes = self._with(lambda rows, mode, notes: (mode, tuple(notes)))

    def changed(self, function):
        """The same rows, each as oklab.by_strips(function, …) makes it, when they are read."""
        found = copy.copy(self)
        found.changes, found.buffer = (*self.changes, function), self.buffer + CHANGING * self.band
        return found

    def __getitem__(self, rows):
        first, last, _ = rows.indices(self.shape[0])
        out = np.empty((max(last - first, 0), *self.shape[1:]), np.float32)

        def use(top, rows):
            out[top - first : top - first + len(rows)] = rows

        if len(out):
            self.each(first, last, use)
        return out

    def each(self, first, last, use):
        """use(top, (h, W, 3)) of rows `first` to `last`, as many at a time as are converted in one go."""
        step = max(1, decode.BAND // self.shape[1])
        step = step // self.high * self.high or step  # whole strips or rows of tiles, where these fit
        edges = [first, *range(first // step * step + step, last, step), last]

        def work(colours, mode, notes):
            for top, bottom in itertools.pairwise(edges):
                rows = colours(top, bottom)
                for function in self.changes:
                    rows = oklab.by_strips(function, rows)
                use(top, rows)

        self._with(work)

    def _with(self, work):
        """work(colours, mode, notes) while the file is open. colours  a function (top, bottom) → (h, W, 3)"""
        with files.open_regular(self.path) as file:
            try:
                found = kinds.examine(file, self.path)
                samples, notes = tiff.read_samples(file, found.tags, self.path), []
                if not tiff.by_pillow(found.tags):
                    convert = of_samples(samples, found.tags, self.path, notes)
                    return work(lambda a, b: convert(samples[a:b])[0], f"TIFF {found.tags}", notes)
                file.seek(0)
                with Image.open(file) as image:  # for what it says of its colours
                    convert = decode.colours_of(image, found, notes)
                    return work(lambda a, b: convert(Image.fromarray(samples[a:b]))[0], image.mode, notes)
            except ImageError:
                raise
            except Exception as error:  # decoders raise anything on bad data
                raise kinds.refusal(self.path, file, error) from None


def readable(path):
    """The tiff.Tags of a file that can be read by rows; None for any other, and where there is none."""
    with contextlib.suppress(Exception), files.open_regular(path := Path(path)) as file:
        tags = kinds.examine(file, path).tags
        if tags is None or not _is_plain(tags):
            return None
        if tiff.by_pillow(tags):
            file.seek(0)
            with Image.open(file) as image:
                if image.mode != "RGB" or image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                    return None
        return tags
    return None


def _is_plain(tags):
    lossless = tiff.PLAIN if importlib.util.find_spec("imagecodecs") is None else tiff.BY_PILLOW
    kind = (tags.photometric, len(tags.bits), tags.orientation, tags.pages, tags.depth, tags.fill_order)
    return (
        kind == (tiff.RGB, 3, 1, 1, 1, 1)
        and {*tags.bits} in ({8}, {16})
        and tags.by_rows
        and tags.compression in lossless
    )


def sha256_of(path):
    """The hash of a file that is readable by rows, or None: what read() is to be given."""
    if readable(path) is None:
        return None
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def read(path, sha256, *, need=None):
    """PartPicture of a file that is readable by rows, or None where it is to be read whole, and reduced meanwhile.

    sha256, need  the file's hash; as for images.read. Raises ImageError.
    """
    tags = readable(path)
    if tags is None or files.Wish(images.MIN_SIDE, need).factor(path, *tags.size) > 1:
        return None
    rgb = FileRows(Path(path), tags)
    return PartPicture(rgb, None, sha256, rgb.path, rgb.mode, tags.size, rgb.notes)
