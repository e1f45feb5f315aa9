"""What a rank reads of the pictures, and the memory that this takes: of some TIFFs its rows, of any other file all."""

import math
import os

from ..pictures import images, parts

PAINT = 12  # bytes a pixel of a style picture that its mask and weights of places take, with those at coarser scales
MASK = 30  # bytes a pixel that a mask takes while it is read, and while weights of places are made of it


def hashes(content, style, init):
    """{name: hash} of the files that can be read by rows. One rank asks: for the hash a file is read whole."""
    names = map(_name, (*images.several(content), *images.several(style), init))
    return {name: sha256 for name in names if name is not None and (sha256 := parts.sha256_of(name)) is not None}


def by_rows(source, need, known):
    """parts.PartPicture, or None where the whole is to be read. known  what hashes() found"""
    sha256 = known.get(_name(source))
    return None if sha256 is None else parts.read(source, sha256, need=need)


def is_at(picture, size):
    """Whether a picture has (height, width) as it is."""
    return picture.rgb.shape[:2] == tuple(size) and picture.box is None


def reading(content, start, styles, filters, stage, weights=()):
    """Bytes of the pictures as they came, and of one at its size, while a rank cuts its strips. start  or None

    filters  pictures.filters.Filters of these, which change whole pictures first
    weights  masks (H, W), as large as their pictures
    """
    pictures = [(p, stage.size) for p in (content, start, filters.beside) if p is not None]
    pictures += zip(styles, stage.style_sizes, strict=True)
    own = (content, filters.beside)  # of which a rank cuts its rows; of the others it may be all
    held = sum(12 * math.prod(size) for p, size in pictures if _in_rows(p) and is_at(p, size) and p not in own)
    kept = sum(p.rgb.nbytes for p, _ in pictures) + sum(m.nbytes for m in weights)
    masks = max([MASK * m.size for m in weights] + [MASK * math.prod(stage.size)] * bool(weights), default=0)
    return held + kept + max(filters.changing, masks, *(_making(p, size) for p, size in pictures))


def cutting(content, beside, stage):
    """Bytes of a row of the pictures that are read by rows, while a rank cuts its strips. beside  or None"""
    found = [p for p in (content, beside) if p is not None and _in_rows(p) and is_at(p, stage.size)]
    return (parts.CUTTING + 12 * (len(found) - 1)) * stage.size[1] if found else 0


def _making(picture, size):
    """Bytes that a picture at a size takes, beside what it is made of."""
    if _in_rows(picture):
        return picture.rgb.buffer if is_at(picture, size) else picture.reading(size)
    return 0 if is_at(picture, size) else 24 * math.prod(size)


def _in_rows(picture):
    return isinstance(picture, parts.PartPicture)


def _name(source):
    return os.fspath(source) if isinstance(source, str | os.PathLike) else None
