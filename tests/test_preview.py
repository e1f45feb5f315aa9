"""The picture in a terminal: a screen that understands what is written shows it, in one place, below the lines."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from style import SettingsError, preview, printing, run
from style.events import Evaluated
from style.pictures import images

pyte = pytest.importorskip("pyte")
renderable = pytest.importorskip("textual_image.renderable")

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, LINES = 60, 24
SIZE = (40, 56)  # of pictures
DRAWN = (18, 50)  # lines and columns of one of them


class Stream:
    """A terminal's output, as a file."""

    def __init__(self, screen):
        self.stream, self.closed, self.encoding = pyte.Stream(screen), False, "utf-8"

    def write(self, text):
        self.stream.feed(text.replace("\n", "\r\n"))

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A function that makes standard output and error those of a terminal, and returns its screen."""

    def made():
        screen = pyte.Screen(COLUMNS, LINES)
        monkeypatch.setattr(sys, "stdout", Stream(screen))
        monkeypatch.setattr(sys, "stderr", sys.stdout)
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((COLUMNS, LINES)))
        monkeypatch.setattr(renderable, "Image", renderable.HalfcellImage)
        monkeypatch.setenv("COLORTERM", "truecolor")
        monkeypatch.setenv("TERM", "xterm-256color")
        return screen

    return made


def shown(screen):
    """(first line, (2 h, w, 3)) of the half blocks on a screen; one picture, not parts of two."""
    lines = [y for y in range(screen.lines) if screen.display[y].startswith("▀")]
    assert lines == [*range(lines[0], lines[-1] + 1)]
    (width,) = {screen.display[y].rstrip().count("▀") for y in lines}
    colours = [[getattr(screen.buffer[y][x], k) for x in range(width)] for y in lines for k in ("fg", "bg")]
    return lines[0], np.array([[[int(c[k : k + 2], 16) for k in (0, 2, 4)] for c in row] for row in colours])


def difference(pixels, rgb):
    """From a picture at the size of the blocks, in grey levels."""
    return np.abs(pixels - images.resize(rgb, pixels.shape[:2])).mean()


def slope(turned=False):
    h, w = SIZE
    rgb = np.stack(np.broadcast_arrays(np.linspace(0, 255, w), np.linspace(0, 255, h)[:, None], 128.0), axis=-1)
    return (255 - rgb if turned else rgb).astype(np.float32)


def evaluated(number, loss, rgb):
    return Evaluated(number, number, loss, {"style": loss}, 0.1, None, scale=1, scales=1, to_rgb=lambda: rgb)


def test_half_blocks_are_the_picture(terminal):
    screen = terminal()
    seen = preview.Preview()
    seen.show(slope())
    top, pixels = shown(screen)
    assert (top, pixels.shape) == (0, (2 * DRAWN[0], DRAWN[1], 3))
    assert difference(pixels, slope()) < 2 < 50 < difference(pixels, slope(turned=True))


def test_the_next_picture_takes_the_place_of_the_one_before(terminal):
    screen = terminal()
    seen = preview.Preview()
    print("a line")
    for turned in (False, True, False, True):
        seen.show(slope(turned))
    top, pixels = shown(screen)
    assert (top, len(pixels)) == (1, 2 * DRAWN[0])
    assert difference(pixels, slope(turned=True)) < 2
    assert screen.display[0].rstrip() == "a line"
    assert (screen.cursor.y, screen.cursor.x) == (1 + DRAWN[0], 0)
    seen.show(slope()[:20])  # a flatter one leaves nothing of it
    assert len(shown(screen)[1]) < 2 * DRAWN[0]


def test_lines_come_above_the_picture_and_the_bar_below(terminal):
    screen = terminal()
    console = printing.Console(Path("out.png"), plan=False, preview=True)
    console.total = 5
    console(evaluated(1, 5.0, slope()))
    console.warn("look out")
    console(evaluated(2, 4.0, slope()))
    console.warn("again")
    assert [line.rstrip() for line in screen.display[:2]] == ["warning: look out", "warning: again"]
    assert shown(screen)[0] == 2
    console(evaluated(3, 3.0, slope()))
    assert "3/5" in screen.display[2 + DRAWN[0]] and "/5" not in "".join(screen.display[3 + DRAWN[0] :])
    console.close()
    assert "/5" not in "".join(screen.display)


def test_it_is_drawn_once_a_second_and_no_step_that_was_only_tried(terminal, monkeypatch):
    terminal()
    now, drawn = [0.0], []
    seen = preview.Preview(clock=lambda: now[0])
    monkeypatch.setattr(seen, "show", lambda rgb: drawn.append(int(rgb[0, 0, 0])))
    losses = [9.0, 8.0, 99.0, 7.0, 6.0, 5.0]
    for number, loss in enumerate(losses):
        seen(evaluated(number, loss, np.full((4, 4, 3), number, np.float32)))
        now[0] += 0.5
    assert drawn == [0, 3, 5]  # the one after a second was only tried


def test_a_terminal_of_another_size_gets_a_new_picture(terminal, monkeypatch):
    screen = terminal()
    seen = preview.Preview()
    seen.show(slope())
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((30, LINES)))
    seen.show(slope())
    lines = [line.rstrip().count("▀") for line in screen.display if "▀" in line]
    assert lines[-1] == 29 and 50 in lines


@pytest.mark.parametrize("size_hw, lines, columns", [((40, 56), 18, 50), ((10, 1000), 1, 59), ((1000, 10), 18, 2)])
def test_a_picture_of_any_proportions_fits(size_hw, lines, columns):
    assert preview.fitted(size_hw, os.terminal_size((COLUMNS, LINES))) == (lines, columns)
    assert preview.fitted(size_hw, os.terminal_size((5, 3)))[0] <= 2


def test_a_terminal_that_has_gone_costs_nothing(terminal, monkeypatch):
    terminal()
    left = []

    def gone(text):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(preview, "give_up", left.append)
    monkeypatch.setattr(sys.stdout, "write", gone)
    preview.Preview().show(slope())
    assert left == [sys.stdout]


# ----------------------------------------------------------------------------------------- where it cannot be


ARGS = ["photo.png", "style.png", "-o", "out.png", "--weights", "narrow.npz", "--size", "48", "--device", "cpu"]
ARGS += ["--evaluations", "8", "--preview"]


def test_without_a_terminal_it_is_off_with_a_line(folder, capfd):
    assert run.main(ARGS) == 0
    captured = capfd.readouterr()
    assert "warning: --preview: off; standard " in captured.err and "▀" not in captured.out
    assert Path("out.png").exists()


@pytest.mark.parametrize(
    "variables, said",
    [
        ({"TERM": "dumb"}, "the terminal has no colours (TERM)"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "NO_COLOR is set"),
        ({"TERM": "xterm", "NO_COLOR": ""}, "the program runs in the background"),
    ],
)
def test_where_nothing_can_be_drawn_it_says_why(monkeypatch, variables, said):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, f"__{name}__", Stream(pyte.Screen(9, 9)))
    monkeypatch.setattr(Stream, "fileno", lambda self: 0, raising=False)
    monkeypatch.setattr(os, "tcgetpgrp", lambda number: -1, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    heard = []
    assert not preview.check_preview(heard.append)
    assert heard == [f"--preview: off; {said}"]


def test_refused_without_the_extra_and_beside_quiet(folder, capsys, monkeypatch):
    assert run.main([*ARGS, "--quiet"]) == 2
    assert "--preview: works with a run that prints: without --quiet" in capsys.readouterr().err
    monkeypatch.setattr(preview.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="preview: needs textual-image"):
        preview.check_preview(pytest.fail)
    assert run.main(ARGS) == 2
    assert 'pip install "minivgg-style[preview]"' in capsys.readouterr().err
    assert not Path("out.png").exists()


# ---------------------------------------------------------------------------------------------- a real one


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a pseudoterminal")
@pytest.mark.parametrize("more", [[], ["--contents", "photo.png", "style.png"]], ids=["one", "several"])
def test_a_run_in_a_terminal(folder, more):
    """The last picture stays on the screen, and is the one that was written; the lines stand around it."""
    screen, code, sent = in_terminal([*([] if more else ARGS[:4]), *more, *ARGS[4:], *(["style.png"] if more else [])])
    assert code == 0, screen.display
    last = "style-style.png" if more else "out.png"
    top, pixels = shown(screen)
    assert difference(pixels, images.read(last).rgb) < 6
    assert sent.count("▀") > 2 * pixels[::2, :, 0].size  # it was there before the end, too
    below = "".join(screen.display[top + len(pixels) // 2 :])
    assert "loss" in below and f"wrote    {last}" in below


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a pseudoterminal")
@pytest.mark.parametrize(
    "answers, begins",
    [
        ({rb"\x1b\[c": rb"\x1b[?62;4c"}, "\x1bP"),
        ({rb"\x1b_Gi=(\d+),": rb"\x1b_Gi=\1;OK\x1b\\\\", rb"\x1b\[c": rb"\x1b[?62c"}, "\x1b_G"),
    ],
    ids=["Sixel", "kitty"],
)
def test_a_terminal_that_takes_pixels_gets_them(folder, answers, begins):
    """Told by what it answers when it is asked; each picture but the first begins with a step back up."""
    _, code, sent = in_terminal(ARGS, answers)
    assert code == 0
    assert "▀" not in sent
    up = re.findall(r"\x1b\[(\d+)A\r\x1b\[J", sent)
    assert sent.count(begins) > len(up) > 0


def in_terminal(args, answers=()):
    """(pyte's screen, exit code, all that was written) of the command line in a pseudoterminal.

    answers  {pattern: what the terminal answers once that has been written}
    """
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    settings.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "style.run", *args],
        env=settings,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    screen, sent, answers = pyte.Screen(COLUMNS, LINES), b"", dict(answers)
    stream = pyte.ByteStream(screen)
    with contextlib.suppress(OSError):  # the other end has gone
        while data := os.read(ours, 65536):
            sent += data
            stream.feed(data)
            for found in filter(None, [re.search(asked, sent) for asked in answers]):
                os.write(ours, found.expand(answers.pop(found.re.pattern).replace(b"\\x1b", b"\x1b")))
    os.close(ours)
    return screen, process.wait(60), sent.decode()
