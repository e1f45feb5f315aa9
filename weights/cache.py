"""The cache folder: names and their files, and a lock, so that one process at a time works on a file."""

import contextlib
import errno
import os
import stat
import time
from pathlib import Path

import platformdirs

from minivgg.program import first_line

from .known import WeightsError

EMBEDDED = Path(__file__).parent / "mini.npz"
BEST_FIRST = ("vgg19", "vgg16", "mini")


def cache_dir():
    """Folder of the fetched and converted weights: MINIVGG_CACHE, or the platform's place for caches."""
    return Path(os.environ.get("MINIVGG_CACHE") or platformdirs.user_cache_dir("minivgg-style"))


def entry(name):
    """Where the weights of this name lie, whether they are there or not."""
    return EMBEDDED if name == "mini" else cache_dir() / f"{name}.npz"


def check_private(folder):
    """Raise WeightsError for a folder into which anybody may put files: weights of theirs would be taken for ours."""
    try:
        mode = os.stat(folder).st_mode
    except OSError:  # not there yet, or said by whoever opens it
        return
    if os.name != "nt" and mode & stat.S_IWOTH:
        raise WeightsError(f"{folder}: anybody may write into this cache folder; chmod o-w it, or set MINIVGG_CACHE")


def names():
    """Every name that can be asked for: the three known ones, then whatever else lies in the cache."""
    try:
        others = sorted(p.stem for p in cache_dir().glob("*.npz") if not p.name.startswith("."))
    except OSError:
        others = []
    return [*BEST_FIRST, *(n for n in others if n not in BEST_FIRST)]


def present():
    """Names whose file is there, best first."""
    # os.path answers False where pathlib raises: a folder that may not be entered, a name that is too long.
    return [name for name in names() if os.path.isfile(entry(name))]


@contextlib.contextmanager
def lock(path, waiting):
    """Hold a file's lock; `waiting()` is called once if another process has it.

    The system lets go of it when the process ends, however it ends.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_private(path.parent)
        file = open(path, "a+b")  # noqa: SIM115  closed by the `with` below
    except OSError as error:
        raise WeightsError(
            f"{path.parent}: the cache folder cannot be written ({first_line(error)}); set MINIVGG_CACHE to another"
        ) from None
    with file:
        if not _try_lock(file):
            waiting()
            while not _try_lock(file):
                time.sleep(0.2)
        yield


def _try_lock(file):
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Any other error means a file system without locks; there the hash alone guards against two writers.
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True
