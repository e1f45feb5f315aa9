"""The command line's side of more than one picture: several contents, --sweep, --jobs. Options in, a code out."""

import math
import re
from pathlib import Path

from minivgg.program import FAILURE, OK, fail, say

from .batches import PATTERN, Batch, label, summary
from .checkpoint import EVERY, parse_every
from .command import named_styles
from .jobqueue import LEASE, Queue
from .limits import Patience, TimeLimit
from .names import free_name, inputs, is_same
from .options import SettingsError, flag, options_of
from .pictures import images, saving
from .preview import check_preview
from .printing import Console, warn
from .report import Reports, check_report, is_report
from .settings import Settings, settings_from
from .specs import expanded, is_without_style, sized, styles_and_options
from .sweeps import Sweep, parse_sweep
from .units import parse_duration
from .watching import Latest, check_latest
from .worker import Worker
from .writing import write

NAME = "style.run"
BAD = ("interrupted", "non-finite")
ANY = {"overwrite", "quiet", "quality", "time", "patience", "latest", "preview"}
MODES = {  # which of the options about files works with each; the rest is of one picture
    "jobs": ANY | {"jobs", "jobs_wait", "jobs_lease", "checkpoint_every"},
    "sweep": ANY | {"sweep", "sweep_alone", "output", "out_dir", "preset", "print", "dpi", "report"},
    "contents": ANY | {"contents", "out_dir", "name", "preset", "print", "dpi", "report"},
}
OWN = ("device", "memory")  # options of a picture that a machine may set for all jobs of a queue


def mode_of(args, files):
    """A key of MODES, or None for one picture. Raises SettingsError for options that do not go together."""
    several = any(getattr(args, name) is not None for name in ("contents", "out_dir", "name"))
    if args.content is not None and not args.texture:  # whose pictures are styles, all of them
        several = several or expanded(args.content) != [args.content]
    mode = "jobs" if args.jobs is not None else "sweep" if args.sweep else "contents" if several else None
    for name in options_of(type(files)) if mode else ():
        if getattr(args, name) is not None and name not in MODES[mode]:
            one = "one content picture" if mode == "contents" else f"one picture, without {flag(mode)}"
            raise SettingsError(f"{'-o' if name == 'output' else flag(name)}: works with {one}", name)
    return mode


def run_several(mode, args, files, signals):
    """Do what MODES names; returns the exit code."""
    try:
        if files.latest is not None:
            check_latest(files.latest, files.overwrite)
    except images.ImageError as error:
        raise SettingsError(str(error), "latest") from None
    if files.report is not None:  # a batch that is started again goes on with its own sheet
        replace = files.overwrite or (mode == "contents" and is_report(files.report))
        check_report(files.report, replace=replace, made=files.out_dir)
    return {"jobs": _jobs, "sweep": _sweep, "contents": _contents}[mode](args, files, signals)


def asked_for(files, tell):
    """Listeners of the options that one picture and several have alike."""
    found = [] if files.time is None else [TimeLimit(parse_duration(files.time))]
    found += [] if files.patience is None else [Patience(files.patience)]
    return found + ([] if files.latest is None else [Latest(files.latest, tell)])


def _contents(args, files, signals):
    if args.contents is not None:  # what stands elsewhere are styles, then
        args.style = [*([args.content] if args.content else []), *(args.style or [])]
        if not args.style and not is_without_style(args.style_layers):  # the contents take all names that follow
            raise SettingsError("--contents: no STYLE; name it before, or behind another option", "contents")
        args.content = None
    contents = [one for spec in args.contents or [args.content or "sample:scene"] for one in expanded(spec)]
    args.style = named_styles(args)
    options = _given(args)
    pictures, options = styles_and_options(args.style, options)
    contents = [sized(c, options.get("size")) for c in contents]
    name, settings = PATTERN if files.name is None else files.name, settings_from(files.preset, **options)
    batch = Batch(contents, pictures, settings, out_dir=files.out_dir or ".", name=name, overwrite=files.overwrite)
    files.check_quality(Path(name))
    _check_read(args, [item.output for item in batch.items], "--out-dir", [item.content for item in batch.items])
    if len(batch.items) < len(contents) and not files.quiet:
        say(f"left out {len(contents) - len(batch.items)} of the pictures: outputs of the others")
    total = len(batch.items)
    batch.items = batch.items[getattr(args, "share", slice(None))]  # names are those of all, on any number of ranks
    if not batch.items:
        return OK
    if files.report is not None:
        batch.out_dir.mkdir(parents=True, exist_ok=True)  # it may lie there, and is written also where no picture is
    title = f"{total} pictures in the manner of {', '.join(map(label, batch.styles))}"
    teller = _Teller(files, total, title=title, styles=batch.styles)
    signals.hold()
    found = batch.run(teller.listeners, teller.told, teller.save)
    cut = [m.output for m in found if m.status == "interrupted" and math.isfinite(m.loss)]
    said = summary(found, len(batch.items)) + "".join(f"; {path} is the best picture so far" for path in cut)
    return _end(found, said, files, signals)


def _jobs(args, files, signals):
    options = _given(args)
    for name in (*(n for n in ("content", "style") if getattr(args, n)), *(n for n in options if n not in OWN)):
        what = name.upper() if name in ("content", "style") else flag(name)
        raise SettingsError(
            f"{what}: stands in the job's file; beside --jobs work {' and '.join(map(flag, OWN))}", name
        )
    lease = LEASE if files.jobs_lease is None else parse_duration(files.jobs_lease)
    teller = _Teller(files, None)
    every = parse_every(files.checkpoint_every or EVERY)
    worker = Worker(Queue(files.jobs, lease), own=options, overwrite=files.overwrite, every=every)
    signals.hold()
    found = worker.run(teller.listeners, teller.told, teller.save, wait=bool(files.jobs_wait))
    done = [m for m in found if m.item.content]  # but for an interrupt while it waited
    back = [f"; {m.item.content} {m.message}" for m in done if m.status == "interrupted"]
    return _end(found, summary(done) + "".join(back), files, signals)


def _sweep(args, files, signals):
    if args.content and expanded(args.content) != [args.content]:
        raise SettingsError(f"--sweep: of one content picture; {args.content} is several", "sweep")
    content = args.content or "sample:scene"
    swept = parse_sweep(files.sweep)
    args.style = named_styles(args, swept)
    options = _given(args)
    pictures, options = styles_and_options(args.style, options)
    sizes = [v for v in swept.get("size", [options.get("size")]) if isinstance(v, int)]
    content = sized(content, max(sizes, default=None))
    output = (
        Path(files.output) if files.output is not None else free_name(args.content or content, *args.style, "sweep")
    )
    try:
        saving.check_output(output, files.overwrite)
    except images.ImageError as error:
        raise SettingsError(str(error), "output") from None
    sweep = Sweep(content, pictures, swept, alone=bool(files.sweep_alone), preset=files.preset, **options)
    sweep.check_output(output, files.overwrite)
    files.check_quality(output)
    singles = {c.number: Path(files.out_dir) / _single(output, c) for c in sweep.cells} if files.out_dir else {}
    _check_read(args, [output, *singles.values()], "-o")
    _check_singles(files, sweep, singles)
    title = f"{label(content)}: {' and '.join(flag(name) for name in swept)}"
    teller = _Teller(files, len(sweep.cells), singles, title=title)
    signals.hold()
    sheet = sweep.run(teller.listeners, teller.told_cell)
    if not any(result is not None for _, result in sheet.results):
        return fail(NAME, "interrupted before the first evaluation was done: nothing was written", signals.code)
    teller.save(sheet, output, files.overwrite)
    there = sum(r is not None and r.outcome.status not in BAD for _, r in sheet.results)
    said = [f"{there} of {len(sheet.results)} cells"] + [f"not finite: {c.label}" for c in sheet.failed]
    if sheet.interrupted:
        return fail(NAME, f"interrupted: {'; '.join(said)}", signals.code)
    return fail(NAME, "; ".join(said), FAILURE) if sheet.failed else OK


class _Teller:
    """What is printed of several pictures, and how each is saved.

    total    how many there will be, or None where nobody knows
    singles  {cell's number: path} of a sweep's pictures that are saved beside the sheet
    title, styles  of the sheet that leads to their reports; the batch's style pictures
    """

    def __init__(self, files, total, singles=None, title="", styles=()):
        self.files, self.total, self.singles, self.planned = files, total, singles or {}, False
        self.reports = None if files.report is None else Reports(files.report, title, files.overwrite, warn)
        self.report, self.styles = None, styles
        self.preview = files.preview and check_preview(warn)

    def listeners(self, item):
        """What hears the run of a batch's item, or of a sweep's cell."""
        name = item.output.name if hasattr(item, "output") else f"{item.number:02} {item.label}"
        self.report = None if self.reports is None else self.reports.report(name)
        return [*self._console(item), *([] if self.report is None else [self.report])]

    def _console(self, item):
        if self.files.quiet:
            return asked_for(self.files, warn)
        of = "" if self.total is None else f" of {self.total}"
        what = item.label if hasattr(item, "label") else label(item.content)
        say(f"picture  {item.number}{of}: {what}")
        console = Console(getattr(item, "output", None) or Path("sheet"), not self.planned, self.preview)
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
            name = f"{cell.number:02} {cell.label}"
            self.reports.done(self.report, single or name, name, saved=single is not None)


def _end(found, said, files, signals):
    """The last line and the exit code."""
    if found and found[-1].status == "interrupted":
        return fail(NAME, f"interrupted: {said}", signals.code)
    if any(m.status == "failed" for m in found):
        return fail(NAME, said, FAILURE)
    if not files.quiet:
        say(said)
    return OK


def _given(args):
    return {name: getattr(args, name) for name in options_of(Settings) if getattr(args, name) is not None}


def _check_read(args, outputs, flags, contents=()):
    """Refuse outputs that are read as well, or that --latest is; and a --latest that is read."""
    read = [*inputs(args), *(("content", c) for c in contents if isinstance(c, str))]
    if args.latest is not None:
        for what, path in read:
            if is_same(args.latest, path):
                raise SettingsError(f"--latest {args.latest}: is the {what} file as well; give another name", "latest")
        read.append(("--latest", args.latest))
    for output in outputs:
        for what, path in read:
            if is_same(output, path):
                raise SettingsError(f"{output}: would be written, and is the {what} file; give another {flags}")


def _single(output, cell):
    """The name of a cell's own picture."""
    return f"{output.stem}-{cell.number:02}-" + re.sub(r"[^\w.+]+", "-", cell.label)[:100] + ".png"


def _check_singles(files, sweep, singles):
    """A cell's picture replaces nothing unless told to."""
    if not singles:
        return
    folder = Path(files.out_dir)
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--out-dir {folder}: a file; expected a folder, or a new name", "out_dir")
    folder.mkdir(parents=True, exist_ok=True)
    for cell in sweep.cells:
        try:
            saving.check_output(singles[cell.number], files.overwrite, size_hw=cell.size, depth=cell.settings.depth)
        except saving.OutputExistsError as error:
            raise SettingsError(str(error), "out_dir") from None
