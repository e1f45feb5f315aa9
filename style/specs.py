"""Pictures as a command names them: samples, shares, folders, patterns."""

import glob
import math
import os
from pathlib import Path

from .options import ORIGINAL, SettingsError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic")


def sized(spec, size):
    """A sample picture is drawn at the size that is asked for, not enlarged to it."""
    is_sample = spec is not None and spec.startswith("sample:") and spec.count(":") == 1
    return f"{spec}:{size}" if is_sample and size not in (None, ORIGINAL) else spec


def shared(spec):
    """(picture, share or None) of PICTURE or PICTURE:SHARE."""
    name, colon, share = spec.rpartition(":")
    if not colon or os.path.lexists(spec) or name == "sample":
        return spec, None
    try:
        value = float(share)
    except ValueError:
        return spec, None
    if name.startswith("sample:") and name.count(":") == 1 and share.isdecimal():
        return spec, None  # a sample's width
    if not 0 <= value < math.inf:
        raise SettingsError(f"{spec}: share {share}; expected a number from 0 up")
    return name, value


def expanded(spec):
    """The pictures that a name means: itself, those of a folder, or those that a pattern with * or ? finds."""
    if os.path.isdir(spec):
        found = sorted(str(p) for p in Path(spec).iterdir() if p.suffix.lower() in PICTURES)
        if not found:
            raise SettingsError(f"{spec}: a folder without pictures; expected some of {', '.join(PICTURES)}")
        return found
    if any(c in spec for c in "*?") and not os.path.lexists(spec):
        found = sorted(glob.glob(spec))
        if not found:
            raise SettingsError(f"{spec}: no file has such a name; check the pattern")
        return found
    return [spec]


def absolute(spec):
    """The same picture from any folder: PICTURE or PICTURE:SHARE with the file's whole path; a sample as it is."""
    name, _ = shared(spec)
    return spec if not os.path.isfile(name) else os.path.abspath(name) + spec[len(name) :]
