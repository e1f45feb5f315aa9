"""Train a narrow network to stand in for VGG-19, with this project's own backward pass.

    python -m weights.distill --teacher FILE --pictures DIR [DIR ...] --widths 32,32,64,... --out FILE

training.py says how. The same seed gives the same network; a run that was killed goes on from its checkpoint.
"""

import argparse
import functools
import os
import sys
from pathlib import Path

from minivgg import program
from minivgg.backend import is_number
from minivgg.program import FAILURE, OK, UsageError, say
from style.pictures import ImageError

from .. import load
from ..known import WeightsError
from ..store import PRECISIONS, Network, save_compact
from . import lessons
from .runs import run
from .training import WORKERS, Settings, Training


def main(argv=None):
    """Train and write the file. 0: done; 2: an option that cannot be used; 1: a file that failed; 128 + N: signal N."""
    program.ready()
    args = parse(argv)
    checkpoint = args.out.with_name(args.out.name + ".checkpoint.npz")

    def interrupted():
        if not os.path.exists(checkpoint):
            return "interrupted before the first checkpoint: nothing was written"
        return f"interrupted; the same command goes on from {checkpoint}"

    codes = {WeightsError: FAILURE, ImageError: FAILURE}
    return program.end("distill", lambda _: train(args, checkpoint), codes, interrupted=interrupted)


def train(args, checkpoint):
    """From the teacher to the file; returns the exit code."""
    fields = [f for f in Settings.__dataclass_fields__ if f != "widths"]
    settings = Settings(args.widths, **{f: getattr(args, f) for f in fields})
    teacher = load(args.teacher)
    wide = [w.shape[0] for w, _ in teacher.params.values()]
    if len(settings.widths) > len(wide) or any(n > w for n, w in zip(settings.widths, wide, strict=False)):
        raise UsageError(f"--widths {settings.widths}: the teacher has {tuple(wide)}; expected no more and no wider")
    training = Training(teacher.params, teacher.mean, lessons.read_folders(args.pictures), settings)
    state = run(training, checkpoint, minutes=args.minutes, log=say)
    about = f"stands in for {teacher.name} (Simonyan & Zisserman, CC BY 4.0): weights/README.md"
    network = Network(args.name, teacher.arch, training.finish(state), teacher.mean, teacher.order, about=about)
    save_compact(network, args.out, args.precision)
    say(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB after {state.step} steps")
    return OK


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m weights.distill", description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="vgg19, or a weights file")
    parser.add_argument("--pictures", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--widths", type=_widths, required=True, help="channels of conv1_1, conv1_2, …: 32,32,64,…")
    parser.add_argument(
        "--steps", type=_whole, default=Settings.steps, help=f"of Adam ({Settings.steps}); 0: closed form"
    )
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command then goes on")
    for name in ("batch", "size", "own", "renew", "keep", "closed_batches", "seed"):
        default = getattr(Settings, name)
        kind = functools.partial(_whole, least={"batch": WORKERS, "own": 0, "seed": 0}.get(name, 1))
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"({default})")
    parser.add_argument("--rate", type=float, default=Settings.rate, help=f"({Settings.rate})")
    parser.add_argument("--precision", choices=PRECISIONS, default="uint8", help="of the file that is written (uint8)")
    parser.add_argument("--name", default="mini", help="of the network (mini)")
    parser.add_argument("--out", type=Path, required=True, help="a .npz; OUT.checkpoint.npz beside it until removed")
    return parser.parse_args(argv)


def _widths(text):
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers with commas between") from None
    if min(widths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a layer needs at least one channel")
    return widths


def _whole(text, least=0):
    if not is_number(text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, {least} or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
