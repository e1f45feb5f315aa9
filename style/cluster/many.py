"""Many pictures over ranks: each rank takes the next one when it is free, and works at it as one machine does."""

import collections
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from mpi4py import MPI
from mpi4py.util import pkl5

from minivgg import limits

from ..many.several import run_several
from ..options import SettingsError, flag
from .ranks import Ranks, attempt
from .signals import OwnSignals

ASK, ANSWER = 2, 3  # tags
NEXT, LEAVE, NONE = 1, 0, -1  # what a rank asks for, and the answer that there is nothing left
NAP = 0.01  # seconds between two looks, of a thread that looks as long as pictures are made


def run(mode, args, files, ranks):
    """Do what several.MODES names, over ranks; returns the exit code."""
    if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
        why = "this library of MPI lets one thread of a process speak alone (MPI_THREAD_FUNNELED)"
        raise SettingsError(f"{flag(mode)}: {why}; start --jobs, without mpiexec, as often as there are machines", mode)
    limits.share_among(ranks.neighbours())
    with OwnSignals(ranks) as signals:
        return run_several(mode, args, files, signals, Shared(ranks, signals))


class Shared:
    """What several.Alone is of one process, of a rank among several: all of them call the same, in the same order."""

    def __init__(self, ranks: Ranks, signals: OwnSignals):
        self.ranks, self.signals = ranks, signals
        self.rank, self.size, self.together = ranks.rank, ranks.size, ranks.together

    def once(self, work: Callable) -> Any:
        """work() on rank 0; what it gives, or raises, on all."""
        found, failed = attempt(work) if self.rank == 0 else (None, None)
        self.ranks.agree(failed)
        return self.ranks.first(found)

    @contextlib.contextmanager
    def aloud(self) -> Iterator[None]:
        """A context in which every rank is at its own work, and is heard, not rank 0 alone."""
        quiet = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        try:
            yield
        except SettingsError as error:  # of one rank: it must end all, since the others know nothing of it
            raise RuntimeError(error.on_command_line) from None
        finally:
            sys.stdout, sys.stderr = quiet

    @contextlib.contextmanager
    def share(self, things: list) -> Iterator[Iterator]:
        """A context in which those of `things` come that are this rank's, the next whenever it asks; rank 0 has the
        first. Who leaves before all are given, for a signal, ends it for all."""
        turns = Turns(self.ranks.comm, len(things))
        yield (things[number] for number in iter(turns.next, NONE))
        turns.leave()  # not where an error ends all ranks, which waits for none

    def gather(self, value: Any) -> list:
        """The values of all ranks, on rank 0; elsewhere []. A signal that one of them heard gives all its code."""
        codes = [code for code in self.ranks.everyone(self.signals.code if self.signals.came else None) if code]
        self.signals.code = codes[0] if codes else self.signals.code
        return pkl5.Intracomm(self.ranks.comm).gather(value) or []


class Turns:
    """The numbers 0, 1, … below `count`, each for one rank. A thread of rank 0 answers while all ranks are at work.

    That thread alone speaks to MPI then. (A counter in a window of rank 0's memory, which is MPI's own way, and
    mpi4py.util.sync's, stands still as long as rank 0 computes.)
    """

    def __init__(self, comm: Any, count: int):
        self.comm, self.numbers, self.over = comm, collections.deque(range(count)), False
        if comm.rank == 0:
            self.held = self._take()
            self.thread = threading.Thread(target=self._answer, daemon=True)
            self.thread.start()

    def next(self) -> int:
        """The next number, or NONE."""
        if self.comm.rank:
            number = self._asked(NEXT)
            self.over = number == NONE
            return number
        number, self.held = self.held, NONE
        return self._take() if number == NONE else number

    def leave(self) -> None:
        """Take no more; what nobody has yet, nobody gets. Rank 0 waits until all have left."""
        if self.comm.rank == 0:
            self.numbers.clear()
            self.thread.join()
        elif not self.over:
            self._asked(LEAVE)

    def _take(self):
        try:
            return self.numbers.popleft()
        except IndexError:
            return NONE

    def _asked(self, what):
        found = np.empty(1, np.intc)
        _wait(self.comm.Isend(np.array([what], np.intc), 0, ASK))
        _wait(self.comm.Irecv(found, 0, ANSWER))
        return int(found[0])

    def _answer(self):
        asked, status, at_work = np.empty(1, np.intc), MPI.Status(), self.comm.size - 1
        while at_work:
            _wait(self.comm.Irecv(asked, MPI.ANY_SOURCE, ASK), status)
            if asked[0] == LEAVE:
                self.numbers.clear()
            number = self._take()
            at_work -= number == NONE
            _wait(self.comm.Isend(np.array([number], np.intc), status.source, ANSWER))


def _wait(request, status=None):
    while not request.Test(status):
        time.sleep(NAP)
