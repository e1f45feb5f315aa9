"""mpiexec in processes of its own, for the tests of what runs over ranks."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

HERE = Path(__file__).parent
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
LONGEST = 120  # seconds of a run that hangs


def over_ranks(test):
    """Marks a test that starts ranks: slow, and skipped where there is no MPI."""
    missing = importlib.util.find_spec("mpi4py") is None or MPIEXEC is None
    reason = 'mpi4py or mpiexec is not installed: pip install -e ".[mpi]"'
    return pytest.mark.slow(pytest.mark.skipif(missing, reason=reason)(test))


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
    """ended() of the command line on so many ranks."""
    return ended(start(ranks, "-m", "style.run", *map(str, args)))


def begun(ranks, state, *args):
    """start() of the command line, once it has saved its state in that file."""
    args = [*args, "--checkpoint", state, "--checkpoint-every", 2]
    process = start(ranks, "-m", "style.run", *map(str, args))
    until = time.monotonic() + LONGEST
    while not state.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert state.exists(), ended(process)
    return process


def ranks_of(process):
    """[psutil.Process, …] of mpiexec's ranks, in their order."""
    found = [p for p in psutil.Process(process.pid).children(recursive=True) if "PMI_RANK" in p.environ()]
    return sorted(found, key=lambda p: int(p.environ()["PMI_RANK"]))


def are_gone(ranks):
    """Whether all processes have ended, within seconds: the launcher may be gone before the last of them is."""
    until = time.monotonic() + 5
    while (left := [p for p in ranks if _alive(p)]) and time.monotonic() < until:
        time.sleep(0.02)
    return not left


def _alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
