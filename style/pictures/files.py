"""A picture's file → its pixels: opened, counted before it is decoded, decoded at the size at which it is needed."""

import hashlib
import os
import re
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from minivgg.backend import Device, free_memory
from minivgg.program import first_line

from ..units import format_memory
from . import ImageError, decode, deep, kinds, tiff

SMALL = 32 << 20  # bytes: what takes no more is decoded whatever the budget; the plan says what does not fit
GAP = 3  # a file is reduced while it is decoded to no less than so many times the size at which it is needed
NO_END = "the mark of the file's end is missing; the picture is whole"


@dataclass
class Read:
    """What came of a file: decode.Decoded, of squares of `factor` pixels; its mode in words; the file's hash."""

    decoded: decode.Decoded
    mode: str
    factor: int
    sha256: str = ""


@dataclass(frozen=True)
class Wish:
    """What is wanted of a file.

    min_side  pixels that each side must have
    need      a function (H, W) → (h, w): the size at which it is wanted at most; None: all of it
    room      bytes that decoding may take; None: as many as it needs
    """

    min_side: int
    need: object = None
    room: int | None = None

    def factor(self, label, W, H):
        """Squares of how many pixels may become one."""
        check_size(label, H, W, self.min_side)
        if self.need is None:
            return 1
        wanted = sorted(self.need(H, W))
        return max(1, min(full // (GAP * max(1, least)) for full, least in zip(sorted((H, W)), wanted)))

    def check(self, label, W, H, raw, factor):
        """Raise ImageError where decoding takes more than there is room for. raw  bytes of the samples"""
        needed = raw + 20 * -(-W // factor) * -(-H // factor) + 64 * min(W * H, decode.BAND)
        if self.room is not None and needed > max(self.room, SMALL):
            left = format_memory(max(self.room, 0))
            found = f"{W}x{H} pixels take {format_memory(needed)} to decode, {left} are left"
            raise ImageError(f"{label}: {found}; scale the picture down first, or give more --memory")


def room(budget):
    """Bytes that decoding a picture may take: what the system leaves, or less where the process has a budget."""
    free = free_memory(Device("cpu")).left
    return free if budget is None else min(free, budget - psutil.Process().memory_info().rss)


def read(path, wish):
    """Read, of a file. Raises ImageError."""
    if os.fspath(path) in ("", b""):
        raise ImageError("'': an empty name; expected a picture file")
    if re.match(r"(https?|ftp)://", os.fsdecode(path)):
        raise ImageError(f"{os.fsdecode(path)}: a web address; download the picture, and give its file")
    path = Path(path)
    with open_regular(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters becomes an error or a note
        try:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:  # a disk or a network that fails
            raise ImageError(f"{path}: cannot be read ({first_line(error)}); try again, or copy it elsewhere") from None
        try:
            found = _read(file, path, wish)
        except ImageError:
            raise
        except Exception as error:  # decoders raise anything on bad data: OSError, SyntaxError, struct.error …
            found = _without_end(file, path, wish, error)
        found.sha256 = sha256
        return found


def _read(file, path, wish):
    seen = kinds.examine(file, path)
    if seen.tags is None or tiff.by_pillow(seen.tags):
        return _by_pillow(file, path, wish, seen)
    tags = seen.tags
    factor = wish.factor(path, *tags.size)
    wish.check(path, *tags.size, tiff.bytes_needed(tags), factor)
    samples = tiff.read_samples(file, tags, path)
    return Read(decode.decode_samples(samples, tags, path, factor=factor), f"TIFF {tags}", factor)


def _by_pillow(file, path, wish, seen):
    file.seek(0)
    with Image.open(file) as image:
        if image.format not in kinds.FORMATS:
            raise ImageError(f"{path}: the format {image.format} is not supported; export it as PNG")
        (W, H), mode = image.size, image.mode
        factor = wish.factor(path, W, H)
        seen = kinds.opened(seen, image, file, path)
        if image.format in ("JPEG", "MPO"):  # of HEIC a thumbnail would come, of any size
            image.draft(None, (W // factor, H // factor))
        drafted = min(d for d in (1, 2, 4, 8) if -(-W // d) <= image.width)
        rest, way = factor // drafted, deep.way(image, seen)
        wish.check(path, W, H, decode.bytes_of(image) * (1 if way is None else way.copies), drafted * rest)
        rows = None if way is None else way.rows(image, file)
        decoded = decode.decode(image, path, seen, factor=rest, box=(0, 0, W / drafted, H / drafted), rows=rows)
        return Read(decoded, mode, drafted * rest)


def _without_end(file, path, wish, error):
    """A JPEG that lacks nothing but the mark of its end; ImageError for what went wrong with any other file."""
    try:
        ended = kinds.jpeg_with_an_end(file)
        if ended is not None:
            found = _by_pillow(ended, path, wish, kinds.Found())
            found.decoded.notes.append(NO_END)
            return found
    except ImageError:
        raise
    except Exception as second:
        error = second
    raise kinds.refusal(path, file, error) from None


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


def check_size(label, H, W, min_side):
    """Raise ImageError for a picture that is too small."""
    if H < 1 or W < 1:
        raise ImageError(f"{label}: {W}x{H} pixels: an empty picture")
    if min(H, W) < min_side:
        raise ImageError(f"{label}: {W}x{H} pixels; each side must have at least {min_side}")
