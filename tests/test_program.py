"""Words that cannot be said cost nothing, a signal ends a run in order, and the exit code says how it ended."""

import io
import os
import signal
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from minivgg import program

BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}  # or nothing is left for the flush at exit, which may fail too
HAS_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")


def run(code, *, shell="", **environment):
    """A program that is ready(), with what a shell's line does to its streams."""
    command = ["bash", "-c", f'exec "$@" {shell}', "-", sys.executable, "-c", f"import sys, os, signal\n{code}"]
    settings = {"cwd": ROOT, "env": {**BUFFERED, **environment}, "timeout": 60}
    return subprocess.run(command, capture_output=True, **settings)


IMPORT = "from minivgg import program\nprogram.ready()\n"


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("one"), "one"),
        (ValueError("\n  first  of\nsecond"), "first of"),
        (OSError(28, "No space left on device", "/a/b"), "No space left on device"),
        (KeyError("entry"), "'entry'"),
        (MemoryError(), "MemoryError"),
        (ValueError("x" * 500), "x" * 157 + "..."),
    ],
)
def test_first_line(error, line):
    assert program.first_line(error) == line


def test_suggest():
    assert program.suggest("rleu1_1", ("relu1_1", "relu5_1")) == ", did you mean relu1_1?"
    assert program.suggest("xyz", {"relu1_1": 0}) == ""
    assert program.suggest("g19", ["vgg19"], cutoff=0.9) == ""


class BadSettings(ValueError):
    pass


CODES = {BadSettings: program.USAGE, ValueError: program.FAILURE}


@pytest.mark.parametrize(
    "error, code, line",
    [
        (None, 0, ""),
        (BadSettings("--size 3: expected 16 or more"), 2, "p: --size 3: expected 16 or more\n"),
        (ValueError("a bad file"), 1, "p: a bad file\n"),
        (OSError(28, "No space left on device", "/a"), 1, "p: /a: No space left on device\n"),
        (program.OutputError("standard output: full"), 1, "p: standard output: full\n"),
        (MemoryError(), 1, "p: out of memory\n"),
        (KeyboardInterrupt(), 130, "p: interrupted after 3\n"),
    ],
)
def test_how_a_program_ends(capsys, error, code, line):
    def work(signals):
        if error is not None:
            raise error
        return 0

    assert program.end("p", work, CODES, interrupted=lambda: "interrupted after 3") == code
    assert capsys.readouterr() == ("", line)


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        program.end("p", lambda _: 1 / 0, CODES)


def test_a_program_that_is_terminated_says_so(capsys):
    assert program.end("p", lambda _: signal.raise_signal(signal.SIGTERM), {}) == 143
    assert capsys.readouterr().err == "p: interrupted\n"


# --- streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_characters_that_the_stream_has_not(stream):
    process = run(IMPORT + f"print('§ Möwe \\udcff', file=sys.{stream})", PYTHONIOENCODING="ascii:strict")
    assert process.returncode == 0
    assert getattr(process, stream) == b"\\xa7 M\\xf6we \\udcff\n"


def test_closed_streams_take_everything():
    code = IMPORT + "sys.stdout.write('a'); sys.stderr.write('b'); program.say('c'); program.say('d', sys.stderr)"
    assert run("sys.exit(7 * (sys.stdout is None and sys.stderr is None))", shell=">&- 2>&-").returncode == 7
    process = run(code, shell=">&- 2>&-")
    assert (process.returncode, process.stdout, process.stderr) == (0, b"", b"")


def test_ready_leaves_other_objects_alone(monkeypatch):
    plain = io.StringIO()  # as contextlib.redirect_stdout puts there; it cannot be reconfigured
    monkeypatch.setattr(sys, "stdout", plain)
    program.ready()
    assert sys.stdout is plain


def test_say(capsys):
    program.say("to the one")
    program.say("to the other", sys.stderr)
    assert capsys.readouterr() == ("to the one\n", "to the other\n")


@HAS_FULL
@pytest.mark.parametrize("shell, stream", [(">/dev/full", "stdout"), ("2>/dev/full", "stderr")])
def test_the_run_goes_on_when_a_stream_is_full(shell, stream):
    other = "stderr" if stream == "stdout" else "stdout"
    code = IMPORT + f"for i in range(3): program.say('lost', sys.{stream})\nprogram.say('said', sys.{other})"
    process = run(code, shell=shell)
    assert process.returncode == 0  # 120 if the flush at exit had failed
    assert getattr(process, other) == b"said\n"


def test_the_run_goes_on_when_the_reader_has_gone():
    code = "r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n" + IMPORT
    process = run(code + "for i in range(3): program.say('lost')\nprogram.say('said', sys.stderr)")
    assert process.returncode == 0 and process.stderr == b"said\n"


def test_say_to_a_closed_stream():
    stream = io.StringIO()
    stream.close()
    program.say("lost", stream)


def test_what_is_told_must_arrive():
    """A reader that goes is no mistake, a full disk is one; neither is met again by the flush at exit."""
    code = IMPORT + "sys.exit(program.end('p', lambda _: program.tell('told'), {}))"
    process = run("r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n" + code)
    assert (process.returncode, process.stderr) == (1, b"")


@HAS_FULL
def test_what_is_told_to_a_full_disk():
    process = run(IMPORT + "sys.exit(program.end('p', lambda _: program.tell('told'), {}))", shell=">/dev/full")
    expected = b"p: standard output: cannot be written (No space left on device)\n"
    assert (process.returncode, process.stderr) == (1, expected)


def test_give_up_is_for_one_stream(tmp_path):
    with open(tmp_path / "a", "w") as a, open(tmp_path / "b", "w") as b:
        print("before", file=a, flush=True)
        program.give_up(a)
        print("after", file=a, flush=True)
        print("other", file=b)
    assert (tmp_path / "a").read_text() == "before\n" and (tmp_path / "b").read_text() == "other\n"


# --- signals ------------------------------------------------------------------------------------------------

SIGNALS = [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]


@pytest.mark.parametrize("name, code", SIGNALS)
def test_a_signal_is_an_interrupt_and_its_code_says_which(name, code):
    number = getattr(signal, name)
    former = signal.getsignal(number)
    signals = program.Signals()
    with pytest.raises(KeyboardInterrupt), signals:
        assert signal.getsignal(number) is not signal.SIG_DFL  # which would end the tests
        signal.raise_signal(number)
    assert signals.code == code
    assert signal.getsignal(number) is former


def test_without_a_signal_nothing_has_changed():
    former = {name: signal.getsignal(getattr(signal, name)) for name, _ in SIGNALS}
    with program.Signals() as signals:
        assert all(signal.getsignal(getattr(signal, name)) is not former[name] for name in former)
    assert {name: signal.getsignal(getattr(signal, name)) for name in former} == former
    assert signals.code == program.INTERRUPTED  # a KeyboardInterrupt that came some other way


def test_what_is_ignored_stays_ignored():
    """nohup: a terminal that closes is no reason to stop."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with program.Signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def test_in_another_thread_signals_are_left_alone():
    former, errors = signal.getsignal(signal.SIGTERM), []

    def body():
        try:
            with program.Signals():
                assert signal.getsignal(signal.SIGTERM) is former
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert not errors


def test_a_terminated_program_tidies_up():
    code = IMPORT + (
        "signals = program.Signals()\n"
        "try:\n"
        "    with signals:\n"
        "        os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "except KeyboardInterrupt:\n"
        "    program.say('tidied')\n"
        "    sys.exit(signals.code)\n"
    )
    process = run(code)
    assert (process.returncode, process.stdout, process.stderr) == (143, b"tidied\n", b"")


def test_what_is_said_is_one_printable_line(capsys):
    assert program.fail("p", "a\nb\x1b[31m\udcff M\u00f6we", 1) == 1
    assert capsys.readouterr().err == "p: a\\nb\\x1b[31m\\udcff M\u00f6we\n"


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(5, "Input/output error", "a\nb.png"), "name: a\\nb.png: Input/output error\n"),
        (
            FileNotFoundError(2, "No such file or directory"),
            "name: the current folder is no longer there; change into another\n",
        ),
        (OSError(30, "Read-only file system"), "name: a file, which the system does not name: Read-only file system\n"),
        (PermissionError(13, "Permission denied", b"x"), "name: x: Permission denied\n"),
        (OSError("something of a library"), "name: something of a library\n"),
        (MemoryError(), "name: out of memory\n"),
    ],
)
def test_what_the_system_refuses_names_its_file(capsys, error, said):
    def work(signals):
        raise error

    assert program.end("name", work, {}) == program.FAILURE
    assert capsys.readouterr().err == said
