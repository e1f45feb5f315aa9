"""A Pillow image → RGB and alpha, as the eye expects them: depth, palette, colour profile, orientation, white paper.

Pillow decodes the file; what it leaves open is settled here. Used by images.py only.
"""

import contextlib
import functools
import io

import numpy as np
from PIL import ExifTags, Image, ImageCms

from minivgg.program import first_line

from . import ImageError

# EXIF orientation → (swap the axes, reverse rows, reverse columns), applied in this order; 1 is upright.
_ORIENTATION = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def decode(image, label):
    """The image (its current frame) in sRGB, upright, composited on white; `label` names it in errors.

    → rgb (H, W, 3) float32 0..255, alpha (H, W) float32 0..1 or None, notes (what may surprise, a line each)
    """
    image.load()
    notes = []
    if image.mode == "F" or image.mode.startswith("I"):
        colour, alpha = _deep_grey(image, label, notes)
    else:
        colour, alpha = _eight_bits(image, notes)
    rgb, alpha = composite(colour, alpha)
    # After load(): Pillow turns a TIFF itself while loading and then drops the tag.
    with contextlib.suppress(Exception):  # broken EXIF is no reason to refuse a picture
        rgb, alpha = _orient(rgb, alpha, image.getexif().get(ExifTags.Base.Orientation, 1))
    with contextlib.suppress(Exception):  # counting seeks through the file, which may be damaged behind frame 1
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # a camera's MPO is one photograph with a preview behind it
            notes.append(f"frame {image.tell() + 1} of {frames}; the others are not used")
    return rgb, alpha, tuple(notes)


def _orient(rgb, alpha, orientation):
    """Picture and alpha turned upright, from the EXIF orientation 1..8."""
    if orientation not in _ORIENTATION:
        return rgb, alpha
    swap, rows, columns = _ORIENTATION[orientation]

    def turn(a):
        a = a.swapaxes(0, 1) if swap else a
        return np.ascontiguousarray(a[:: -1 if rows else 1, :: -1 if columns else 1])

    return turn(rgb), None if alpha is None else turn(alpha)


def composite(colour, alpha):
    """Colour over white: rgb = alpha·colour + (1 − alpha)·255, in sRGB values as browsers do.

    colour (H, W, 3), alpha (H, W) or None → rgb (H, W, 3), alpha (H, W) or None where it was opaque everywhere
    """
    colour = np.ascontiguousarray(colour, dtype=np.float32)
    if alpha is None or alpha.min() >= 1:
        return colour, None
    alpha = np.ascontiguousarray(alpha, dtype=np.float32)
    return 255 + alpha[..., None] * (colour - 255), alpha


def _deep_grey(image, label, notes):
    """Grey of more than 8 bits, scaled and not clipped → colour (H, W, 3), alpha (H, W) or None.

    Integers to 65535 are divided by 257. Floats within 0..1 count as 1 = white, within 0..255 as 255 = white;
    what fits neither is stretched from its smallest to its largest value, and a note says so.
    """
    grey = np.asarray(image).astype(np.float64)
    low, high = float(grey.min()), float(grey.max())
    if not np.isfinite([low, high]).all():
        raise ImageError(f"{label}: it has values that are not finite; replace them first")
    transparent = image.info.get("transparency")
    alpha = (grey != transparent).astype(np.float32) if isinstance(transparent, int) else None
    if image.mode == "F" and low >= 0 and high <= 1:
        grey *= 255
    elif image.mode == "F" and low >= 0 and high <= 255:
        pass
    elif image.mode != "F" and low >= 0 and high <= 65535:
        grey /= 257
    else:
        grey = (grey - low) * (255 / max(high - low, 1e-300))
        notes.append(f"values {low:g} to {high:g} stretched to black and white")
    profile = image.info.get("icc_profile")
    return _grey_to_rgb(grey, profile, notes), alpha


def _grey_to_rgb(grey, profile, notes):
    """Grey 0..255 (H, W) → RGB (H, W, 3), by the profile's curve read off a ramp of 256 steps: depth is kept."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    curve = np.asarray(_convert_profile(ramp, profile, notes), dtype=np.float64)[0]  # (256, 3)
    if np.array_equal(curve[:, 0], np.arange(256)):
        return np.repeat(grey.astype(np.float32)[..., None], 3, axis=2)
    return np.stack([np.interp(grey, np.arange(256), curve[:, c]) for c in range(3)], axis=2)


def _eight_bits(image, notes):
    """Pillow's 8-bit modes (and what it cuts to 8 bits itself) → colour (H, W, 3), alpha (H, W) or None."""
    profile = image.info.get("icc_profile")
    grey = image.mode in ("1", "L", "LA", "La")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"), dtype=np.float32) / 255
        image = image.getchannel("R") if grey else image.convert("RGB")
    elif grey:
        image = image.convert("L")
    elif image.mode not in ("RGB", "CMYK", "LAB"):
        image = image.convert("RGB")
    if grey:
        return _grey_to_rgb(np.asarray(image, dtype=np.float64), profile, notes), alpha
    if image.mode == "CMYK" and not profile:
        notes.append("CMYK without a profile: converted by the simple formula")
    return np.asarray(_convert_profile(image, profile, notes), dtype=np.float32), alpha


# ------------------------------------------------------------------------------------- colour profiles


def _convert_profile(image, profile, notes):
    """The 8-bit image in sRGB: by its embedded profile; where that is invalid, as it is, with a note."""
    if image.mode == "LAB":
        return ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"), _srgb(), outputMode="RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space.strip() == "RGB" and image.mode == "L":
                image = image.convert("RGB")  # a grey picture saved with the camera's RGB profile
            flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
            if image.mode == "L":  # only ever the ramp of _grey_to_rgb: the exact way, the fast one darkens shadows
                flags |= ImageCms.Flags.NOOPTIMIZE
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
            transform = ImageCms.buildTransform(source, _srgb(), image.mode, "RGB", intent, flags)
            if image.mode == "RGB" and _moves_nothing(transform):
                return image
            return ImageCms.applyTransform(image, transform)
        except Exception as error:  # ImageCms raises PyCMSError, OSError, TypeError … on bad profiles
            notes.append(f"embedded colour profile ignored ({first_line(error)})")
    return image.convert("RGB")


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
