"""Sixteen bits a sample, which Pillow has of grey alone: PNGs of colour are read here, PNG and TIFF written."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

# PNG's colour type → ways in which Pillow unpacks its samples that have all bytes of them together
_UNPACKED = {2: ("RGB;16B", "RGB;16L"), 4: ("RGBA",), 6: ("RGBA;16B", "RGBA;16L")}


def unpacked(header):
    """As which raw modes a PNG is to be decoded, of its IHDR; () where Pillow keeps all of it by itself."""
    return _UNPACKED.get(header[9], ()) if header[8:9] == b"\x10" else ()


class PngRows:
    """Samples of a PNG of 16 bits in colour, or in grey with alpha: rows[a:b] is (b - a, W, S) uint16.

    Pillow undoes the filters, and keeps the upper byte of each sample. Decoded once more for the lower ones, it has
    given both; grey with alpha is four bytes a pixel, which it takes for RGBA.

    image, file  as Image.open gave it, of this file, not loaded yet;  ways  unpacked()
    """

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
