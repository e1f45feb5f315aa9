"""What a file is, from its first bytes: refused by name before it is decoded, or what the decoder has to know.

Also the words for a file that a decoder gave up on: damaged, or of a kind that is not supported.
"""

import hashlib
import importlib
import importlib.util
import io
import re
import struct
from dataclasses import dataclass, field, replace

from PIL import Image, UnidentifiedImageError, features

from minivgg.program import first_line

from . import ImageError, depths, tiff

RAW = "a camera's raw file, of which only a preview is a picture; develop it first"
RAW_SUFFIXES = {
    *(".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff", ".iiq"),
    *(".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2"),
    *(".srf", ".srw", ".x3f"),
}
_RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAP")

# First bytes of files that people hand over as pictures → what to say.
_NOT_PICTURES = (
    (b"%PDF", "a PDF; export the page as PNG"),
    (b"%!PS", "a PostScript drawing; export it as PNG"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"<svg", "an SVG drawing; export it as PNG"),
    (b"<?xml", "an XML or SVG file; export it as PNG"),
    (b"<!doctype", "a web page saved under this name; download the picture itself"),
    (b"<html", "a web page saved under this name; download the picture itself"),
)
# Formats whose decoding has been compared with another program's (tests/test_formats.py); others are refused.
FORMATS = {
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM", "QOI"),
    *("SGI", "TGA", "TIFF", "WEBP"),
}
# Of ISO media files: brand → (name, module that teaches Pillow to read it, our extra)
_PLUGINS = {"heic": ("an HEIC file", "pillow_heif", "heic"), "jxl": ("a JPEG XL file", "pillow_jxl", "jxl")}
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

_DAMAGED = re.compile(
    r"truncat|broken|premature|unexpected end|\beof\b|end of file|not enough|checksum|corrupt|overrun"
)
_UNSUPPORTED = re.compile(r"unsupport|not support|unknown|cannot handle|not available|not implemented|unrecogni")
_WHOLE = 1 << 26  # pixels of a JPEG that may be decoded in full to see whether data are missing
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG's start-of-frame markers


@dataclass(frozen=True)
class Found:
    """What was seen in a file's head.

    tags    tiff.Tags of a TIFF, or None
    chunks  {name: data} of a PNG's chunks before its pixels
    cicp    (primaries, transfer, matrix, full range) where the file names its colours by number, or None
    bits    a sample, where the decoder may give 8 of more without a word
    undeclared  whether a fourth channel is not said to be transparency
    """

    tags: tiff.Tags | None = None
    chunks: dict = field(default_factory=dict)
    cicp: tuple | None = None
    bits: int = 8
    undeclared: bool = False


def examine(file, path):
    """Found, of an open file. Raises ImageError for what is not a picture that can be decoded right."""
    file.seek(0)
    head = file.read(64)
    if not head:
        raise ImageError(f"{path}: the file is empty; expected a picture")
    if head.startswith(_RAW_STARTS) or head[4:12] == b"ftypcrx ":
        raise ImageError(f"{path}: {RAW}")
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        if path.suffix.lower() in RAW_SUFFIXES:
            raise ImageError(f"{path}: {RAW}")
        return Found(tags=tiff.read_tags(file, path))
    if head[4:8] == b"ftyp":
        _iso_media(head, path)
        start = _start(file)
        return Found(cicp=_nclx(start), bits=depths.of_avif(start))
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        _plugin("jxl", path)
        return Found(bits=depths.of_jxl(_start(file)))
    if head.startswith(b"\xff\xd8"):
        _check_jpeg(file, path)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        chunks = _png_chunks(file)
        cicp = chunks.get(b"cICP", b"")
        return Found(chunks=chunks, cicp=tuple(cicp[:4]) if len(cicp) >= 4 else None)
    return Found()


def _start(file):
    file.seek(0)
    return file.read(1 << 16)


def opened(found, image, file, path):
    """The same with what is known once Pillow has told the format: a TGA, which has no mark at its start, and HEIC.

    A PNG's one transparent grey is brought to the 8 bits to which Pillow brings the pixels.
    """
    header, transparent = found.chunks.get(b"IHDR", b""), image.info.get("transparency")
    if header[8:10] in (b"\2\0", b"\4\0") and isinstance(transparent, int):
        image.info["transparency"] = transparent * (255 // (2 ** header[8] - 1))
    if image.format == "HEIF":
        return replace(found, bits=image.info.get("bit_depth", 8))
    if image.format == "JXL" and image.mode == "LA" and found.bits > 8:  # its two bytes a sample are taken for one
        raise ImageError(f"{path}: a JPEG XL of {found.bits} bits in grey with transparency; export it as PNG")
    if image.format != "TGA" or image.mode not in ("RGBA", "LA"):
        return found
    at = file.tell()
    file.seek(17)
    undeclared = (file.read(1) or b"\x08")[0] & 15 == 0  # bits of transparency a pixel
    file.seek(at)
    return replace(found, undeclared=undeclared)


def jpeg_with_an_end(file):
    """A JPEG of which only the mark of its end is missing, with one; None for any other file.

    Where data are missing, what stands in their place shows: it is tried with two different fillings.
    """
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return None
    file.seek(0)
    data, seen = file.read(), []
    for filling in (b"", b"\x55\xaa" * 4096):
        try:
            with Image.open(io.BytesIO(data + filling + b"\xff\xd9")) as image:
                if image.width * image.height > _WHOLE:
                    return None
                seen.append(hashlib.sha256(image.tobytes()).digest())
        except Exception:
            return None
    return io.BytesIO(data + b"\xff\xd9") if seen[0] == seen[1] else None


def _iso_media(head, path):
    if head[8:12] in (b"avif", b"avis"):
        if not features.check("avif"):
            raise ImageError(f"{path}: an AVIF file, which this Pillow does not read; convert it to JPEG or PNG")
    elif head[8:12] in _HEIC:
        _plugin("heic", path)
    else:
        raise ImageError(f"{path}: not a picture that can be read: a video file; save a frame of it as PNG")


def _plugin(which, path):
    """Teach Pillow a format, or raise ImageError that says what to install."""
    name, module, extra = _PLUGINS[which]
    if importlib.util.find_spec(module) is None:
        raise ImageError(f'{path}: {name}; pip install "minivgg-style[{extra}]", or convert it to JPEG or PNG')
    try:
        found = importlib.import_module(module)
        if which == "heic":
            found.register_heif_opener()
    except Exception as error:
        raise ImageError(f"{path}: {name}, and {module} fails ({first_line(error)}); convert it to JPEG") from None


def _nclx(start):
    """Colours by number in an AVIF or HEIC: the colr box."""
    at = start.find(b"colrnclx")
    if at < 0 or len(start) < at + 15:
        return None
    return (*struct.unpack(">HHH", start[at + 8 : at + 14]), 1)  # its range is the decoder's


def _check_jpeg(file, path):
    """A JPEG's first frame header: 8 bits, and a process that libjpeg has."""
    file.seek(2)
    for _ in range(1000):
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return
        if marker[1] == 0xFF or 0xD0 <= marker[1] <= 0xD8 or marker[1] == 1:  # padding, no length
            file.seek(-1 if marker[1] == 0xFF else 0, 1)
            continue
        length = int.from_bytes(file.read(2), "big")
        if marker[1] in _FRAMES:
            bits = (file.read(1) or b"\x08")[0]
            if marker[1] not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
                raise ImageError(f"{path}: a lossless or hierarchical JPEG is not supported; export it as PNG")
            if bits != 8:
                raise ImageError(
                    f"{path}: a JPEG of {bits} bits a sample is not supported; export it with 8, or as PNG"
                )
            return
        if marker[1] in (0xD9, 0xDA) or length < 2:
            return
        file.seek(length - 2, 1)


def _png_chunks(file):
    """{name: data} up to the pixels; a broken one ends it, which the decoder will meet again."""
    file.seek(8)
    chunks = {}
    while len(chunks) < 1000:
        header = file.read(8)
        if len(header) < 8:
            break
        length, name = struct.unpack(">I4s", header)
        if name in (b"IDAT", b"IEND") or length > 1 << 24:
            break
        chunks.setdefault(name, file.read(length))
        file.seek(4, 1)
    return chunks


# ------------------------------------------------------------------------------------- what went wrong


def refusal(path, file, error):
    """ImageError for a file that Pillow could not open or decode."""
    if isinstance(error, MemoryError):
        return ImageError(f"{path}: not enough memory to decode; scale the picture down first")
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return ImageError(f"{path}: more than {limit} million pixels; scale the picture down first")
    name = None
    if isinstance(error, UnidentifiedImageError):
        name, error = _reason(file)
        if name is None:
            return ImageError(f"{path}: not a picture that can be read: {describe(file)}")
    why, words = first_line(error), str(error).lower()
    kind = f"a {name} of a kind that is not supported" if name else "of a kind that is not supported"
    if isinstance(error, EOFError | struct.error | IndexError) or _DAMAGED.search(words):
        return ImageError(f"{path}: damaged or cut short ({why}); get the file again")
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(words):
        return ImageError(f"{path}: {kind} ({why}); export it as PNG")
    return ImageError(f"{path}: damaged, or {kind} ({why}); get the file again, or export it as PNG")


def _reason(file):
    """(format, error) of the format whose first bytes these are, or (None, None)."""
    file.seek(0)
    head = file.read(16)
    Image.init()
    for name, (factory, accept) in Image.OPEN.items():
        if name in FORMATS and accept is not None and len(head) == 16 and accept(head) is True:
            file.seek(0)
            try:
                factory(file, "").close()
            except Exception as error:
                return name, error
    return None, None


def describe(file):
    """What a file that is no picture seems to be, from its first bytes."""
    file.seek(0)
    head = file.read(64)
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    for magic, what in _NOT_PICTURES:
        if start.startswith(magic.lower()):
            return what
    return f"it starts with {head[:12]!r}; expected JPEG, PNG, WebP or TIFF"
