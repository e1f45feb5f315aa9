"""How many threads compute, and that none is left behind."""

import threading
import time
from concurrent.futures import Future

import pytest

from minivgg import backend, threads


def test_what_is_no_number_of_threads_is_not_heeded(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    everything = backend.cores()
    for text in ("²", "0", "-1", "many", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert backend.cores() == everything
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")  # nested regions, as OpenMP has it: the first is ours
    assert backend.cores() == 1


def test_ctrl_c_while_waiting_leaves_no_worker_behind(monkeypatch):
    """The interrupt is raised, but only when the other workers have stopped."""
    done, waiting, both = [], [], threading.Barrier(2)
    real = Future.exception

    def exception(self, timeout=None):
        if not waiting:
            waiting.append(1)
            raise KeyboardInterrupt
        return real(self, timeout)

    def task(worker, item):
        both.wait(timeout=10)  # each has one
        if worker == 1:
            time.sleep(0.2)
        done.append(item)

    monkeypatch.setattr(Future, "exception", exception)
    with pytest.raises(KeyboardInterrupt):
        threads.parallel(task, range(2), 2)
    assert waiting and sorted(done) == [0, 1]
