"""What the programs' main()s share: streams that never cost a result, signals that end a run in order, exit codes."""

import contextlib
import difflib
import math
import os
import signal
import sys
import time

from . import start

OK, FAILURE, USAGE = 0, 1, 2  # exit codes; argparse's is USAGE as well
INTERRUPTED = 128 + signal.SIGINT
LONGEST = 160  # characters of another library's error that are passed on
OFF = ("none", "off", "no", "false")  # in options that have a word for it


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


def no_name(flag, value, what="file"):
    """The line that refuses OFF, or nothing, as the name of a file or folder (`what`); "" where it may be one.

    A file called none is hardly ever meant; it can be had as ./none.
    """
    value = os.fspath(value)
    if value and value.lower() not in OFF:
        return ""
    found = f"{flag} {value or repr(value)}: expected a {what} name"
    return f"{found}; leave {flag} away, or give ./{value} for a {what} of that name" if value else found


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
        if signals.came is not None and not _is_known(error, codes):  # a library's answer to being interrupted
            return fail(name, interrupted(), signals.code)
        for kind, code in (*codes.items(), *CODES.items()):
            if isinstance(error, kind):
                return fail(name, _words(error) or "out of memory", code)
        raise


def _words(error):
    """What an error says; the system's own with the file that it is of."""
    if type(error) not in (OSError, PermissionError, FileNotFoundError, InterruptedError) or not error.strerror:
        return str(error)
    if error.filename is None and isinstance(error, FileNotFoundError):  # os.getcwd's alone
        return "the current folder is no longer there; change into another"
    where = error.filename if error.filename is not None else "a file, which the system does not name"
    return f"{os.fsdecode(where)}: {error.strerror}"


def _is_known(error, codes):
    return isinstance(error, (*codes, *CODES))


def fail(name, message, code):
    """Say "NAME: message" on standard error, in one line; returns the code."""
    say(printable(f"{name}: {message}"), sys.stderr)
    return code


def printable(text):
    """The text with line breaks, escape codes and halves of characters written out: names of files have them, too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


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
    """Print a line, printable. A stream that cannot take it (`| head`, a full disk) is given up; the run goes on."""
    stream = stream or sys.stdout
    try:
        print(printable(text) + "\n", end="", file=stream, flush=True)  # in one piece, where processes share a stream
    except (OSError, ValueError):
        give_up(stream)


def tell(text):
    """Print a line, printable, that the program was run for: BrokenPipeError or OutputError where that fails."""
    try:
        print(printable(text), flush=True)
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

    Only the first one raises: what follows, from one who is impatient, must not cut short how the first is answered.
    After hold() none does: poll() raises instead, where it is called, so that nothing is interrupted half-way.

    code  the exit code that says which it was: 128 + the signal's number
    came  time.monotonic() of the first signal, or None
    wait  seconds that poll() gives the run to come to an end of its own after the first signal: set by what wishes so.
          SIGTERM and SIGHUP wait no longer than GRACE, and none after another signal, IMPATIENT seconds later
    """

    GRACE, IMPATIENT = 5.0, 1.0

    def __init__(self):
        self.code, self.came = INTERRUPTED, None
        self.held = self.pending = False
        self.wait, self._until = 0.0, 0.0
        self._former, self._outer = {}, None

    def __enter__(self):
        global _standing
        self._outer, _standing = _standing, self
        for number in start.numbers():
            with contextlib.suppress(ValueError):  # not the main thread: signals are another's
                self._former[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *exc):
        global _standing
        self.held, _standing = True, self._outer
        for number, handler in self._former.items():
            # a program that has said how it ended says nothing more while Python shuts down
            signal.signal(number, signal.SIG_IGN if handler is start.end else handler or signal.SIG_DFL)

    def hold(self):
        """From here on signals are kept for poll()."""
        self.held = True

    def _heard(self, number, frame):
        now = time.monotonic()
        if self.came is None:
            self.code, self.came = 128 + number, now
            self._until = now + min(self.wait, math.inf if number == signal.SIGINT else self.GRACE)
        elif now - self.came > self.IMPATIENT:
            self._until = now
        self.pending = True
        if not self.held:
            self.held = True
            raise KeyboardInterrupt

    def poll(self):
        if self.pending and time.monotonic() >= self._until:
            self.pending = False
            raise KeyboardInterrupt


_standing = None  # the innermost Signals


def poll():
    """Raise KeyboardInterrupt if a signal came that the program's Signals hold; called where that does no harm."""
    if _standing is not None and _standing.pending:
        _standing.poll()


def standing():
    """The program's Signals, or None in a library's use."""
    return _standing
