"""The command that repeats a run, from what is stored with its picture: names of files, never their folders."""

import shlex
from collections.abc import Mapping
from typing import Any

from PIL import ImageMode

from ..options import SettingsError, default_of, flag, options_of
from ..provenance import is_texture, records
from ..settings import Settings, settings_from

PROGRAM = "python -m style.run"


def command(record: Mapping[str, Any]) -> str | None:
    """The command line; None where a picture or a mask came from memory, which has no name.

    record  a picture's metadata, with "settings", "content", "style" and "weights"
    """
    stored = dict(record["settings"])
    styles = [str(r.get("name")) for r in records(record.get("style"))]
    content = str((record.get("content") or {}).get("name"))
    if "init" in record:
        stored["init"] = str(record["init"].get("name"))
    given = [*styles, content, *([stored["init"]] if "init" in record else [])]
    masks = [m for m in (stored.get("keep"), *(stored.get("mask") or ()), *(stored.get("style_mask") or ())) if m]
    if any(from_memory(name) for name in given) or "array" in masks:
        return None
    flags = dict(changed(stored))
    flags["weights"] = stored.get("weights") or record["weights"]["name"]
    pictures = [content, *styles]
    if is_texture(record):
        pictures, flags = styles, {"texture": True} | flags
        flags.pop("content_layers", None)
        if flags.get("init") == "noise":
            del flags["init"]
    words = map(_file, pictures)
    return " ".join([PROGRAM, *words, *(word for name, value in flags.items() for word in _words(name, value))])


def again(name: str) -> str:
    """The command line that repeats a run from its picture."""
    return f"{PROGRAM} --again {_file(name)}"


def changed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """{name: value} of the settings that are not as they are by default, but for those that do nothing."""
    try:
        settings = settings_from(**{name: stored.get(name) for name in options_of(Settings)})
        base = Settings(optimizer=settings.optimizer, bounds=False if settings.optimizer == "two-loop" else None)
    except (SettingsError, TypeError):  # stored by another version
        return {k: v for k, v in stored.items() if k in options_of(Settings) and v != default_of(Settings, k)}
    found = {}
    for name, opt in options_of(Settings).items():
        value = getattr(settings, name)
        idle = opt.needs is not None and not opt.needs[1](settings)
        own = name == "optimizer" and value != default_of(Settings, name)
        if own or (value != getattr(base, name) and not idle):
            found[name] = value
    return found


def from_memory(name: str) -> bool:
    """Whether a picture's stored name is what stands in place of a file's: its array's type or its mode."""
    if name.startswith("array "):
        return True
    try:
        ImageMode.getmode(name)
    except KeyError:
        return False
    return True


def as_text(value: Any) -> str:
    """A value as the command line takes it, to the last digit."""
    if isinstance(value, dict):
        return ",".join(k if v == 1 else f"{k}:{as_text(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ",".join("all" if v is None else as_text(v) for v in value)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)


def _file(name):
    """A file's name as a shell takes it, and no option."""
    return shlex.quote(f"./{name}" if name.startswith("-") else name)


def _words(name, value):
    if isinstance(value, bool):
        return [flag(name) if value else flag(f"no_{name}")]
    text = shlex.quote(as_text(value))
    return [flag(name), text] if not text.startswith("-") else [f"{flag(name)}={text}"]
