"""Words to the user that never cost a result, and signals that end a run in order. For the programs' main()."""

import contextlib
import os
import signal
import sys

INTERRUPTED = 128 + signal.SIGINT  # exit code


def ready():
    """Make both streams take any character; what goes to a closed one is lost without a word."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  as long as the program runs
        elif getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text, stream=None):
    """Print a line. A stream that cannot take it (`| head`, a full disk) is given up, and the run goes on."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):
        give_up(stream)


def give_up(stream):
    """Whatever else is written to the stream, now and at exit, leads nowhere."""
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        if nowhere != number:  # the stream's own had been closed
            os.close(nowhere)


class Signals:
    """Context in which SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does: a closed terminal, a cluster's end.

    code  the exit code that says which it was: 128 + the signal's number
    """

    def __init__(self):
        self.code = INTERRUPTED
        self._former = {}

    def __enter__(self):
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is signal.SIG_IGN:  # Windows; nohup
                continue
            with contextlib.suppress(ValueError):  # not the main thread: signals are another's
                self._former[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *exc):
        for number, handler in self._former.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _raise(self, number, frame):
        self.code = 128 + number
        raise KeyboardInterrupt
