"""Colour profiles: images of 8 bits, and numbers of any depth → sRGB; sRGB's own profile for what is written."""

import contextlib
import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms

from minivgg.program import first_line

from .light import encoded

EXACTLY = ImageCms.Flags.NOOPTIMIZE  # the fast way darkens shadows
D50 = (0.9642, 1.0, 0.8249)  # X, Y, Z of the white that profiles refer to
AT_EIGHT = "its colours are brought to sRGB at 8 bits a sample: what is finer is rounded"


def to_srgb(mode, profile, notes):
    """A function from 8-bit images of a mode (RGB, CMYK, LAB) to RGB ones in sRGB, by their embedded profile.

    A profile that is invalid or of other colours is ignored, with a note.
    """
    if mode == "LAB":
        intent, exact = ImageCms.Intent.RELATIVE_COLORIMETRIC, EXACTLY
        transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB", intent, exact)
        return lambda image: ImageCms.applyTransform(image, transform)
    if profile:
        try:
            transform = _transform(mode, profile)
            if mode == "RGB" and _moves_nothing(transform):
                return lambda image: image
            return lambda image: ImageCms.applyTransform(image, transform)
        except Exception as error:  # ImageCms raises PyCMSError, OSError, TypeError … on bad profiles
            notes.append(f"embedded colour profile ignored ({first_line(error)})")
    if mode == "CMYK":
        notes.append("CMYK without a profile: converted by the simple formula")
    return lambda image: image.convert("RGB")


def rgb_to_srgb(profile, notes, bits):
    """A function from RGB of any depth, (H, W, 3) 0..255, to the same in sRGB, by an embedded profile or None.

    littleCMS takes 8 bits here. Where it moves nothing, nothing is done; where a profile is three curves and a matrix,
    and these come to littleCMS' own colours, they are computed as they stand. What is left, tables mostly, goes through
    8 bits, and a note says so where the file has more.
    """
    if not profile:
        return lambda rgb: rgb
    by_eight = to_srgb("RGB", profile, notes)
    cube = _cube()
    moved = _eight_bits(by_eight, cube)
    if np.array_equal(moved, cube):
        return lambda rgb: rgb
    with contextlib.suppress(Exception):  # a profile of another kind may lack anything, and parsing fail anywhere
        exact = _by_matrix(profile)
        expected = _eight_bits(lambda i: ImageCms.applyTransform(i, _transform("RGB", profile, EXACTLY)), cube)
        if np.abs(exact(cube.astype(np.float32)) - expected).max() <= 1:  # a level: half of it is rounding
            return exact
    notes.extend([AT_EIGHT] if bits > 8 else [])
    return lambda rgb: _eight_bits(by_eight, np.rint(rgb.clip(0, 255)).astype(np.uint8))


def _eight_bits(convert, rgb):
    """(H, W, 3) float32 of a function of 8-bit images."""
    return np.asarray(convert(Image.fromarray(rgb)), np.float32)


def _by_matrix(profile):
    """The transform of a profile of curves and a matrix to sRGB (ICC.1:2022, F.3): sRGB⁻¹ · colorants · curves."""
    curves = [_curve(_tag(profile, name)) for name in (b"rTRC", b"gTRC", b"bTRC")]
    colorants = _colorants(ImageCms.ImageCmsProfile(io.BytesIO(profile)))

    def convert(rgb):
        light = [curve((rgb[..., c] * np.float32(1 / 255)).clip(0, 1)) for c, curve in enumerate(curves)]
        return xyz_to_srgb(light, colorants)

    return convert


def xyz_to_srgb(planes, colorants=None):
    """sRGB 0..255, (H, W, 3) float32, of X, Y and Z under D50, 0..1, or of what `colorants` (3, 3) make them of.

    planes  three of (H, W)
    """
    matrix = np.linalg.solve(_colorants(_srgb()), np.eye(3) if colorants is None else colorants).astype(np.float32)
    out = np.empty((*planes[0].shape, 3), np.float32)
    for k in range(3):  # a channel at a time, for the memory; not by BLAS, whose last digits follow the number of rows
        out[..., k] = encoded(sum(matrix[k, c] * plane for c, plane in enumerate(planes)))
    return out


def _colorants(profile):
    """(3, 3): linear RGB → XYZ under D50."""
    found = profile.profile
    return np.transpose([c[0] for c in (found.red_colorant, found.green_colorant, found.blue_colorant)])


def _curve(data):
    """A function v 0..1 → light 0..1 from a tag: a table, a power or a formula (ICC.1:2022, 10.6 and 10.18)."""
    kind, count = data[:4], struct.unpack(">I", data[8:12])[0]
    if kind == b"curv" and count > 1:
        table = np.frombuffer(data, ">u2", count, 12) / 65535
        return lambda v: np.interp(v, np.linspace(0, 1, count), table).astype(np.float32)
    if kind == b"curv":
        g = np.float32(struct.unpack(">H", data[12:14])[0] / 256 if count else 1)
        return lambda v: v**g
    which = struct.unpack(">H", data[8:10])[0]
    values = struct.unpack_from(f">{(1, 3, 4, 5, 7)[which]}i", data, 12)
    g, a, b, c, d, e, f = (
        lambda g: (g, 1, 0, 0, 0, 0, 0),
        lambda g, a, b: (g, a, b, 0, -b / a, 0, 0),
        lambda g, a, b, c: (g, a, b, 0, -b / a, c, c),
        lambda g, a, b, c, d: (g, a, b, c, d, 0, 0),
        lambda *seven: seven,
    )[which](*(v / 65536 for v in values))
    return lambda v: np.where(v >= d, (a * v + b).clip(0) ** g + e, c * v + f)


def grey_to_srgb(profile, notes):
    """A function from grey 0..255 (H, W) to RGB (H, W, 3), by the profile's curve read off a ramp: depth is kept."""
    curve = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
    if profile:
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        try:
            try:
                ramp = ImageCms.applyTransform(ramp, _transform("L", profile, EXACTLY))
            except ImageCms.PyCMSError:  # a grey picture saved with the camera's RGB profile
                transform = _transform("RGB", profile, EXACTLY)
                ramp = ImageCms.applyTransform(ramp.convert("RGB"), transform)
            curve = np.asarray(ramp, dtype=np.float64)[0]  # (256, 3)
        except Exception as error:
            notes.append(f"embedded colour profile ignored ({first_line(error)})")
    if np.array_equal(curve[:, 0], np.arange(256)):
        return lambda grey: np.repeat(np.asarray(grey, np.float32)[..., None], 3, axis=2)
    return lambda grey: np.stack([np.interp(grey, np.arange(256), curve[:, c]) for c in range(3)], axis=2)


def cicp_of(profile):
    """(primaries, transfer, matrix, full range) of a profile that carries them (HDR), or None."""
    codes = tuple((_tag(profile, b"cicp") or b"")[8:12])
    return codes if len(codes) == 4 else None


def _tag(profile, name):
    """The data of one of a profile's tags, or None."""
    count = struct.unpack(">I", profile[128:132])[0] if profile and len(profile) > 132 else 0
    for k in range(min(count, 100)):
        entry = profile[132 + 12 * k : 144 + 12 * k]
        if entry[:4] == name and len(entry) == 12:
            at, length = struct.unpack(">II", entry[4:])
            return profile[at : at + length]
    return None


def _transform(mode, profile, more=0):
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | more
    return ImageCms.buildTransform(source, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, flags)


def _moves_nothing(transform):
    """True where a transform changes no value by more than one level: sRGB by another name, left exact."""
    cube = _cube()
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
    return int(np.abs(moved.astype(int) - cube).max()) <= 1


def _cube():
    """(64, 64, 3) uint8: 16 levels of each colour."""
    steps = np.linspace(0, 255, 16).astype(np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)


@functools.cache
def _srgb():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def srgb_profile():
    """sRGB's ICC profile with a fixed date: the same run writes the same bytes."""
    data = _srgb().tobytes()
    date = np.array([2000, 1, 1, 0, 0, 0], dtype=">u2").tobytes()
    return data[:24] + date + data[36:]
