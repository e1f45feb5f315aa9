"""Many pictures in one go: the network, the styles' pictures and their targets are read and computed once.

    for made in style.batch(["a.jpg", "b.jpg"], "painting.jpg", out_dir="out", size=512):
        print(made.output, made.status, made.message)

A picture that fails does not stop the others. One that is there already, made from the same inputs with the same
settings, is left: a batch that was interrupted and is started again goes on with what is missing.
"""

import math
import os
import string
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivgg.backend import BackendError
from minivgg.program import first_line, poll
from minivgg.table import MIN_SIDE

from ..engine import Engine
from ..job import Job
from ..large.plan import MemoryBudgetError
from ..options import SettingsError
from ..pictures import ImageError, images, saving
from ..provenance import is_finished, is_record_of
from ..recipes import attributed
from ..settings import settings_from

PATTERN = "{content}-{style}.png"
FIELDS = ("content", "style", "number")
FAILURES = (ImageError, SettingsError, MemoryBudgetError, BackendError, MemoryError, OSError)  # of one picture


@dataclass(frozen=True)
class Item:
    """One picture of a batch: its number from 1, what it is made from, and where it goes."""

    number: int
    content: object
    output: Path


@dataclass(frozen=True)
class Made:
    """What became of an Item.

    status   "done", "skipped" (it was there), "failed" or "interrupted" (the best picture so far, if it has a loss)
    message  why, or how it ended, in a line
    loss     of the picture, or nan
    error    what was raised, or None
    """

    item: Item
    status: str
    message: str = ""
    loss: float = math.nan
    error: Exception | None = None

    @property
    def output(self):
        return self.item.output


def save(result, path, replace):
    """Where a caller has no other wish."""
    result.save(path, replace=replace)


class Batch:
    """Several contents in the manner of the same styles, with the same settings; checked as far as one for all can be.

    contents   what images.as_picture takes, each read when its turn comes
    style      as for Job
    settings   settings.Settings
    out_dir    a folder, made when the first picture is
    name       names of the outputs: {content}, {style} and {number} stand for the files' names and 1, 2, …
    overwrite  whether other files of these names give way

    Raises SettingsError, ImageError, WeightsError or BackendError for what would meet every picture.
    """

    def __init__(self, contents, style, settings, *, out_dir=".", name=PATTERN, overwrite=False):
        self.settings, self.overwrite, self.out_dir = settings, overwrite, Path(out_dir)
        if self.out_dir.exists() and not self.out_dir.is_dir():
            raise SettingsError(f"--out-dir {out_dir}: a file; expected a folder, or a new name", "out_dir")
        self.styles = images.several(style)
        self.items = items(contents, self.styles, self.out_dir, name)
        with attributed(settings):
            self.engine = Engine(settings)
        for one in self.styles:
            images.as_picture(one, need=lambda H, W: (MIN_SIDE, MIN_SIDE))

    def run(self, listeners=lambda item: (), told=lambda made: None, save=save, share=nullcontext):
        """Make them one after the other; returns [Made], as far as it came.

        listeners  a function of an Item: listeners of its run
        told       called with each Made
        save       a function of a Result, a path and whether a file there gives way
        share      of the items, a context in which those come, one by one, that are this process's
        """
        found = []
        with share(self.items) as own:
            for item in own:
                try:
                    poll()
                    made = self._make(item, listeners, save)
                except FAILURES as error:
                    words = getattr(error, "on_command_line", None) or first_line(error)
                    made = Made(item, "failed", words, error=error)
                except KeyboardInterrupt:
                    made = Made(item, "interrupted", "interrupted before its first evaluation")
                found.append(made)
                told(made)
                if made.status == "interrupted":
                    break
        return found

    def _make(self, item, listeners, save):
        job = Job(item.content, self.styles, self.settings, engine=self.engine)
        replace = may_write(item.output, job, self.overwrite)
        if replace is None:
            return Made(item, "skipped", "is there already")
        make_folder(self.out_dir)
        saving.check_output(item.output, replace, size_hw=job.size, depth=job.settings.depth)
        outcome = (result := job.run(*listeners(item))).outcome
        status = {"interrupted": "interrupted", "non-finite": "failed"}.get(outcome.status, "done")
        if math.isfinite(outcome.loss):
            save(result, item.output, replace)
        return Made(item, status, outcome.message, outcome.loss)


def batch(
    contents: Sequence[Any],
    style: Any,
    *,
    out_dir: str | os.PathLike[str] = ".",
    name: str = PATTERN,
    overwrite: bool = False,
    preset: str | os.PathLike[str] | None = None,
    listeners: Callable[[Item], Sequence[Callable]] | None = None,
    **options: Any,
) -> list[Made]:
    """Paint each of `contents` in the manner of `style` and save it; returns [Made], one for each.

    contents, style, out_dir, name, overwrite  as for Batch
    preset, options                            as for transfer
    listeners                                  a function of an Item: listeners of its run (events.py)

    Ctrl-C ends the picture in work with its best state, and the batch: its Made is the last of the list.
    """
    settings = settings_from(preset, **options)
    found = Batch(contents, style, settings, out_dir=out_dir, name=name, overwrite=overwrite)
    return found.run(*([] if listeners is None else [listeners]))


def make_folder(path):
    """Make the folder of outputs where it is missing. Raises ImageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{path}: the folder cannot be made ({first_line(error)}); give another one") from None


def may_write(path, job, overwrite):
    """Whether a file there may be replaced by a job's picture; None where it is that picture, finished.

    Raises OutputExistsError where it is something else, and not to be overwritten.
    """
    if overwrite or not os.path.lexists(path):
        return overwrite
    try:
        record = saving.read_metadata(path)
    except ImageError:
        record = None
    if not is_record_of(record, job):
        raise saving.OutputExistsError(
            f"{path}: exists already, and was made otherwise; choose another name or folder, or --overwrite"
        )
    return None if is_finished(record) else True


def summary(found, total=None):
    """One line that says what became of `total` pictures, from [Made]; of as many as there are, where it is None."""
    there = sum(m.status in ("done", "skipped") for m in found)
    failed = [label(m.item.content) for m in found if m.status == "failed"]
    skipped = sum(m.status == "skipped" for m in found)
    count = len(found) if total is None else total
    parts = [f"{there} of {count} pictures" if count != 1 else f"{there} of 1 picture"]
    parts += [f"{skipped} there already"] if skipped else []
    parts += [f"failed: {', '.join(failed)}"] if failed else []
    return "; ".join(parts)


def items(contents, styles, out_dir, name=PATTERN):
    """[Item] of contents and styles; a content that is another's output, as a folder has them later, is left out.

    Names that would be taken twice are numbered: a.png, a-2.png. Raises SettingsError.
    """
    check_pattern(name)
    if images.is_picture(contents):
        raise SettingsError(f"contents: one picture, {label(contents)}; expected a list of them")
    contents = list(contents)
    style, taken, outputs = "-".join(_stem(s) for s in styles[:3]) or "alone", set(), []
    for number, content in enumerate(contents, 1):
        own = out_dir / name.format(content=_stem(content), style=style, number=number)
        path, count = own, 1
        while os.path.normcase(path) in taken:
            count += 1
            path = own.with_stem(f"{own.stem}-{count}")
        taken.add(os.path.normcase(path))
        outputs.append(path)
    real = [os.path.realpath(p) for p in outputs]
    pairs = [
        (content, path)
        for k, (content, path) in enumerate(zip(contents, outputs, strict=True))
        if not _is_at(content, {p for j, p in enumerate(real) if j != k})
    ]
    if not pairs:
        raise SettingsError("no content pictures: expected at least one")
    read = [c for c, _ in pairs] + list(styles)
    for _, path in pairs:
        if any(_is_at(r, {os.path.realpath(path)}) for r in read):
            raise SettingsError(f"{path}: would be written, and is read as well; give another --out-dir or --name")
    return [Item(k, content, path) for k, (content, path) in enumerate(pairs, 1)]


def check_pattern(name):
    """Raise SettingsError for names that cannot be made, or that are not of pictures."""
    try:
        fields = [(f, spec) for _, f, spec, _ in string.Formatter().parse(name) if f is not None]
        made = name.format(content="a", style="b", number=1)
    except (ValueError, LookupError, AttributeError, TypeError):
        fields, made = [("?", "")], ""
    if any(f not in FIELDS for f, _ in fields):
        raise SettingsError(f"--name {name!r}: expected {{content}}, {{style}} or {{number}} in it", "name")
    if os.path.basename(made) != made or not made:
        raise SettingsError(f"--name {name!r}: a name without a folder; --out-dir is for that", "name")
    if Path(made).suffix.lower() not in saving.FORMATS:
        raise SettingsError(f"--name {name!r}: expected an end such as .png: {', '.join(saving.FORMATS)}", "name")


def label(content):
    """What a content is called in messages: its file's name."""
    return os.path.basename(content) if isinstance(content, str | os.PathLike) else "picture from memory"


def _stem(source):
    """What stands in a file's name for a picture."""
    path = getattr(source, "path", None)
    path = source if isinstance(source, str | os.PathLike) else path
    if path is None:
        return "picture"
    return Path(os.fspath(path).removeprefix(images.SAMPLE).replace(":", "-")).stem[:80]


def _is_at(source, places):
    return isinstance(source, str | os.PathLike) and os.path.isfile(source) and os.path.realpath(source) in places
