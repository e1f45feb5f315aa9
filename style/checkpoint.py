"""A run of the command line that can be continued: its state in a file, with all that the command said.

The file is a state.State whose `about` holds the options as they were given, with whole paths, so that
`python -m style.run --resume FILE` goes on by itself.
"""

import argparse
import json
import os
import time

from minivgg.files import FileError
from minivgg.program import standing

from .events import Evaluated, Finished, Iterated, Planned
from .options import SettingsError, flag
from .pictures import images, masks, palette, saving
from .provenance import picture_record, records, timestamp
from .recipes import placed
from .specs import absolute
from .state import State, StateError
from .units import parse_duration

EVERY = "10m"
SHARE = 0.05  # of the run's time that those by the clock may take
MAY_CHANGE = ("memory", "device")  # what the digits owe to them is checked by itself (Job.made_of)
SCIPYS = (
    "SciPy's l-bfgs-b keeps its pairs to itself: a checkpoint has the finished scales and the best picture, from which "
    "--resume starts the scale again with what is left of its evaluations, not to the same digits"
)


def parse_every(text):
    """(evaluations, None) of "50", (None, seconds) of "10m". Raises SettingsError."""
    try:
        return (int(text), None) if text.isdecimal() and int(text[:9]) > 0 else (None, parse_duration(text))
    except ValueError as error:
        said = f"--checkpoint-every {error}, or a number of evaluations"
        raise SettingsError(said, "checkpoint_every") from None


class Checkpoint:
    """A listener that writes the run's state: every so often, and where a signal ends the run.

    path   the file, or None: nothing is written
    every  as parse_every gives it
    about  what goes with the state
    warn   called with a line where it cannot be written: the run goes on

    A signal is answered after the iteration that it meets, whose state is saved; minivgg.program.Signals says how long
    that may take.
    """

    def __init__(self, path, every, about, warn):
        self.path, self.about, self.warn = path, about, warn
        self.evaluations, self.seconds = every
        self.at = None  # evaluations of the state in the file
        self.end = None  # gives the state of the run's end
        self.took = 0.0  # seconds of the last one
        self.signals = standing()
        if path is not None and self.signals is not None:
            self.signals.wait = float("inf")

    def __call__(self, event):
        if self.path is None:
            return
        if isinstance(event, Planned):
            self.about = self.about | {"started": event.job.started, "read": _read_by(event.job)}
            self.done = self.begun = len(event.losses)
            self.at = self.done or None
            self.last = time.monotonic()
        elif isinstance(event, Evaluated):
            self.done = event.evaluation
        elif isinstance(event, Iterated):
            self._iterated(event)
        elif isinstance(event, Finished):
            self.end = event.state

    def _iterated(self, event):
        signalled = self.signals is not None and self.signals.pending
        if signalled or self._due():
            self.save(event.state(copy=False))
        if signalled:
            self.signals.pending = False
            raise KeyboardInterrupt

    def _due(self):
        if self.evaluations is not None:
            return self.done - (self.at or 0) >= self.evaluations
        return time.monotonic() - self.last >= max(self.seconds, self.took / SHARE)

    def save(self, state):
        state.about, begun = self.about, time.monotonic()
        try:
            self._write(state)
            self.at = self.done
        except OSError as error:
            self.warn(f"--checkpoint {error}")
        self.last = time.monotonic()
        self.took = self.last - begun

    def _write(self, state):
        state.save(self.path)

    def kept(self):
        """Where the output cannot be written: the end's state, if that can. Returns whether the file has it."""
        if self.path is None or self.end is None:
            return False
        self.at = None
        self.save(self.end())
        return self.at is not None

    def remove(self):
        """The picture is written: a run that is done needs no state."""
        if self.path is not None and self.at is not None:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
            except OSError as error:
                self.warn(FileError(f"{self.path}: cannot be removed ({error.strerror})"))


def about(options):
    """The options of a command as a state keeps them: {name: value}, files by their whole paths."""
    found = json.loads(json.dumps({k: v for k, v in options.items() if v is not None}, default=os.fspath))
    for name in ("content", "init", "weights", "output", "log", "overlay", "latest", "animation", "report"):
        value = found.get(name)
        is_input = name in ("content", "init", "weights")
        if isinstance(value, str) and not images.is_sample(value) and (not is_input or os.path.isfile(value)):
            found[name] = os.path.abspath(value)
    if "preset" in found:
        found["preset"] = placed(found["preset"], "")
    if found.get("style"):
        found["style"] = [absolute(spec) for spec in found["style"]]
    for name in ("mask", "style_mask"):
        if found.get(name):
            found[name] = [masks.absolute(m) for m in masks.split(found[name])]
    for name, whole in (("keep", masks.absolute), ("palette", palette.absolute)):
        if found.get(name):
            found[name] = whole(found[name])
    return {"options": found}


def resumed(path, given, free, load=State.load):
    """(State, argparse.Namespace of the options to go on with).

    given  {name: value} of what stands beside --resume, None where nothing does
    free   names of options that may be other ones now
    load   what reads the file
    """
    state = load(path)
    stored = state.about.get("options")
    if not isinstance(stored, dict):
        raise StateError(f"{path}: saved from Python, without a command; go on with Job.run(state=State.load(…))")
    own = about(given)["options"]
    for name, value in own.items():
        if name not in free and name not in MAY_CHANGE and stored.get(name) != value:
            what = name.upper() if name in ("content", "style") else flag(name)
            was = f"was {stored[name]}" if name in stored else "was not given"
            raise SettingsError(f"{what} {value}: in the run that {path} is of, it {was}; leave it away", name)
    return state, argparse.Namespace(**(dict.fromkeys([*given, "resume"]) | stored | {"checkpoint": str(path)} | own))


def check_inputs(path, state, job):
    """Raise StateError where a picture or the weights are other ones than those of the saved run, naming the file."""
    for what, name, now in (
        ("content", job.content.path, job.content.sha256),
        ("style", *job.styles.identity),
        ("weights", job.network.path, job.network.sha256),
    ):
        was = state.made_of.get(what)
        if was != now:
            hashes = f"its sha256 was {str(was)[:12]}…, is {now[:12]}…"
            raise StateError(f"{path}: cannot go on: {name or what} has changed since: {hashes}")


def is_ours(path, state):
    """Whether a picture was written by the run that a state is of: then going on may replace it."""
    try:
        found = saving.read_metadata(path) or {}
    except images.ImageError:
        return False
    read = {what: [r.get("sha256") for r in records(found.get(what))] for what in ("content", "style")}
    return found.get("started") == timestamp(state.about["started"]) and read == state.about.get("read")


def _read_by(job):
    """{what: hashes} of the pictures as they were before their colours changed, as they stand in what a job writes."""
    pictures = {"content": [job.content], "style": job.styles.pictures}
    return {what: [picture_record(p)["sha256"] for p in several] for what, several in pictures.items()}
