"""Works off a jobqueue.Queue: claims one job after the other, goes on from its state where there is one.

for made in style.work("jobs"):
    print(made.item.content, made.status, made.message)
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import weights
from minivgg.program import first_line, poll

from ..checkpoint import EVERY, Checkpoint, parse_every
from ..job import Job
from ..options import SettingsError
from ..pictures import saving
from ..printing import warn
from ..recipes import fitted
from ..specs import check_output_alone, files_of
from ..state import State, StateError
from .batches import FAILURES, Item, Made, make_folder, may_write, save
from .jobqueue import LEASE, LostError, Queue

PAUSE = 1.0
REFUSALS = (*FAILURES, StateError, weights.WeightsError)


class Worker:
    """One process at a Queue.

    own        {"device": …, "memory": …}: what this machine sets, whatever a job says
    overwrite  whether outputs that are there give way; a picture of the same job always does, unless it is finished
    every      of the checkpoints, as checkpoint.parse_every gives it
    pause      seconds between two looks at a queue that has nothing for us
    warn       called with a line of what does no harm
    """

    def __init__(self, queue, *, own=None, overwrite=False, every=None, pause=PAUSE, warn=warn):
        self.queue, self.own, self.overwrite, self.warn = queue, own or {}, overwrite, warn
        self.every, self.pause = every or parse_every(EVERY), pause
        self.engine = None  # of the last job; the next one's where it asks for the same network

    def run(self, listeners=lambda item: (), told=lambda made: None, save=save, *, wait=False):
        """Work until no job is left, or, to `wait`, until interrupted: [batches.Made]. The rest as for Batch.run."""
        found = []
        for made in self.each(listeners, save, wait=wait):
            found.append(made)
            if made.item.content:  # but for an interrupt while it waited
                told(made)
        return found

    def each(self, listeners=lambda item: (), save=save, *, wait=False):
        """The same one after the other, for who does not keep them all."""
        number, status = 1, ""
        while status != "interrupted":
            claim = self.queue.claim()
            if claim is None and self.queue.is_empty() and not wait:
                return
            if claim is None:
                try:
                    _pause(self.pause)
                except KeyboardInterrupt:
                    yield Made(Item(number, "", self.queue.folder), "interrupted", "while waiting")
                    return
                continue
            with claim:
                made = self._made(claim, number, listeners, save)
            number, status = number + 1, made.status
            yield made

    def _made(self, claim, number, listeners, save):
        item = Item(number, claim.name, self.queue.folder)
        try:
            poll()
            order = claim.order()
            item = Item(number, claim.name, order.output)
            return self._work(claim, order, item, listeners, save)
        except LostError as error:
            return Made(item, "failed", str(error), error=error)
        except REFUSALS as error:
            words = getattr(error, "on_command_line", None) or first_line(error)
            words = str(error) if isinstance(error, weights.WeightsError) else words  # with how to get it, at its end
            claim.fail(words)
            return Made(item, "failed", words, error=error)
        except KeyboardInterrupt:
            claim.give_back()
            return Made(item, "interrupted", "waits again")

    def _work(self, claim, order, item, listeners, save):
        read = [("content", order.content), *(("style", picture) for picture in order.styles)]
        check_output_alone(item.output, files_of(read, order.settings), "give another output")
        job = self._job(order)
        replace = may_write(item.output, job, self.overwrite)
        if replace is None:
            claim.done()
            return Made(item, "skipped", "is there already")
        make_folder(item.output.parent)
        saving.check_output(item.output, replace, size_hw=job.size, depth=job.settings.depth)
        state = self._state(claim, job)
        result = job.run(*listeners(item), Checkpoint(claim.state, self.every, {}, self.warn), state=state)
        outcome = result.outcome
        if outcome.status == "interrupted":
            claim.give_back()
            return Made(item, "interrupted", "waits again, to go on from there")
        claim.check()
        if math.isfinite(outcome.loss):
            save(result, item.output, replace)
        if outcome.status == "non-finite":
            claim.fail(outcome.message)
            return Made(item, "failed", outcome.message, outcome.loss)
        claim.done()
        return Made(item, "done", outcome.message, outcome.loss)

    def _job(self, order):
        settings = dataclasses.replace(order.settings, **self.own)
        if self.engine is not None:
            try:
                self.engine.check(fitted(settings, self.engine.names)[0])
            except SettingsError:
                self.engine = None  # before another one is made
        job = Job(order.content, order.styles, settings, engine=self.engine)
        self.engine = job.engine
        return job

    def _state(self, claim, job):
        """The state that an earlier process left, or None."""
        if not claim.state.exists():
            return None
        try:
            state = State.load(claim.state)
            state.check(job.made_of())
            job.started = state.about.get("started", job.started)
            return state
        except StateError as error:
            self.warn(f"{claim.name}: starts afresh: {error}")
            return None


def work(
    folder: str | os.PathLike[str],
    *,
    lease: float = LEASE,
    wait: bool = False,
    overwrite: bool = False,
    listeners: Callable[[Item], Sequence[Callable]] | None = None,
    **own: Any,
) -> list[Made]:
    """Work off the job files in a folder (jobqueue.py says how); returns [batches.Made] of those done here.

    lease      seconds after which a job is taken from a process that gives no sign of life
    wait       whether to go on waiting when there are none
    listeners  a function of a batches.Item: listeners of its run
    own        device, memory: of this machine, whatever a job says

    Ctrl-C saves the state of the job in work, lets it wait again and ends.
    """
    unknown = [name for name in own if name not in ("device", "memory")]
    if unknown:
        raise SettingsError(f"unknown option {unknown[0]!r}: a job's options stand in its file", unknown[0])
    worker = Worker(Queue(folder, lease), own=own, overwrite=overwrite)
    return worker.run(*([] if listeners is None else [listeners]), wait=wait)


def _pause(seconds):
    """A time in which a signal is heard."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        poll()
        time.sleep(min(0.05, seconds))
