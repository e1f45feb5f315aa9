"""What the user of `python -m style.run` sees and gets: the plan, lines or a bar, the log, pictures, the end."""

import json
import math
import os
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from minivgg.backend import describe_device
from minivgg.program import give_up, say

from .pictures import images, saving
from .settings import SettingsError

FAILURE = 1
WARM_UP = 5  # seconds: an evaluation that takes less is dominated by what only the first has to do
TIMED = 3  # evaluations, then, of which the first does not count


class Report:
    """What the user sees: the plan, a bar or lines while it runs, the log, pictures on the way, the end.

    signals  console.Signals, which knows the exit code of an interrupt
    """

    def __init__(self, job, output, args, signals):
        self.job, self.output, self.every, self.quiet = job, output, args.save_every, args.quiet
        self.overwrite, self.signals = args.overwrite, signals
        self.total = sum(stage.iterations for stage in job.stages)
        self.bar = None
        self.first = None  # seconds of the first evaluation; 0 once the time has been said
        self.log = open_log(args.log, self.overwrite)

    def announce(self):
        """The plan, before any work."""
        for label, text in plan_lines(self.job, self.output):
            self.say(f"{label:<8} {text}")

    def __call__(self, progress):
        """After each evaluation."""
        self._announce_time(progress)
        self._show(progress)
        if self.log:
            self._log(progress)
        if self.every and progress.evaluation % self.every == 0:
            rgb = self.job.to_rgb(progress.image)
            self._save(every_name(self.output, progress.evaluation), rgb, self.job.alpha(rgb.shape[:2]))

    def stage_done(self, stage, result):
        """Each finished scale is saved: a long run leaves something on the way."""
        self._save(scale_name(self.output, stage), result.rgb, result.alpha, result.metadata)

    def close(self):
        if self.bar is not None:
            self.bar.close()
        if self.log:
            self.log.close()

    def finish(self, result):
        """Write the picture and say how it ended; returns the exit code."""
        outcome = result.outcome
        if outcome.totals["loss"] != outcome.totals["loss"]:
            if outcome.status == "interrupted":
                return fail("interrupted before the first evaluation was done: nothing was written", self.signals.code)
            return fail(f"{outcome.message}: nothing was written; check the weights and the factors", FAILURE)
        interrupted = outcome.status == "interrupted"
        try:
            written = self._write(result)
        except KeyboardInterrupt:  # all the work is in this picture
            interrupted, written = True, self._write(result)
        terms = ", ".join(f"{k} {v:.6g}" for k, v in outcome.totals.items() if k != "loss" and v)
        self.say(f"loss     {outcome.totals['loss']:.6g} ({terms}) in {duration(outcome.seconds)}: {outcome.message}")
        if written is None:
            return FAILURE
        self.say(f"wrote    {written}")
        if outcome.status == "non-finite":
            hint = "the best picture so far was kept; use a smaller --learning-rate or other weights"
            return fail(f"{outcome.message}: {hint}", FAILURE)
        if interrupted:
            return fail(f"{outcome.message}: {written} is the best picture so far", self.signals.code)
        return 0

    def _write(self, result):
        """Save; returns where, or None where that failed and the picture went to the folder for temporary files.

        A name that another program has taken meanwhile is left alone: the picture gets the next number.
        """
        name, number = self.output, 1
        while True:
            try:
                result.save(name, replace=self.overwrite)
                return name
            except saving.OutputExistsError as e:
                number += 1
                name = self.output.with_stem(f"{self.output.stem}-{number}")
                self.warn(f"{e}; the picture goes to {name}")
            except images.ImageError as e:
                refuge = Path(tempfile.gettempdir()) / f"minivgg-style-{os.getpid()}.png"
                result.save(refuge)
                fail(f"{e}; the picture is in {refuge}", FAILURE)
                return None

    def _announce_time(self, p):
        """How long it will take, from the first evaluation if it is long, else from the difference to the third."""
        if p.evaluation == 1:
            self.first = p.seconds
        if self.first == 0 or (self.first < WARM_UP and p.evaluation < min(TIMED, self.total)):
            return
        one = p.seconds if p.evaluation == 1 else (p.seconds - self.first) / (p.evaluation - 1)
        job, self.first = self.job, 0
        cost = [math.prod(stage.size) * job.plans[stage].time for stage in job.stages]
        total = one * sum(stage.iterations * c for stage, c in zip(job.stages, cost, strict=True)) / cost[0]
        about = "at most" if any(plan.lag > 1 for plan in job.plans.values()) else "about"
        self.say(f"time     {one:.2f} s an evaluation: {about} {duration(total)} for {self.total}")

    def _show(self, progress):
        text = f"loss {progress.loss:.5g}"
        if self.quiet:
            return
        if not sys.stderr.isatty():  # a file or a pipe: ten lines instead of a bar
            if progress.evaluation % max(self.total // 10, 1) == 0:
                say(f"{progress.evaluation:8d} {text}  {duration(progress.seconds)}")
            return
        try:
            if self.bar is None:
                self.bar = tqdm(total=self.total, unit="eval", dynamic_ncols=True, leave=False)
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        except OSError:  # the terminal has gone
            give_up(sys.stderr)

    def _log(self, p):
        record = {k: getattr(p, k) for k in ("evaluation", "iteration", "loss", "content", "style", "tv", "seconds")}
        try:
            self.log.write(json.dumps(record) + "\n")
            self.log.flush()
        except OSError as e:  # a full disk must not cost the picture
            self.warn(f"{self.log.name}: the log ends here ({e.strerror})")
            self.log = None

    def _save(self, path, rgb, alpha, metadata=None):
        try:
            saving.save(path, rgb, alpha=alpha, metadata=metadata, replace=self.overwrite)
        except images.ImageError as e:
            self.warn(e)

    def say(self, text):
        if not self.quiet:
            say(text)

    def warn(self, text):
        if self.bar is not None:
            self.bar.clear()
        say(f"warning: {text}", sys.stderr)


def plan_lines(job, output):
    """(label, text) pairs that say what a job will do."""
    s = job.settings
    for label, pic, size in (("content", job.content, job.size), ("style", job.style, job.style_size)):
        name = pic.path.name if pic.path else pic.mode
        yield label, f"{name} {pic.size[0]}x{pic.size[1]} -> {size[1]}x{size[0]}"
        yield from (("", note) for note in pic.notes)
    hint = "; better: python -m weights fetch vgg19" if job.network.name == "mini" else ""
    yield "weights", f"{job.network.name} ({job.network.path}){hint}"
    groups = [f"content {' '.join(s.content_layers)}", f"style {' '.join(s.style_layers)}"]
    yield "layers", "; ".join(groups) + f"; {s.pooling} pooling"
    yield "device", describe_device(job.device)
    for stage in job.stages:
        yield "memory", job.plans[stage].describe()
    steps = ", then ".join(f"{stage.iterations} at {stage.size[1]}x{stage.size[0]}" for stage in job.stages)
    yield "run", f"{s.optimizer} from {s.init}, seed {s.seed}: {steps} evaluations"
    scales = [scale_name(output, stage).name for stage in job.stages[:-1]]
    yield "output", ", ".join([str(output), *scales])


def scale_name(output, stage):
    """Where a finished scale is saved."""
    return output.with_stem(f"{output.stem}-{stage.size[1]}x{stage.size[0]}")


def every_name(output, evaluation):
    """Where --save-every saves."""
    return output.with_stem(f"{output.stem}-{evaluation:05d}")


def names_on_the_way(job, output, every):
    """All files that a run writes before its output."""
    total = sum(stage.iterations for stage in job.stages)
    yield from (scale_name(output, stage) for stage in job.stages[:-1])
    if every:
        yield from (every_name(output, n) for n in range(every, total + 1, every))


def open_log(path, overwrite):
    """The log, or None. An existing file is replaced only with --overwrite; a device or a pipe is written to."""
    if path is None:
        return None
    device = os.path.exists(path) and not os.path.isfile(path)
    try:
        return open(path, "w" if overwrite or device else "x", encoding="utf-8")
    except FileExistsError:
        raise SettingsError(f"--log {path}: exists already; give another name or --overwrite") from None
    except OSError as e:
        raise SettingsError(f"--log {path}: cannot be written ({e.strerror})") from None


def duration(seconds):
    """'42 s', '3 min 5 s', '2 h 10 min'"""
    s = round(seconds)
    if s < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"


def fail(message, code):
    say(f"style.run: {message}", sys.stderr)
    return code
