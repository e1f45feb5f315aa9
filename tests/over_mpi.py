"""Ranks for tests: mpiexec in a process of its own, or threads of this one."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from cases import ThreadedRanks

from style.cluster.job import SpreadJob
from style.pictures import images
from style.settings import settings_from

HERE = Path(__file__).parent
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
LONGEST = 120  # seconds of a run that hangs


def over_ranks(test):
    """Marks a test that starts ranks: slow, and skipped where there is no MPI."""
    missing = importlib.util.find_spec("mpi4py") is None or MPIEXEC is None
    reason = 'mpi4py or mpiexec is not installed: pip install -e ".[mpi]"'
    return pytest.mark.slow(pytest.mark.skipif(missing, reason=reason)(test))


RUN = ("sample:scene:96", "sample:strokes:96", "--size", "96", "--weights", "mini", "--quiet")


def start(ranks, *command):
    """mpiexec of a Python command on so many ranks; its process group is its own."""
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
    line = [MPIEXEC, "-n", str(ranks), sys.executable, *command]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, env=environ, start_new_session=True, **streams)


def ended(process, seconds=LONGEST):
    """(exit code, standard output, standard error); one that does not end is killed, with all its ranks."""
    try:
        return (process.wait(seconds), *process.communicate())
    except subprocess.TimeoutExpired:
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        for child in children:
            child.kill()
        pytest.fail(f"did not end within {seconds} s: {process.communicate()}")


def run(ranks, *args):
    return ended(start(ranks, "-m", "style.run", *map(str, args)))


def in_threads(ranks, work):
    """[work(cases.ThreadedRanks) of each rank], all at once."""
    shared = {"size": ranks, "barrier": threading.Barrier(ranks), "turn": threading.Lock(), "posts": {}}
    with ThreadPoolExecutor(ranks) as pool:
        found = list(pool.map(lambda rank: work(ThreadedRanks(rank, shared)), range(ranks)))
    return found


def spread(ranks, content, style="sample:strokes:64", **options):
    """[SpreadJob of each rank], which are threads."""
    options = {"weights": "mini", "device": "cpu", "memory": "2GB", **options}
    settings = settings_from(optimizer="l-bfgs", precondition=0, lag=1, style_size=64, evaluations=2, **options)
    picture = images.as_picture(style)
    return in_threads(ranks, lambda one: SpreadJob(content, picture, settings, one))
