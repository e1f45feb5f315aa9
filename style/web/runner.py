"""The program of the process that paints: works off the desk's queue, one run after the other, as the page wishes.

It ends when its standard input does, since whoever started it has ended then: the run is saved and waits again. One
process at a time holds the folder; what another left behind is taken up at once.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from minivgg.program import OK, Signals, end, poll, ready, say

from ..events import Evaluated, Finished, Iterated, Planned, Stop
from ..many.jobqueue import RUNNING, STATES
from ..many.worker import Worker
from ..pictures import ImageError, images, saving
from ..printing import Log
from ..watching import SIDE, Animation, Latest
from .desk import FILM, LATEST, LOG, PAUSE, PLAN, REMOVE, SMALL, STOP, Desk
from .lock import hold
from .small_files import read_json, write_json

NAME = "style.web.runner"
EVERY = 2.0  # seconds between two checkpoints; checkpoint.py takes longer where they are dear
PAUSE_BETWEEN = 0.1  # seconds between two looks at an empty queue


class Steering:
    """A listener that does what is wished of a run: keep it as it is, pause, give it up."""

    def __init__(self, desk, id):
        self.desk, self.id, self.started, self.warned = desk, id, None, False

    def __call__(self, event):
        if isinstance(event, Planned):
            self.started = event.job.started
        elif isinstance(event, Evaluated):
            wish = self.desk.wish(self.id)
            if wish == REMOVE:
                raise KeyboardInterrupt
            if wish == STOP:
                return Stop("stopped, and kept as it was")
        elif isinstance(event, Iterated) and self.desk.wish(self.id) == PAUSE and self._saved(event.state(copy=False)):
            raise KeyboardInterrupt
        return None

    def _saved(self, state):
        """Save what a pause is to go on from. On a full disk the run goes on, and is paused once there is room."""
        state.about = {"started": self.started}
        try:
            state.save(self.desk.queue.folder / STATES / f"{self.id}.json.state")
        except OSError as error:
            if not self.warned:
                tell(error)
            self.warned = True
            return False
        return True


class Journal:
    """A listener that writes down the plan and each evaluation."""

    def __init__(self, run):
        self.run, self.log = run, None

    def __call__(self, event):
        if isinstance(event, Planned):
            job = event.job
            stages = [{"size": s.size[::-1], "evaluations": s.evaluations} for s in job.stages]
            write_json(self.run / PLAN, {"stages": stages, "network": job.network.name, "device": str(job.device)})
            self.log = Log(self.run / LOG, True, tell, event.losses)
        if self.log is not None:
            self.log(event)
            if isinstance(event, Finished):
                self.log.close()


class Small:
    """A listener that leaves a small picture at the end, for lists."""

    def __init__(self, path):
        self.path = path

    def __call__(self, event):
        if isinstance(event, Finished) and event.result.outcome.values:
            rgb = event.result.rgb
            H, W = rgb.shape[:2]
            try:
                saving.save(self.path, images.resize(rgb, images.fit(SIDE, H, W)) if max(H, W) > SIDE else rgb)
            except ImageError as error:
                tell(error)


class Film(Animation):
    """An animation of a run that has come to its end: one that is interrupted goes on."""

    def __call__(self, event):
        if not (isinstance(event, Finished) and event.result.outcome.status == "interrupted"):
            super().__call__(event)


def tell(text):
    say(f"{time.strftime('%H:%M:%S')} {text}", sys.stderr)


def main() -> int:
    ready()
    return end(NAME, lambda signals: work(Desk(sys.argv[1]), signals), {}, interrupted=lambda: "ended")


def work(desk: Desk, signals: Signals) -> int:
    signals.hold()
    threading.Thread(target=_watch, args=(sys.stdin.buffer,), daemon=True).start()
    with hold(desk.folder / "runner.lock", wait=poll):
        recover(desk)
        worker = Worker(desk.queue, every=(None, EVERY), pause=PAUSE_BETWEEN, warn=tell)
        while signals.came is None:  # a pause ends each(), too
            for made in worker.each(lambda item: listeners(desk, item), wait=True):
                signals.wait = 0.0  # which the run's checkpoints had set: there is nothing to save between two runs
                told(desk, made)
    return OK


def listeners(desk, item):
    id = Path(item.content).stem
    run = desk.run(id)
    return [
        Journal(run),
        Latest(run / LATEST, tell),
        Film(run / FILM, True, tell),
        Small(run / SMALL),
        Steering(desk, id),
    ]


def told(desk, made):
    if made.item.content:
        tell(f"{made.item.content} {made.status}: {made.message}")
        desk.ended(Path(made.item.content).stem, made.status == "interrupted")


def recover(desk):
    """Take up what a process that was killed had claimed. This one holds the folder: nobody else is at it.

    A run that came farther than the last time starts counting its attempts anew; one that ends its process three times
    without coming farther is given up (jobqueue.ATTEMPTS).
    """
    for path in (desk.queue.folder / RUNNING).glob("*.json@*"):
        id = path.name.partition(".")[0]
        reached = desk.run(id) / "reached"
        with contextlib.suppress(OSError):
            count = _lines(desk.run(id) / LOG)
            if count > (read_json(reached) or 0):
                write_json(reached, count)
                os.replace(path, desk.place(id, "waiting"))
            else:
                os.utime(path, (0, 0))  # older than any lease
    for id, status in desk.statuses().items():
        if status in ("done", "failed"):
            desk.ended(id, False)
        elif status == "waiting" and desk.wish(id) in (PAUSE, REMOVE) and desk.place(id, status).exists():
            desk.ended(id, True)  # one that still waits for another's picture is paused when it has begun


def _lines(path):
    try:
        with open(path, "rb") as file:
            return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0


def _watch(stream):
    """Wait for the end of the stream, then end this process as SIGTERM does."""
    with contextlib.suppress(OSError, ValueError):
        while stream.read(4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
