"""Small pictures and files that several tests write."""

import struct
import zlib

import numpy as np


def smooth(h=24, w=20):
    """A picture without fine detail, so that lossy formats keep it: (h, w, 3) uint8, no symmetry."""
    y, x = np.mgrid[:h, :w]
    return np.stack([x * 255 / w, y * 255 / h, (x + 2 * y) * 255 / (w + 2 * h)], axis=2).astype(np.uint8)


def file_of(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def upright(a, orientation):
    """What a viewer shows for stored values `a` under EXIF orientation 1..8, from the standard's wording.

    Row 0 of the file is the picture's top, top, bottom, bottom, left, right, right, left; column 0 is its left,
    right, right, left, top, top, bottom, bottom.
    """
    H, W = a.shape[:2]
    out = np.empty_like(a if orientation < 5 else a.swapaxes(0, 1))
    for i in range(H):
        for j in range(W):
            down, right = i, j
            if orientation in (3, 4):
                down = H - 1 - i
            if orientation in (2, 3):
                right = W - 1 - j
            if orientation >= 5:  # file rows run along the picture's x, columns along its y
                right = i if orientation in (5, 8) else H - 1 - i
                down = j if orientation in (5, 6) else W - 1 - j
            out[down, right] = a[i, j]
    return out
