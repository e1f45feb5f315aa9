"""`python -m style.run CONTENT STYLE -o OUT`: options in, a picture out. Parses, prints, exits; computes nothing.

Exit code 0: done; 2: an option or name that cannot be used; 1: a file or device that failed, or a loss that is not
finite; 130, 143 or 129: Ctrl-C, SIGTERM or SIGHUP, with the best picture so far written.
"""

import dataclasses
import math
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import weights
from minivgg.backend import BackendError
from minivgg.program import FAILURE, USAGE, end, fail, ready, say

from .job import Job
from .large.plan import MemoryBudgetError
from .options import Parser, SettingsError, check_value, option
from .pictures import images, palette, saving
from .provenance import version
from .report import Console, Log, Pictures, names_on_the_way, warn
from .settings import Settings, presets, settings_from

NAME = "style.run"
INTERRUPTED = "interrupted before the first evaluation was done: nothing was written"
CODES = {SettingsError: USAGE} | dict.fromkeys(
    (images.ImageError, weights.WeightsError, BackendError, MemoryBudgetError), FAILURE
)


@dataclass(frozen=True)
class Files:
    """Options of the command line alone: what is read, written and printed."""

    # fmt: off
    output: str | None = option(None, "path", "files", "png, jpg, webp or tif (default CONTENT-STYLE.png, numbered)", "FILE", alias="o")
    overwrite: bool = option(False, "switch", "files", "replace files that exist")
    preset: str | None = option(None, "text", "files", f"a recipe: {', '.join(presets())}", "NAME", shown=True)
    save_every: int | None = option(None, "whole", "files", "save a picture every N evaluations", "N", low=1, shown=True)
    log: str | None = option(None, "path", "files", "a new file: one JSON object a line for each evaluation", "FILE", shown=True)
    quiet: bool = option(False, "switch", "files", "print errors only")
    # fmt: on

    def __post_init__(self):
        for f in dataclasses.fields(self):
            check_value(f.name, f.metadata["option"], getattr(self, f.name), f.default)
        if self.output == "":
            raise SettingsError("-o '': expected a file name", "output")


def main(argv=None):
    """Run the command line; returns the exit code."""
    ready()
    args = parser().parse_args(argv)

    def work(signals):
        try:
            return run(args, signals)
        except SettingsError as error:
            return fail(NAME, error.on_command_line, USAGE)

    return end(NAME, work, CODES, interrupted=lambda: INTERRUPTED)


def run(args, signals):
    """Check, optimise, write."""
    files = Files(**given(args, Files))
    output = free_name(args.content, args.style) if files.output is None else Path(files.output)
    try:
        saving.check_output(output, files.overwrite)
    except images.ImageError as error:
        return fail(NAME, error, USAGE)
    check_log(args, output)
    content, style = sized(args.content, args.size), sized(args.style, args.style_size or args.size)
    job = Job(content, style, settings_from(files.preset, **given(args, Settings)))
    saving.check_output(output, files.overwrite, size_hw=job.size)
    check_on_the_way(job, output, args)
    console = None if files.quiet else Console(output)
    tell = warn if console is None else console.warn
    log = Log(files.log, files.overwrite, tell)
    pictures = Pictures(output, files.save_every, files.overwrite, tell)
    try:
        result = job.run(*([console] if console else []), log, pictures)
    finally:
        log.close()
        if console is not None:
            console.close()
    return finish(result, output, files, signals)


def finish(result, output, files, signals):
    """Write the picture and say how it ended; returns the exit code."""
    outcome = result.outcome
    if not math.isfinite(outcome.loss):
        if outcome.status == "interrupted":
            return fail(NAME, INTERRUPTED, signals.code)
        return fail(NAME, f"{outcome.message}: nothing was written; check the weights and the factors", FAILURE)
    interrupted = outcome.status == "interrupted"
    try:
        written = write(result, output, files.overwrite)
    except KeyboardInterrupt:  # all the work is in this picture
        interrupted, written = True, write(result, output, files.overwrite)
    if written is None:
        return FAILURE
    if not files.quiet:
        say(f"wrote    {written}")
    if outcome.status == "non-finite":
        smaller = (
            "a smaller --learning-rate" if result.metadata["settings"]["optimizer"] == "adam" else "smaller factors"
        )
        hint = f"the best picture so far was kept; use {smaller} or other weights"
        return fail(NAME, f"{outcome.message}: {hint}", FAILURE)
    if interrupted:
        return fail(NAME, f"{outcome.message}: {written} is the best picture so far", signals.code)
    return 0


def write(result, output, overwrite):
    """Save; returns where, or None where that failed and the picture went to the folder for temporary files.

    A name that another program has taken meanwhile is left alone: the picture gets the next number.
    """
    name, number = output, 1
    while True:
        try:
            result.save(name, replace=overwrite)
            return name
        except saving.OutputExistsError as error:
            number += 1
            name = output.with_stem(f"{output.stem}-{number}")
            warn(f"{error}; the picture goes to {name}")
        except images.ImageError as error:
            refuge = Path(tempfile.gettempdir()) / f"minivgg-style-{os.getpid()}.png"
            result.save(refuge)
            fail(NAME, f"{error}; the picture is in {refuge}", FAILURE)
            return None


def given(args, cls):
    """{name: value} of the options of a dataclass that were given."""
    names = [f.name for f in dataclasses.fields(cls)]
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def inputs(args):
    """(what, path) of each file that is read, as it was typed."""
    found = {"content": args.content, "style": args.style, "--init": args.init, "--weights": args.weights}
    found["--palette"] = palette.file_of(args.palette)
    return [(what, path) for what, path in found.items() if path is not None and os.path.isfile(path)]


def check_log(args, output):
    """The log must not take the place of a file that is read, or of the picture."""
    if args.log is None:
        return
    for what, path in (*inputs(args), ("output", output)):
        if os.path.realpath(args.log) == os.path.realpath(path):
            raise SettingsError(f"--log {args.log}: is the {what} file as well; give another name", "log")


def check_on_the_way(job, output, args):
    """Pictures on the way, too, replace nothing unless told to, and nothing that is read."""
    read = {os.path.realpath(path): what for what, path in inputs(args)}
    if args.log is not None:
        read[os.path.realpath(args.log)] = "--log"
    for name in names_on_the_way(job, output, args.save_every):
        what = read.get(os.path.realpath(name))
        if what:
            raise SettingsError(f"{name}: would be written on the way, and is the {what} file; give another -o")
        if os.path.lexists(name) and not args.overwrite:
            raise SettingsError(f"{name}: would be written on the way, and exists; give another -o, or --overwrite")


def sized(spec, size):
    """A sample picture is drawn at the size that is asked for, not enlarged to it."""
    return f"{spec}:{size}" if spec.startswith("sample:") and spec.count(":") == 1 and size else spec


def free_name(content, style):
    """CONTENT-STYLE.png in this folder, numbered where it is taken already."""
    stems = [Path(spec.removeprefix("sample:").replace(":", "-")).stem[:80] for spec in (content, style)]
    for number in range(1, 10000):
        name = Path("-".join(stems) + (f"-{number}" if number > 1 else "") + ".png")
        if not os.path.lexists(name):
            return name
    raise SettingsError(f"{name}: taken, as are all before it; give -o")


def parser():
    p = Parser(
        prog="python -m style.run",
        usage="python -m style.run [CONTENT [STYLE]] [options]",
        description="Paint CONTENT in the manner of STYLE. Without arguments: our own sample pictures.",
        epilog="presets:\n" + "\n".join(f"  {name:<14} {p['source']}" for name, p in presets().items()),
    )
    p.add_argument(
        "content", nargs="?", metavar="CONTENT", default="sample:scene", help="a picture, or sample:scene (default)"
    )
    p.add_argument(
        "style",
        nargs="?",
        metavar="STYLE",
        default="sample:strokes",
        help="a picture, or sample:strokes, sample:mosaic",
    )
    p.add_argument("--version", action="version", version=f"minivgg-style {version('minivgg-style')}")
    p.add_options(Files)
    p.add_options(Settings)
    return p


if __name__ == "__main__":
    sys.exit(main())
