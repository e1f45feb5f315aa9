"""Listeners that let a run be watched: one picture that is replaced as it grows, and an animation of it."""

import io
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image, features

from minivgg.files import FileError, FileTakenError, atomic_file, check_folder
from minivgg.program import first_line

from .events import Evaluated, Finished, Planned
from .pictures import ImageError, images, saving
from .provenance import on_the_way

SECONDS = 1.0  # between two pictures of Latest, at least
SHARE = 0.05  # of the run's time that writing them may take
FRAMES = 60  # of an animation, at most
SIDE = 480  # pixels of a frame, at most: FRAMES of them take 42 MB
LENGTH, HELD = 6.0, 2.0  # seconds of an animation, and of its last frame
FORMATS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}


class Falling:
    """Tells evaluations that came lower than all before at their scale from steps that were only tried."""

    def __init__(self):
        self.scale, self.lowest = None, np.inf

    def __call__(self, event):
        if event.scale != self.scale:
            self.scale, self.lowest = event.scale, np.inf
        better = event.loss < self.lowest
        self.lowest = min(event.loss, self.lowest)
        return better


class Pace:
    """When a listener may show the next picture: not within SECONDS, nor in more than SHARE of the time."""

    def __init__(self, clock=time.monotonic):
        self.clock, self.due = clock, -np.inf

    def __call__(self, work):
        """Call work() if it is time."""
        begun = self.clock()
        if begun >= self.due:
            work()
            now = self.clock()
            self.due = now + max(SECONDS, (now - begun) / SHARE)


class Latest:
    """Keeps one file the newest picture of the run, for a viewer that reloads; each replaces the last one whole.

    path  png, jpg, webp or tif
    warn  called with a line where it cannot be written, once: the run goes on
    """

    def __init__(self, path, warn, clock=time.monotonic):
        self.path, self.warn, self.pace = Path(path), warn, Pace(clock)
        self.job, self.better = None, Falling()

    def __call__(self, event):
        if isinstance(event, Planned):
            self.job = event.job
        elif isinstance(event, Evaluated) and self.better(event):
            self.pace(lambda: self._evaluated(event))
        elif isinstance(event, Finished) and event.result.outcome.values:
            result = event.result
            self._save(result.rgb, result.alpha, result.metadata)

    def _evaluated(self, event):
        rgb = event.to_rgb()
        self._save(rgb, self.job.alpha(rgb.shape[:2]), on_the_way(self.job, event.evaluation))

    def _save(self, rgb, alpha, metadata):
        try:
            saving.save(self.path, rgb, alpha=alpha, metadata=metadata | {"latest": True})
        except ImageError as error:
            self.warn(f"--latest {error}")
            self.warn = lambda text: None


def check_latest(path, overwrite=False):
    """Raise ImageError unless Latest can write there: a new file, one that an earlier Latest wrote, or `overwrite`."""
    try:
        ours = os.path.isfile(path) and bool((saving.read_metadata(path) or {}).get("latest"))
    except ImageError:
        ours = False
    saving.check_output(path, overwrite or ours)


class Frames:
    """Keeps some pictures of the way, evenly spaced, and no step that was only tried.

    side, most  pixels of a frame, at most, and how many: when there are more, every second one goes, and from then on
                only half as many are taken
    frames, at  [(h, w, 3) uint8], and the evaluation that each is of
    """

    def __init__(self, side, most):
        self.side, self.most = side, most
        self.size, self.frames, self.at, self.stride, self.count, self.better = None, [], [], 1, 0, Falling()

    def __call__(self, event):
        if isinstance(event, Planned):
            size = event.job.size
            self.size = images.fit(self.side, *size) if max(size) > self.side else size
        elif isinstance(event, Evaluated) and self.better(event):
            self.count += 1
            if self.count % self.stride == 0:
                self.frames.append(self.frame(event.to_rgb()))
                self.at.append(event.evaluation)
            if len(self.frames) > self.most:
                self.frames, self.at, self.stride = self.frames[1::2], self.at[1::2], 2 * self.stride

    def frame(self, rgb):
        """A picture as a frame."""
        return images.to_uint8(images.resize(rgb, self.size))


class Animation(Frames):
    """Writes an animation of the run at its end: the content first, the last picture held; FRAMES of SIDE at most.

    path     gif, webp, or png (APNG); check_animation looks at it before the run
    replace  whether a file that is there gives way
    warn     called with a line where it cannot be written: the picture is worth more
    """

    def __init__(self, path, replace, warn):
        super().__init__(SIDE, FRAMES - 2)
        self.path, self.replace, self.warn = Path(path), replace, warn

    def __call__(self, event):
        super().__call__(event)
        if isinstance(event, Planned):
            self.first = self.frame(event.job.content.rgb)
        elif isinstance(event, Finished) and event.result.outcome.values:
            try:
                write_animation(self.path, [self.first, *self.frames, self.frame(event.result.rgb)], self.replace)
            except ImageError as error:
                self.warn(f"--animation {error}")


def check_animation(path, overwrite=False):
    """Raise ImageError for an animation that could not be written."""
    fmt = _format(path)
    if fmt == "WEBP" and not features.check("webp"):
        raise ImageError(f"{path}: this Pillow cannot write WebP; choose .gif or .png")
    if os.path.isdir(path):
        raise ImageError(f"{path}: a folder; expected a file name")
    if os.path.lexists(path) and not overwrite:
        raise saving.OutputExistsError(f"{path}: exists already; give another name or --overwrite")
    try:
        check_folder(path)
    except FileError as error:
        raise ImageError(str(error)) from None


def write_animation(path, frames, replace=True):
    """A looping animation of frames (H, W, 3) uint8, LENGTH seconds and the last one HELD longer. Raises ImageError."""
    fmt, buffer = _format(path), io.BytesIO()
    each = max(20, round(1000 * LENGTH / len(frames)))  # ms; viewers take less for 100
    pictures = [Image.fromarray(f) for f in frames]
    options = {"PNG": {"default_image": False}, "GIF": {"optimize": False}, "WEBP": {"quality": 85}}[fmt]
    durations = [each] * (len(frames) - 1) + [each + round(1000 * HELD)]
    try:
        pictures[0].save(buffer, fmt, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options)
    except Exception as error:  # encoders raise OSError, ValueError, struct.error …
        raise ImageError(f"{path}: cannot be encoded as {fmt} ({first_line(error)})") from None
    try:
        with atomic_file(path, replace=replace) as file:
            file.write(buffer.getvalue())
    except FileTakenError as error:
        raise saving.OutputExistsError(str(error)) from None
    except FileError as error:
        raise ImageError(str(error)) from None


def _format(path):
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        found = f'the suffix "{suffix}"' if suffix else "no suffix"
        raise ImageError(f"{path}: {found}; expected {', '.join(FORMATS)}")
    return FORMATS[suffix]
