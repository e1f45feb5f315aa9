"""Threads on the processor: how many, a loop on all of them, and BLAS held to one meanwhile."""

import contextlib
import itertools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import ThreadpoolController

_state = threading.Lock()  # guards everything below but _here
_pool = None
_controller, _modules = None, 0
_keeper = _limiter = None
_holders = 0  # how often the limit is held, by all threads together
_here = threading.local()  # .working: whether this thread is in a task of `parallel`


def is_number(text):
    """Whether a string is digits that int() takes, of a number that can be meant; isdigit() alone takes "²" as well."""
    return text.isascii() and text.isdecimal() and len(text) <= 18


def cores():
    """Number of workers: OMP_NUM_THREADS where it is a positive number, at most the cores this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(asked), allowed) if is_number(asked) and int(asked) > 0 else allowed


def parallel(task, items, workers):
    """Call task(worker, item) for every item, on `workers` threads that take the next item as they become free.

    The calling thread is worker 0. An exception in any worker is raised here, after the others have stopped.

    Called from within a task of another `parallel`, it does all items itself, as worker 0: the cores have work already,
    and a thread of the pool that waited for the pool could wait for ever.
    """
    items = list(items)
    workers = min(workers, len(items))
    if workers <= 1 or getattr(_here, "working", False):
        for item in items:
            task(0, item)
        return
    counter = itertools.count()  # next() is atomic in CPython

    def work(worker):
        _here.working = True
        try:
            while (i := next(counter)) < len(items):
                task(worker, items[i])
        finally:
            _here.working = False

    jobs = _submit(work, range(1, workers))
    try:
        work(0)
    finally:
        for _ in itertools.takewhile(lambda i: i < len(items), counter):
            pass  # worker 0 failed: leave nothing for the others
        errors = [_ended(job) for job in jobs]
    for error in errors:
        if error is not None:
            raise error


def _silence():
    """A worker's overflows show in what it computes, as the caller's do; NumPy's warnings are the caller's alone."""
    np.seterr(all="ignore")


def _ended(job):
    """The exception of a future that has ended, or None. Ctrl-C meanwhile is that exception, once the work has ended:
    its buffers are not to be written to behind the caller's back."""
    interrupted = None
    while True:
        try:
            return job.exception() or interrupted
        except KeyboardInterrupt as error:
            interrupted = error


def _submit(work, workers):
    """work(worker) for each worker on a thread of the shared pool, which grows to as many; returns the futures."""
    global _pool
    with _state:  # throughout: a pool that another thread has just found too small takes no more work
        if _pool is None or _pool._max_workers < len(workers):
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool = ThreadPoolExecutor(len(workers), "minivgg", initializer=_silence)
        with _starting():
            return [_pool.submit(work, worker) for worker in workers]


@contextlib.contextmanager
def _starting():
    """Where the system starts no further thread: OSError with a line, in place of Python's RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise OSError("no further thread can be started: the limit of processes (ulimit -u) is reached") from None


class one_blas_thread:
    """Hold BLAS to one thread for the duration.

    Within a call of the fast path, because its own workers have the cores; around a whole evaluation and a whole run,
    because OpenBLAS's idle threads keep a core busy for some 25 ms after each product before they sleep, waiting for
    the next one: a handful of products a run of the network is enough to take half a core from the workers.

    The limit is one setting of the process, so it stands until the last of all threads that hold it has left: a product
    that is suddenly cut in two adds up in another order, and a run's digits would depend on what ends beside it.
    threadpoolctl lets only the thread restore that has set, hence a thread that does both.
    """

    def __enter__(self):
        global _keeper, _holders
        with _state:
            if _holders == 0:
                if _keeper is None:
                    _keeper = ThreadPoolExecutor(1, thread_name_prefix="minivgg-blas")
                with _starting():
                    limiting = _keeper.submit(_limit)
                try:
                    limiting.result()
                except BaseException:  # Ctrl-C: the limit comes all the same, and nobody would leave it
                    _keeper.submit(_restore)
                    raise
            _holders += 1

    def __exit__(self, *exc):
        global _holders
        with _state:
            if _holders == 0:  # entered before a fork, of which this is the child
                return
            _holders -= 1
            if _holders == 0:
                _keeper.submit(_restore).result()


def _limit():
    global _controller, _modules, _limiter
    if _modules != len(sys.modules):  # SciPy brings a BLAS of its own, and may have come since
        _controller, _modules = ThreadpoolController().select(user_api="blas"), len(sys.modules)
    _limiter = _controller.limit(limits=1)
    _limiter.__enter__()


def _restore():
    global _limiter
    limiter, _limiter = _limiter, None
    if limiter is not None:
        limiter.__exit__(None, None, None)


def _after_fork():
    """A forked child has none of its parent's threads: it starts its own."""
    global _pool, _keeper, _state, _limiter, _holders
    _pool, _keeper, _state, _limiter, _holders = None, None, threading.Lock(), None, 0
    _here.working = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
