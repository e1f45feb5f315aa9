"""What a report tells of a run, and how it is found later: beside the picture, or in this folder."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minivgg.program import first_line

from ..pictures import ImageError, images, saving
from ..provenance import is_texture, records
from .curve import Curve, ReportError, check_same_run, read_log
from .repeat import from_memory

MOST, SIDE = 12, 240  # frames of a film, and pixels of one
LARGEST = 1200  # pixels of the result and the content, at most


@dataclass
class Facts:
    """All that a report tells.

    name     of the picture's file, or what it is called
    record   its metadata
    rgb      (H, W, 3) float32 0..255, of at most about LARGEST pixels; alpha (H, W) 0..1 or None
    content  (H, W, 3), or None where there is none or it was not found; styles the same, in the record's order
    frames   [(label, (h, w, 3) uint8)], the film
    notes    what is missing, and why; shown at the head of the page
    """

    name: str
    record: dict[str, Any]
    rgb: np.ndarray
    alpha: np.ndarray | None = None
    curve: Curve = field(default_factory=Curve)
    content: np.ndarray | None = None
    styles: Sequence[np.ndarray | None] = ()
    frames: Sequence[tuple[str, np.ndarray]] = ()
    notes: list[str] = field(default_factory=list)
    sha256: str | None = None


@contextlib.contextmanager
def read_from(picture: str | os.PathLike[str]) -> Iterator[None]:
    """A context in which what a picture says of itself is used: ReportError where that is not as we write it."""
    try:
        yield
    except (ReportError, ImageError, OSError, MemoryError):
        raise
    except Exception as error:  # another version's, or anybody's: they fail anywhere
        what = f"{type(error).__name__}: {first_line(error)}"
        raise ReportError(f"{picture}: how it was made is not as style.run writes it ({what})") from None


def facts_of(
    picture: str | os.PathLike[str],
    log: str | os.PathLike[str] | None = None,
    *,
    content: str | None = None,
    styles: Sequence[str] = (),
    animation: str | None = None,
) -> Facts:
    """Facts of a picture that a run has left.

    log              what --log wrote, or None: the page has no curves then
    content, styles  where these are, if they are not beside the picture or in this folder
    animation        what --animation wrote: the film, if there are no pictures of --save-every beside the picture

    Raises ReportError or ImageError: a picture that is not ours, or a log of another run.
    """
    path = Path(picture)
    record = saving.read_metadata(path)
    if record is None or not {"settings", "result", "stages"} <= record.keys():
        found = "a contact sheet" if record and "cells" in record else "no picture of ours that says how it was made"
        raise ReportError(f"{path}: {found}; expected one that style.run or transfer() wrote")
    read = images.read(path, min_side=1, need=_as_shown)
    facts = Facts(path.name, record, read.rgb, read.alpha, sha256=read.sha256)
    if log is None:
        facts.notes.append("Made without a log: there are no curves.")
    else:
        facts.curve, cut = read_log(log)
        lacking = check_same_run(facts.curve, record, str(log), str(picture))
        facts.notes += cut + [note.replace(str(log), Path(log).name) for note in lacking]
    _find_inputs(facts, path, content, styles)
    facts.frames = _film(path, record) or (_animated(animation) if animation is not None else [])
    if not facts.frames:
        facts.notes.append("No pictures of the way: they are kept by --report, --save-every or --animation.")
    return facts


def _find_inputs(facts, path, content, styles):
    """Add the content and the styles, from where they were given or where --again looks for them."""
    stored = records(facts.record.get("style"))
    if styles and len(styles) != len(stored):
        raise ReportError(f"{path}: it was made from {len(stored)} styles; give as many --style, or none")
    places = styles or [None] * len(stored)
    facts.styles = [_input(facts, path, "style", one, given) for one, given in zip(stored, places, strict=True)]
    if not is_texture(facts.record):
        found = _input(facts, path, "content", facts.record.get("content") or {}, content)
        facts.content = None if found is None else images.resize(found, facts.rgb.shape[:2])


def _input(facts, path, what, stored, given):
    """(H, W, 3) of an input, or None with a note."""
    name = str(stored.get("name"))
    places = [str(path.with_name(os.path.basename(name))), os.path.basename(name)]
    if images.is_sample(name) or given is not None:
        places = [name if given is None else given]
    elif from_memory(name):
        facts.notes.append(f"The {what} came from memory and is not shown.")
        return None
    for place in places:
        try:
            found = images.as_picture(place, need=_as_shown)
        except ImageError:
            if given is not None:
                raise
            continue
        if found.sha256 == stored.get("sha256"):
            return found.resized(_as_shown(*found.size[::-1]))
        if given is not None:
            raise ReportError(f"{given}: another {what} than the one that {path} was made from, {name}")
    facts.notes.append(f"The {what} {name} is not shown: it is neither beside {path.name} nor in this folder.")
    return None


def _film(path, record):
    """[(label, frame)] of what --save-every has left of this run beside its picture."""
    found = []
    for place in path.parent.glob(f"{_escaped(path.stem)}-[0-9]*{path.suffix}"):
        number = place.stem.rpartition("-")[2]
        if number.isdecimal():
            try:
                about = saving.read_metadata(place) or {}
            except ImageError:
                continue
            own = all(about.get(name) == record.get(name) for name in ("started", "content", "style"))
            if own and about.get("evaluation") == int(number):
                found.append((int(number), place))
    found = [sorted(found)[k] for k in _spread(len(found))]
    return [(f"evaluation {number}", _frame(images.read(place, min_side=1).rgb)) for number, place in found]


def _animated(path):
    """[(label, frame)] of an animation."""
    try:
        with Image.open(path) as image:
            count = getattr(image, "n_frames", 1)
            found = []
            for k in _spread(count):
                image.seek(k)
                frame = _frame(np.asarray(image.convert("RGB"), np.float32))
                found.append((f"frame {k + 1} of {count}", frame))
            return found
    except Exception as error:  # decoders raise anything on bad data
        raise ReportError(f"{path}: cannot be read as an animation ({first_line(error)})") from None


def _spread(count):
    """Indices of at most MOST of `count`, the ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int)).tolist() if count else []


def _frame(rgb):
    return images.to_uint8(images.resize(rgb, reduced(rgb.shape[:2], SIDE)))


def _as_shown(h, w):
    return reduced((h, w), LARGEST)


def reduced(size_hw, side):
    """(h, w) brought to a longest side, or as it is where that is less."""
    return images.fit(side, *size_hw) if max(size_hw) > side else tuple(size_hw)


def _escaped(text):
    """For a pattern, a name as it stands."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
