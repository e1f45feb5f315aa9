"""Colour profiles: 8-bit images → sRGB, and sRGB's own profile for what is written."""

import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms

from minivgg.program import first_line


def to_srgb(mode, profile, notes):
    """A function from 8-bit images of a mode (RGB, CMYK, LAB) to RGB ones in sRGB, by their embedded profile.

    A profile that is invalid or of other colours is ignored, with a note.
    """
    if mode == "LAB":
        intent, exact = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.NOOPTIMIZE
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


def grey_to_srgb(profile, notes):
    """A function from grey 0..255 (H, W) to RGB (H, W, 3), by the profile's curve read off a ramp: depth is kept."""
    curve = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
    if profile:
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        try:
            try:
                ramp = ImageCms.applyTransform(ramp, _transform("L", profile, ImageCms.Flags.NOOPTIMIZE))
            except ImageCms.PyCMSError:  # a grey picture saved with the camera's RGB profile
                transform = _transform("RGB", profile, ImageCms.Flags.NOOPTIMIZE)
                ramp = ImageCms.applyTransform(ramp.convert("RGB"), transform)
            curve = np.asarray(ramp, dtype=np.float64)[0]  # (256, 3)
        except Exception as error:
            notes.append(f"embedded colour profile ignored ({first_line(error)})")
    if np.array_equal(curve[:, 0], np.arange(256)):
        return lambda grey: np.repeat(np.asarray(grey, np.float32)[..., None], 3, axis=2)
    return lambda grey: np.stack([np.interp(grey, np.arange(256), curve[:, c]) for c in range(3)], axis=2)


def cicp_of(profile):
    """(primaries, transfer, matrix, full range) of a profile that carries them (HDR), or None."""
    count = struct.unpack(">I", profile[128:132])[0] if profile and len(profile) > 132 else 0
    for k in range(min(count, 100)):
        entry = profile[132 + 12 * k : 144 + 12 * k]
        if entry[:4] == b"cicp" and len(entry) == 12:
            at = struct.unpack(">I", entry[4:8])[0] + 8
            codes = tuple(profile[at : at + 4])
            return codes if len(codes) == 4 else None
    return None


def _transform(mode, profile, more=0):
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | more  # NOOPTIMIZE: the exact way; the fast one darkens shadows
    return ImageCms.buildTransform(source, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, flags)


def _moves_nothing(transform):
    """True where a transform changes no value by more than one level: sRGB by another name, left exact."""
    steps = np.linspace(0, 255, 16).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
    return int(np.abs(moved.astype(int) - cube).max()) <= 1


@functools.cache
def _srgb():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def srgb_profile():
    """sRGB's ICC profile with a fixed date: the same run writes the same bytes."""
    data = _srgb().tobytes()
    date = np.array([2000, 1, 1, 0, 0, 0], dtype=">u2").tobytes()
    return data[:24] + date + data[36:]
