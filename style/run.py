"""`python -m style.run CONTENT STYLE -o OUT`: options in, a picture out. Parses, prints, exits; computes nothing.

Exit code 0: done; 2: an option or name that cannot be used; 1: a file or device that failed, or a loss that is not
finite; 130, 143 or 129: Ctrl-C, SIGTERM or SIGHUP, with the best picture so far written.
"""

import dataclasses
import glob
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
from .pictures import images, masks, saving
from .provenance import version
from .report import Console, Log, Pictures, names_on_the_way, warn
from .settings import Settings, of_preset, presets, settings_from

NAME = "style.run"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic")
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
    overlay: str | None = option(None, "path", "files", "before the start, a picture of what each mask covers", "FILE")
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
    args = parser().parse_intermixed_args(argv)  # styles may stand behind options

    def work(signals):
        try:
            return run(args, signals)
        except SettingsError as error:
            return fail(NAME, error.on_command_line, USAGE)

    return end(NAME, work, CODES, interrupted=lambda: INTERRUPTED)


def run(args, signals):
    """Check, optimise, write."""
    files = Files(**given(args, Files))
    args.style = [one for spec in args.style for one in expanded(spec)] or ["sample:strokes"]
    output = free_name(args.content, *args.style) if files.output is None else Path(files.output)
    try:
        saving.check_output(output, files.overwrite)
    except images.ImageError as error:
        return fail(NAME, error, USAGE)
    check_log(args, output)
    style, settings = styles_and_settings(args, files.preset)
    try:
        job = Job(sized(args.content, args.size), style, settings)
    except SettingsError as error:
        raise of_preset(error, files.preset, given(args, Settings)) from None
    saving.check_output(output, files.overwrite, size_hw=job.size)
    check_on_the_way(job, output, args)
    if files.overlay is not None:
        write_overlay(job, files)
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
    found = [("content", args.content), *(("style", shared(spec)[0]) for spec in args.style)]
    found += [("--init", args.init), ("--weights", args.weights), ("--keep", args.keep)]
    return [(what, path) for what, path in found if path is not None and os.path.isfile(path)]


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
    own = [] if args.overlay is None else [args.overlay]
    if own and os.path.realpath(args.overlay) == os.path.realpath(output):
        raise SettingsError(f"--overlay {args.overlay}: is the output as well; give another name", "overlay")
    for name in (*own, *names_on_the_way(job, output, args.save_every)):
        what = read.get(os.path.realpath(name))
        if what:
            raise SettingsError(f"{name}: would be written on the way, and is the {what} file; give another -o")
        if os.path.lexists(name) and not args.overwrite:
            raise SettingsError(f"{name}: would be written on the way, and exists; give another -o, or --overwrite")


def write_overlay(job, files):
    """The content picture with the regions of the styles in colours, for a look before the run."""
    styles = job.styles
    rgb = masks.overlay(job.content.rgb, [g.mask for g in styles.groups], styles.kept)
    saving.save(files.overlay, images.resize(rgb, job.size), replace=files.overwrite)
    if not files.quiet:
        say(f"overlay  {files.overlay}")


def sized(spec, size):
    """A sample picture is drawn at the size that is asked for, not enlarged to it."""
    return f"{spec}:{size}" if spec.startswith("sample:") and spec.count(":") == 1 and size else spec


def styles_and_settings(args, preset):
    """([style, …], Settings): pictures with their shares, PICTURE:SHARE, turned into an option."""
    options = given(args, Settings)
    found = [shared(spec) for spec in args.style]
    if any(share is not None for _, share in found):
        if args.style_blend is not None:
            raise SettingsError(
                "--style-blend: shares stand behind the pictures' names as well; give one", "style_blend"
            )
        options["style_blend"] = tuple(1.0 if share is None else share for _, share in found)
    sizes = args.style_size if isinstance(args.style_size, tuple) else (args.style_size,) * len(found)
    drawn = sizes if len(sizes) == len(found) else (None,) * len(found)  # the other lengths are refused by name
    pictures = [sized(name, size or args.size) for (name, _), size in zip(found, drawn, strict=True)]
    return pictures, settings_from(preset, **options)


def shared(spec):
    """(picture, share or None) of PICTURE or PICTURE:SHARE."""
    name, colon, share = spec.rpartition(":")
    if not colon or os.path.lexists(spec) or name == "sample":
        return spec, None
    try:
        value = float(share)
    except ValueError:
        return spec, None
    if name.startswith("sample:") and name.count(":") == 1 and share.isdecimal():
        return spec, None  # a sample's width
    if not 0 <= value < math.inf:
        raise SettingsError(f"{spec}: share {share}; expected a number from 0 up")
    return name, value


def expanded(spec):
    """The pictures that a name means: itself, those of a folder, or those that a pattern with * or ? finds."""
    if os.path.isdir(spec):
        found = sorted(str(p) for p in Path(spec).iterdir() if p.suffix.lower() in PICTURES)
        if not found:
            raise SettingsError(f"{spec}: a folder without pictures; expected some of {', '.join(PICTURES)}")
        return found
    if any(c in spec for c in "*?") and not os.path.lexists(spec):
        found = sorted(glob.glob(spec))
        if not found:
            raise SettingsError(f"{spec}: no file has such a name; check the pattern")
        return found
    return [spec]


def free_name(content, *styles):
    """CONTENT-STYLE.png in this folder, numbered where it is taken already."""
    names = [shared(spec)[0].removeprefix("sample:").replace(":", "-") for spec in (content, *styles[:3])]
    stems = [Path(name).stem[:80] for name in names]
    for number in range(1, 10000):
        name = Path("-".join(stems) + (f"-{number}" if number > 1 else "") + ".png")
        if not os.path.lexists(name):
            return name
    raise SettingsError(f"{name}: taken, as are all before it; give -o")


def parser():
    p = Parser(
        prog="python -m style.run",
        usage="python -m style.run [CONTENT [STYLE …]] [options]",
        description="Paint CONTENT in the manner of STYLE. Without arguments: our own sample pictures.",
        epilog="presets:\n" + "\n".join(f"  {name:<14} {p['source']}" for name, p in presets().items()),
    )
    p.add_argument(
        "content", nargs="?", metavar="CONTENT", default="sample:scene", help="a picture, or sample:scene (default)"
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
