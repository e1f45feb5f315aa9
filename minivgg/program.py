"""What the programs' main()s share: streams that never cost a result, signals that end a run in order, exit codes."""

import contextlib
import difflib
import os
import signal
import sys

OK, FAILURE, USAGE = 0, 1, 2  # exit codes; argparse's is USAGE as well
INTERRUPTED = 128 + signal.SIGINT
LONGEST = 160  # characters of another library's error that are passed on


class OutputError(Exception):
    """Standard output cannot take what the program was run for; the message is one line."""


class UsageError(Exception):
    """An option that cannot be used, found where argparse no longer is there to say so; the message is one line."""


# In every program: a disk that fails, a file that goes away meanwhile. MemoryError often comes without a word.
CODES = {UsageError: USAGE, OutputError: FAILURE, OSError: FAILURE, MemoryError: FAILURE}


# --- errors -------------------------------------------------------------------------------------------------


def first_line(error):
    """What an error says, in a line that fits into another: the system's words, its own, or else its type's name."""
    words = str(getattr(error, "strerror", None) or error).strip()
    line = " ".join((words.splitlines() or [type(error).__name__])[0].split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def suggest(name, known, *, cutoff=0.6):
    """ ", did you mean NAME?" for the nearest of the known names, or "" where none is near (cutoff: difflib's)."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return f", did you mean {near[0]}?" if near else ""


def end(name, work, codes, *, interrupted=lambda: "interrupted"):
    """Run work(signals) -> exit code; what it raises becomes a line "NAME: …" on standard error, and a code.

    codes        {exception: exit code} of the program's own, looked at in this order and before CODES
    interrupted  called after SIGINT, SIGTERM or SIGHUP: gives the line; the code is 128 + the signal's number

    A reader that goes away (`| head`) is no mistake: FAILURE without a line. An exception in neither table is a
    mistake of ours and keeps its traceback.
    """
    signals = Signals()
    try:
        with signals:
            return work(signals)
    except BrokenPipeError:
        give_up(sys.stdout)
        return FAILURE
    except KeyboardInterrupt:
        return fail(name, interrupted(), signals.code)
    except Exception as error:
        for kind, code in (*codes.items(), *CODES.items()):
            if isinstance(error, kind):
                return fail(name, str(error) or "out of memory", code)
        raise


def fail(name, message, code):
    """Say "NAME: message" on standard error, in one line; returns the code."""
    say(printable(f"{name}: {message}"), sys.stderr)
    return code


def printable(text):
    """The text with line breaks, escape codes and halves of characters written out: names of files have them, too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


# --- streams ------------------------------------------------------------------------------------------------


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


def tell(text):
    """Print a line of what the program was run for: BrokenPipeError or OutputError where that cannot be done."""
    try:
        print(text, flush=True)
    except OSError as error:
        give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"standard output: cannot be written ({first_line(error)})") from None


def give_up(stream):
    """Whatever else is written to the stream, now and at exit, leads nowhere."""
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        if nowhere != number:  # the stream's own had been closed
            os.close(nowhere)


# --- signals ------------------------------------------------------------------------------------------------


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
