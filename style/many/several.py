"""The command line's side of more than one picture: several contents, --sweep, --jobs. Options in, a code out."""

import contextlib
import dataclasses
import math
import re
from pathlib import Path

from minivgg.program import FAILURE, OK, fail, say

from ..checkpoint import EVERY, parse_every
from ..command import named_styles
from ..names import free_name, inputs
from ..options import SettingsError, flag, options_of
from ..pictures import images, saving
from ..report import check_report, is_report
from ..settings import Settings, settings_from
from ..specs import expanded, is_same, is_without_style, sized, styles_and_options
from ..units import parse_duration
from ..watching import check_latest
from .batches import PATTERN, Batch, label, make_folder, summary
from .jobqueue import LEASE, Queue
from .sweeps import Sweep, parse_sweep
from .teller import NAME, Teller
from .worker import Worker

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


class Alone:
    """One process that does several pictures; cluster.many.Shared is the same of one among several, which are ranks."""

    rank, size = 0, 1
    share = aloud = contextlib.nullcontext  # Batch.run says what of; the time in which each is at its own work

    def together(self, work):
        """work() on each rank; what it raises on one is raised on all."""
        return work()

    once = together  # work() on the first rank; what it gives, or raises, on all

    def gather(self, value):
        """The values of all ranks, on the first; elsewhere []."""
        return [value]


def run_several(mode, args, files, signals, ranks=None):
    """Do what MODES names; returns the exit code. ranks  Alone, or what stands for it"""
    ranks = ranks or Alone()
    ranks.once(lambda: _check_watched(mode, files))
    return {"jobs": _jobs, "sweep": _sweep, "contents": _contents}[mode](args, files, signals, ranks)


def _check_watched(mode, files):
    try:
        if files.latest is not None:
            check_latest(files.latest, files.overwrite)
    except images.ImageError as error:
        raise SettingsError(str(error), "latest") from None
    if files.report is not None:  # a batch that is started again goes on with its own sheet
        replace = files.overwrite or (mode == "contents" and is_report(files.report))
        check_report(files.report, replace=replace, made=files.out_dir)


def _contents(args, files, signals, ranks):
    contents, args = ranks.once(lambda: _listed(args))
    batch = ranks.together(lambda: _batch(contents, args, files))
    batch.items = items = ranks.once(lambda: batch.items)  # one disk may look different from two machines
    if len(items) < len(contents) and not files.quiet:
        say(f"left out {len(contents) - len(items)} of the pictures: outputs of the others")
    if files.report is not None:
        ranks.once(lambda: make_folder(batch.out_dir))  # it may lie there, and is written also where no picture is
    title = f"{len(items)} pictures in the manner of {', '.join(map(label, batch.styles))}"
    teller = ranks.together(lambda: Teller(files, ranks, items, title=title, styles=batch.styles))
    _say_idle(len(items), f"{len(items)} picture{'s'[: len(items) > 1]} in all", files, ranks)
    signals.hold()
    with ranks.aloud():
        made = batch.run(teller.listeners, teller.told, teller.save, ranks.share)
    teller.end()
    found = _of_all(made, ranks)
    cut = [m.output for m in found if m.status == "interrupted" and math.isfinite(m.loss)]
    said = summary(found, len(items)) + "".join(f"; {path} is the best picture so far" for path in cut)
    return ranks.once(lambda: _end(found, said, files, signals))


def _listed(args):
    """([content, …], the arguments with the styles that there are)."""
    if args.contents is not None:  # what stands elsewhere are styles, then
        args.style = [*([args.content] if args.content else []), *(args.style or [])]
        if not args.style and not is_without_style(args.style_layers):  # the contents take all names that follow
            raise SettingsError("--contents: no STYLE; name it before, or behind another option", "contents")
        args.content = None
    contents = [one for spec in args.contents or [args.content or "sample:scene"] for one in expanded(spec)]
    args.style = named_styles(args)
    return contents, args


def _batch(contents, args, files):
    """The Batch, checked."""
    options = _given(args)
    pictures, options = styles_and_options(args.style, options)
    contents = [sized(c, options.get("size")) for c in contents]
    name, settings = PATTERN if files.name is None else files.name, settings_from(files.preset, **options)
    batch = Batch(contents, pictures, settings, out_dir=files.out_dir or ".", name=name, overwrite=files.overwrite)
    files.check_format(Path(name), settings.depth)
    _check_read(args, [item.output for item in batch.items], "--out-dir", [item.content for item in batch.items])
    return batch


def _jobs(args, files, signals, ranks):
    worker = ranks.together(lambda: _worker(args, files))
    teller = ranks.together(lambda: Teller(files, ranks))
    signals.hold()
    with ranks.aloud():
        made = worker.run(teller.listeners, teller.told, teller.save, wait=bool(files.jobs_wait))
    found = _of_all(made, ranks)
    ended = {m.item.content for m in found if m.status != "interrupted"}  # by another rank than gave it back
    found = [m for m in found if m.status != "interrupted" or m.item.content not in ended]
    done = [m for m in found if m.item.content]  # but for an interrupt while it waited
    back = [f"; {m.item.content} {m.message}" for m in done if m.status == "interrupted"]
    return ranks.once(lambda: _end(found, summary(done) + "".join(back), files, signals))


def _worker(args, files):
    """The Worker, its options checked."""
    options = _given(args)
    for name in (*(n for n in ("content", "style") if getattr(args, n)), *(n for n in options if n not in OWN)):
        what = name.upper() if name in ("content", "style") else flag(name)
        raise SettingsError(
            f"{what}: stands in the job's file; beside --jobs work {' and '.join(map(flag, OWN))}", name
        )
    lease = LEASE if files.jobs_lease is None else parse_duration(files.jobs_lease)
    every = parse_every(files.checkpoint_every or EVERY)
    return Worker(Queue(files.jobs, lease), own=options, overwrite=files.overwrite, every=every)


def _sweep(args, files, signals, ranks):
    output, args, swept = ranks.once(lambda: _named(args, files))
    sweep, singles = ranks.together(lambda: _checked_sweep(output, args, files, swept))
    ranks.once(lambda: _check_singles(files, sweep, singles))
    title = f"{label(sweep.content)}: {' and '.join(flag(name) for name in swept)}"
    teller = ranks.together(lambda: Teller(files, ranks, sweep.cells, singles, title))
    why = f"{len(sweep.cells)} cells in all"
    if len(sweep.rows) < len(sweep.cells):
        why = "cells that start from one another's pictures are one rank's; --sweep-alone parts them"
    _say_idle(len(sweep.rows), why, files, ranks)
    signals.hold()
    with ranks.aloud():
        made = sweep.compute(teller.listeners, teller.told_cell, ranks.share)
    teller.end()
    found = ranks.gather(_to_send(*made))
    return ranks.once(lambda: _end_sweep(sweep, found, output, teller, signals))


def _named(args, files):
    """(output, the arguments with the pictures that there are, {option: values})."""
    if args.content and expanded(args.content) != [args.content]:
        raise SettingsError(f"--sweep: of one content picture; {args.content} is several", "sweep")
    swept = parse_sweep(files.sweep)
    args.style = named_styles(args, swept)
    sizes = [v for v in swept.get("size", [args.size]) if isinstance(v, int)]
    content = sized(args.content or "sample:scene", max(sizes, default=None))
    named = (args.content or content, *args.style, "sweep")
    output = free_name(*named) if files.output is None else Path(files.output)
    args.content = content
    try:
        saving.check_output(output, files.overwrite)
    except images.ImageError as error:
        raise SettingsError(str(error), "output") from None
    return output, args, swept


def _checked_sweep(output, args, files, swept):
    """The Sweep, and {cell's number: path} of the cells' own pictures."""
    pictures, options = styles_and_options(args.style, _given(args))
    sweep = Sweep(args.content, pictures, swept, alone=bool(files.sweep_alone), preset=files.preset, **options)
    sweep.check_output(output, files.overwrite)
    files.check_format(output, depth=8)  # a sheet has 8 bits
    if files.out_dir is None and any(cell.settings.depth != 8 for cell in sweep.cells):
        raise SettingsError(
            "--depth: works with --out-dir: the cells' own pictures have it, a sheet has 8 bits", "depth"
        )
    singles = {c.number: Path(files.out_dir) / _single(output, c) for c in sweep.cells} if files.out_dir else {}
    _check_read(args, [output, *singles.values()], "-o")
    return sweep, singles


def _end_sweep(sweep, found, output, teller, signals):
    """Write the sheet of [(results, interrupted), …]; returns the exit code."""
    results = {number: result for some, _ in found for number, result in some.items()}
    if not results:
        return fail(NAME, "interrupted before the first evaluation was done: nothing was written", signals.code)
    sheet = sweep.sheet(results, any(interrupted for _, interrupted in found))
    teller.save(sheet, output, teller.files.overwrite)
    there = sum(r is not None and r.outcome.status not in BAD for _, r in sheet.results)
    said = [f"{there} of {len(sheet.results)} cells"] + [f"not finite: {c.label}" for c in sheet.failed]
    if sheet.interrupted:
        return fail(NAME, f"interrupted: {'; '.join(said)}", signals.code)
    return fail(NAME, "; ".join(said), FAILURE) if sheet.failed else OK


def _of_all(made, ranks):
    """[Made] of all ranks on the first, in their order."""
    found = ranks.gather([dataclasses.replace(m, error=None) for m in made])  # an error need not be one to send
    return sorted((m for some in found for m in some), key=lambda m: m.item.number)


def _to_send(results, interrupted):
    """What Sweep.compute gives, without the optimiser's pictures, which may lie on a card."""
    kept = {n: dataclasses.replace(r, outcome=dataclasses.replace(r.outcome, image=None)) for n, r in results.items()}
    return kept, interrupted


def _say_idle(count, why, files, ranks):
    """Where there is less to do than there are ranks."""
    if count < ranks.size and not files.quiet:
        say(f"ranks    {ranks.size - count} of {ranks.size} have nothing to do: {why}")


def _end(found, said, files, signals):
    """The last line and the exit code."""
    if any(m.status == "interrupted" for m in found):
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
