"""`python -m style.run CONTENT STYLE -o OUT`: options in, a picture out. Parses, prints, exits; computes nothing.

Exit code 0: done; 2: an option or name that cannot be used; 1: a file or device that failed, or a loss that is not
finite; 130, 143 or 129: Ctrl-C, SIGTERM or SIGHUP, with the best picture so far written.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

import weights
from minivgg.backend import BackendError
from minivgg.program import Signals, ready

from .large.plan import MemoryBudgetError
from .pictures import images, saving
from .report import FAILURE, Report, fail, names_on_the_way
from .settings import Settings, SettingsError, presets, settings_from
from .transfer import Job

USAGE = 2


def main(argv=None):
    """Run the command line; returns the exit code."""
    ready()
    args = parser().parse_args(argv)
    with Signals() as signals:
        try:
            return run(args, signals)
        except SettingsError as e:
            return fail(e, USAGE)
        except (images.ImageError, weights.WeightsError, BackendError, MemoryBudgetError) as e:
            return fail(e, FAILURE)
        except MemoryError:
            return fail("out of memory; use a smaller --size or lighter --weights", FAILURE)
        except OSError as e:
            return fail(e, FAILURE)
        except KeyboardInterrupt:
            return fail("interrupted before the first evaluation was done: nothing was written", signals.code)


def run(args, signals):
    """Check, announce, optimise, write."""
    if args.output == "":
        raise SettingsError("-o '': expected a file name")
    output = free_name(args.content, args.style) if args.output is None else Path(args.output)
    try:
        saving.check_output(output, args.overwrite)
    except images.ImageError as e:
        return fail(e, USAGE)
    check_log(args, output)
    content, style = sized(args.content, args.size), sized(args.style, args.style_size or args.size)
    job = Job(content, style, settings(args))
    saving.check_output(output, args.overwrite, size_hw=job.size)
    check_on_the_way(job, output, args)
    report = Report(job, output, args, signals)
    report.announce()
    try:
        result = job.run(report, report.stage_done)
    finally:
        report.close()
    return report.finish(result)


def inputs(args):
    """(what, path) of each file that is read, as it was typed."""
    given = {"content": args.content, "style": args.style, "--init": args.init, "--weights": args.weights}
    return [(what, path) for what, path in given.items() if path is not None and os.path.isfile(path)]


def check_log(args, output):
    """The log must not take the place of a file that is read, or of the picture."""
    if args.log is None:
        return
    for what, path in (*inputs(args), ("output", output)):
        if os.path.realpath(args.log) == os.path.realpath(path):
            raise SettingsError(f"--log {args.log}: is the {what} file as well; give another name")


def check_on_the_way(job, output, args):
    """Pictures on the way, too, replace nothing unless told to, and nothing that is read."""
    read = {os.path.realpath(path): what for what, path in inputs(args)}
    for name in names_on_the_way(job, output, args.save_every):
        what = read.get(os.path.realpath(name))
        if what:
            raise SettingsError(f"{name}: would be written on the way, and is the {what} file; give another -o")
        if os.path.lexists(name) and not args.overwrite:
            raise SettingsError(f"{name}: would be written on the way, and exists; give another -o, or --overwrite")


def settings(args):
    """Settings from the options that were given; what was not given is the preset's or the default."""
    names = {f.name for f in dataclasses.fields(Settings)}
    return settings_from(args.preset, **{k: v for k, v in vars(args).items() if k in names})


def sized(spec, size):
    """A sample picture is drawn at the size that is asked for, not enlarged to it."""
    return f"{spec}:{size}" if spec.startswith("sample:") and spec.count(":") == 1 and size else spec


def free_name(content, style):
    """CONTENT-STYLE.png in this folder, numbered where it is taken already."""
    stems = [Path(spec.removeprefix("sample:").replace(":", "-")).stem[:80] for spec in (content, style)]
    for number in range(1, 10000):
        name = Path("-".join(stems) + (f"-{number}" if number > 1 else "") + ".png")
        if not os.path.lexists(name):
            return name
    raise SettingsError(f"{name}: taken, as are all before it; give -o")


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
    p.add_argument("--overwrite", action="store_true", help="replace files that exist")
    p.add_argument("--preset", metavar="NAME", help=f"a published recipe: {', '.join(presets())}")
    p.add_argument("--weights", metavar="W", help="vgg19, vgg16, mini, or a file (default: the best that is there)")
    p.add_argument("--size", type=int, metavar="N", help="longest side in pixels (default 512, or the picture's own)")
    p.add_argument("--side", metavar="S", help="what --size and --style-size measure: longest (default) or shortest")
    p.add_argument("--style-size", type=int, metavar="N", help="the same for the style picture (default: as --size)")
    p.add_argument("--scales", metavar="S", help="coarse to fine: auto (default), a number, or sizes 256:300,512")
    p.add_argument(
        "--iterations",
        type=int,
        metavar="N",
        help=f"evaluations; at each finer scale half (default {d.iterations})",
    )
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
    p.add_argument("--log", metavar="FILE", help="a new file: one JSON object a line for each evaluation")
    p.add_argument("--quiet", action="store_true", help="print errors only")
    return p


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: expected 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
