"""Sixteen bits a sample, as PNG and TIFF, which Pillow does not write of colour."""

import io
import struct
import zlib

import numpy as np
from PIL import PngImagePlugin


def to_uint16(rgb):
    """Values 0..255 rounded to the nearest of 0..65535: 65535 is white."""
    return np.rint(np.clip(rgb, 0, 255) * np.float64(257)).astype(np.uint16)


def png(pixels, *, icc_profile, pnginfo=None):
    """The bytes of a PNG. pixels (H, W, 3 or 4) uint16; pnginfo as Pillow takes it."""
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
    for chunk in () if pnginfo is None else pnginfo.chunks:
        put(file, *chunk[:2])
    put(file, b"IDAT", zlib.compress(filtered))
    put(file, b"IEND", b"")
    return file.getvalue()


def tiff(pixels, *, icc_profile, description=None, software=None, **_):
    """The bytes of a TIFF, with Deflate. pixels (H, W, 3 or 4) uint16."""
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
        metadata=None,
    )
    return file.getvalue()
