"""What is printed of several pictures, how each is saved and reported, and what hears its run."""

import math
from pathlib import Path

from minivgg.program import FAILURE, fail, say

from ..limits import Patience, TimeLimit
from ..preview import check_preview
from ..printing import Console, warn
from ..report import Reports
from ..units import parse_duration
from ..watching import Latest
from ..writing import write
from .batches import label

NAME = "style.run"


def asked_for(files, tell):
    """Listeners of the options that one picture and several have alike."""
    found = [] if files.time is None else [TimeLimit(parse_duration(files.time))]
    found += [] if files.patience is None else [Patience(files.patience)]
    return found + ([] if files.latest is None else [Latest(files.latest, tell)])


class Teller:
    """What is printed of several pictures, and how each is saved.

    ranks    several.Alone, or what stands for it: the first rank says what is planned and keeps the sheet
    parts    the batch's items or the sweep's cells, or None where nobody knows how many there will be
    singles  {cell's number: path} of a sweep's pictures that are saved beside the sheet
    title, styles  of the sheet that leads to their reports; the batch's style pictures
    """

    def __init__(self, files, ranks, parts=None, singles=None, title="", styles=()):
        self.files, self.ranks, self.singles, self.styles = files, ranks, singles or {}, styles
        self.total, self.planned = None if parts is None else len(parts), ranks.rank > 0
        self.reports = self.report = None
        if files.report is not None:
            names, own = [_name(part) for part in parts], ranks.rank == 0
            self.reports = Reports(files.report, title, names, files.overwrite, warn, live=own)
        self.preview = files.preview and check_preview(warn)

    def listeners(self, item):
        """What hears the run of a batch's item, or of a sweep's cell."""
        self.report = None if self.reports is None else self.reports.report(_name(item))
        return [*self._console(item), *([] if self.report is None else [self.report])]

    def _console(self, item):
        if self.files.quiet:
            return asked_for(self.files, warn)
        of = "" if self.total is None else f" of {self.total}"
        what = item.label if hasattr(item, "label") else label(item.content)
        say(f"picture  {item.number}{of}: {what}")
        which = f"  [{what if self.total is None else item.number}]" if self.ranks.size > 1 else ""
        console = Console(getattr(item, "output", None) or Path("sheet"), not self.planned, self.preview, which)
        self.planned = True
        return [console, *asked_for(self.files, console.warn)]

    def save(self, result, path, replace):
        written = write(result, path, lambda _: replace, quality=self.files.quality, dpi=self.files.resolution)
        if not self.files.quiet:
            say(f"wrote    {written}")

    def told(self, made):
        if made.status == "failed":
            what = label(made.item.content)
            fail(NAME, made.message if what in made.message else f"{what}: {made.message}", FAILURE)
        elif made.status == "skipped" and not self.files.quiet:
            say(f"skipped  {made.output}: {made.message}")
        if self.reports is not None:
            self._report(made)

    def _report(self, made):
        """The report of a batch's picture, and the sheet."""
        name = made.output.name
        if made.status == "skipped":
            self.reports.skipped(made.output, name, made.item.content, self.styles)
        elif math.isfinite(made.loss):
            self.reports.done(self.report, made.output, name)
        else:
            self.reports.failed(name, made.message)

    def told_cell(self, cell, result):
        single = self.singles.get(cell.number)
        if single is not None and result.outcome.values:
            self.save(result, single, self.files.overwrite)
        if self.reports is not None and result.outcome.values:
            name = _name(cell)
            self.reports.done(self.report, single or name, name, saved=single is not None)

    def end(self):
        """The sheet of reports has the pictures of all ranks."""
        if self.reports is not None and self.ranks.size > 1:
            for entries in self.ranks.gather(self.reports.entries):
                self.reports.entries |= entries
            if self.ranks.rank == 0:
                self.reports.write()


def _name(part):
    """What the report of a batch's item, or of a sweep's cell, is called."""
    return part.output.name if hasattr(part, "output") else f"{part.number:02} {part.label}"
