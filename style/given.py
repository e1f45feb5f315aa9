"""The pictures that a job was given: none, one or several styles, and whether they are there that options take from."""

import os

from .options import SettingsError, flag
from .pictures import ImageError, images, palette
from .settings import INITS


def given_styles(settings, content, style):
    """[style, …] of what a job was given: None for content alone, one, or a list.

    Raises SettingsError or ImageError where a picture is missing of which the settings take something.
    """
    s = settings
    if content is None and (any(s.content_layers.values()) or _is(s.init, "content", "blend")):
        raise SettingsError("a texture has no content picture: expected --content-layers none and --init noise")
    for name in _taking(s, "content") if content is None else ():
        raise SettingsError(f"{flag(name)}: works with a content picture, and a texture has none", name)
    found, alone = images.several(style), not any(s.style_layers.values())
    if not found and (content is None or not alone):
        raise ImageError("no style: expected a picture, or a list of pictures; without one, --style-layers none")
    for name in () if found else _taking(s, "style"):
        raise SettingsError(f"{flag(name)}: works with a style picture, and there is none", name)
    changed = s.tv_weight or any(v is not None for v in (s.match_colors, s.match_histogram, s.palette))
    if alone and _is(s.init, "content") and not changed:
        raise SettingsError(
            "--init content: content alone is there already; expected --init noise, or a layer in --style-layers",
            "init",
        )
    return found


TAKING = {  # options, beside layers, that take something of the pictures of a kind
    "content": ("photo_weight", "laplacian_weight", "keep", "keep_colors", "match_colors"),
    "style": ("style_size", "style_blend", "mask", "style_mask", "match_colors"),
}


def _taking(settings, kind):
    """Those of TAKING that are on, and those whose value names the kind."""
    values = {name: getattr(settings, name) for name in TAKING[kind]}
    found = [n for n, v in values.items() if v is not None and not (isinstance(v, bool | float) and not v)]
    found += [n for n in ("init", "match_histogram") if _is(getattr(settings, n), kind)]
    spec = settings.palette
    return found + (["palette"] if spec is not None and palette.read_spec(spec).source == kind else [])


def _is(value, *names):
    """Whether an option's value, which may be a picture, is one of these names."""
    return isinstance(value, str) and value in names


def is_name(init):
    """Whether --init names one of our starts; anything else is a file that must exist."""
    if not isinstance(init, str | os.PathLike):
        return False
    if init in INITS:
        return True
    if os.path.exists(init) or images.is_sample(init):
        return False
    raise SettingsError(f"--init {str(init)!r}: neither {', '.join(INITS)} nor a file that exists", "init")
