"""Pictures as a command names them: samples, shares, folders, patterns; and the files that say what a command would."""

import glob
import math
import os
import stat
from pathlib import Path

from minivgg.program import first_line

from .options import ORIGINAL, SettingsError, flag, parse_layers
from .pictures import images, masks, palette

LARGEST = 2**20  # bytes of a text file that is read
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic")


def sized(spec, size):
    """A sample picture is drawn at the size that is asked for, not enlarged to it."""
    drawn = images.is_sample(spec) and spec.count(":") == 1
    return f"{spec}:{size}" if drawn and size not in (None, ORIGINAL) else spec


def shared(spec):
    """(picture, share or None) of PICTURE or PICTURE:SHARE."""
    name, colon, share = spec.rpartition(":")
    if not colon or os.path.lexists(spec) or name == "sample":
        return spec, None
    try:
        value = float(share)
    except ValueError:
        return spec, None
    if images.is_sample(name) and name.count(":") == 1 and share.isdecimal():
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


def absolute(spec, folder=""):
    """The same picture from any folder: PICTURE or PICTURE:SHARE with the file's whole path; a sample as it is.

    folder  from which it is seen, by default the current one
    """
    name, _ = shared(spec)
    path = os.path.join(folder, name)
    return spec if not os.path.isfile(path) else os.path.abspath(path) + spec[len(name) :]


def styles_and_options(styles, options):
    """([style, …], options): pictures with their shares, PICTURE:SHARE, turned into an option.

    options  {name: value} of Settings
    """
    found, options = [shared(spec) for spec in styles], dict(options)
    if any(share is not None for _, share in found):
        if options.get("style_blend") is not None:
            raise SettingsError(
                "--style-blend: shares stand behind the pictures' names as well; give one", "style_blend"
            )
        options["style_blend"] = tuple(1.0 if share is None else share for _, share in found)
    size, own = options.get("size"), options.get("style_size")
    sizes = own if isinstance(own, tuple | list) else (own,) * len(found)
    drawn = sizes if len(sizes) == len(found) else (None,) * len(found)  # the other lengths are refused by name
    pictures = [sized(name, one or size) for (name, _), one in zip(found, drawn, strict=True)]
    return pictures, options


def files_of(found, options):
    """(what, path) of those of `found`, and of what the options name, that are files.

    options  what has Settings' names; values that are no text are no files
    """
    found = [*found, *((flag(name), getattr(options, name)) for name in ("init", "weights"))]
    named = [("keep", [options.keep])]
    named += [(name, masks.split(getattr(options, name) or "")) for name in ("mask", "style_mask")]
    found += [(flag(name), masks.file_of(m)) for name, several in named for m in several if isinstance(m, str)]
    found.append(("--palette", palette.file_of(options.palette)))
    return [(what, path) for what, path in found if isinstance(path, str | os.PathLike) and os.path.isfile(path)]


def is_same(a, b):
    """Whether two names are of one file: by links of either kind, or by where it would be."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)


def check_output_alone(output, read, instead="give another -o"):
    """The picture must not take the place of a file that is read, whatever may be overwritten: it would be lost.

    read  [(what, path), …], as files_of gives it; the start alone may be replaced by what becomes of it
    """
    for what, path in read:
        if what != "--init" and is_same(output, path):
            raise SettingsError(f"{output}: would be written, and is the {what} file; {instead}", "output")


def is_without_style(layers):
    """Whether --style-layers (None: not given) says that the loss takes nothing of a style."""
    return layers is not None and not any(parse_layers("style_layers", layers).values())


def within(folder, options):
    """Options whose files are seen from a folder, out of a file that stands there. Raises SettingsError."""
    found = dict(options)
    for name in ("init", "weights", "keep", "mask", "style_mask", "palette"):
        value = found.get(name)
        if name in ("mask", "style_mask") and value is not None:
            value = masks.split(value) if isinstance(value, str) else value
            if not isinstance(value, list) or not all(isinstance(m, str) for m in value):
                raise SettingsError(f"{flag(name)} {value!r}: expected text, or a list of texts", name)
            found[name] = [masks.absolute(m, folder) for m in value]
        elif isinstance(value, str):
            how = {"keep": masks.absolute, "palette": palette.absolute}.get(name, absolute)
            found[name] = how(value, folder)
        elif name in ("init", "keep") and value is not None:
            raise SettingsError(f"{flag(name)} {value!r}: expected text", name)
    return found


def text_of(path, expected):
    """The text of a file that a person wrote. Raises ValueError, whose line does not name the file.

    expected  what it should have been, in words
    """
    try:
        if os.path.isdir(path):
            raise ValueError(f"is a folder; expected {expected}")
        if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would be waited for without end
            raise ValueError(f"not a regular file; expected {expected}")
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise ValueError(f"no such file; expected {expected}") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({first_line(error)})") from None
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes; expected {expected}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"not text; expected {expected}, in UTF-8") from None
