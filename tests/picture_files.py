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


def icc(space, tags, device_class=b"prtr"):
    """A small ICC v2 profile: tags {signature: data}."""
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for signature, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += signature + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    pcs = b"Lab " if b"A2B0" in tags else b"XYZ "
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, device_class, space, pcs)
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


WHITE_POINT = b"XYZ \0\0\0\0" + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)

# X, Y, Z of red, green and blue under D50
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))
LINEAR = b"curv\0\0\0\0" + struct.pack(">I", 0)


def power(g):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(g * 256))


def table(g, count=1024):
    return (
        b"curv\0\0\0\0"
        + struct.pack(">I", count)
        + (np.linspace(0, 65535, count) ** g / 65535 ** (g - 1)).astype(">u2").tobytes()
    )


def formula(kind, *values):
    return (
        b"para\0\0\0\0"
        + struct.pack(">HH", kind, 0)
        + struct.pack(f">{len(values)}i", *(round(65536 * v) for v in values))
    )


def rgb_profile(colorants, curve):
    """An ICC profile of a matrix, and one curve for all three colours."""
    tags = {b"wtpt": WHITE_POINT}
    for letter, xyz in zip(b"rgb", colorants, strict=True):
        name = bytes([letter])
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * v) for v in xyz))
        tags[name + b"TRC"] = curve
    return icc(b"RGB ", tags, b"mntr")


def table_profile():
    """RGB → Lab by corners alone, grey: a profile that is no matrix."""
    corners = np.stack(
        np.broadcast_arrays(np.add.outer(np.add.outer(*[np.arange(2) * 85] * 2), np.arange(2) * 85), 128, 128), axis=-1
    )
    ramp = np.arange(256, dtype=np.uint8).tobytes()
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([3, 3, 2, 0]) + matrix + ramp * 3 + corners.astype(np.uint8).tobytes() + ramp * 3
    return icc(b"RGB ", {b"wtpt": WHITE_POINT, b"A2B0": lut})
