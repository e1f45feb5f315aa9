"""TIFFs of every kind that can be written here, each read by the project and compared with what was written.

    python -m tests.tiff_matrix            all combinations; a table of right, refused and wrong (which must be 0)

A case is written by tifffile (with imagecodecs), from a picture that is known; what it should look like is computed
from the numbers written, by other code than the reader's.
"""

import collections
import itertools
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from style.pictures import ImageError, images

H, W = 37, 45
COMPRESSIONS = (None, "lzw", "adobe_deflate", "packbits", "zstd", "lzma")


@dataclass(frozen=True)
class Case:
    """A kind of TIFF: what is written, and what should be seen."""

    photometric: str  # minisblack, miniswhite, rgb, palette, separated (CMYK), ycbcr, cielab, icclab
    dtype: str
    bits: int
    order: str = "<"
    alpha: int | None = None  # ExtraSamples: 0 undeclared, 1 multiplied in, 2
    planar: bool = False
    compression: str | None = None
    predictor: bool = False
    tile: bool = False
    rows: int | None = None
    bigtiff: bool = False
    fill_order: int = 1
    pages: int = 1


def picture():
    """(H, W, 3) 0..1, smooth, no symmetry, from black to white."""
    y, x = np.mgrid[:H, :W] / [[[H - 1]], [[W - 1]]]
    rgb = np.stack([x, y, (x + 2 * y) / 3], axis=2)
    rgb[:4, :4], rgb[-4:, -4:] = 0, 1
    return rgb


def numbers(part, case):
    """Values 0..1 as the file's numbers."""
    kind = np.dtype(case.dtype).kind
    if kind == "f":
        return part.astype(case.dtype)
    top = 2 ** (case.bits - (kind == "i")) - 1
    return np.minimum(np.rint(part * np.longdouble(top)), np.longdouble(top)).astype(case.dtype)


def seen(values, case):
    """The inverse, 0..255."""
    kind = np.dtype(case.dtype).kind
    top = 1.0 if kind == "f" else float(2 ** (case.bits - (kind == "i")) - 1)
    return values.astype(np.float64) / top * 255


def written(case):
    """(samples as the file has them, contiguous; colour map or None; rgb that should be seen; tolerance)"""
    rgb, colormap, tolerance = picture(), None, 1.01
    if case.photometric in ("minisblack", "miniswhite"):
        values = numbers(rgb[..., 2:], case)
        expected = np.repeat(seen(values, case), 3, axis=2)
        if case.photometric == "miniswhite":
            expected = 255 - expected
    elif case.photometric == "rgb":
        values = numbers(rgb, case)
        expected = seen(values, case)
    elif case.photometric == "palette":
        values = np.floor(rgb[..., 2:] * (2**case.bits - 1)).astype(case.dtype)
        colormap = np.random.default_rng(1).integers(0, 65536, (3, 2**case.bits), dtype=np.uint16)
        expected = colormap.T[values[..., 0]] / 257
    elif case.photometric == "separated":
        inks = np.dstack([1 - rgb, 0.3 * rgb[..., :1]])
        values, tolerance = numbers(inks, case), 2.01
        c = np.rint(seen(values, case)).astype(np.uint8)
        expected = np.asarray(Image.frombytes("CMYK", (W, H), c.tobytes()).convert("RGB"), float)
    elif case.photometric == "ycbcr":
        image = Image.fromarray(np.rint(255 * rgb).astype(np.uint8)).convert("YCbCr")
        values, tolerance = np.asarray(image), 4
        expected = 255 * rgb
    else:
        rgb = 0.3 + 0.5 * rgb  # well inside
        values, tolerance = lab(rgb, case), 0.1
        expected = from_lab(values, case)
    return values, colormap, expected, tolerance


def lab(rgb, case):
    """CIELab or ICCLab numbers of an sRGB picture."""
    image = Image.fromarray(np.rint(255 * rgb).astype(np.uint8))
    image = ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    v = np.asarray(image).astype(np.int64)  # L*, a* and b* in two's complement
    if case.photometric == "icclab":
        v[..., 1:] = (v[..., 1:] + 128) % 256
    if case.bits == 16:
        v = np.dstack([v[..., :1] * (257 if case.photometric == "cielab" else 256), v[..., 1:] * 256])
    return v.astype(case.dtype)


def from_lab(values, case):
    """sRGB 0..255 of a file's Lab numbers, by the formulas: L* of 0..100, a* and b*, under D50."""
    v = values.astype(float)
    if case.bits == 16:
        v = v / [257 if case.photometric == "cielab" else 256, 256, 256]
    ab = (v[..., 1:] + 128) % 256 - 128 if case.photometric == "cielab" else v[..., 1:] - 128
    fy = (v[..., 0] * 100 / 255 + 16) / 116
    f = np.stack([fy + ab[..., 0] / 500, fy, fy - ab[..., 1] / 200], axis=2)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8249]
    to_rgb = np.array(  # D50 → linear sRGB (Bradford; B. Lindbloom's table)
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    light = (xyz @ to_rgb.T).clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def write(case, path):
    """Write it; returns (rgb that should be seen, alpha or None, tolerance)."""
    values, colormap, expected, tolerance = written(case)
    values, expected, alpha = (values, expected, None) if case.alpha is None else with_alpha(case, values, expected)
    samples = values.shape[2]
    values = values[..., 0] if samples == 1 else np.moveaxis(values, -1, 0) if case.planar else values
    if by_hand(case):
        path.write_bytes(hand_written(case, values, colormap))
        return expected, alpha, tolerance
    kind = {"icclab": 9, "cielab": 8, "separated": 5, "ycbcr": 6}.get(case.photometric, case.photometric)
    options = {
        "photometric": kind,
        "compression": case.compression,
        "planarconfig": "separate" if case.planar else "contig" if samples > 1 else None,
        "predictor": case.predictor,
        "tile": (16, 32) if case.tile else None,
        "rowsperstrip": None if case.tile else case.rows,
        "extrasamples": [case.alpha] if case.alpha is not None else None,
        "colormap": colormap,
        "metadata": None,
        "bitspersample": case.bits if case.bits < 8 * np.dtype(case.dtype).itemsize else None,
    }
    if case.photometric == "ycbcr":
        options["subsampling"] = (1, 1)
    with tifffile.TiffWriter(path, byteorder=case.order, bigtiff=case.bigtiff) as tiff:
        for page in range(case.pages):
            tiff.write(values if page == 0 else values[::-1].copy(), **options)
    return expected, alpha, tolerance


def with_alpha(case, values, expected):
    """(values with a sample more, rgb that should be seen, alpha or None), by what the case says the sample is."""
    y, x = np.mgrid[:H, :W]
    alpha = 0.25 + 0.75 * (x + y) / (H + W)
    if case.alpha == 1:  # colours are multiplied by it
        part = seen(values, case) / 255 * alpha[..., None]
        stored = np.dstack([numbers(part, case), numbers(alpha[..., None], case)])
        a = seen(stored[..., -1:], case) / 255
        colours = seen(stored[..., :-1], case)
        expected = colours if case.photometric != "minisblack" else np.repeat(colours, 3, axis=2)
        return stored, expected + 255 * (1 - a), a[..., 0]
    values = np.dstack([values, numbers(alpha[..., None], case)])
    alpha = seen(values[..., -1], case) / 255
    if case.alpha != 2:  # says nothing of how much shows
        return values, expected, None
    return values, expected * alpha[..., None] + 255 * (1 - alpha[..., None]), alpha


def by_hand(case):
    """Whether tifffile does not write it, or not right (bits that do not fill bytes in big-endian files)."""
    return case.fill_order == 2 or (case.bits % 8 and case.dtype != "?")


def hand_written(case, values, colormap):
    """A TIFF of one strip. values (H, W, S), or (S, H, W) in planes: then a strip each."""
    planes = values if case.planar else [values]
    strips = []
    for plane in planes:
        rows = plane.reshape(H, -1)
        if case.bits % 8:
            each = (rows[..., None] >> np.arange(case.bits - 1, -1, -1).astype(rows.dtype)) & 1
            data = np.packbits(each.astype(np.uint8).reshape(H, -1), axis=1).tobytes()
        else:
            data = rows.astype(np.dtype(case.dtype).newbyteorder(case.order)).tobytes()
        if case.compression == "lzw":
            data = imagecodecs.lzw_encode(data)
        elif case.compression == "adobe_deflate":
            data = imagecodecs.zlib_encode(data)
        if case.fill_order == 2:
            data = bytes(int(f"{b:08b}"[::-1], 2) for b in data)
        strips.append(data)
    samples = 1 if values.ndim == 2 else values.shape[0 if case.planar else 2]
    photometric = {"miniswhite": 0, "minisblack": 1, "rgb": 2, "palette": 3, "separated": 5}[case.photometric]
    compression = {None: 1, "lzw": 5, "adobe_deflate": 8}[case.compression]
    tags = {256: [W], 257: [H], 258: [case.bits] * samples, 259: [compression], 262: [photometric]}
    tags |= {266: [case.fill_order], 277: [samples], 278: [H], 284: [2 if case.planar else 1]}
    tags[339] = [{"u": 1, "i": 2, "f": 3}[np.dtype(case.dtype).kind]] * samples
    if case.alpha is not None:
        tags[338] = [case.alpha]
    if colormap is not None:
        tags[320] = colormap.reshape(-1).tolist()
    return assembled(case.order, tags, strips)


def assembled(order, tags, strips):
    """The file's bytes: header, one directory, the values that do not fit into it, strips."""
    tags = tags | {273: [0] * len(strips), 279: [len(s) for s in strips]}
    start = 8 + 2 + 12 * len(tags) + 4
    size = {tag: len(v) * (4 if tag in (273, 279) else 2) for tag, v in tags.items()}
    data_at = start + sum(-(-n // 2) * 2 for n in size.values() if n > 4)
    tags[273] = [data_at + sum(map(len, strips[:k])) for k in range(len(strips))]
    entries, extra = b"", b""
    for tag, values in sorted(tags.items()):
        long = tag in (273, 279)
        packed = struct.pack(f"{order}{len(values)}{'I' if long else 'H'}", *values)
        field = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(order + "I", start + len(extra))
        extra += b"" if len(packed) <= 4 else packed + b"\0" * (len(packed) % 2)
        entries += struct.pack(order + "HHI", tag, 4 if long else 3, len(values)) + field
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "H", len(tags)) + entries + bytes(4) + extra + b"".join(strips)


def cases():
    """Every combination that can be written."""
    integers = [(f"u{n}", 8 * n) for n in (1, 2, 4, 8)] + [(f"i{n}", 8 * n) for n in (1, 2, 4, 8)]
    floats = [(f"f{n}", 8 * n) for n in (2, 4, 8)]
    odd = [("u1", b) for b in range(2, 8)] + [("u2", b) for b in range(9, 16)] + [("u4", b) for b in (17, 20, 24, 31)]
    layouts = [
        {"compression": c, "predictor": p, **shape}
        for c in COMPRESSIONS
        for p in ((False, True) if c in ("lzw", "adobe_deflate", "zstd") else (False,))
        for shape in ({}, {"rows": 5}, {"tile": True})
    ]
    colours = [("minisblack", a) for a in (None, 0, 1, 2)] + [("miniswhite", None), ("rgb", None)]
    colours += [("rgb", a) for a in (0, 1, 2)] + [("separated", None), ("separated", 2)]
    for (photometric, alpha), (dtype, bits), order, layout in itertools.product(
        colours, integers + floats, "<>", layouts
    ):
        several = alpha is not None or photometric in ("rgb", "separated")
        for planar in (False, True) if several else (False,):
            yield Case(photometric, dtype, bits, order, alpha, planar, **layout)
    for (dtype, bits), photometric, order in itertools.product(odd, ("minisblack", "miniswhite", "rgb"), "<>"):
        for compression in (None, "lzw", "adobe_deflate"):
            yield Case(photometric, dtype, bits, order, compression=compression)
    for photometric, dtype, compression, order in itertools.product(
        ("minisblack", "miniswhite", "rgb"), ("u1", "u2", "i2", "f4"), (None, "lzw", "adobe_deflate"), "<>"
    ):
        bits = 8 * np.dtype(dtype).itemsize
        yield Case(photometric, dtype, bits, order, compression=compression, fill_order=2)
    for bits, order, layout in itertools.product((1, 2, 4, 8, 16), "<>", layouts):
        if not layout["predictor"]:
            yield Case("palette", "u2" if bits == 16 else "u1", bits, order, **layout)
    for photometric, order, layout in itertools.product(("minisblack", "miniswhite"), "<>", layouts):
        if not layout["predictor"]:
            yield Case(photometric, "?", 1, order, **layout)
    for photometric, bits, order, layout in itertools.product(("cielab", "icclab"), (8, 16), "<>", layouts):
        yield Case(photometric, f"u{bits // 8}", bits, order, **layout)
    for order, layout in itertools.product("<>", layouts):
        yield Case("ycbcr", "u1", 8, order, **layout)
    for photometric, dtype, order in itertools.product(("minisblack", "rgb"), ("u1", "u2", "f4"), "<>"):
        yield Case(photometric, dtype, 8 * np.dtype(dtype).itemsize, order, bigtiff=True)
        yield Case(photometric, dtype, 8 * np.dtype(dtype).itemsize, order, pages=3)
        yield Case(photometric, dtype, 8 * np.dtype(dtype).itemsize, order, compression="jpeg", tile=True)


def judge(case, path):
    """ "right", "refused", "wrong" or "not written", and why"""
    try:
        expected, alpha, tolerance = write(case, path)
    except Exception as error:  # tifffile does not write every combination
        return "not written", repr(error)
    try:
        found = images.read(path)
    except ImageError as error:
        assert "\n" not in str(error)
        return "refused", str(error).partition(": ")[2]
    if found.rgb.shape != expected.shape:
        return "wrong", f"shape {found.rgb.shape}"
    if np.dtype(case.dtype) == np.float16:
        tolerance = 1.5
    difference = np.abs(found.rgb - expected)
    tolerance = 3 if case.compression == "jpeg" else tolerance
    worst = float(difference.mean() if case.compression == "jpeg" else difference.max())  # JPEG rings at edges
    if alpha is not None:
        worst = max(worst, 255.0 if found.alpha is None else 255 * float(np.abs(found.alpha - alpha).max()))
    elif found.alpha is not None:
        worst = 255.0
    return ("right" if worst <= tolerance else "wrong"), f"{worst:.2f} levels from what was written"


def main(step=1):
    counts, why = collections.Counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in itertools.islice(cases(), 0, None, step):
            verdict, words = judge(case, Path(folder) / "case.tif")
            counts[case.photometric, verdict] += 1
            if verdict == "wrong":
                print(case, words)
            elif verdict != "right":
                why[case.photometric, verdict, words] += 1
    for (photometric, verdict, words), count in sorted(why.items()):
        print(f"{count:6d} {photometric} {verdict}: {words}")
    for verdict in ("right", "refused", "wrong", "not written"):
        each = {p: n for (p, v), n in sorted(counts.items()) if v == verdict}
        print(f"{verdict:<12} {sum(each.values()):6d}  {each}")
    return counts


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
