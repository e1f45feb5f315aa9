"""A learner's code in a process of its own, with a time limit: it may loop for ever, end the program, or print.

Of what it prints the first lines are passed on, so that a print in a loop does not bury the verdict. Its checks come
back through a file, a line of JSON each: nothing that the code prints or returns to the system can pass for a verdict.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from minivgg.program import OutputError, tell

from .checks import Check, judged, words_of
from .road import EXERCISES, number_of
from .source import HERE

SECONDS = 30  # for each exercise; the judges need a fraction of one
PATIENCE = 5  # seconds, after which one is told that a learner's line is still running
PRINTED = 40  # lines of what the code prints that are passed on
NOTED = 0.2  # seconds between two notes of where the code is
END = "end"  # the last row of a child that came through
# Ctrl-C ends the program, which ends this process
START = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import sys; sys.path.insert(0, {!r}); "
    "from study.{} import main; main(sys.argv[1:])"
)


def run(module, *args, seconds, patience=PATIENCE):
    """(rows, why) of study.MODULE in a child: the JSON lines that it wrote, and why there are no more, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        command = [sys.executable, "-u", "-c", START.format(str(HERE), module), str(path), *args]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, **streams)
        reader = threading.Thread(target=_pass_on, args=(process.stdout,), daemon=True)
        reader.start()
        why = ""
        try:
            code = _wait(process, path, seconds, patience)
        except subprocess.TimeoutExpired:
            why = f"was still running after {seconds:g} s{_at(_places(path))}, and was stopped"
        finally:  # Ctrl-C as well
            process.kill()
            process.wait()
            reader.join(1)  # a process that the code has started may hold the stream open
        rows = list(_rows(path)) if path.exists() else []
    if rows and rows[-1] == END:
        return rows[:-1], ""
    return rows, why or f"ended the process (exit code {code})"


def _wait(process, path, seconds, patience):
    """The exit code; a loop without an end is silent, so a line meanwhile says where it is."""
    patience = min(patience, seconds)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(patience)
    at = _at(_places(path))
    if at and patience < seconds:
        tell(f"still running after {patience:g} s{at}; stopped after {seconds:g} s, or now by Ctrl-C")
    return process.wait(seconds - patience)


def _pass_on(stream):
    """Tell the first lines of a stream, and how many more there were."""
    count = 0
    with stream, contextlib.suppress(OSError, OutputError):  # nobody may listen any more
        for line in iter(lambda: stream.readline(1000), b""):
            count += 1
            if count <= PRINTED:
                tell(line.decode(errors="replace").rstrip("\r\n"))
        if count > PRINTED:
            tell(f"… {count - PRINTED} more lines printed by the code, left out")


def _places(path):
    """Where the child notes, several times a second, what it is at: a loop without an end is stopped from outside."""
    return Path(f"{path}.places")


def _note(path, stop):
    """Note the innermost line of a learner's file that the main thread is at, until an event is set."""
    main, own = threading.main_thread().ident, {f"{name}.py" for name in EXERCISES}
    while not stop.wait(NOTED):
        frame = sys._current_frames().get(main)
        while frame is not None and frame.f_code.co_filename not in own:
            frame = frame.f_back
        with contextlib.suppress(OSError):
            _places(path).write_text("" if frame is None else f"{frame.f_lineno}")


def _at(places):
    """ ", in line 3" of a learner's file, by what was noted last; "" if that was none."""
    line = places.read_text() if places.exists() else ""
    return f", in line {line}" if line else ""


def _rows(path):
    """What was written; a line that was cut off is the last."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def judge(names):
    """[(name, Check), …] of the files NAME.py in the working folder; whatever the code does, each has one at least."""
    rows, why = run("child", *names, seconds=SECONDS * len(names))
    found = [(name, Check(*check)) for name, *check in rows if check]
    begun = [name for name, *check in rows if not check]
    if why:
        current = begun[-1] if begun else names[0]
        found.append((current, Check("runs", False, f"{current}.py: the code {why}")))
        found += [(name, Check("runs", False, "not reached")) for name in names if name not in {n for n, _ in found}]
    return found


def main(args):
    """In the child: the checks of each file, written as they come."""
    path, *names = args
    threading.Thread(target=_note, args=(path, threading.Event()), daemon=True).start()
    for name in names:
        _write(path, [name])
        function, check = load(EXERCISES[name])
        for c in [check] if check else judged(EXERCISES[name], function, f"{name}.py"):
            _write(path, [name, c.method, bool(c.passed), c.words])
    finish(path)


def finish(path, *rows):
    """The child's last words, after which no thread that the code has left goes on."""
    for row in (*rows, END):
        _write(path, row)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def _write(path, row):
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    except OSError:  # a full disk: the program says that this process ended before its time
        os._exit(1)


def load(exercise):
    """(the learner's function, None), or (None, the check that says why there is none)."""
    path = f"{exercise.name}.py"
    wanted = exercise.function.__name__
    space = {"__name__": exercise.name, "__file__": path}
    try:
        exec(compile(Path(path).read_bytes(), path, "exec"), space)
    except SyntaxError as error:
        return None, Check("reads", False, f"{path}: line {error.lineno}: {error.msg}")
    except OSError as error:
        return None, Check("reads", False, f"{path}: {error.strerror or error}")
    except BaseException as error:  # SystemExit as well
        return None, Check("reads", False, f"{path}: {words_of(error, path)}")
    if not callable(space.get(wanted)):
        return None, Check("reads", False, f"{path}: has no function {wanted} (step {number_of(exercise)})")
    return space[wanted], None
