"""A sweep: the same picture at several values of one or two options, side by side on a labelled sheet.

    sheet = style.sweep("photo.jpg", "painting.jpg", {"style_weight": [10, 100, 1000]}, size=256)
    sheet.save("sheet.png")

All cells are checked before the first is computed. A cell that differs from its neighbour in factors of the loss alone
starts from the neighbour's picture, with half the evaluations (benchmarks/README.md has what this saves).
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minivgg.program import poll, suggest

from ..engine import Engine
from ..job import Job
from ..options import KINDS, SettingsError, flag, options_of
from ..pictures import images, saving
from ..provenance import sheet_record
from ..result import Result
from ..settings import Settings, settings_from
from .sheet import contact_sheet, identity, sheet_size, shown

MOST = 100  # cells
FACTORS = (
    "strength",
    "content_weight",
    "style_weight",
    "tv_weight",
    "photo_weight",
    "laplacian_weight",
    "content_layers",
    "style_layers",
    "style_blend",
)
TRUTH = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
CORNER = 1024  # pixels that are kept of the photograph and the styles, for the sheet
RECORD = 5000  # bytes of metadata, about, for each cell


@dataclass(frozen=True)
class Cell:
    """One picture of a sweep: `values` {option: value} of those that are swept, and its number from 1.

    settings, size, evaluations  settings.Settings, (height, width), and evaluations at that size
    like  the Cell whose picture it starts from, or None
    """

    number: int
    values: dict
    settings: Settings = field(repr=False)
    size: tuple = field(repr=False)
    evaluations: int = field(repr=False)
    like: "Cell | None" = field(default=None, repr=False)

    @property
    def label(self):
        return ", ".join(f"{name.replace('_', ' ')} {shown(value)}" for name, value in self.values.items())


@dataclass
class Sheet:
    """What a sweep leaves. In a notebook it shows itself.

    rgb       (H, W, 3) uint8: the sheet
    results   [(Cell, Result or None), …]; None where there is no picture: not finite, or not begun
    metadata  of all cells
    """

    rgb: np.ndarray = field(repr=False)
    results: list
    metadata: dict = field(repr=False)
    interrupted: bool = False

    def save(self, path, replace=True, quality=None, dpi=None):
        """Write the sheet with the metadata of all cells, atomically. The rest as for saving.save."""
        saving.save(path, self.rgb, metadata=self.metadata, replace=replace, quality=quality, dpi=dpi)

    @property
    def failed(self):
        """[Cell] whose loss was not finite at some time."""
        return [c for c, r in self.results if r is not None and r.outcome.status == "non-finite"]

    def _repr_png_(self):
        return saving.encode("sheet.png", self.rgb, metadata=self.metadata)


class Sweep:
    """The cells of a sweep, each of them checked; the first option runs along the rows, a second one down.

    content, style  as for Job
    sweep           {option: values}, one option or two
    alone           whether every cell starts as the settings say, for itself
    preset, options as for transfer

    Raises SettingsError that names the cell, and what Job raises.
    """

    def __init__(self, content, style, sweep, *, alone=False, preset=None, **options):
        self.sweep = dict(sweep)
        _check(self.sweep, options)
        self.content, self.style, self.engines = content, style, {}
        self.columns = len(next(iter(self.sweep.values())))
        self.cells, self.corner = [], []
        for number, values in enumerate(itertools.product(*reversed(self.sweep.values())), 1):
            values = dict(zip(self.sweep, reversed(values), strict=True))
            self.cells.append(self._cell(number, values, alone, preset, options))

    def run(self, listeners=lambda cell: (), told=lambda cell, result: None):
        """Compute all cells; returns a Sheet, whatever ended it.

        listeners  a function of a Cell: listeners of its run
        told       called with each Cell and its Result
        """
        return self.sheet(*self.compute(listeners, told))

    def compute(self, listeners, told, share=nullcontext):
        """({cell's number: Result}, whether it was interrupted) of the cells that are this process's.

        share  of `rows`, a context in which those come, one by one, that are this process's. The rest as for run
        """
        results = {}
        with share(self.rows) as own:
            for cell in itertools.chain.from_iterable(own):
                try:
                    poll()
                    result = self._started(cell, results).run(*listeners(cell))
                except KeyboardInterrupt:
                    return results, True
                results[cell.number] = result
                told(cell, result)
                if result.outcome.status == "interrupted":
                    return results, True
        return results, False

    def sheet(self, results, interrupted=False):
        """The Sheet of {cell's number: Result}."""
        found = [(cell, results.get(cell.number)) for cell in self.cells]
        return Sheet(self._drawn(found), found, sheet_record(self.sweep, found), interrupted)

    @property
    def rows(self):
        """[[Cell, …], …]: those that start from one another's pictures, in their order, are together."""
        found = {}
        for cell in self.cells:
            found[cell.number] = row = found[cell.like.number] if cell.like else []
            row.append(cell)
        return [row for number, row in found.items() if row[0].number == number]

    @property
    def size(self):
        """(height, width) of the sheet."""
        return sheet_size(self._cell_size(), self.columns, len(self.cells))

    def check_output(self, path, overwrite=False):
        """Raise ImageError or SettingsError for a sheet that could not be written."""
        saving.check_output(path, overwrite, size_hw=self.size)
        if saving.holds(path) is not None and RECORD * len(self.cells) > saving.holds(path):
            raise SettingsError(f"{path}: JPEG does not hold the metadata of {len(self.cells)} cells; choose .png")

    def _cell(self, number, values, alone, preset, options):
        """A Cell, checked by making its job, which is let go: all of them would take much memory."""
        try:
            settings = settings_from(preset, **{**options, **values})
            job = self._job(settings)
        except SettingsError as error:
            where = " ".join(f"{name.replace('_', '-')}={shown(value)}" for name, value in values.items())
            raise SettingsError(f"--sweep {where}: {error.on_command_line}", "sweep") from None
        if not self.corner:
            small = [(p.rgb, images.fit(min(CORNER, max(p.rgb.shape)), *p.rgb.shape[:2])) for p in _pictures(job)]
            self.corner = [images.resize(rgb, hw) for rgb, hw in small]
        own = alone or settings.balance or settings.init != "content"  # --balance weighs by where a run starts
        like = None if own else self._like(number, values)
        return Cell(number, values, settings, job.size, job.stages[-1].evaluations, like)

    def _job(self, settings):
        key = tuple(getattr(settings, name) for name in Engine.OPTIONS)
        job = Job(self.content, self.style, settings, engine=self.engines.get(key))
        self.engines[key] = job.engine
        return job

    def _like(self, number, values):
        """The neighbour to the left, or else above, if only factors of the loss are another there."""
        near = number - 2 if (number - 1) % self.columns else number - 1 - self.columns
        if near < 0:
            return None
        other = self.cells[near]
        differs = [name for name, value in values.items() if identity(other.values[name]) != identity(value)]
        return other if all(name in FACTORS for name in differs) else None

    def _started(self, cell, results):
        """The job of a cell, from its neighbour's picture where there is a good one."""
        near, job = results.get(cell.like.number) if cell.like else None, self._job(cell.settings)
        if near is None or not math.isfinite(near.outcome.loss):
            return job
        start = images.from_array(job.colours.to_rgb(near.outcome.image))  # as it was optimised: no palette, no colours
        half = max(1, cell.evaluations // 2)
        return self._job(dataclasses.replace(cell.settings, init=start, evaluations=half, scales=1))

    def _cell_size(self):
        return tuple(max(cell.size[k] for cell in self.cells) for k in (0, 1))

    def _drawn(self, found):
        cells = [(cell.label, _picture(result)) for cell, result in found]
        return contact_sheet(cells, self.corner, self._cell_size(), self.columns)


def sweep(
    content: Any,
    style: Any,
    sweep: Mapping[str, Sequence[Any]],
    *,
    alone: bool = False,
    preset: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Sheet:
    """Paint at each value of one or two options; returns a Sheet.

    sweep  {option: [value, …]}, of one or two of Settings' options: {"style_weight": [10, 100], "tv_weight": [0, 1]}
    alone  every cell for itself, as transfer would make it; else from its neighbour's where factors alone differ
    content, style, preset, options  as for transfer
    """
    return Sweep(content, style, sweep, alone=alone, preset=preset, **options).run()


def parse_sweep(texts):
    """{option: [value, …]} of ["style-weight=10,100", …]; values are parted by semicolons where one has commas.

    Raises SettingsError.
    """
    known = options_of(Settings)
    names = {alias.replace("-", "_"): name for name, opt in known.items() for alias in opt.aliases}
    found = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        name = names.get(name, name)
        if not equals or not values.strip():
            raise SettingsError(f"--sweep {text!r}: expected OPTION=VALUE,VALUE", "sweep")
        if name not in known:
            hint = suggest(name.replace("_", "-"), [n.replace("_", "-") for n in known])
            raise SettingsError(f"--sweep {text!r}: {name.replace('_', '-')} is not an option{hint}", "sweep")
        if name in found:
            raise SettingsError(f"--sweep {text!r}: {name.replace('_', '-')} stands there twice", "sweep")
        parts = [v.strip() for v in values.split(";" if ";" in values else ",")]
        found[name] = [_parsed(known[name], text, part) for part in parts]
    return found


def _parsed(opt, text, part):
    kind = KINDS[opt.kind]
    if opt.kind == "switch":
        if part.lower() not in TRUTH:
            raise SettingsError(f"--sweep {text!r}: {part!r}: expected yes or no", "sweep")
        return TRUTH[part.lower()]
    try:
        return kind.parse(part)
    except ValueError:
        raise SettingsError(f"--sweep {text!r}: {part!r}: expected {kind.words}", "sweep") from None


def _check(found, options):
    if not 1 <= len(found) <= 2:
        raise SettingsError(f"--sweep: {len(found)} options; expected one or two", "sweep")
    for name, values in found.items():
        if not isinstance(values, list | tuple) or not values:
            raise SettingsError(f"--sweep {name}: expected a list of values", "sweep")
        if len({identity(v) for v in values}) < len(values):
            raise SettingsError(f"--sweep {name.replace('_', '-')}: a value stands there twice", "sweep")
        if options.get(name) is not None:
            raise SettingsError(f"{flag(name)}: is swept; leave it away", name)
    count = math.prod(map(len, found.values()))
    if count > MOST:
        raise SettingsError(f"--sweep: {count} cells; expected at most {MOST}", "sweep")


def _pictures(job):
    return [job.content, *job.styles.pictures]


def _picture(result):
    return result.rgb if isinstance(result, Result) and math.isfinite(result.outcome.loss) else None
