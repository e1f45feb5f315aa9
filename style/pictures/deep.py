"""More than 8 bits a sample, which Pillow has of grey alone: PNG and HEIC are read here, PNG and TIFF written."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin

# PNG's colour type → ways in which Pillow unpacks its samples that have all bytes of them together
_HEIF = {"RGB": 3, "RGBA": 4, "I;16": 1}  # Pillow's mode → samples; transparency that is multiplied in is Pillow's
_UNPACKED = {2: ("RGB;16B", "RGB;16L"), 4: ("RGBA",), 6: ("RGBA;16B", "RGBA;16L")}


@dataclass(frozen=True)
class Way:
    """How a file's samples are had: rows(image, file) gives them. copies  times the bytes of Pillow's image"""

    rows: object
    copies: int


def way(image, found):
    """Way for an image that is open, and not yet loaded; None where Pillow's has all that there is.

    found  kinds.Found
    """
    header = found.chunks.get(b"IHDR", b"")
    ways = _UNPACKED.get(header[9], ()) if header[8:9] == b"\x10" else ()
    if ways:
        return Way(lambda image, file: PngRows(image, file, ways), len(ways))
    if image.format == "HEIF" and found.bits > 8 and image.mode in _HEIF:
        return Way(lambda image, file: HeifRows(file, found.bits), 3)  # planes, samples and their bytes, two each
    return None


class PngRows:
    """Samples of a PNG of 16 bits in colour, or in grey with alpha: rows[a:b] is (b - a, W, S) uint16.

    Pillow undoes the filters, and keeps the upper byte of each sample. Decoded once more for the lower ones, it has
    given both; grey with alpha is four bytes a pixel, which it takes for RGBA.

    image, file  as Image.open gave it, of this file, not loaded yet;  ways  of _UNPACKED
    """

    white = 65535

    def __init__(self, image, file, ways):
        self.images, self.shape = [], (image.height, image.width, {1: 2}.get(len(ways), len(image.getbands())))
        for way in ways:
            image.tile = [(*tile[:3], way) for tile in image.tile]
            image.load()
            self.images.append(image)
            if len(self.images) < len(ways):
                file.seek(0)
                image = Image.open(file)

    def __getitem__(self, rows):
        first, last, _ = rows.indices(self.shape[0])
        parts = [np.asarray(image.crop((0, first, self.shape[1], last))) for image in self.images]
        if len(parts) == 1:
            return parts[0].view(">u2")
        return parts[0] * np.uint16(256) + parts[1]


class HeifRows:
    """Samples of a HEIC of 10 or 12 bits, of which its plugin gives Pillow 8: rows[a:b] is (b - a, W, S) uint16.

    white  the largest value of so many bits
    """

    def __init__(self, file, bits):
        from pillow_heif import open_heif  # an extra

        file.seek(0)
        image = open_heif(file, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        samples = np.asarray(image)
        self.samples, self.white = samples.reshape(*samples.shape[:2], -1), 2**bits - 1
        self.shape = self.samples.shape

    def __getitem__(self, rows):
        return self.samples[rows]


def to_uint16(rgb):
    """Values 0..255 rounded to the nearest of 0..65535: 65535 is white."""
    return np.rint(np.clip(rgb, 0, 255) * np.float64(257)).astype(np.uint16)


def png(pixels, *, icc_profile, pnginfo=None, dpi=None):
    """The bytes of a PNG. pixels (H, W, 3 or 4) uint16; pnginfo and dpi as Pillow takes them."""
    H, W, samples = pixels.shape
    step = 2 * samples
    rows = pixels.astype(">u2").view(np.uint8).reshape(H, W * step)
    filtered = np.ones((H, 1 + W * step), np.uint8)  # each row begins with its filter: 1, the difference to the left
    filtered[:, 1:] = rows
    filtered[:, 1 + step :] -= rows[:, :-step]
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    put = PngImagePlugin.putchunk
    put(file, b"IHDR", struct.pack(">IIBBBBB", W, H, 16, {3: 2, 4: 6}[samples], 0, 0, 0))
    put(file, b"iCCP", b"sRGB\0\0" + zlib.compress(icc_profile))
    if dpi is not None:
        put(file, b"pHYs", struct.pack(">IIB", *(round(v / 0.0254) for v in dpi), 1))  # pixels a metre
    for chunk in () if pnginfo is None else pnginfo.chunks:
        put(file, *chunk[:2])
    put(file, b"IDAT", zlib.compress(filtered))
    put(file, b"IEND", b"")
    return file.getvalue()


def tiff(pixels, *, icc_profile, description=None, software=None, dpi=None, **_):
    """The bytes of a TIFF, with Deflate. pixels (H, W, 3 or 4) uint16; dpi as Pillow takes it."""
    import tifffile  # here: it takes a fifth of a second to load

    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels,
        photometric="rgb",
        compression="adobe_deflate",
        extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None,
        iccprofile=icc_profile,
        description=description,
        software=software,
        resolution=dpi,
        resolutionunit=None if dpi is None else "INCH",
        metadata=None,
    )
    return file.getvalue()
