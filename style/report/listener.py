"""What hears a run for its report and writes it at the end: a page for a picture, a sheet that leads to several."""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from minivgg.files import FileError, atomic_file, check_folder
from minivgg.program import first_line

from ..events import Evaluated, Finished, Planned
from ..options import SettingsError
from ..pictures import ImageError, images, saving
from ..provenance import fingerprint, is_texture, made_from
from ..units import duration, format_size
from ..watching import Frames
from .curve import Curve, ReportError, read_log
from .facts import LARGEST, MOST, SIDE, Facts, facts_of, read_from, reduced, sha256_of

SUFFIXES = (".html", ".htm")
NEEDED = {"jinja2": "Jinja2", "matplotlib": "matplotlib"}
MARK = b'<meta name="generator" content="minivgg-style'  # of our own pages, in their first bytes
HEAD = 1000


def check_report(path, *, replace=False, what="--report", made=None):
    """Raise SettingsError for a report that could not be written.

    replace  whether a file that is there gives way;  made  a folder that will be there when it is written, or None
    """
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        said = f'{what} {path}: needs {" and ".join(missing)}; pip install "minivgg-style[report]", or leave it away'
        raise SettingsError(said, "report")
    if Path(path).suffix.lower() not in SUFFIXES:
        found = f'the suffix "{Path(path).suffix}"' if Path(path).suffix else "no suffix"
        raise SettingsError(f"{what} {path}: {found}; expected {' or '.join(SUFFIXES)}", "report")
    if os.path.isdir(path):
        raise SettingsError(f"{what} {path}: a folder; expected a file name", "report")
    if os.path.lexists(path) and not replace:
        raise SettingsError(f"{what} {path}: exists already; give another name or --overwrite", "report")
    if (
        made is not None
        and not os.path.exists(made)
        and os.path.realpath(made) == str(Path(os.path.realpath(path)).parent)
    ):
        return
    try:
        check_folder(path)
    except FileError as error:
        raise SettingsError(f"{what} {error}", "report") from None


def is_report(path):
    """Whether a file is a page of ours."""
    try:
        with open(path, "rb") as file:
            return MARK in file.read(HEAD)
    except OSError:
        return False


def write_page(path, text, replace):
    """Write a page whole or not at all. Raises FileError."""
    with atomic_file(path, replace=replace) as file:
        file.write(text.encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8


class Report:
    """A listener that keeps what a report tells; write() makes it, once the picture is where it is to be.

    path     .html; check_report looks at it before the run
    replace  whether a file that is there gives way
    warn     called with a line where it cannot be made: the picture is worth more
    log      the run's log, or None: a run that goes on has its first evaluations from there
    """

    def __init__(self, path, replace, warn, log=None):
        self.path, self.replace, self.warn, self.log = Path(path), replace, warn, log
        self.frames, self.curve, self.notes = Frames(SIDE, MOST), Curve(), []
        self.job = self.result = self.first = None

    def __call__(self, event):
        self.frames(event)
        if isinstance(event, Planned):
            self.job = event.job
            self.curve = self._earlier(event)
        elif isinstance(event, Evaluated):
            more = {"scale": event.scale, "size": format_size(event.size[::-1]), "seconds": event.seconds}
            self.curve.add(event.evaluation, event.loss, event.values, exact=event.exact, **more)
            if self.first is None:
                self.first = event.evaluation, self.frames.frame(event.to_rgb())
        elif isinstance(event, Finished):
            self.result = event.result

    def write(self, picture, saved=True):
        """Make the report of a picture that was written there (or, not `saved`, is called so); returns its path, or
        None with a warning."""
        from .page import page  # here, since what draws takes a second to load

        try:
            write_page(self.path, page(self.facts(picture, saved)), self.replace)
            return self.path
        except FileError as error:
            self.warn(f"--report {error}")
        except Exception as error:  # whatever it is, the picture is written and the run must end as it should
            self.warn(f"--report {self.path}: cannot be made ({first_line(error)})")
        return None

    def facts(self, picture, saved=True):
        job, result = self.job, self.result
        shown = reduced(result.rgb.shape[:2], LARGEST)
        alpha = None if result.alpha is None else images.resize(result.alpha, shown)
        small = [images.resize(p.rgb, reduced(p.rgb.shape[:2], LARGEST)) for p in job.styles.pictures]
        first = [] if self.first is None else [self.first]  # a run that went on may have had nothing left to do
        film = dict([*first, *zip(self.frames.at, self.frames.frames, strict=True)])
        frames = [(f"evaluation {n}", frame) for n, frame in film.items()]
        facts = Facts(Path(picture).name, result.metadata, images.resize(result.rgb, shown), alpha, self.curve)
        facts.content = None if is_texture(result.metadata) else job.content.resized(shown)
        facts.styles, facts.frames, facts.notes = small, frames, self.notes
        facts.sha256 = sha256_of(picture) if saved else None
        return facts

    def _earlier(self, event):
        """The Curve of what was done before, by a run that this one goes on with."""
        run, count = fingerprint(made_from(event.job)), len(event.losses)
        if not count:
            return Curve(run)
        self.notes = [f"The run was gone on with after evaluation {count}: the film begins there."]
        try:
            curve, _ = read_log(self.log) if self.log is not None and os.path.isfile(self.log) else (None, [])
            if curve is not None and curve.run in (None, run) and curve.losses == list(event.losses):
                curve.run = run
                return curve
        except ReportError:
            pass
        self.notes.append("There is no log of what came before: of these evaluations, the terms are not known.")
        curve = Curve(run)
        for number, loss in enumerate(event.losses, 1):
            scale = 1 if number <= event.before else event.scale
            curve.add(number, loss, {}, scale=scale, size=format_size(event.job.stages[scale - 1].size))
        return curve


@dataclass
class Entry:
    """What a sheet has of a picture. link  its report's file beside the sheet, or None; rgb  (H, W, 3) or None"""

    title: str
    said: str
    link: str | None = None
    rgb: object = None


class Reports:
    """The reports of several pictures, beside a sheet that leads to them; the sheet is written anew after each picture.

    path     of the sheet; a report is beside it, SHEET-NAME.html
    title    of the sheet
    names    of all pictures, in their order on the sheet
    replace  whether files that are there give way; our own pages always do
    warn     called with a line where one cannot be made
    live     whether the sheet is written after each picture; else write() does it, when `entries` are together

    entries  {name: Entry} of the pictures so far
    """

    def __init__(self, path, title, names, replace, warn, live=True):
        self.path, self.title, self.replace, self.warn = Path(path), title, replace, warn
        self.live, self.entries, self.places = live, {}, {}
        for name in dict.fromkeys(names):
            self.places[name] = self._place(name)

    def report(self, name):
        """A Report of the picture of that name."""
        path = self.places[name]
        return Report(path, self.replace or is_report(path), self.warn)

    def done(self, report, picture, name, saved=True):
        """Write the report of a picture, and the sheet."""
        path, outcome = report.write(picture, saved), report.result.outcome
        said = f"loss {outcome.loss:.5g} in {duration(outcome.seconds)}: {outcome.message}"
        self._add(name, Entry(name, said, path and path.name, report.result.rgb))

    def skipped(self, picture, name, content, styles):
        """A picture that was there already: its report if that is there, else one from what the picture says."""
        from .page import page

        path, link, rgb = self.places[name], None, None
        try:
            with read_from(picture):
                facts = facts_of(picture, content=content, styles=styles)
                rgb = facts.rgb
                if not is_report(path):
                    write_page(path, page(facts), self.replace)
            link = path.name
        except (ReportError, ImageError, FileError) as error:
            self.warn(f"--report {path}: cannot be made ({first_line(error)})")
        self._add(name, Entry(name, "was there already", link, rgb))

    def failed(self, name, message):
        self._add(name, Entry(name, f"failed: {message}"))

    def _place(self, name):
        """Where the report of a picture goes: no two share a place."""
        short = name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in saving.FORMATS else name
        room = max(20, 200 - len(os.fsencode(self.path.stem)))  # names of files end at 255 bytes
        short = os.fsencode(re.sub(r"[^\w.+]+", "-", short)[:80])[:room].decode(errors="ignore")
        stem, taken = f"{self.path.stem}-{short}", [*self.places.values()]
        number, path = 1, self.path.with_name(f"{stem}.html")
        while os.path.normcase(path) in map(os.path.normcase, [*taken, self.path]):
            number += 1
            path = self.path.with_name(f"{stem}-{number}.html")
        return path

    def _add(self, name, entry):
        if entry.rgb is not None:
            entry.rgb = images.resize(entry.rgb, reduced(entry.rgb.shape[:2], SIDE))
        self.entries[name] = entry
        if self.live:
            self.write()

    def write(self):
        """Write the sheet of the pictures so far."""
        from .page import sheet

        entries = [self.entries[name] for name in self.places if name in self.entries]
        try:
            write_page(self.path, sheet(self.title, entries), self.replace or is_report(self.path))
        except Exception as error:  # as for a report
            self.warn(f"--report {self.path}: cannot be made ({first_line(error)})")
