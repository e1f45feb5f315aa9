"""The picture in the terminal while it grows, drawn anew in its place above the progress bar. Extra: `preview`.

textual-image knows how: by pixels where the terminal takes them (kitty's protocol, Sixel: iTerm2, WezTerm, foot,
Windows Terminal, …), elsewhere in half blocks, two pixels a letter.
"""

import contextlib
import importlib.util
import logging
import math
import os
import shutil
import sys
import time

from PIL import Image

from minivgg.program import first_line, give_up

from .events import Evaluated, Finished
from .options import SettingsError
from .pictures import images
from .watching import Falling, Pace

BELOW = 6  # lines that stay free: of the bar, and of what was said before
TALLEST = 48  # lines of a picture
SIDE = 1024  # pixels that are handed on, at most
NO_PLACE = "--preview: off; "


def check_preview(tell):
    """Whether a preview can be shown: if not, `tell` says why. Raises SettingsError where the extra is missing.

    The terminal is asked what it can, which it answers on standard input.
    """
    if importlib.util.find_spec("textual_image") is None:
        said = '--preview: needs textual-image; pip install "minivgg-style[preview]", or leave it away'
        raise SettingsError(said, "preview")
    why = _unfit()
    if why is None:
        logging.getLogger("textual_image").setLevel(logging.ERROR)  # what a terminal does not answer is no news
        try:
            from rich.console import Console
            from textual_image.renderable import Image as Drawn  # asks while it is loaded

            console = Console(file=sys.stdout, force_terminal=True)
            console.measure(Drawn(Image.new("RGB", (1, 1))))  # asks for the size of a letter, once
        except Exception as error:
            why = f"the terminal cannot be asked what it shows ({first_line(error)})"
    if why is not None:
        tell(NO_PLACE + why)
    return why is None


def _unfit():
    """Why nothing can be drawn, or None."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, f"__{name}__")
        if stream is None or stream.closed or not stream.isatty():
            return f"standard {name.removeprefix('std').replace('in', 'input').replace('out', 'output')} is no terminal"
    if os.environ.get("TERM", "") in ("", "dumb") and os.name != "nt":
        return "the terminal has no colours (TERM)"
    if os.environ.get("NO_COLOR"):
        return "NO_COLOR is set"
    if hasattr(os, "tcgetpgrp") and os.tcgetpgrp(sys.__stdin__.fileno()) != os.getpgrp():
        return "the program runs in the background"
    return None


class Preview:
    """Draws what is shown in place of what it drew before.

    bar  called before anything is drawn: takes the progress bar away

    About once a second at most, and no step that was only tried; the last picture stays.
    """

    def __init__(self, bar=lambda: None, clock=time.monotonic):
        self.bar, self.pace, self.better = bar, Pace(clock), Falling()
        self.lines, self.terminal, self.drawn = 0, None, None

    def __call__(self, event):
        if isinstance(event, Evaluated) and self.better(event):
            self.pace(lambda: self.show(event.to_rgb()))
        elif isinstance(event, Finished) and event.result.outcome.values:
            self.show(event.result.rgb)
            self.lines, self.drawn = 0, None  # it stays

    def show(self, rgb):
        """Draw a picture (H, W, 3), 0..255, in the place of the one before."""
        from textual_image.renderable import Image as Drawn

        height, width = fitted(rgb.shape[:2], shutil.get_terminal_size())
        small = images.resize(rgb, images.fit(SIDE, *rgb.shape[:2])) if max(rgb.shape[:2]) > SIDE else rgb
        drawn = Drawn(Image.fromarray(images.to_uint8(small)), width=width, height=height)
        with self.aside():
            former, self.drawn = self.drawn, (drawn, height)
        if former is not None:
            former[0].cleanup()  # of the terminal's own copy

    @contextlib.contextmanager
    def aside(self):
        """While something is printed, the picture is taken away; then it is drawn again, below."""
        from rich.console import Console

        try:
            self.bar()
            terminal = shutil.get_terminal_size()
            if self.lines and terminal == self.terminal:  # else it has been wrapped anew, and is left where it is
                sys.stdout.write(f"\x1b[{self.lines}A\r\x1b[J")
                sys.stdout.flush()
            self.lines, self.terminal = 0, terminal
            yield
            if self.drawn is not None:
                drawn, self.lines = self.drawn
                Console(file=sys.stdout, force_terminal=True, width=terminal.columns).print(drawn, end="")
                sys.stdout.flush()
        except (OSError, ValueError):  # the terminal has gone
            give_up(sys.stdout)


def fitted(size_hw, terminal):
    """(lines, columns) of a picture, for letters that are twice as high as wide."""
    h, w = size_hw
    most = max(2, min(terminal.lines - BELOW, TALLEST))
    columns = max(2, min(round(2 * most * w / h), terminal.columns - 1))
    return max(1, min(most, math.ceil(columns * h / w / 2))), columns
