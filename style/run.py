"""`python -m style.run CONTENT STYLE -o OUT`: options in, a picture out. Parses, prints, exits; computes nothing.

Exit code 0: done; 2: an option or name that cannot be used; 1: a file or device that failed, or a loss that is not
finite; 130, 143 or 129: Ctrl-C, SIGTERM or SIGHUP, with the best picture so far written.
"""

import dataclasses
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import weights
from minivgg.backend import BackendError, UnknownDeviceError
from minivgg.files import FileError, check_folder
from minivgg.program import FAILURE, USAGE, end, fail, ready, say

from .again import again
from .batches import PATTERN
from .checkpoint import EVERY, SCIPYS, Checkpoint, about, check_inputs, is_ours, parse_every, resumed
from .job import Job
from .jobqueue import LEASE
from .large.plan import MemoryBudgetError
from .names import check_on_the_way, check_written, free_name, is_same
from .options import Parser, SettingsError, check_value, flag, option, options_of
from .pictures import images, masks, saving
from .provenance import version
from .report import Console, Log, Pictures, warn
from .settings import Settings, of_preset, presets, settings_from
from .several import asked_for, mode_of, run_several
from .specs import expanded, sized, styles_and_options
from .state import StateError
from .units import parse_duration, parse_lengths
from .watching import Animation, check_animation, check_latest
from .writing import write

NAME = "style.run"
MANY = "many pictures"  # a heading of --help
DPI = 300  # of a print
INTERRUPTED = "interrupted before the first evaluation was done: nothing was written"
CODES = dict.fromkeys((SettingsError, weights.UnknownWeightsError, UnknownDeviceError), USAGE) | dict.fromkeys(
    (images.ImageError, weights.WeightsError, BackendError, MemoryBudgetError, StateError), FAILURE
)


@dataclass(frozen=True)
class Files:
    """Options of the command line alone: what is read, written and printed."""

    # fmt: off
    output: str | None = option(None, "path", "files", "png, jpg, webp, tif or avif (default CONTENT-STYLE.png, numbered)", "FILE", alias="o")
    overwrite: bool = option(False, "switch", "files", "replace files that exist")
    preset: str | None = option(None, "text", "files", f"a recipe: {', '.join(presets())}", "NAME", shown=True)
    texture: bool = option(False, "switch", "files", "no content picture: all pictures are styles, the result a texture of --size")
    print: str | None = option(None, "text", "files", "in place of --size: the size of a print, 90x60cm, 300mm or 24x36in; the longest side counts", "S")
    dpi: float | None = option(None, "number", "files", "pixels an inch of --print, stored in the picture (default 300)", "N", above=0, high=10000)
    save_every: int | None = option(None, "whole", "files", "save a picture every N evaluations", "N", low=1)
    overlay: str | None = option(None, "path", "files", "before the start, a picture of what each mask covers", "FILE")
    log: str | None = option(None, "path", "files", "a new file: one JSON object a line for each evaluation", "FILE", shown=True)
    quality: int | None = option(None, "whole", "files", "of jpg, webp and avif, 1 to 100 (default 95, avif 90)", "Q", low=1, high=100)
    checkpoint: str | None = option(None, "path", "files", "a new file: the run's state, to go on from after an interrupt; gone when the run is done", "FILE", shown=True)
    checkpoint_every: str | None = option(None, "text", "files", f"write it every so often: a time such as {EVERY} (default) or a number of evaluations", "T")
    resume: str | None = option(None, "path", "files", "go on with the run of a checkpoint, by itself", "FILE", shown=True)
    again: str | None = option(None, "path", "files", "repeat the run that made this picture; what differs is said", "FILE", shown=True)
    time: str | None = option(None, "text", "files", "stop after a time such as 90s, 10m or 1h30m, with the best picture", "T", shown=True)
    patience: int | None = option(None, "whole", "files", "end a scale whose loss has not fallen by 0.1 % in N evaluations", "N", low=1)
    latest: str | None = option(None, "path", "files", "one picture that is replaced as the run grows, for a viewer that reloads", "FILE", shown=True)
    animation: str | None = option(None, "path", "files", "an animation of the run: gif, webp or png (APNG)", "FILE")
    quiet: bool = option(False, "switch", "files", "print errors only")

    contents: tuple | None = option(None, "names", MANY, "several contents (or CONTENT is a folder, or a pattern in quotes); other names are styles", "A")
    out_dir: str | None = option(None, "path", MANY, "where their pictures go; those that are there already, made alike, are left", "DIR")
    name: str | None = option(None, "text", MANY, f"their names (default {PATTERN}; also {{number}})", "NAME")
    sweep: tuple | None = option(None, "texts", MANY, "a contact sheet of values of an option, style-weight=10,100,1000; twice for two options", "O=V,V", shown=True)
    sweep_alone: bool = option(False, "switch", MANY, "every cell starts for itself (default: from its neighbour's picture where factors alone differ)", needs=("--sweep", lambda f: f.sweep))
    jobs: str | None = option(None, "path", MANY, "work off a folder of job files; any number of processes may", "DIR", shown=True)
    jobs_wait: bool = option(False, "switch", MANY, "wait for further jobs", needs=("--jobs", lambda f: f.jobs))
    jobs_lease: str | None = option(None, "text", MANY, f"after which a job is taken from a process that has gone (default {LEASE:g}s)", "T", needs=("--jobs", lambda f: f.jobs))
    # fmt: on

    def __post_init__(self):
        for f in dataclasses.fields(self):
            check_value(f.name, f.metadata["option"], getattr(self, f.name), f.default)
        for name, opt in options_of(Files).items():
            value = getattr(self, name)
            if value == "" and opt.kind == "path":
                raise SettingsError(f"{'-o' if name == 'output' else flag(name)} '': expected a file name", name)
            if value and opt.needs is not None and not opt.needs[1](self):
                raise SettingsError(f"{flag(name)}: works with {opt.needs[0]}", name)
        if self.print is not None:
            self.pixels()
        for name in ("time", "jobs_lease"):
            try:
                if getattr(self, name) is not None:
                    parse_duration(getattr(self, name))
            except ValueError as error:
                raise SettingsError(f"{flag(name)} {error}", name) from None
        if self.checkpoint_every is not None:
            parse_every(self.checkpoint_every)

    @property
    def resolution(self):
        """Pixels an inch of --print, or None."""
        return None if self.print is None else self.dpi or DPI

    def pixels(self):
        """The longest side of --print."""
        try:
            return round(max(parse_lengths(self.print)) * self.resolution)
        except ValueError as error:
            raise SettingsError(f"--print {error}", "print") from None

    def check_quality(self, output):
        """A quality where the format has none would do nothing."""
        if self.quality is not None and saving.FORMATS.get(output.suffix.lower()) not in saving.QUALITY:
            raise SettingsError("--quality: works with -o of .jpg, .webp or .avif", "quality")


def main(argv=None):
    """Run the command line; returns the exit code."""
    ready()
    args = parsed(sys.argv[1:] if argv is None else argv)

    def work(signals):
        try:
            return run(args, signals)
        except SettingsError as error:
            return fail(NAME, error.on_command_line, USAGE)

    return end(NAME, work, CODES, interrupted=lambda: INTERRUPTED)


def parsed(argv):
    """The arguments as they were typed, None where not given. Pictures may stand between options, or behind a --."""
    end = argv.index("--") if "--" in argv else len(argv)  # which argparse forgets where pictures stand anywhere
    args = parser().parse_intermixed_args(argv[:end])
    pictures = [p for p in (args.content, *args.style) if p is not None] + argv[end + 1 :]
    args.content, args.style = (pictures[0] if pictures else None), pictures[1:] or None
    return args


def run(args, signals):
    """Check, optimise, write."""
    files = Files(**given(args, Files))
    mode = mode_of(args, files)
    if mode is not None:
        measure(args, files)
        return run_several(mode, args, files, signals)
    state, args = completed(args)
    files = Files(**given(args, Files))
    measure(args, files)
    pictures = [p for p in (args.content, *args.style) if p is not None]
    own = files.output is None  # a name of ours that another run takes meanwhile is no mistake: write() takes the next
    output = free_name(*pictures) if own else Path(files.output)

    def replace(path):
        return files.overwrite or (state is not None and is_ours(path, state))

    try:
        saving.check_output(output, own or (os.path.exists(output) and replace(output)))
    except images.ImageError as error:
        return fail(NAME, error, USAGE)
    files.check_quality(output)
    check_written(args, output)
    style, settings = styles_and_settings(args, files.preset)
    try:
        job = Job(sized(args.content, args.size), style, settings)
    except SettingsError as error:
        raise of_preset(error, files.preset, given(args, Settings)) from None
    if state is not None:
        check_inputs(files.checkpoint, state, job)
        job.started = state.about["started"]
    saving.check_output(output, own or replace(output), size_hw=job.size, depth=job.settings.depth)
    check_on_the_way(job, output, args, replace)
    check_watched(files, state)
    if files.overlay is not None:
        write_overlay(job, files, replace)
    return optimise(job, args, files, output, replace, state, signals)


def completed(args):
    """(State or None, the arguments with all that --resume, --again, --texture and defaults add)."""
    state = None
    if args.resume is not None:
        if args.again is not None:
            raise SettingsError("--again: works without --resume, which goes on with a run of its own", "again")
        beside = {k: v for k, v in vars(args).items() if k != "resume"}
        state, args = resumed(args.resume, beside, free=[n for n in options_of(Files) if n != "preset"])
    elif args.again is not None:
        args = again(args, warn)
    if args.texture:  # all pictures are styles
        args.style, args.content = [p for p in (args.content, *(args.style or [])) if p is not None], None
        args.content_layers, args.init = args.content_layers or "none", args.init or "noise"
    elif args.content is None:
        args.content = "sample:scene"
    args.style = [one for spec in args.style or ["sample:strokes"] for one in expanded(spec)]
    return state, args


def measure(args, files):
    """The size that --print comes to, in the place of --size."""
    if files.dpi is not None and files.print is None:
        raise SettingsError("--dpi: works with --print", "dpi")
    if files.print is not None:
        if args.size is not None and args.size != files.pixels():
            raise SettingsError("--print: in place of --size; give one of them", "print")
        args.size = files.pixels()


def optimise(job, args, files, output, replace, state, signals):
    """Run the job with the listeners that the options ask for, and write what comes of it; returns the exit code."""
    console = None if files.quiet else Console(output)
    tell = warn if console is None else console.warn
    checkpoint = checkpoint_of(job, args, files, output, state, tell)
    log = Log(files.log, files.overwrite, tell, () if state is None else state.arrays["losses"].tolist())
    pictures = Pictures(output, files.save_every, replace, tell, files.quality)
    listeners = [*([console] if console else []), log, pictures]
    listeners += asked_for(files, tell)
    listeners += [] if files.animation is None else [Animation(files.animation, True, tell)]
    signals.hold()  # from here on they are answered where nothing is lost by it
    try:
        result = job.run(*listeners, checkpoint, state=state)
    finally:
        log.close()
        if console is not None:
            console.close()
    return finish(result, output, files, replace, checkpoint, signals)


def check_watched(files, state):
    """Refuse what --latest and --animation could not write. A run that goes on replaces what it wrote before."""
    try:
        if files.latest is not None:
            check_latest(files.latest, files.overwrite)
        if files.animation is not None:
            own = state is not None and state.about["options"].get("animation") == files.animation
            check_animation(files.animation, files.overwrite or own)
    except images.ImageError as error:
        raise SettingsError(str(error)) from None


def checkpoint_of(job, args, files, output, state, tell):
    """The listener that keeps the run's state, its file checked."""
    path = files.checkpoint
    if path is not None:
        if os.path.lexists(path) and not files.overwrite and not (state is not None and is_same(path, state.path)):
            raise SettingsError(
                f"--checkpoint {path}: exists already; go on with --resume, or give another name or --overwrite",
                "checkpoint",
            )
        try:
            check_folder(path)
        except FileError as error:
            raise SettingsError(f"--checkpoint {error}", "checkpoint") from None
        if job.settings.optimizer == "l-bfgs-b":
            tell(SCIPYS)
    options = {k: v for k, v in vars(args).items() if k not in ("resume", "again", "overwrite")}
    every = parse_every(files.checkpoint_every or EVERY)
    return Checkpoint(path, every, about(options | {"output": str(output)}), tell)


def finish(result, output, files, replace, checkpoint, signals):
    """Write the picture and say how it ended; returns the exit code."""
    outcome = result.outcome
    if not math.isfinite(outcome.loss):
        if outcome.status == "interrupted":
            return fail(NAME, INTERRUPTED, signals.code)
        return fail(NAME, f"{outcome.message}: nothing was written; check the weights and the factors", FAILURE)
    try:
        written = write(result, output, replace, quality=files.quality, dpi=files.resolution, checkpoint=checkpoint)
    except images.ImageError as error:
        return fail(NAME, error, FAILURE)
    if not files.quiet:
        say(f"wrote    {written}")
    if outcome.status == "interrupted":
        go_on = "" if checkpoint.at is None else f"; go on with --resume {checkpoint.path}"
        return fail(NAME, f"{outcome.message}: {written} is the best picture so far{go_on}", signals.code)
    checkpoint.remove()
    if outcome.status == "non-finite":
        smaller = (
            "a smaller --learning-rate" if result.metadata["settings"]["optimizer"] == "adam" else "smaller factors"
        )
        hint = f"the best picture so far was kept; use {smaller} or other weights"
        return fail(NAME, f"{outcome.message}: {hint}", FAILURE)
    return 0


def given(args, cls):
    """{name: value} of the options of a dataclass that were given."""
    names = [f.name for f in dataclasses.fields(cls)]
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def write_overlay(job, files, replace):
    """The content picture with the regions of the styles in colours, for a look before the run."""
    styles = job.styles
    rgb = masks.overlay(job.content.rgb, [g.mask for g in styles.groups], styles.kept)
    saving.save(files.overlay, images.resize(rgb, job.size), replace=replace(files.overlay))
    if not files.quiet:
        say(f"overlay  {files.overlay}")


def styles_and_settings(args, preset):
    """([style, …], Settings) of a command."""
    record = args.again is not None  # all options at once: what does nothing among them is no mistake
    options = {name: getattr(args, name) for name in options_of(Settings)} if record else given(args, Settings)
    pictures, options = styles_and_options(args.style, options)
    return pictures, settings_from(preset, **options)


def parser():
    p = Parser(
        prog="python -m style.run",
        usage="python -m style.run [CONTENT [STYLE …]] [options]",
        description="Paint CONTENT in the manner of STYLE. Without arguments: our own sample pictures.",
        epilog="presets:\n" + "\n".join(f"  {name:<14} {p['source']}" for name, p in presets().items()),
    )
    p.add_argument(
        "content", nargs="?", metavar="CONTENT", help="a picture, or sample:scene (default); a folder: each in it"
    )
    p.add_argument(
        "style",
        nargs="*",
        metavar="STYLE",
        help="a picture, or sample:strokes, sample:mosaic; several are blended, PICTURE:SHARE; a folder: all in it",
    )
    p.add_argument("--version", action="version", version=f"minivgg-style {version('minivgg-style')}")
    p.add_options(Files)
    p.add_options(Settings)
    return p


if __name__ == "__main__":
    sys.exit(main())
