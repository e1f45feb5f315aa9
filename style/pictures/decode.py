"""A decoded file → RGB and alpha, as the eye expects them: depth, palette, colours, orientation, white paper.

Pillow or tifffile decode the file; what they leave open is settled here, some rows at a time, and averaged over
squares of pixels where less is needed than there is. Used by images.py only.
"""

import contextlib
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

from . import kinds, light
from .profiles import cicp_of, grey_to_srgb, rgb_to_srgb, to_srgb
from .samples import of_samples, scale_of
from .tiff import INT, UINT

BAND = 1 << 20  # pixels that are converted at a time

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


def bytes_of(image):
    """Bytes that Pillow takes to decode an image which is open, and not yet loaded."""
    width, height = image.size
    each = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;") else 4
    turned = image.format == "TIFF" and image.tag_v2.get(ExifTags.Base.Orientation, 1) != 1
    buffered = image.format in ("WEBP", "AVIF", "HEIF", "JPEG2000", "JXL")  # decoded elsewhere, then copied
    total = width * height * each * (2 if turned or buffered else 1)
    if image.info.get("progressive"):  # the coefficients of all of it, whatever is made of them
        layers = getattr(image, "layer", ())
        across, down = (max((layer[k] for layer in layers), default=1) for k in (1, 2))
        total += 2 * sum(layer[1] * layer[2] for layer in layers) * _stored(image) // (across * down)
    return total


def _stored(image):
    """Pixels of a JPEG as stored, whatever its draft."""
    width, height = image.size
    scale = image.decoderconfig[0] if getattr(image, "decoderconfig", None) else 1
    return width * height * max(scale, 1) ** 2


@dataclass
class Decoded:
    """rgb (H, W, 3) float32 0..255 sRGB on white, alpha (H, W) float32 0..1 or None, notes: what may surprise

    box  (left, top, right, bottom) of the picture in rgb's pixels: the last square of an average may lie half outside
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    box: tuple
    notes: list


def decode(image, label, found=None, *, factor=1, box=None, rows=None):
    """A Pillow image (its current frame). `found` kinds.Found; `label` names it in errors. Raises ImageError.

    factor  average over squares of so many pixels
    box     of the picture in the image's pixels, where it is not all of it
    rows    deep.PngRows or HeifRows of the same file, which have more than Pillow's image
    """
    found = found or kinds.Found()
    if rows is None:
        image.load()
    notes = []
    grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    deep = image.mode == "F" or image.mode.startswith("I")
    part = lambda top, bottom: image.crop((0, top, image.width, bottom))  # noqa: E731
    if rows is not None:
        grey, part = rows.shape[2] < 3, lambda top, bottom: rows[top:bottom]
        convert = _with_light(_deep_colours(image, rows.white, grey, found, notes), image, found, notes)
    elif deep:
        convert = _with_light(_deep_grey(image, found.tags, label, notes), image, found, notes)
    else:
        convert = colours_of(image, found, notes)
    palette = found.tags.palette if found.tags is not None and image.mode == "P" else None
    if palette is not None and 0 < palette.max() < 256:  # 8 bits where 16 belong: Pillow cuts them to nothing
        image.putpalette(palette.astype(np.uint8).tobytes())
    decoded = _assemble(lambda top, bottom: convert(part(top, bottom)), image.size, factor, notes, grey, box)
    # After load(): Pillow turns a TIFF itself while loading and then drops the tag.
    with contextlib.suppress(Exception):  # broken EXIF is no reason to refuse a picture
        _orient(decoded, image.getexif().get(ExifTags.Base.Orientation, 1))
    with contextlib.suppress(Exception):  # counting seeks through the file, which may be damaged behind frame 1
        frames = getattr(image, "n_frames", 1)
        if image.info.get("default_image"):  # of an animated PNG, for viewers that know no animation
            notes.append("a still picture with an animation behind it, which is not used")
        elif frames > 1 and image.format != "MPO":  # a camera's MPO is one photograph with a preview behind it
            notes.append(f"frame {image.tell() + 1} of {frames}; the others are not used")
    return decoded


def decode_samples(samples, tags, label, *, factor=1):
    """The same of a TIFF's samples (H, W, S), as tifffile reads them."""
    notes = []
    convert = of_samples(samples, tags, label, notes)
    decoded = _assemble(lambda a, b: convert(samples[a:b]), samples.shape[1::-1], factor, notes, tags.inks == 1, None)
    _orient(decoded, tags.orientation)
    if tags.pages > 1:
        notes.append(f"frame 1 of {tags.pages}; the others are not used")
    return decoded


def _assemble(rows, size, factor, notes, grey, box):
    """Decoded from rows(top, bottom) → colour, alpha, band by band."""
    W, H = size
    rgb, alpha = _on_white(rows, W, H, factor)
    if alpha is not None and alpha.max() == 0:
        notes.append("transparent everywhere: its alpha is not used")
        rgb, alpha = _on_white(lambda a, b: (rows(a, b)[0], None), W, H, factor)
    span = [(float(c.min()), float(c.max())) for c in np.moveaxis(rgb, -1, 0)]
    if alpha is not None and all(high - low < 1 for low, high in span):
        notes.append("one colour throughout, on white where it is transparent; give it another background")
    elif grey and 0 < span[0][1] - span[0][0] < 255 / 20:
        notes.append(
            f"its greys fill {span[0][0]:.0f} to {span[0][1]:.0f} of 0 to 255; stretch them if that is not meant"
        )
    left, top, right, bottom = box or (0, 0, W, H)
    return Decoded(rgb, alpha, tuple(v / factor for v in (left, top, right, bottom)), notes)


def _on_white(rows, W, H, factor):
    """(rgb, alpha) of all rows, composited and averaged; alpha None where it was opaque everywhere."""
    rgb = np.empty((-(-H // factor), -(-W // factor), 3), np.float32)
    alpha = None
    band = max(1, BAND // W // factor) * factor
    for top in range(0, H, band):
        bottom = min(top + band, H)
        colour, a = composite(*rows(top, bottom))
        at = slice(top // factor, -(-bottom // factor))
        for channel in range(3):
            rgb[at, :, channel] = _averaged(colour[..., channel], factor)
        if a is not None:
            alpha = np.ones(rgb.shape[:2], np.float32) if alpha is None else alpha
            alpha[at] = _averaged(a, factor)
    return rgb, alpha


def _averaged(plane, factor):
    """(h, w) averaged over squares; at the right and lower edge over what is there of them."""
    if factor == 1:
        return plane
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).reduce(factor))


def _orient(decoded, orientation):
    """Turn it upright, from the EXIF orientation 1..8."""
    if orientation not in _ORIENTATION:
        return
    swap, rows, columns = _ORIENTATION[orientation]

    def turn(a):
        a = a.swapaxes(0, 1) if swap else a
        return np.ascontiguousarray(a[:: -1 if rows else 1, :: -1 if columns else 1])

    left, top, right, bottom = decoded.box
    if swap:
        left, top, right, bottom = top, left, bottom, right
    decoded.rgb = turn(decoded.rgb)
    decoded.alpha = None if decoded.alpha is None else turn(decoded.alpha)
    height, width = decoded.rgb.shape[:2]
    if rows:
        top, bottom = height - bottom, height - top
    if columns:
        left, right = width - right, width - left
    decoded.box = (left, top, right, bottom)


def composite(colour, alpha):
    """Colour over white: rgb = alpha·colour + (1 − alpha)·255, in sRGB values as browsers do.

    colour (H, W, 3), alpha (H, W) or None → rgb (H, W, 3), alpha (H, W) or None where it was opaque everywhere
    """
    colour = np.ascontiguousarray(colour, dtype=np.float32)
    if alpha is None or alpha.min() >= 1:
        return colour, None
    alpha = np.ascontiguousarray(alpha, dtype=np.float32)
    return 255 + alpha[..., None] * (colour - 255), alpha


def colours_of(image, found, notes):
    """A function part → colour (H, W, 3), alpha (H, W) or None: of parts of an image of one of Pillow's 8-bit modes."""
    return _with_light(_eight_bits(image, found, notes), image, found, notes)


def _deep_grey(image, tags, label, notes):
    """Grey of more than 8 bits, scaled and not clipped: a function part → colour (H, W, 3), alpha (H, W) or None."""
    low, high = (float(v) for v in image.getextrema())
    if image.mode == "F":
        kind, bits = None, 32
    else:
        bits = tags.bits[0] if tags is not None else 16 if low >= 0 and high <= 65535 else 32
        kind = tags.formats[0] if tags is not None else UINT if bits == 16 else INT
    if kind == INT and tags is None:  # Pillow's mode I from memory: of no known range
        kind = None
    black, white = scale_of(low, high, kind, bits, label, notes)
    profile, transparent = image.info.get("icc_profile"), image.info.get("transparency")
    grey = grey_to_srgb(profile, notes)

    def convert(part):
        values = np.asarray(part).astype(np.float64)
        alpha = (values != transparent).astype(np.float32) if isinstance(transparent, int) else None
        return grey((values - black) * (255 / (white - black))), alpha

    return convert


def _profile_of(image, found):
    """The ICC profile that counts: none where the file or the profile itself names the colours by number."""
    profile = image.info.get("icc_profile") if found.cicp is None else None
    return None if profile and cicp_of(profile) else profile


def _deep_colours(image, white, grey, found, notes):
    """The same for deep.py's samples, (h, W, S) uint16 of 0..white: `grey` or RGB, each with alpha or without."""
    profile, transparent = _profile_of(image, found), image.info.get("transparency")
    to_rgb = grey_to_srgb(profile, notes) if grey else rgb_to_srgb(profile, notes, 16)
    inks = 1 if grey else 3

    def convert(part):
        levels = part * np.float32(255 / white)
        alpha = None if transparent is None else (part != transparent).any(axis=2)
        if part.shape[2] > inks:
            alpha = levels[..., -1] / 255
        return to_rgb(levels[..., 0] if grey else levels[..., :3]), alpha

    return convert


def _eight_bits(image, found, notes):
    """The same for Pillow's 8-bit modes (and what it cuts to 8 bits itself)."""
    profile = _profile_of(image, found)
    if found.tags is not None and max(found.tags.bits) > 8:
        notes.append(f'{max(found.tags.bits)} bits a sample, read as 8; pip install "minivgg-style[tiff]" reads all')
    elif found.bits > 8:
        notes.append(f"read at 8 of its {found.bits} bits a sample; export it as PNG or TIFF of 16 to have them all")
    transparent = image.has_transparency_data and not found.undeclared
    if image.has_transparency_data and found.undeclared:
        notes.append("its fourth channel is not declared as transparency: not used")
    if image.mode in ("1", "L", "LA", "La"):
        grey = grey_to_srgb(profile, notes)
    else:
        direct = image.mode in ("CMYK", "LAB") and not transparent
        to_rgb = to_srgb(image.mode if direct else "RGB", profile, notes)

    def convert(part):
        alpha = None
        if transparent:
            part = part.convert("RGBA")
            alpha = np.asarray(part.getchannel("A"), dtype=np.float32) / 255
        if image.mode in ("1", "L", "LA", "La"):
            part = part.getchannel("R") if transparent else part.convert("L")
            return grey(np.asarray(part, dtype=np.float32)), alpha
        part = part if part.mode in ("RGB", "CMYK", "LAB") else part.convert("RGB")
        return np.asarray(to_rgb(part), dtype=np.float32), alpha

    return convert


def _with_light(convert, image, found, notes):
    """The same with colours that the file gives by number, not by a profile, brought to sRGB."""
    profile = image.info.get("icc_profile")
    codes = found.cicp or (cicp_of(profile) if profile else None)
    to_rgb = None
    if codes is not None:
        to_rgb = light.from_cicp(codes, notes)
    elif image.format == "PNG" and not profile and b"sRGB" not in found.chunks:
        to_rgb = light.from_gamma(image.info.get("gamma"), image.info.get("chromaticity"))
    if to_rgb is None:
        return convert

    def converted(part):
        colour, alpha = convert(part)
        return to_rgb(colour), alpha

    return converted
