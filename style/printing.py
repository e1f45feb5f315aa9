"""Listeners of a run on the command line: the console, the log, pictures on the way. Each hears every event."""

import contextlib
import functools
import json
import math
import os
import sys

from tqdm import tqdm

from minivgg.backend import describe_device
from minivgg.program import first_line, give_up, say

from .events import Evaluated, Finished, Planned, StageDone
from .objective import by_kind
from .options import SettingsError
from .pictures import images, masks, saving
from .preview import Preview
from .provenance import fingerprint, made_from, on_the_way
from .units import counted, duration, format_size

SHOWN = 8  # terms whose part of the loss is said
WARM_UP = 5  # seconds: an evaluation that takes less is dominated by what only the first has to do
TIMED = 3  # evaluations, then, of which the first does not count


class Console:
    """The plan, a bar or lines while it runs, the loss at the end.

    plan     whether to say it, and how long it will take: of many runs that are alike, the first does
    preview  whether the picture is shown as it grows; check_preview has looked at the terminal
    which    said at the end of its lines, where those of several runs come between one another
    """

    def __init__(self, output, plan=True, preview=False, which=""):
        self.output, self.plan, self.which, self.bar, self.job = output, plan, which, None, None
        self.preview = Preview(self._take_bar) if preview else None
        self.first = None  # seconds of the first evaluation; 0 once the time has been said

    def __call__(self, event):
        if self.preview is not None:
            self.preview(event)
        if isinstance(event, Planned):
            self.job = event.job
            self.total = sum(stage.evaluations for stage in self.job.stages)
            for label, text in plan_lines(self.job, self.output) if self.plan else ():
                say(f"{label:<8} {text}")
        elif isinstance(event, Evaluated):
            if event.evaluation == 1 and self.plan:
                self.line(f"shares   {shares(event.values)}")
            self._announce_time(event)
            self._show(event)
        elif isinstance(event, Finished):
            self.close()
            outcome = event.result.outcome
            if math.isfinite(outcome.loss):
                terms = ", ".join(f"{k} {v:.6g}" for k, v in by_kind(outcome.values).items() if v)
                as_saved = (
                    "" if math.isnan(outcome.saved) else f", {outcome.saved:.6g} as saved in {event.result.depth} bits"
                )
                took = duration(outcome.seconds)
                say(f"loss     {outcome.loss:.6g} ({terms}){as_saved}, in {took}: {outcome.message}{self.which}")

    def close(self):
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def warn(self, text):
        self.line(f"warning: {text}", sys.stderr)

    def line(self, text, stream=None):
        """Print a line where neither the bar nor the picture is."""
        self._take_bar()
        with contextlib.nullcontext() if self.preview is None else self.preview.aside():
            say(text, stream)

    def _take_bar(self):
        if self.bar is not None:
            self.bar.clear()

    def _announce_time(self, event):
        """How long it will take, from the first evaluation if it is long, else from the difference to the third."""
        if event.evaluation == 1:
            self.first = event.seconds
        if not self.plan or not self.first or (self.first < WARM_UP and event.evaluation < min(TIMED, self.total)):
            return
        later = event.evaluation > 1
        one = (event.seconds - self.first) / (event.evaluation - 1) if later else event.seconds
        job, self.first = self.job, 0
        cost = [math.prod(stage.size) * job.plans[stage].time for stage in job.stages]
        total = one * sum(stage.evaluations * c for stage, c in zip(job.stages, cost, strict=True)) / cost[0]
        about = "at most" if any(plan.lag > 1 for plan in job.plans.values()) else "about"
        self.line(f"time     {one:.2f} s an evaluation: {about} {duration(total)} for {self.total}")

    def _show(self, event):
        text = f"loss {event.loss:.5g}"
        if not sys.stderr.isatty():  # a file or a pipe: ten lines instead of a bar
            if event.evaluation % max(self.total // 10, 1) == 0:
                say(f"{event.evaluation:8d} {text}  {duration(event.seconds)}{self.which}")
            return
        try:
            if self.bar is None:
                self.bar = tqdm(total=self.total, unit="eval", dynamic_ncols=True, leave=False)
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
            if self.preview is not None:  # which may have taken the bar away
                self.bar.refresh()
        except OSError:  # the terminal has gone
            give_up(sys.stderr)


class Log:
    """One JSON object a line for each evaluation. A full disk ends the log, after a whole line, and not the run.

    `run` in a line is provenance.fingerprint: it tells which picture the log is of.

    losses  of the evaluations that were done before: a run that is resumed goes on in its own log
    """

    def __init__(self, path, overwrite, warn, losses=()):
        self.path, self.warn = path, warn
        self.file, self.run = open_log(path, overwrite, losses), None

    def __call__(self, event):
        if isinstance(event, Planned) and self.file is not None:
            self.run = fingerprint(made_from(event.job))
        if not isinstance(event, Evaluated) or self.file is None:
            return
        record = {"run": self.run, "evaluation": event.evaluation, "iteration": event.iteration, "scale": event.scale}
        record |= {"size": format_size(event.size[::-1]), "loss": event.loss, **by_kind(event.values)}
        record |= {"terms": event.values, "exact": event.exact, "seconds": round(event.seconds, 6)}
        line = memoryview((json.dumps(record) + "\n").encode())
        written = 0
        try:
            while written < len(line):
                written += self.file.write(line[written:])
        except OSError as error:  # a full disk must not cost the picture
            with contextlib.suppress(OSError, ValueError):  # a pipe has no end to cut off
                self.file.truncate(self.file.tell() - written)
            self.warn(f"{self.path}: the log ends here ({first_line(error)})")
            self.close()
            self.file = None

    def close(self):
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.close()


class Pictures:
    """Pictures on the way: every so many evaluations, and each scale that is finished.

    replace  a function of a path: whether a file that is there gives way
    """

    def __init__(self, output, every, replace, warn, quality=None):
        self.output, self.every, self.replace, self.warn, self.job = output, every, replace, warn, None
        self.quality = quality

    def __call__(self, event):
        if isinstance(event, Planned):
            self.job = event.job
        elif isinstance(event, StageDone):  # a long run leaves something on the way
            self._save(event.result.save, scale_name(self.output, event.stage))
        elif isinstance(event, Evaluated) and self.every and event.evaluation % self.every == 0:
            rgb = event.to_rgb()
            more = {"metadata": on_the_way(self.job, event.evaluation), "depth": self.job.settings.depth}
            save = functools.partial(saving.save, rgb=rgb, alpha=self.job.alpha(rgb.shape[:2]), **more)
            self._save(save, every_name(self.output, event.evaluation))

    def _save(self, save, path):
        try:
            save(path, replace=self.replace(path), quality=self.quality)
        except images.ImageError as error:
            self.warn(error)


def shares(values):
    """Each term's part of the loss, in a line, the largest first."""
    total = sum(values.values()) or 1
    found = sorted(values.items(), key=lambda item: -item[1])[:SHOWN]
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(f"{name} {100 * v / total:.0f} %" for name, v in found) + more + " at the start"


def warn(text):
    say(f"warning: {text}", sys.stderr)


def plan_lines(job, output):
    """(label, text) pairs that say what a job will do."""
    s = job.settings
    yield from [("texture", format_size(job.size))] if job.texture else picture_lines("content", job.content, job.size)
    for group in job.styles.groups:
        for k, share in group.members:
            part = f", {share:.2f} of the blend" if len(group.members) > 1 else ""
            where = f", in {100 * group.area:.0f} % of the picture" if group.area < 1 else ""
            yield from picture_lines("style", job.styles.pictures[k], job.style_sizes[k], part + where)
    if job.start is not None:
        size = job.stages[0].size
        more = ", stretched" if masks.is_stretched(job.start.size, size[::-1]) else ""
        yield from picture_lines("start", job.start, size, more)
    yield from (("colour", note) for note in job.filters.notes)
    if s.wrap:
        yield "wrap", f"opposite edges meet; sides are multiples of {s.grid}, for the layers that are asked for"
    hint = "; better: python -m weights fetch vgg19" if job.network.name == "mini" else ""
    yield "weights", f"{job.network.name} ({job.network.path}){hint}"
    kinds = {"content": s.content_layers, "style": s.style_layers}
    groups = [f"{kind} {' '.join(names)}" for kind, names in kinds.items() if names]
    if [*s.style_loss] != ["gram"]:
        groups.append(f"compared by {' and '.join(s.style_loss)}")
    pixels = {"total variation": s.tv_weight, "matting Laplacian": s.photo_weight, "Laplacian": s.laplacian_weight}
    groups += [f"{name} {weight:g}" for name, weight in pixels.items() if weight]
    yield "layers", "; ".join(groups) + f"; {s.pooling} pooling"
    if job.nearest:
        pairs = ", ".join(f"{taken} for {asked}" for asked, taken in job.nearest.items())
        yield "", f"nearest layers of {job.network.name} to those of --preset {s.origin.preset}: {pairs}"
    yield "device", describe_device(job.device)
    for stage in job.stages:
        yield "memory", job.plans[stage].describe()
    yield from (("time", text) for text in forecast(job))
    counts = [counted(job.stages[0].evaluations, "evaluation"), *(str(stage.evaluations) for stage in job.stages[1:])]
    steps = ", then ".join(f"{n} at {format_size(stage.size)}" for n, stage in zip(counts, job.stages, strict=True))
    start = s.to_dict()["init"]
    seed = f", seed {s.seed}" if job.start is None and s.init in ("noise", "blend") else ""
    yield "run", f"{s.optimizer} from {start}{seed}: {steps}"
    if job.skipped:
        yield "", f"scales coarser than {start} are left out: {', '.join(format_size(k.size) for k in job.skipped)}"
    scales = [scale_name(output, stage).name for stage in job.stages[:-1]]
    yield "output", ", ".join([str(output), *scales])


def forecast(job):
    """How long it will take, before the start: from the work and this machine's rate of matrix products."""
    seconds = job.forecast()
    if seconds is not None and seconds >= 1:
        yield f"roughly {duration(float(f'{seconds:.1g}'))}, from this machine's rate of matrix products"


def picture_lines(label, picture, size, more=""):
    name = picture.path.name if picture.path else picture.mode
    yield label, f"{name} {format_size(picture.size[::-1])} -> {format_size(size)}{more}"
    yield from (("", note) for note in picture.notes)


def scale_name(output, stage):
    """Where a finished scale is saved."""
    return output.with_stem(f"{output.stem}-{format_size(stage.size)}")


def every_name(output, evaluation):
    """Where --save-every saves."""
    return output.with_stem(f"{output.stem}-{evaluation:05d}")


def names_on_the_way(job, output, every):
    """All files that a run writes before its output."""
    total = sum(stage.evaluations for stage in job.stages)
    yield from (scale_name(output, stage) for stage in job.stages[:-1])
    if every:
        yield from (every_name(output, n) for n in range(every, total + 1, every))


def open_log(path, overwrite, losses=()):
    """The log, a raw file, or None. An existing one is replaced only with --overwrite; a device or a pipe is used.

    losses  a log that begins with these is cut after them and goes on
    """
    if path is None:
        return None
    device = os.path.exists(path) and not os.path.isfile(path)
    try:
        end = end_of(path, losses) if losses and os.path.isfile(path) else None
        if end is not None:
            file = open(path, "r+b", buffering=0)  # noqa: SIM115  the run's
            file.truncate(end)
            file.seek(end)
            return file
        return open(path, "wb" if overwrite or device else "xb", buffering=0)
    except FileExistsError:
        raise SettingsError(f"--log {path}: exists already; give another name or --overwrite", "log") from None
    except OSError as error:
        raise SettingsError(f"--log {path}: cannot be written ({first_line(error)})", "log") from None


def end_of(path, losses):
    """Where in a log the evaluations with these losses end, in bytes; None where it does not begin with them."""
    end = 0
    with open(path, "rb") as file:
        for loss in losses:
            line = file.readline()
            try:
                if json.loads(line)["loss"] != loss:
                    return None
            except (ValueError, TypeError, KeyError):
                return None
            end += len(line)
    return end
