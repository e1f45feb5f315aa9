"""A folder of job files, worked off by any number of processes, on any machines that see the folder.

    jobs/hall.toml                     waits
    jobs/running/hall.toml@2-4be1…     claimed, the second time, by the process that gave it this name
    jobs/done/hall.toml                done: its picture is written
    jobs/failed/hall.toml, ….txt       failed, and why, in a line
    jobs/states/hall.toml.state        a checkpoint, from which whoever claims it next goes on

A job changes hands by a rename alone, which one process wins and all others see fail. Who has claimed one renews the
file's time of change every few seconds; a file that nobody renewed for the lease's length is claimed again. A process
that was only stopped, and comes back, finds its claim gone and writes nothing.
"""

import contextlib
import json
import os
import secrets
import threading
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from minivgg.files import FileError, atomic_file
from minivgg.program import first_line

from ..options import SettingsError
from ..recipes import placed
from ..settings import settings_from
from ..specs import absolute, expanded, is_without_style, sized, styles_and_options, text_of, within

SUFFIXES = (".toml", ".json")
RUNNING, DONE, FAILED, STATES = "running", "done", "failed", "states"
LEASE = 60.0  # seconds
BEATS = 6  # in a lease
ATTEMPTS = 3  # processes that may vanish with a job before it counts as failed
FIELDS = ("content", "style", "styles", "texture", "output", "preset", "options")
EXPECTED = (
    'expected content = "FILE", styles = ["FILE", …] and a table of options; without a content picture texture = true, '
    'without a style picture style_layers = "none" among the options'
)


class LostError(Exception):
    """The claim of a job has gone to another process, which took this one for dead."""


@dataclass(frozen=True)
class Order:
    """What a job file asks for, its files' names made whole: paths in it are seen from the queue's folder.

    content, styles, settings  as Job takes them
    """

    content: str | None
    styles: list
    output: Path
    settings: object = field(repr=False)


class Queue:
    """The folder. Makes the folders within; raises SettingsError where `folder` is none.

    lease  seconds after which a claim that nobody renewed is another's
    """

    def __init__(self, folder, lease=LEASE):
        self.folder, self.lease = Path(folder).absolute(), lease
        if not self.folder.is_dir():
            raise SettingsError(f"--jobs {folder}: no such folder; make it and put job files in it", "jobs")
        try:
            for name in (RUNNING, DONE, FAILED, STATES):
                (self.folder / name).mkdir(exist_ok=True)
        except OSError as error:
            raise SettingsError(f"--jobs {folder}: cannot be written ({first_line(error)})", "jobs") from None

    def claim(self):
        """A Claim of a job that waits, or that was left by a process that is gone; None where there is neither."""
        for name in _names(self.folder):
            claim = self._take(self.folder / name, name, 1)
            if claim is not None:
                return claim
        now = None
        for held in _names(self.folder / RUNNING, claimed=True):
            path = self.folder / RUNNING / held
            now = self._now() if now is None else now
            name, _, mark = held.rpartition("@")
            with contextlib.suppress(OSError):  # done meanwhile
                if now - path.stat().st_mtime > self.lease:
                    claim = self._take(path, name, _attempt(mark) + 1)
                    if claim is not None and claim.attempt > ATTEMPTS:
                        claim.fail(f"{ATTEMPTS} processes ended without a word while they were at it")
                    elif claim is not None:
                        return claim
        return None

    def is_empty(self):
        """Whether no job waits and none is being worked at, by anybody."""
        return not any(_names(self.folder)) and not any(_names(self.folder / RUNNING, claimed=True))

    def _take(self, path, name, attempt):
        own = self.folder / RUNNING / f"{name}@{attempt}-{secrets.token_hex(6)}"
        try:
            os.utime(path)  # before the rename: nobody may see it there with an old time
            os.rename(path, own)
        except OSError:
            return None  # another was faster
        return Claim(self, name, own, attempt)

    def _now(self):
        """The time by the clock that the files' times come from."""
        probe = self.folder / RUNNING / f".{secrets.token_hex(6)}"
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


class Claim:
    """A job that is ours: a context in which it is renewed. One of done(), fail() and give_back() ends it.

    name     of the job file
    path     where it lies meanwhile
    attempt  1 if nobody tried before
    """

    def __init__(self, queue, name, path, attempt):
        self.queue, self.name, self.path, self.attempt = queue, name, path, attempt
        self.state = queue.folder / STATES / f"{name}.state"
        self._over = threading.Event()

    def __enter__(self):
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()

    def check(self):
        """Raise LostError unless it is still ours."""
        if not self.path.exists():
            raise LostError(f"{self.name}: was taken for dead, and is another's now; nothing was written")

    def done(self):
        self._move(self.queue.folder / DONE / self.name)
        self.state.unlink(missing_ok=True)

    def fail(self, reason):
        """Put it aside, with the reason in a line."""
        with contextlib.suppress(FileError), atomic_file(self.queue.folder / FAILED / f"{self.name}.txt") as file:
            file.write(f"{reason}\n".encode())
        self._move(self.queue.folder / FAILED / self.name)

    def give_back(self):
        """It waits again; its state stays for whoever goes on."""
        target, number = self.queue.folder / self.name, 1
        while target.exists():  # another job of this name came meanwhile
            number += 1
            target = self.queue.folder / f"{Path(self.name).stem}-{number}{Path(self.name).suffix}"
        self._move(target)

    def order(self):
        """Its Order. Raises SettingsError for a file that says something else."""
        return order_of(self.path, self.name, self.queue.folder)

    def _move(self, target):
        try:
            os.replace(self.path, target)
        except FileNotFoundError:
            self.check()
            raise

    def _renew(self):
        while not self._over.wait(self.queue.lease / BEATS):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def order_of(path, name, folder):
    """Order of a job file, TOML or JSON:

        content = "photo.jpg"
        styles = ["a.jpg:0.7", "b.jpg:0.3"]  # or style = "a.jpg"
        output = "out/photo.png"             # without it: NAME.png in done/
        preset = "fast"                      # or a file, "presets/my.toml", which is no job there
        texture = true                       # without content: as --texture
        [options]
        size = 512

    Without style pictures where the options have style_layers = "none", as on the command line.

    name    the file's, as in messages
    folder  from which paths in it are seen
    """
    try:
        text = text_of(path, "a job file, TOML or JSON")
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None
    try:
        found = tomllib.loads(text) if name.lower().endswith(".toml") else json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{name}: not {name.rpartition('.')[2].upper()} ({first_line(error)})") from None
    if not isinstance(found, dict) or not found:
        raise SettingsError(f"{name}: nothing in it; expected {', '.join(FIELDS)}")
    unknown = [key for key in found if key not in FIELDS]
    if unknown:
        raise SettingsError(f"{name}: {unknown[0]!r} is none of {', '.join(FIELDS)}; options stand under [options]")
    options = found.get("options", {})
    if not isinstance(options, dict):
        raise SettingsError(f"{name}: {EXPECTED}")
    options = {key.replace("-", "_"): value for key, value in options.items()}
    content, styles = _pictures(found, name, options)
    output = found.get("output", f"{DONE}/{Path(name).stem}.png")
    if not isinstance(output, str) or not output:
        raise SettingsError(f'{name}: output {output!r}: expected "FILE"')
    content = content and absolute(content, folder)
    styles = [one for text in styles for one in _placed(text, folder)]
    pictures, options = styles_and_options(styles, within(folder, options))
    settings = settings_from(placed(found.get("preset"), folder), **options)
    return Order(sized(content, options.get("size")), pictures, folder / output, settings)


def _pictures(found, name, options):
    """(content or None, [style, …]) of a job file's table; what --texture or content alone set is put into options."""
    texture, content = found.get("texture", False), found.get("content")
    styles = found.get("styles") or found.get("style") or []
    styles = [styles] if isinstance(styles, str) else styles
    if not isinstance(texture, bool) or not isinstance(styles, list):
        raise SettingsError(f"{name}: {EXPECTED}")
    if texture and content is not None:
        raise SettingsError(f"{name}: texture = true has no content picture; all its pictures stand in styles")
    alone = not texture and not styles and is_without_style(options.get("style_layers"))
    pictures = [*([] if texture else [content]), *(styles if alone else styles or [None])]
    if not all(isinstance(text, str) and text for text in pictures):
        raise SettingsError(f"{name}: {EXPECTED}")
    if texture:
        options.setdefault("content_layers", "none")
    if texture or alone:
        options.setdefault("init", "noise")
    return (None if texture else content), styles


def _placed(text, folder):
    """The pictures that a style means, a folder or a pattern as well, seen from a folder."""
    path = os.path.join(folder, text)
    several = os.path.isdir(path) or (any(c in text for c in "*?") and not os.path.lexists(path))
    return expanded(path) if several else [absolute(text, folder)]


def _names(folder, claimed=False):
    """Names of the job files in a folder, in order; of those that are claimed, with their marks."""
    with os.scandir(folder) as entries:
        found = [e.name for e in entries if not e.name.startswith(".") and e.is_file()]
    return sorted(n for n in found if (n.rpartition("@")[0] if claimed else n).lower().endswith(SUFFIXES))


def _attempt(mark):
    head = mark.partition("-")[0]
    return int(head) if head.isdecimal() else 1
