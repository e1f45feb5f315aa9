"""`python -m style.run CONTENT STYLE -o OUT`: options in, a picture out. Parses, prints, exits; computes nothing.

Exit code 0: done; 2: an option or name that cannot be used; 1: a file or device that failed, or a loss that is not
finite; 130: Ctrl-C, with the best picture so far written.
"""

import argparse
import dataclasses
import json
import math
import os
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

import weights
from minivgg.backend import BackendError, describe_device

from . import images, saving
from .plan import MemoryBudgetError
from .settings import Settings, SettingsError, presets, settings_from
from .transfer import Job

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


def main(argv=None):
    """Run the command line; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        return run(args)
    except SettingsError as e:
        return fail(e, USAGE)
    except (images.ImageError, weights.WeightsError, BackendError, MemoryBudgetError) as e:
        return fail(e, FAILURE)
    except MemoryError:
        return fail("out of memory; use a smaller --size or lighter --weights", FAILURE)
    except KeyboardInterrupt:
        return fail("interrupted before the first evaluation: nothing was written", INTERRUPTED)


def run(args):
    """Check, announce, optimise, write."""
    output = Path(args.output) if args.output else free_name(args.content, args.style)
    try:
        saving.check_output(output, args.overwrite)
    except images.ImageError as e:
        return fail(e, USAGE)
    content, style = sized(args.content, args.size), sized(args.style, args.style_size or args.size)
    job = Job(content, style, settings(args))
    saving.check_output(output, args.overwrite, size_hw=job.size)
    report = Report(job, output, args)
    report.announce()
    try:
        result = job.run(report, report.stage_done)
    finally:
        report.close()
    return report.finish(result)


def settings(args):
    """Settings from the options that were given; what was not given is the preset's or the default."""
    names = {f.name for f in dataclasses.fields(Settings)}
    return settings_from(args.preset, **{k: v for k, v in vars(args).items() if k in names})


def sized(spec, size):
    """A sample picture is drawn at the size that is asked for, not enlarged to it."""
    return f"{spec}:{size}" if spec.startswith("sample:") and spec.count(":") == 1 and size else spec


def free_name(content, style):
    """CONTENT-STYLE.png in this folder, numbered where it is taken already."""
    stems = [Path(spec.removeprefix("sample:").replace(":", "-")).stem for spec in (content, style)]
    for number in range(1, 10000):
        name = Path("-".join(stems) + (f"-{number}" if number > 1 else "") + ".png")
        if not name.exists():
            return name
    raise SettingsError(f"{name}: taken, as are all before it; give -o")


class Report:
    """What the user sees: the plan, a bar or lines while it runs, the log, pictures on the way, the end."""

    def __init__(self, job, output, args):
        self.job, self.output, self.every, self.quiet = job, output, args.save_every, args.quiet
        self.log = open_log(args.log)
        self.bar = None
        self.total = sum(stage.iterations for stage in job.stages)

    def announce(self):
        """The plan, before any work."""
        for label, text in plan_lines(self.job, self.output):
            self.say(f"{label:<8} {text}")

    def __call__(self, progress):
        """After each evaluation."""
        if progress.evaluation == 1:
            per_pixel = progress.seconds / math.prod(self.job.stages[0].size)
            total = sum(stage.iterations * per_pixel * math.prod(stage.size) for stage in self.job.stages)
            self.say(
                f"time     {progress.seconds:.2f} s the first evaluation: about {duration(total)} for {self.total}"
            )
        self._show(progress)
        if self.log:
            self._log(progress)
        if self.every and progress.evaluation % self.every == 0:
            rgb = self.job.to_rgb(progress.image)
            self._save(f"{progress.evaluation:05d}", rgb, self.job.alpha(rgb.shape[:2]))

    def stage_done(self, stage, result):
        """Each finished scale is saved: a long run leaves something on the way."""
        self._save(f"{stage.size[1]}x{stage.size[0]}", result.rgb, result.alpha, result.metadata)

    def close(self):
        if self.bar is not None:
            self.bar.close()
        if self.log:
            self.log.close()

    def finish(self, result):
        """Write the picture and say how it ended; returns the exit code."""
        outcome = result.outcome
        if outcome.totals["loss"] != outcome.totals["loss"]:
            return fail(f"{outcome.message}: nothing was written; check the weights and the factors", FAILURE)
        written = self._write(result)
        terms = ", ".join(f"{k} {v:.6g}" for k, v in outcome.totals.items() if k != "loss" and v)
        self.say(f"loss     {outcome.totals['loss']:.6g} ({terms}) in {duration(outcome.seconds)}: {outcome.message}")
        if written != self.output:
            return FAILURE
        self.say(f"wrote    {written}")
        if outcome.status == "non-finite":
            hint = "the best picture so far was kept; use a smaller --learning-rate or other weights"
            return fail(f"{outcome.message}: {hint}", FAILURE)
        if outcome.status == "interrupted":
            return fail(f"{outcome.message}: {written} is the best picture so far", INTERRUPTED)
        return 0

    def _write(self, result):
        """Save to the output, or where that fails to the folder for temporary files: the result is not lost."""
        try:
            result.save(self.output)
            return self.output
        except images.ImageError as e:
            refuge = Path(tempfile.gettempdir()) / f"minivgg-style-{os.getpid()}.png"
            result.save(refuge)
            fail(f"{e}; the picture is in {refuge}", FAILURE)
            return refuge

    def _show(self, progress):
        text = f"loss {progress.loss:.5g}"
        if self.quiet:
            return
        if not sys.stderr.isatty():  # a file or a pipe: ten lines instead of a bar
            if progress.evaluation % max(self.total // 10, 1) == 0:
                print(f"{progress.evaluation:8d} {text}  {duration(progress.seconds)}", flush=True)
            return
        if self.bar is None:
            self.bar = tqdm(total=self.total, unit="eval", dynamic_ncols=True, leave=False)
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()

    def _log(self, p):
        record = {k: getattr(p, k) for k in ("evaluation", "iteration", "loss", "content", "style", "tv", "seconds")}
        try:
            self.log.write(json.dumps(record) + "\n")
            self.log.flush()
        except OSError as e:  # a full disk must not cost the picture
            self.warn(f"{self.log.name}: the log ends here ({e.strerror})")
            self.log = None

    def _save(self, suffix, rgb, alpha, metadata=None):
        path = self.output.with_stem(f"{self.output.stem}-{suffix}")
        try:
            saving.save(path, rgb, alpha=alpha, metadata=metadata)
        except images.ImageError as e:
            self.warn(e)

    def say(self, text):
        if not self.quiet:
            print(text, flush=True)

    def warn(self, text):
        tqdm.write(f"warning: {text}", file=sys.stderr)


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
    yield "output", str(output)


def open_log(path):
    if path is None:
        return None
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as e:
        raise SettingsError(f"--log {path}: cannot be written ({e.strerror})") from None


def duration(seconds):
    """'42 s', '3 min 5 s', '2 h 10 min'"""
    s = round(seconds)
    if s < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"


def fail(message, code):
    print(f"style.run: {message}", file=sys.stderr)
    return code


def parser():
    p = argparse.ArgumentParser(
        prog="python -m style.run",
        description="Paint CONTENT in the manner of STYLE. Without arguments: our own sample pictures.",
        epilog="Presets: " + "; ".join(f"{name} ({p['source']})" for name, p in presets().items()),
    )
    d = Settings()
    p.add_argument("content", nargs="?", default="sample:scene", help="a picture, or sample:scene (default)")
    p.add_argument("style", nargs="?", default="sample:strokes", help="a picture, or sample:strokes, sample:mosaic")
    p.add_argument("-o", "--output", metavar="FILE", help="png, jpg, webp or tif (default CONTENT-STYLE.png, numbered)")
    p.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    p.add_argument("--preset", metavar="NAME", help=f"a published recipe: {', '.join(presets())}")
    p.add_argument("--weights", metavar="W", help="vgg19, vgg16, mini, or a file (default: the best that is there)")
    p.add_argument("--size", type=int, metavar="N", help="longest side in pixels (default 512, or the picture's own)")
    p.add_argument("--side", metavar="S", help="what --size and --style-size measure: longest (default) or shortest")
    p.add_argument("--style-size", type=int, metavar="N", help="the same for the style picture (default: as --size)")
    p.add_argument("--scales", metavar="S", help="coarse to fine: auto (default), a number, or sizes 256:300,512")
    p.add_argument("--iterations", type=int, metavar="N", help=f"evaluations at most (default {d.iterations})")
    p.add_argument("--optimizer", metavar="O", help="l-bfgs-b (SciPy's, default; also lbfgs), l-bfgs or adam")
    p.add_argument("--history", type=int, metavar="N", help=f"L-BFGS: pairs kept (default {d.history})")
    p.add_argument("--precondition", type=float, metavar="A", help="l-bfgs: 0.5 weighs the spectrum (default 0: off)")
    p.add_argument("--lag", type=int, metavar="N", help="terms that hardly bend: exact once in N (default 1)")
    p.add_argument("--tolerance", type=float, metavar="T", help="L-BFGS-B: relative decrease to stop at (default 0)")
    p.add_argument("--learning-rate", type=float, metavar="R", help=f"Adam: grey levels (default {d.learning_rate:g})")
    p.add_argument("--bounds", action="store_true", default=None, help="keep pixels within 0..255 while optimising")
    p.add_argument("--init", metavar="I", help="content (default), style, noise, blend, or a picture")
    p.add_argument("--noise-level", type=float, metavar="X", help=f"grey levels (default {d.noise_level:g})")
    p.add_argument("--noise-ratio", type=float, metavar="X", help=f"blend: share of noise (default {d.noise_ratio:g})")
    p.add_argument("--seed", type=int, metavar="N", help=f"of the noise (default {d.seed})")
    p.add_argument("--content-weight", type=float, metavar="X", help=f"default {d.content_weight:g}")
    p.add_argument("--style-weight", type=float, metavar="X", help=f"default {d.style_weight:g}")
    p.add_argument("--tv-weight", type=float, metavar="X", help=f"total variation (default {d.tv_weight:g})")
    p.add_argument(
        "--tv-beta", type=float, metavar="X", help="its exponent: 2 squared (default), 1 absolute, or between"
    )
    p.add_argument("--content-layers", metavar="L", help="such as relu4_2 or conv4_2:0.5,relu3_1:1")
    p.add_argument("--style-layers", metavar="L", help="such as relu1_1:0.5,relu2_1:1")
    p.add_argument("--pooling", metavar="P", help="max (default) or avg")
    p.add_argument("--resample", metavar="R", help="auto (default) or bilinear")
    p.add_argument("--kernels", metavar="K", help="fast (default) or textbook")
    p.add_argument("--device", metavar="D", help="auto (default), cpu, gpu or gpu:N")
    p.add_argument("--memory", metavar="M", help="a budget such as 2GB: tiles where needed (default: what is free)")
    p.add_argument("--precision", metavar="P", help="on a GPU: float32 (default), tf32 or float16")
    p.add_argument("--save-every", type=positive, metavar="N", help="save a picture every N evaluations")
    p.add_argument("--log", metavar="FILE", help="one JSON object a line for each evaluation")
    p.add_argument("--quiet", action="store_true", help="print errors only")
    return p


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: expected 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
