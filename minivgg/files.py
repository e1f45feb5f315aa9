"""Files that appear whole or not at all: what was there stays until the new file is complete on the disk."""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from .program import first_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".minivgg.tmp"

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)  # what file systems without hard links say


class FileError(OSError):
    """A file that cannot be written; the message is one line with its name and the reason."""


class FileTakenError(FileError):
    """There is a file of this name, which is not to be replaced."""


@contextlib.contextmanager
def atomic_file(path, *, replace=True, make_folder=False):
    """A binary file, open for writing, that takes the name `path` only once it is written whole and on the disk.

    path         through a link the file behind it is replaced, and the link stays
    replace      False: a file that is there stays, also one that came a moment ago: FileTakenError
    make_folder  make the folders that are missing

    The temporary file lies in the same folder and is removed however the block ends. The file's mode is that of any
    program's output, 0o666 less the umask. Raises FileError for whatever the system refuses, in the block too.
    """
    target = Path(os.path.realpath(path))
    try:
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(target)
        try:
            with _create(temporary) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if fcntl is not None:  # while it is locked: clear_dead takes it for another's else
                    _name(temporary, target, path, replace)
            if fcntl is None:  # Windows renames no file that is open
                _name(temporary, target, path, replace)
        finally:  # also at Ctrl-C
            temporary.unlink(missing_ok=True)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({first_line(error)})") from None


def check_folder(path):
    """Raise FileError unless a file can be made beside `path`: a temporary one really is, and is removed.

    Temporary files that a killed program has left in the folder are removed as well.
    """
    target = Path(os.path.realpath(path))
    temporary = temporary_name(target)
    clear_dead(target.parent)
    try:
        _create(temporary).close()
        temporary.unlink(missing_ok=True)  # closed, it has no lock: another's clear_dead may have been here
    except OSError as error:
        raise FileError(f"{path}: cannot write to {target.parent} ({first_line(error)})") from None


def temporary_name(path):
    """A name beside `path` that no other writer takes, hidden, and short enough: names end at 255 bytes."""
    start = os.fsencode(path.name)[:80].decode(errors="ignore")
    return path.with_name(f".{start}.{secrets.token_hex(6)}{SUFFIX}")


def clear_dead(folder):
    """Remove temporary files whose writers are no more: their locks are free."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        dead = [e.path for e in entries if e.name.startswith(".") and e.name.endswith(SUFFIX)]
        for name in dead:
            with contextlib.suppress(OSError), open(name, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name)


def _create(temporary):
    # 0o666 less the umask; tempfile would make it private. O_BINARY: Windows would turn line ends.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        file = open(os.open(temporary, flags, 0o666), "wb")  # noqa: SIM115  the caller's
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink == 0:  # clear_dead was faster than the lock
                file.close()
                continue
        return file


def _name(temporary, target, path, replace):
    """Give the file its name."""
    if replace:
        os.replace(temporary, target)
    else:
        _link(temporary, target, path)


def _link(temporary, target, path):
    """Give the file its name, unless there is one of that name: FileTakenError."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise FileTakenError(f"{path}: exists already") from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileTakenError(f"{path}: exists already") from None
        os.replace(temporary, target)
