"""The processes of one run, which MPI calls ranks: what they say to each other, and how much of it.

Everything here is collective: all ranks call the same things in the same order. What is added up over ranks is added
up in an order that does not depend on how many there are.
"""

import collections
import itertools
import pickle
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from mpi4py import MPI

from .strips import PIPE

SPIN = 2e-4  # seconds that a rank asks again and again; then it sleeps, for another rank may need its core
NAP = 2e-4
FLAG = 1  # tag of "give me the next one", or "there is no next one"


class Traffic:
    """What one rank has sent of a kind: messages, bytes, and the seconds that it stood waiting."""

    def __init__(self):
        self.messages = self.bytes = 0
        self.seconds = 0.0


class Ranks:
    """A communicator of mpi4py, with the few operations that a run needs.

    rank, size  which of how many this is
    traffic     {what: Traffic} of this rank
    """

    def __init__(self, comm: Any = None):
        self.comm = MPI.COMM_WORLD if comm is None else comm
        self.rank, self.size = self.comm.rank, self.comm.size
        self.traffic: dict[str, Traffic] = collections.defaultdict(Traffic)

    def exchange(self, what: str, outgoing: Iterable, incoming: Iterable) -> list[np.ndarray]:
        """Arrays from rank to rank, at most one for each pair.

        outgoing  (rank, array) pairs;  incoming  (rank, shape, dtype): what the others send here
        Returns the arrays that came, in the order of `incoming`.
        """
        own: Any = None
        requests: list[Any] = []
        found: list[np.ndarray] = []
        sent = [(rank, np.ascontiguousarray(a)) for rank, a in outgoing]
        for rank, a in sent:
            if rank == self.rank:
                own = a
        for rank, shape, dtype in incoming:
            if rank == self.rank:
                found.append(own)
            else:
                found.append(np.empty(shape, dtype))
                requests.append(self.comm.Irecv(_plain(found[-1]), rank))
        for rank, a in sent:
            if rank != self.rank:
                requests.append(self.comm.Isend(_plain(a), rank))
                self._sent(what, a.nbytes)
        self._wait(what, requests)
        return found

    def chained(self, what: str, size: int, own: list[list[tuple[int, np.ndarray]]]) -> np.ndarray:
        """Sum over all items of all ranks, item after item, rank after rank: the additions that one process makes.

        own  of each item of this rank, its (offset, values) in the sum, (size,) float64
        The sum travels from the first rank to the last in pieces, so that all are at work, and back to all at once.
        """
        total, last = np.zeros(size), self.size - 1
        requests: list[Any] = []
        for start in range(0, size, PIPE):
            piece = total[start : start + PIPE]
            if self.rank:
                self._wait(what, [self.comm.Irecv(piece, self.rank - 1)])
            for item in own:
                for offset, values in item:
                    first, end = max(start, offset), min(start + PIPE, offset + values.size)
                    if first < end:
                        total[first:end] += values[first - offset : end - offset]
            if self.rank < last:
                requests.append(self.comm.Isend(piece, self.rank + 1))
                self._sent(what, piece.nbytes)
        self._wait(what, requests)
        if last:
            self._wait(what, [self.comm.Ibcast(total, last)])
            self._sent(what, total.nbytes if self.rank == last else 0)
        return total

    def table(self, what: str, own: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
        """Every rank's flat array, at every rank. sizes  how many values each has"""
        if self.size == 1:
            return [own]
        total = np.empty(sum(sizes), own.dtype)
        kind = MPI._typedict[own.dtype.char]
        offsets = [0, *np.cumsum(sizes).tolist()]
        self._wait(what, [self.comm.Iallgatherv([own, kind], [total, sizes, offsets[:-1], kind])])
        self._sent(what, own.nbytes)
        return [total[a:b] for a, b in itertools.pairwise(offsets)]

    def collect(self, pieces: list, shape: Any, give: Any, use: Any) -> None:
        """Rank 0 gets the pieces one after the other, as it asks for them. What fails on any rank is raised on all.

        pieces  [(rank, key), …] in order;  shape(key) -> (shape, dtype)
        give    (key) -> the array, on the rank that has it;  use: on rank 0, called with an iterator of the arrays
        """
        if self.rank == 0:
            failed = attempt(lambda: use(self._asked(pieces, shape, give)))[1]
            for rank in range(1, self.size):
                self._flag(rank, 0)
        else:
            failed = None
            for key in (k for rank, k in pieces if rank == self.rank):
                if not self._flagged():
                    break
                self._send("collected", give(key), 0)
            else:
                self._flagged()
        self.agree(failed)

    def _asked(self, pieces, shape, give):
        for rank, key in pieces:
            if rank == 0:
                yield give(key)
            else:
                self._flag(rank, 1)
                yield self._received("collected", rank, *shape(key))

    def deal(self, pieces: Iterable, shape: Any, take: Any, total: list) -> None:
        """The opposite: rank 0 reads pieces one after the other, and each goes to a rank.

        pieces  on rank 0 an iterator of (rank, key, array); what it raises is raised on all
        total   [(rank, key), …] of all, at every rank;  take(key, array) on the rank that it is for
        """
        if self.rank == 0:

            def work():
                for rank, key, a in pieces:
                    if rank == 0:
                        take(key, a)
                    else:
                        self._flag(rank, 1)
                        self._send("dealt", a, rank)

            failed = attempt(work)[1]
            for rank in range(1, self.size):
                self._flag(rank, 0)
        else:
            failed = None
            for key in (k for rank, k in total if rank == self.rank):
                if not self._flagged():
                    break
                take(key, self._received("dealt", 0, *shape(key)))
            else:
                self._flagged()
        self.agree(failed)

    def _flag(self, rank, value):
        _wait_for(self.comm.Isend(np.array([value], np.uint8), rank, FLAG))

    def _flagged(self):
        flag = np.empty(1, np.uint8)
        _wait_for(self.comm.Irecv(flag, 0, FLAG))
        return bool(flag[0])

    def _send(self, what, a, rank):
        a = np.ascontiguousarray(a)
        self._wait(what, [self.comm.Isend(_plain(a), rank)])
        self._sent(what, a.nbytes)

    def _received(self, what, rank, shape, dtype):
        a = np.empty(shape, dtype)
        self._wait(what, [self.comm.Irecv(_plain(a), rank)])
        return a

    def everyone(self, value: Any) -> list[Any]:
        """Every rank's value, small and of any kind, at every rank."""
        self._rest()
        return self.comm.allgather(value)

    def first(self, value: Any = None) -> Any:
        """The value of rank 0, at every rank."""
        self._rest()
        return self.comm.bcast(value)

    def in_turn(self, work: Any) -> Any:
        """work() on each rank, those of one machine one after the other: what it takes is taken once a machine.

        An exception on any rank is raised on all.
        """
        here = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        found = failed = None
        for turn in range(here.size):
            if turn == here.rank:
                found, failed = attempt(work)
            _wait_for(here.Ibarrier())
        here.Free()
        self.agree(failed)
        return found

    def together(self, work: Any) -> Any:
        """work() on each rank; an exception on any is raised on all."""
        found, failed = attempt(work)
        self.agree(failed)
        return found

    def agree(self, failed: Exception | None) -> None:
        """Raise the exception of the first rank that has one, on all."""
        for rank, error in enumerate(self.everyone(None if failed is None else _portable(failed))):
            if error is not None:
                raised: Any = failed if rank == self.rank else error
                raised.agreed = True
                raise raised

    def neighbours(self) -> int:
        """How many ranks share this machine."""
        here = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        size = here.size
        here.Free()
        return size

    def abort(self, code: int) -> None:
        """End all ranks at once."""
        self.comm.Abort(code)

    def _rest(self):
        """Before a call that does not return meanwhile: wait for the others in a way that leaves them the core."""
        if self.size > 1:
            _wait_for(self.comm.Ibarrier())

    def _sent(self, what, count):
        self.traffic[what].messages += count > 0
        self.traffic[what].bytes += count

    def _wait(self, what, requests):
        start = time.perf_counter()
        for request in requests:
            _wait_for(request)
        self.traffic[what].seconds += time.perf_counter() - start


def attempt(work: Any) -> tuple[Any, Exception | None]:
    """(what work() gives, None), or (None, what it raises)."""
    try:
        return work(), None
    except Exception as error:
        return None, error


def _portable(error):
    """The error, or where it cannot be sent, one with its words."""
    try:
        pickle.dumps(error)
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _wait_for(request):
    """MPI's own waiting keeps a core busy, which the rank that is waited for may need."""
    start = time.perf_counter()
    while not request.Test():
        if time.perf_counter() - start > SPIN:
            time.sleep(NAP)


def _plain(a):
    """An array as bytes: of any type, however many."""
    return a.reshape(-1).view(np.uint8)
