"""`mpiexec -n 4 python -m style.run …`: the command line on each rank. Rank 0 speaks; all end together.

A rank that fails alone ends all of them with one line; so does MPI's launcher where one is killed.
"""

import os
import sys
from pathlib import Path

import mpi4py

from minivgg.program import FAILURE, USAGE, end, fail, first_line, ready, say

mpi4py.rc.thread_level = "serialized"

from .. import run as alone  # noqa: E402
from ..checkpoint import EVERY, check_inputs, is_ours, parse_every  # noqa: E402
from ..command import Files, given, measure, parsed  # noqa: E402
from ..events import Evaluated, Stop, foremost  # noqa: E402
from ..many.several import mode_of  # noqa: E402
from ..many.teller import asked_for  # noqa: E402
from ..names import check_on_the_way, check_written, free_name  # noqa: E402
from ..options import SettingsError, flag  # noqa: E402
from ..pictures import images, saving  # noqa: E402
from ..printing import Console, Log, Pictures, warn  # noqa: E402
from ..recipes import LIST  # noqa: E402
from ..specs import sized  # noqa: E402
from . import many  # noqa: E402
from .checkpoint import SpreadCheckpoint, load, read_about  # noqa: E402
from .job import SpreadJob  # noqa: E402
from .pictures import IN_TILES  # noqa: E402
from .ranks import Ranks  # noqa: E402
from .signals import RankSignals  # noqa: E402

# options that make or read whole pictures
WHOLE = ("overlay", "latest", "animation", "report", "preview", "save_every", "texture", "again")


def main(argv=None):
    """Run the command line on this rank; returns the exit code."""
    ready()
    ranks, errors = Ranks(), sys.stderr
    if ranks.rank:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  as long as the program runs
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // ranks.neighbours())))
    argv = sys.argv[1:] if argv is None else argv

    def work(_):
        try:
            return run(argv, ranks)
        except SettingsError as error:
            return fail(alone.NAME, error.on_command_line, USAGE)
        except Exception as error:
            if not getattr(error, "agreed", False):  # the others know nothing of it, and would wait
                say(f"{alone.NAME}: rank {ranks.rank} of {ranks.size}: {first_line(error)}; all ranks end", errors)
                ranks.abort(FAILURE)
            raise

    return end(alone.NAME, work, alone.CODES, interrupted=lambda: alone.INTERRUPTED)


def run(argv, ranks):
    """Check, optimise, write: run.run over ranks."""
    args = parsed(argv)
    if args.preset == LIST:
        return alone.program(args) if ranks.rank == 0 else 0
    files, mode = ranks.together(lambda: _files(args))
    if mode is not None:
        return many.run(mode, args, files, ranks)
    signals = RankSignals(ranks)
    with signals:
        state, args = ranks.together(lambda: _completed(args, ranks))
        files = Files(**given(args, Files))
        own = files.output is None
        pictures = [p for p in (args.content, *args.style) if p is not None]
        output = Path(ranks.first(str(free_name(*pictures) if own else files.output)))

        def replace(path):
            return files.overwrite or (state is not None and is_ours(path, state))

        ranks.together(lambda: _check(args, output, own, replace, ranks))
        style, settings = ranks.together(lambda: alone.styles_and_settings(args, files.preset))
        ranks.together(lambda: files.check_format(output, settings.depth))
        content, kept = sized(args.content, args.size), files.checkpoint is not None
        whole = output.suffix.lower() not in IN_TILES
        job = SpreadJob(content, style, settings, ranks, saving=kept, whole=whole)
        job.started = ranks.first(job.started)
        if state is not None:
            ranks.together(lambda: check_inputs(files.checkpoint, state, job))
            job.started = state.about["started"]
            state = load(state, job)
        ranks.together(lambda: _check_size(job, args, output, own, replace, ranks))
        return _optimise(job, args, files, output, replace, state, signals)


def _files(args):
    """(Files, a key of several.MODES or None); for one picture, what needs it whole is refused."""
    files = Files(**given(args, Files))
    mode = mode_of(args, files)
    for name in WHOLE if mode is None else ():
        if getattr(args, name):
            raise SettingsError(f"{flag(name)}: on one machine; over several no rank has the whole picture", name)
    measure(args, files)
    return files, mode


def _completed(args, ranks):
    """run.completed; the head of a state's file is read by rank 0."""
    if args.resume is None:
        return alone.completed(args)
    found = None
    if ranks.rank == 0:
        try:
            found = read_about(args.resume)
        except Exception as error:
            found = error
    found = ranks.first(found)
    if isinstance(found, Exception):
        raise found
    return alone.completed(args, load=lambda path: found)


def _check(args, output, own, replace, ranks):
    check_written(args, output)
    if ranks.rank == 0:
        try:
            saving.check_output(output, own or (os.path.exists(output) and replace(output)))
        except images.ImageError as error:
            raise SettingsError(str(error), "output") from None


def _check_size(job, args, output, own, replace, ranks):
    if ranks.rank == 0:
        saving.check_output(output, own or replace(output), size_hw=job.size, depth=job.settings.depth)
        check_on_the_way(job, output, args, replace)


def _optimise(job, args, files, output, replace, state, signals):
    """run.optimise over ranks: rank 0 has the console and the log, all have the checkpoint and the pictures."""
    ranks, first = job.ranks, job.ranks.rank == 0
    console = Console(output) if first and not files.quiet else None
    tell = warn if console is None else console.warn
    losses = () if state is None else state.arrays["losses"].tolist()
    log = ranks.together(lambda: Log(files.log if first else None, files.overwrite, tell, losses))
    heard = [*([console] if console else []), log, *(asked_for(files, tell) if first else ())]
    together = Together(heard, ranks, signals)
    every = parse_every(files.checkpoint_every or EVERY)
    if first:
        alone_checkpoint = ranks.together(lambda: alone.checkpoint_of(job, args, files, output, state, tell))
        told = alone_checkpoint.about
    else:
        ranks.together(lambda: None)
        told = None
    checkpoint = SpreadCheckpoint(files.checkpoint, every, ranks.first(told), tell, job, together)
    together.checkpoint = checkpoint
    pictures = Pictures(output, None, replace, tell, files.quality)
    signals.hold()
    try:
        result = job.run(together, pictures, checkpoint, state=state)
    finally:
        log.close()
        if console is not None:
            console.close()
    result.metadata = ranks.first(result.metadata)
    return alone.finish(result, output, files, replace, checkpoint, None, signals)


class Together:
    """The listeners of rank 0, and what they and all ranks' signals come to, said to all after each evaluation.

    signal  the number of a signal that came to any rank, or 0;  due  whether it is time for the checkpoint
    """

    def __init__(self, listeners, ranks, signals):
        self.listeners, self.ranks, self.signals = listeners, ranks, signals
        self.signal, self.due, self.checkpoint = 0, False, None

    def __call__(self, event):
        said = foremost([listener(event) for listener in self.listeners])
        if not isinstance(event, Evaluated):
            return None
        if self.ranks.rank == 0:
            self.checkpoint.done = event.evaluation
        stop = None if said is None else (said.reason, said.scale)
        due = self.ranks.rank == 0 and self.checkpoint.due()
        everyone = self.ranks.everyone((self.signals.number, stop, due))
        self.signal = max(number for number, _, _ in everyone)
        stop, self.due = everyone[0][1:]
        if self.signal:
            self.signals.code = 128 + self.signal
            if self.checkpoint.path is None:
                raise KeyboardInterrupt
        return None if stop is None else Stop(stop[0], scale=stop[1])


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
