"""Pictures in strips: cut off on the way in, made of noise, enlarged, written without the whole."""

import contextlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from minivgg.files import FileError, FileTakenError, atomic_file
from minivgg.program import first_line

from ..pictures import ImageError, deep, images, saving
from ..pictures.profiles import srgb_profile
from .strips import Strip, common, fetch

TILE = 256  # pixels of a tile in a TIFF
SMALLEST = 1024  # pixels: a TIFF's picture is halved until its longer side is no longer
IN_TILES = (".tif", ".tiff")
WRITING = {8: 42, 16: 64}  # bytes a pixel that writing takes where rank 0 has the whole, by depth (measured)
SUPPORT = 4  # rows beside its own that an enlarged row is made of, with some to spare


def mirrored(rows, height, margin):
    """The picture's row for each of `rows` (first, end) of the network input, whose margins are mirrored."""
    return np.pad(np.arange(height), margin, mode="symmetric")[rows[0] : rows[1]]


def inside(rows, height, margin):
    """(first, end) of the picture's rows that lie in `rows` of the network input, its margins not counted."""
    first, end = common(rows, (margin, margin + height)) or (rows[0], rows[0])
    return first - margin, end - margin


def to_strip(colours, rgb, rows, height, first=0):
    """The Strip `rows` of the network input, from rows `first` … of its picture.

    rgb (h, w, 3), height of the whole picture
    """
    margin = colours.margin
    pixels = rgb[mirrored(rows, height, margin) - first]
    pixels = np.pad(pixels, ((0, 0), (margin, margin), (0, 0)), mode="symmetric")
    part = images.to_network(pixels, colours.mean, colours.order, device=colours.device)
    return Strip(part, rows[0], height + 2 * margin)


def to_rgb(colours, strip, *, clip=True):
    """((first, end) rows of the picture, (h, w, 3) float32) of a network input's Strip, without its margins."""
    margin = colours.margin
    rows = inside(strip.rows, strip.shape[2] - 2 * margin, margin)
    at = slice(rows[0] + margin, rows[1] + margin), slice(margin, strip.shape[3] - margin)
    rgb = images.from_network(strip[(slice(None), slice(None), *at)], colours.mean, colours.order)
    return rows, np.clip(rgb, 0, 255) if clip else rgb


def noise(seed, level, shape, rows):
    """Rows of the noise at which a run on one machine starts, (1, C, h, W) float32."""
    _, C, H, W = shape
    out = np.empty((1, C, rows[1] - rows[0], W), np.float32)
    for c in range(C):
        rng = np.random.default_rng(seed)
        rng.bit_generator.advance((c * H + rows[0]) * W)  # a number a value
        out[0, c] = rng.uniform(-level, level, out.shape[2:])
    return out


def enlarged(ranks, change, coarse_hw, size_hw, needs):
    """A picture that lies in rows over the ranks, enlarged.

    change     Strip (1, 3, h, w) of rows of the coarse picture, those of all ranks making the whole
    coarse_hw, size_hw  (height, width) of both
    needs      of each rank, [(first, end), …] of the rows of the large picture to make, each in one go
    Returns for each of this rank's (first, end) an array (end - first, W, 3), not clipped but to the range there is.
    """
    (h, w), (H, W) = coarse_hw, size_hw
    scale = h / H

    def source(rows):
        return max(0, int(rows[0] * scale) - SUPPORT), min(h, int(np.ceil(rows[1] * scale)) + SUPPORT)

    need = [(min(source(r)[0] for r in rows), max(source(r)[1] for r in rows)) if rows else (0, 0) for rows in needs]
    part = change.part
    ends = ranks.everyone((change.rows, *((float(part.min()), float(part.max())) if part.size else (np.inf, -np.inf))))
    low, high = min(e[1] for e in ends), max(e[2] for e in ends)
    found = fetch(ranks, "enlarging", change, [e[0] for e in ends], need)
    out = []
    for rows in needs[ranks.rank]:
        first, last = source(rows)
        planes = found[(0, slice(None), slice(first, last), slice(None))]
        box = (0, rows[0] * scale - first, w, rows[1] * scale - first)
        size = (W, rows[1] - rows[0])
        made = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC, box=box)) for p in planes]
        out.append(np.stack(made, axis=-1).clip(low, high))
    return out


@dataclass
class StripResult:
    """What result.Result is, of a picture that lies in rows over the ranks. save() is collective.

    rows   (first, end) of the picture that are here;  size (height, width) of the whole
    rgb    (end - first, W, 3);  alpha (end - first, W) from 0 to 1, or None
    """

    ranks: object = field(repr=False)
    rows: tuple
    rgb: np.ndarray = field(repr=False)
    size: tuple
    outcome: object
    metadata: dict = field(repr=False)
    losses: list = field(default_factory=list, repr=False)
    depth: int = 8
    alpha: np.ndarray | None = field(default=None, repr=False)

    def save(self, path, replace=True, quality=None, dpi=None):
        """Write the picture: rank 0 does; .tif in tiles, of which it never has more than a row of them."""
        path, ranks = Path(ranks_path(self.ranks, path)), self.ranks
        have = ranks.everyone(self.rows)
        bands = [(y, min(y + TILE, self.size[0])) for y in range(0, self.size[0], TILE)]
        pieces = [(r, rows) for band in bands for r, own in enumerate(have) if (rows := common(own, band)) is not None]
        finite = ranks.everyone(bool(np.isfinite(self.rgb).all()))

        tiff, channels = None, 3 if self.alpha is None else 4
        if path.suffix.lower() in IN_TILES:
            tiff = images.to_uint8 if self.depth == 8 else deep.to_uint16

        def give(rows):
            at = slice(rows[0] - self.rows[0], rows[1] - self.rows[0])
            opacity = [] if self.alpha is None else [self.alpha[at, :, None] * (1 if tiff is None else 255)]
            part = np.concatenate([self.rgb[at], *opacity], axis=2)
            return part if tiff is None else tiff(part)

        def shape(rows):
            dtype = np.float32 if tiff is None else tiff(np.zeros(1)).dtype
            return (rows[1] - rows[0], self.size[1], channels), dtype

        def write(rows):
            if not all(finite):
                raise ImageError(f"{path}: values are not finite; nothing was written")
            if tiff is None:
                whole, at = np.empty((*self.size, channels), np.float32), 0
                for part in rows:
                    whole[at : at + len(part)] = part
                    at += len(part)
                more = {"quality": quality, "depth": self.depth, "dpi": dpi, "replace": replace}
                more["alpha"] = whole[..., 3] if channels == 4 else None
                saving.save(path, whole[..., :3], metadata=self.metadata, **more)
            else:
                size = (*self.size, channels)
                write_tiff(path, rows, size, shape((0, 0))[1], self.metadata, dpi, replace)

        ranks.collect(pieces, shape, give, write)


def ranks_path(ranks, path):
    """The path that rank 0 means, at every rank."""
    return ranks.first(str(path))


def write_tiff(path, parts, size, dtype, metadata, dpi, replace):
    """A tiled BigTIFF, halved pictures in its SubIFDs, whole or not at all, from rows that come one after the other.

    parts  iterable of (h, W, C), from the top, none of them over two rows of tiles;  size (H, W, C), C 3 or 4
    """
    import tifffile  # here: it takes a fifth of a second to load

    text = json.dumps({saving.METADATA_KEY: metadata}, default=str)
    more = {"resolution": (dpi, dpi), "resolutionunit": "inch"} if dpi is not None else {}
    more |= {"iccprofile": srgb_profile(), "description": text, "software": saving.METADATA_KEY}
    try:
        with (
            atomic_file(path, replace=replace) as file,
            tifffile.TiffWriter(tifffile.FileHandle(file, name=path.name), bigtiff=True) as tiff,
        ):
            _write_levels(tiff, path.parent, parts, halvings(size), dtype, more)
    except FileTakenError as error:
        raise saving.OutputExistsError(str(error)) from None
    except FileError as error:
        raise ImageError(str(error)) from None
    except ImageError:
        raise
    except Exception as error:  # encoders raise many kinds
        raise ImageError(f"{path}: cannot be encoded as TIFF ({first_line(error)})") from None


def halvings(size):
    """[(height, width, C), …] of a picture and of each halved one down to SMALLEST; what is odd is rounded up."""
    found = [tuple(size)]
    while max(found[-1]) > SMALLEST:
        found.append((*(-(-n // 2) for n in found[-1][:2]), size[2]))
    return found


def _write_levels(tiff, folder, parts, sizes, dtype, more):
    """The picture and its halved ones, of which a nameless file in `folder` has the rows until their turn comes."""
    own = {"dtype": dtype, "tile": (TILE, TILE), "photometric": "rgb", "compression": "adobe_deflate"}
    own |= {"metadata": None, "maxworkers": 1}
    own |= {"extrasamples": ["unassalpha"]} if sizes[0][2] == 4 else {}
    with contextlib.ExitStack() as files:
        for k, size in enumerate(sizes):
            level = {"subfiletype": 1} if k else {"subifds": len(sizes) - 1, **more}
            rows = files.enter_context(tempfile.TemporaryFile(dir=folder)) if size != sizes[-1] else None
            tiff.write(tiles(parts, size, dtype, rows), shape=size, **own, **level)
            if rows is not None:
                parts = stored(rows, sizes[k + 1], dtype)


def tiles(parts, size, dtype, rows=None):
    """TIFF's tiles (TILE, TILE, C), row after row, from rows of the picture, (h, W, C) each.

    rows  a file that gets the halved picture's rows, or None
    """
    H, W, C = size
    parts = iter(parts)
    for y in range(0, H, TILE):
        high, band = 0, np.zeros((TILE, -(-W // TILE) * TILE, C), dtype)
        while high < min(TILE, H - y):
            part = next(parts)
            band[high : high + len(part), :W] = part
            high += len(part)
        if rows is not None:
            rows.write(halved(band[:high, :W]))
        for x in range(0, W, TILE):
            yield np.ascontiguousarray(band[:, x : x + TILE])


def halved(a):
    """Means over squares of 2x2 whole numbers, a half rounded up. An odd last row or column counts twice.

    a (h, w, C) → (ceil(h / 2), ceil(w / 2), C) of the same type
    """
    a = np.pad(a, ((0, a.shape[0] % 2), (0, a.shape[1] % 2), (0, 0)), mode="edge")
    pairs = np.add(a[::2], a[1::2], dtype=np.uint32)
    return ((pairs[:, ::2] + pairs[:, 1::2] + 2) >> 2).astype(a.dtype)


def stored(rows, size, dtype):
    """The rows in a file, TILE at a time: (h, W, C) each."""
    rows.seek(0)
    for y in range(0, size[0], TILE):
        part = np.empty((min(TILE, size[0] - y), *size[1:]), dtype)
        if rows.readinto(part) != part.nbytes:
            raise EOFError("rows of a halved picture are missing")
        yield part
