"""`python -m style.run CONTENT STYLE -o OUT`: options in, a picture out. Parses, prints, exits; computes nothing.

Exit code 0: done; 2: an option or name that cannot be used; 1: a file or device that failed, or a loss that is not
finite; 130, 143 or 129: Ctrl-C, SIGTERM or SIGHUP, with the best picture so far written.
"""

import math
import os
import sys
from pathlib import Path

import weights
from minivgg.backend import BackendError, UnknownDeviceError
from minivgg.files import FileError, check_folder
from minivgg.program import FAILURE, OK, USAGE, end, fail, first_line, ready, say
from minivgg.program import tell as answer

from .again import again
from .checkpoint import EVERY, SCIPYS, Checkpoint, about, check_inputs, is_ours, parse_every, resumed
from .cluster import launched
from .command import Files, given, measure, named_styles, parsed
from .job import Job
from .large.plan import MemoryBudgetError
from .many.several import mode_of, run_several
from .many.teller import asked_for
from .names import check_on_the_way, check_written, free_name
from .options import SettingsError, options_of
from .pictures import images, masks, saving
from .preview import check_preview
from .printing import Console, Log, Pictures, warn
from .recipes import LIST, listing
from .report import Report, check_report
from .settings import Settings, settings_from
from .specs import is_same, sized, styles_and_options
from .state import State, StateError
from .watching import Animation, check_animation, check_latest
from .writing import write

NAME = "style.run"
INTERRUPTED = "interrupted before the first evaluation was done: nothing was written"
CODES = dict.fromkeys((SettingsError, weights.UnknownWeightsError, UnknownDeviceError), USAGE) | dict.fromkeys(
    (images.ImageError, weights.WeightsError, BackendError, MemoryBudgetError, StateError), FAILURE
)


def main(argv=None):
    """Run the command line; returns the exit code."""
    if launched():  # by mpiexec, as one of several
        try:
            from .cluster.run import main as over_ranks
        except (ImportError, RuntimeError) as error:  # not there, or without a library of MPI
            why = f"mpi4py cannot be used ({first_line(error)})"
            return fail(NAME, f'started by MPI, but {why}; pip install -e ".[mpi]"', USAGE)
        return over_ranks(argv)
    ready()
    return program(parsed(sys.argv[1:] if argv is None else argv))


def program(args):
    """Do what the arguments say, in this process alone; returns the exit code."""

    def work(signals):
        try:
            return run(args, signals)
        except SettingsError as error:
            return fail(NAME, error.on_command_line, USAGE)

    return end(NAME, work, CODES, interrupted=lambda: INTERRUPTED)


def run(args, signals):
    """Check, optimise, write."""
    if args.preset == LIST:
        for line in listing():
            answer(line)
        return OK
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
    check_written(args, output)
    style, settings = styles_and_settings(args, files.preset)
    files.check_format(output, settings.depth)
    job = Job(sized(args.content, args.size), style, settings)
    if state is not None:
        check_inputs(files.checkpoint, state, job)
        job.started = state.about["started"]
    saving.check_output(output, own or replace(output), size_hw=job.size, depth=job.settings.depth)
    check_on_the_way(job, output, args, replace)
    check_watched(files, state)
    if files.overlay is not None:
        write_overlay(job, files, replace)
    return optimise(job, args, files, output, replace, state, signals)


def completed(args, load=State.load):
    """(State or None, the arguments with all that --resume, --again, --texture and defaults add)."""
    state = None
    if args.resume is not None:
        if args.again is not None:
            raise SettingsError("--again: works without --resume, which goes on with a run of its own", "again")
        beside = {k: v for k, v in vars(args).items() if k != "resume"}
        state, args = resumed(args.resume, beside, free=[n for n in options_of(Files) if n != "preset"], load=load)
    elif args.again is not None:
        if args.preset is not None:
            raise SettingsError("--preset: works without --again, which has all settings of the picture", "preset")
        args = again(args, warn)
    if args.texture:  # all pictures are styles
        args.style, args.content = [p for p in (args.content, *(args.style or [])) if p is not None], None
        args.content_layers, args.init = args.content_layers or "none", args.init or "noise"
    elif args.content is None:
        args.content = "sample:scene"
    args.style = named_styles(args)
    return state, args


def optimise(job, args, files, output, replace, state, signals):
    """Run the job with the listeners that the options ask for, and write what comes of it; returns the exit code."""
    console = None if files.quiet else Console(output, preview=files.preview and check_preview(warn))
    tell = warn if console is None else console.warn
    checkpoint = checkpoint_of(job, args, files, output, state, tell)
    log = Log(files.log, files.overwrite, tell, () if state is None else state.arrays["losses"].tolist())
    pictures = Pictures(output, files.save_every, replace, tell, files.quality)
    listeners = [*([console] if console else []), log, pictures]
    listeners += asked_for(files, tell)
    listeners += [] if files.animation is None else [Animation(files.animation, True, tell)]
    report = None if files.report is None else Report(files.report, True, tell, files.log)
    listeners += [] if report is None else [report]
    signals.hold()  # from here on they are answered where nothing is lost by it
    try:
        result = job.run(*listeners, checkpoint, state=state)
    finally:
        log.close()
        if console is not None:
            console.close()
    return finish(result, output, files, replace, checkpoint, report, signals)


def check_watched(files, state):
    """Refuse what could not be written of what shows a run. One that goes on replaces what it wrote before."""
    try:
        if files.latest is not None:
            check_latest(files.latest, files.overwrite)
        if files.animation is not None:
            own = state is not None and state.about["options"].get("animation") == files.animation
            check_animation(files.animation, files.overwrite or own)
        if files.report is not None:
            own = state is not None and state.about["options"].get("report") == files.report
            check_report(files.report, replace=files.overwrite or own)
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


def finish(result, output, files, replace, checkpoint, report, signals):
    """Write the picture and its report, and say how it ended; returns the exit code."""
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
    if report is not None and report.write(written) and not files.quiet:
        say(f"report   {report.path}")
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


if __name__ == "__main__":
    sys.exit(main())
