"""A file that one process at a time holds; the system lets go of it when the process ends, however it ends."""

import contextlib
import time

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class HeldError(Exception):
    """Another process holds it."""


@contextlib.contextmanager
def hold(path, wait=None):
    """A context in which this process holds the file.

    wait  called every so often while another does; None: HeldError at once
    """
    with open(path, "ab") as file:
        while fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if wait is None:
                    raise HeldError(str(path)) from None
                wait()
                time.sleep(0.05)
        yield
