"""TIFF: a container of many kinds. What Pillow decodes right is left to it; the others are tifffile's.

KNOWN is what tests/test_tiff_matrix.py found Pillow to decode right; it reads others wrong without a word (planes of
16 bits, signed integers when compressed, 12 bits, …). Those go through tifffile, whose compressions other than
Deflate, PackBits and none need imagecodecs (the extra `tiff`). What neither reads is refused by name.
"""

import contextlib
import importlib.util
import logging
import math
from dataclasses import dataclass

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from . import ImageError
from .strips import Rows

WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
CFA, LINEAR_RAW = 32803, 34892
UINT, INT, FLOAT = 1, 2, 3
JPEG_COMPRESSION, CCITT = (6, 7), (2, 3, 4)
NAMES = {
    **{1: "not compressed", 2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "Deflate"},
    **{32773: "PackBits", 32946: "Deflate", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 34712: "JPEG 2000"},
}
PHOTOMETRIC = {PALETTE: "palette", CMYK: "inks", YCBCR: "YCbCr", CIELAB: "Lab", ICCLAB: "Lab"}
PLAIN = (1, 8, 32946, 32773)  # compressions that tifffile decodes itself
BY_PILLOW = (1, 5, 8, 32773, 32946)
KNOWN = {  # (photometric, samples, alpha): bits
    (WHITE_IS_0, 1, None): (1, 8),
    (BLACK_IS_0, 1, None): (1, 2, 4, 8),
    (BLACK_IS_0, 2, 2): (8,),
    (RGB, 3, None): (8,),
    (RGB, 4, 1): (8,),
    (RGB, 4, 2): (8,),
    (PALETTE, 1, None): (1, 2, 4, 8),
    (CMYK, 4, None): (8,),
}
_PAGES = 64  # at most so many are looked at


@dataclass(frozen=True)
class Tags:
    """What the first page says of itself.

    size (width, height); bits, formats: a number a sample; alpha 1 (multiplied into the colours), 2, or None
    """

    size: tuple
    bits: tuple
    formats: tuple
    photometric: int
    compression: int
    planar: bool
    fill_order: int
    extra: tuple
    predictor: int
    palette: np.ndarray | None
    reference: tuple | None
    depth: int
    profile: bytes | None
    orientation: int
    pages: int
    little: bool
    segment_rows: int  # of a strip or tile

    @property
    def by_rows(self):
        """Whether its samples can be converted as they come: nothing depends on the smallest and largest of all."""
        return {*self.formats} == {UINT} and self.segment_rows < self.size[1]

    @property
    def alpha(self):
        return next((kind for kind in self.extra if kind in (1, 2)), None)

    @property
    def inks(self):
        """Samples that make the colour."""
        return {RGB: 3, YCBCR: 3, CIELAB: 3, ICCLAB: 3, CMYK: 4}.get(self.photometric, 1)

    @property
    def known(self):
        """Whether Pillow decodes this kind right."""
        samples, one = len(self.bits), len({*self.bits}) == 1
        if not one or {*self.formats} != {UINT} or self.fill_order != 1 or self.depth != 1:
            return False
        bits = self.bits[0]
        if self.compression in CCITT:
            return bits == 1 and samples == 1 and self.photometric in (WHITE_IS_0, BLACK_IS_0)
        if self.compression == 7:
            kinds = ((BLACK_IS_0, 1), (RGB, 3), (YCBCR, 3))
            return bits == 8 and not self.planar and (self.photometric, samples) in kinds
        if self.compression not in BY_PILLOW or (self.planar and samples > 1):
            return False
        return bits in KNOWN.get((self.photometric, samples, self.alpha), ())

    def __str__(self):
        bits = "/".join(map(str, sorted({*self.bits})))
        kind = {UINT: "integer", INT: "signed integer", FLOAT: "float"}.get(self.formats[0], "complex or undefined")
        words = [f"{len(self.bits)} x {bits}-bit {kind}", PHOTOMETRIC.get(self.photometric, "")]
        words += ["in planes"] if self.planar else []
        return ", ".join([*filter(None, words), NAMES.get(self.compression, f"compression {self.compression}")])


def read_tags(file, label):
    """Tags of a TIFF's first page. Raises ImageError for a camera's raw file, and where strips or tiles are missing."""
    file.seek(0)
    head = file.read(8)
    head += file.read(8) if 43 in head[2:4] else b""
    if head[:4] == b"MM\0+":
        raise ImageError(f"{label}: a BigTIFF of big-endian numbers is not supported; export it as TIFF or PNG")
    first, pages = _directory(file, head, None), 1
    if first is None:
        raise ImageError(f"{label}: damaged or cut short (no page in this TIFF); get the file again")
    found, pending, seen = [first], [(v, 0) for v in _offsets(first)] + [(first.next, 1)], set()
    while pending and len(found) < _PAGES:
        offset, one_more = pending.pop()
        page = _directory(file, head, offset) if offset and offset not in seen else None
        seen.add(offset)
        if page is not None:
            pages += one_more
            found.append(page)
            pending += [(v, 0) for v in _offsets(page)] + [(page.next, one_more)]
    if 50706 in first or any(page.get(262) in (CFA, LINEAR_RAW) for page in found) or head[8:10] == b"CR":
        raise ImageError(f"{label}: a camera's raw file, of which only a preview is a picture; develop it first")
    _check_complete(file, first, label)
    return _tags(first, pages)


def _directory(file, head, offset):
    """One page's directory, or None where there is none or it cannot be read."""
    with contextlib.suppress(Exception):  # Pillow raises anything on bad data
        directory = ImageFileDirectory_v2(head)
        file.seek(directory.next if offset is None else offset)
        directory.load(file)
        return directory if len(directory) else None
    return None


def _offsets(page):
    """Where the pages inside a page are."""
    found = page.get(330) or ()
    return [v for v in (found if isinstance(found, tuple) else (found,)) if isinstance(v, int)][:_PAGES]


def _check_complete(file, page, label):
    """Strips or tiles that lie beyond the end of the file, or are not there."""
    offsets, counts = (_numbers(page.get(a) or page.get(b)) for a, b in ((273, 324), (279, 325)))
    end = file.seek(0, 2)
    if not offsets:
        raise ImageError(f"{label}: damaged or cut short (no strips or tiles in this TIFF); get the file again")
    missing = sum(a + n > end or a == 0 or n == 0 for a, n in zip(offsets, counts))
    if missing:
        found = f"{missing} of {len(offsets)} strips or tiles are missing"
        raise ImageError(f"{label}: damaged or cut short ({found}); get the file again")


def _numbers(value):
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _tags(page, pages):
    samples = int(page.get(277, 1))
    numbers = lambda tag, default: _numbers(page.get(tag, default))  # noqa: E731
    bits, formats = ((v * samples if len(v) == 1 else v)[:samples] for v in (numbers(258, 1), numbers(339, 1)))
    photometric = int(page.get(262, BLACK_IS_0))
    inks = {RGB: 3, YCBCR: 3, CIELAB: 3, ICCLAB: 3, CMYK: 4}.get(photometric, 1)
    extra = numbers(338, ())[: max(samples - inks, 0)]
    palette = page.get(320)
    reference = page.get(532)
    return Tags(
        (int(page.get(256, 0)), int(page.get(257, 0))),
        tuple(bits),
        tuple(formats),
        photometric,
        int(page.get(259, 1)),
        page.get(284, 1) == 2 and samples > 1,
        int(page.get(266, 1)),
        # a fourth colour sample that nothing is said of: programs of old wrote transparency so
        (2,) if samples == inks + 1 and not extra and photometric == RGB else tuple(extra),
        int(page.get(317, 1)),
        None if palette is None else np.asarray(palette, np.uint16).reshape(3, -1).T,
        None if reference is None else tuple(float(v) for v in reference),
        int(page.get(32997, 1)),
        page.get(34675),
        int(page.get(274, 1)),
        pages,
        page.prefix == b"II",
        max(1, int(page.get(323) or page.get(278) or page.get(257, 1))),
    )


def bytes_needed(tags):
    """Bytes that the samples take: of all of it, or of a row of strips or tiles, as read and as put together."""
    width, height = tags.size
    rows = min(height, 3 * tags.segment_rows) if tags.by_rows else height
    return width * rows * sum(1 if b <= 8 else 1 << math.ceil(math.log2(b / 8)) for b in tags.bits)


def read_samples(file, tags, label):
    """The samples of the first page by tifffile, (H, W, S), of the type in the file: an array, or strips.Rows of one.

    Raises ImageError.
    """
    kind = f"{label}: a TIFF of this kind ({tags}) cannot be read"
    export = "export it as TIFF with 8 or 16 bits a sample, or as PNG"
    if len({*tags.bits}) > 1 or not {*tags.formats} <= {UINT, INT, FLOAT} or tags.depth != 1:
        raise ImageError(f"{kind}; {export}")
    import tifffile  # here: it takes a fifth of a second to load, which no other picture need wait for

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters of it becomes an error below
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages[0]
            if tags.by_rows:
                samples = Rows(page, file, tags)
                samples[0:1]  # what cannot be decoded is found here
                return samples
            samples = page.asarray()
    except MemoryError:
        raise
    except Exception as error:
        words = str(error)
        unaided = tags.compression not in PLAIN and importlib.util.find_spec("imagecodecs") is None
        if unaided or "imagecodecs" in words:
            raise ImageError(f'{kind} without imagecodecs; pip install "minivgg-style[tiff]", or {export}') from None
        if "fill_order" in words or "not supported" in words or isinstance(error, NotImplementedError):
            raise ImageError(f"{kind}; {export}") from None
        raise ImageError(f"{kind}, or it is damaged; {export}, or get the file again") from None
    if samples.ndim == 2:
        samples = samples[..., None]
    if tags.planar:
        samples = np.moveaxis(samples, 0, -1)
    width, height = tags.size
    if samples.shape != (height, width, len(tags.bits)):
        raise ImageError(f"{kind}; {export}")
    return samples


def by_pillow(tags):
    """Whether a kind is Pillow's: known, or beyond what tifffile decompresses here and right but for depth."""
    if tags.known:
        return True
    plain = tags.compression in PLAIN and {*tags.bits} <= {8, 16, 32, 64}
    return not plain and importlib.util.find_spec("imagecodecs") is None and _but_for_depth(tags)


def right_in_pillow(image):
    """Whether a TIFF that Pillow has opened is of a kind that it decodes right, but perhaps for depth."""
    tags = _tags(image.tag_v2, 1)
    return tags.known or _but_for_depth(tags)


def _but_for_depth(tags):
    """Kinds of which Pillow keeps 8 bits of 16; grey's, and 12 of 12 where they are not compressed, it keeps."""
    kind = (tags.photometric, len(tags.bits), tags.alpha)
    if {*tags.formats} != {UINT} or tags.planar or tags.fill_order != 1 or tags.depth != 1:
        return False
    if kind == (BLACK_IS_0, 1, None) and tags.bits == (12,):
        return tags.compression == 1 and tags.little
    kinds = {(RGB, 3, None), (RGB, 4, 2), (CMYK, 4, None), (BLACK_IS_0, 1, None)}
    return kind in kinds and {*tags.bits} == {16} and tags.compression in BY_PILLOW
