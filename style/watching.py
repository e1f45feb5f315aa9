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


class Latest:
    """Keeps one file the newest picture of the run, for a viewer that reloads; each replaces the last one whole.

    path  png, jpg, webp or tif
    warn  called with a line where it cannot be written, once: the run goes on
    """

    def __init__(self, path, warn, clock=time.monotonic):
        self.path, self.warn, self.clock = Path(path), warn, clock
        self.job, self.due, self.better = None, -np.inf, Falling()

    def __call__(self, event):
        if isinstance(event, Planned):
            self.job = event.job
        elif isinstance(event, Evaluated) and self.better(event) and self.clock() >= self.due:
            begun = self.clock()
            rgb = event.to_rgb()
            self._save(rgb, self.job.alpha(rgb.shape[:2]), on_the_way(self.job, event.evaluation))
            now = self.clock()
            self.due = now + max(SECONDS, (now - begun) / SHARE)
        elif isinstance(event, Finished) and event.result.outcome.values:
            result = event.result
            self._save(result.rgb, result.alpha, result.metadata)

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


class Animation:
    """Writes an animation of the run at its end: the content first, the last picture held.

    path     gif, webp, or png (APNG); check_animation looks at it before the run
    replace  whether a file that is there gives way
    warn     called with a line where it cannot be written: the picture is worth more

    Frames are at most SIDE pixels a side and FRAMES in number: when there are more, every second one goes, and from
    then on only half as many are taken.
    """

    def __init__(self, path, replace, warn):
        self.path, self.replace, self.warn = Path(path), replace, warn
        self.size, self.frames, self.stride, self.count, self.better = None, [], 1, 0, Falling()

    def __call__(self, event):
        if isinstance(event, Planned):
            job = event.job
            self.size = fitted(job.size)
            self.first = self._frame(job.content.rgb)
        elif isinstance(event, Evaluated) and self.better(event):
            self.count += 1
            if self.count % self.stride == 0:
                self.frames.append(self._frame(event.to_rgb()))
            if len(self.frames) > FRAMES - 2:
                self.frames, self.stride = self.frames[1::2], 2 * self.stride
        elif isinstance(event, Finished) and event.result.outcome.values:
            try:
                write_animation(self.path, [self.first, *self.frames, self._frame(event.result.rgb)], self.replace)
            except ImageError as error:
                self.warn(f"--animation {error}")

    def _frame(self, rgb):
        return images.to_uint8(images.resize(rgb, self.size))


def fitted(size_hw):
    """(height, width) of a frame."""
    return images.fit(SIDE, *size_hw) if max(size_hw) > SIDE else size_hw


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
