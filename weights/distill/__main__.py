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
from ..known import WeightsError, file_hash
from ..store import PRECISIONS, Network, save_compact
from . import lessons
from .runs import run
from .training import POOLINGS, WORKERS, Settings, Training


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
    teacher = load(args.teacher)
    begin = None if args.start is None else load(args.start)
    settings = settings_of(args, begin)
    check_student(settings.widths, teacher, begin)
    pictures = lessons.read_folders(args.pictures)
    training = Training(teacher.params, teacher.mean, pictures, settings, begin and begin.params)
    state = run(training, checkpoint, minutes=args.minutes, log=say)
    about = f"stands in for {teacher.name} (Simonyan & Zisserman, CC BY 4.0): weights/README.md"
    network = Network(args.name, teacher.arch, training.finish(state), teacher.mean, teacher.order, about=about)
    save_compact(network, args.out, args.precision)
    say(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB after {state.step} steps")
    return OK


def settings_of(args, begin):
    """Settings from the options; begin is the Network of --start or None."""
    fields = [f for f in Settings.__dataclass_fields__ if f not in ("widths", "start")]
    given = {f: getattr(args, f) for f in fields}
    if begin is None:
        return Settings(args.widths, **given)
    return Settings(tuple(b.size for _, b in begin.params.values()), **given, start=file_hash(begin.path))


def check_student(widths, teacher, begin):
    """Raise UsageError unless a student of these widths, or the Network `begin`, can learn from this teacher."""
    wide = tuple(b.size for _, b in teacher.params.values())
    option = "--widths" if begin is None else "--start"
    if len(widths) > len(wide) or any(n > w for n, w in zip(widths, wide, strict=False)):
        raise UsageError(f"{option} {widths}: the teacher has {wide}; expected no more and no wider")
    if begin is None:
        return
    found, expected = ((n.arch, n.order, n.mean.tolist()) for n in (begin, teacher))
    if found != expected:
        raise UsageError(f"--start {begin.path}: its input is {found}; expected the teacher's, {expected}")


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m weights.distill", description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="vgg19, or a weights file")
    parser.add_argument("--pictures", nargs="+", type=Path, required=True, metavar="DIR")
    begin = parser.add_mutually_exclusive_group(required=True)
    begin.add_argument("--widths", type=_widths, help="channels of conv1_1, conv1_2, …: 32,32,64,…")
    begin.add_argument("--start", metavar="FILE", help="train this student further, at its widths, instead")
    parser.add_argument(
        "--steps", type=_whole, default=Settings.steps, help=f"of Adam ({Settings.steps}); 0: closed form"
    )
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command then goes on")
    for name in ("batch", "size", "own", "renew", "keep", "closed_batches", "seed"):
        default = getattr(Settings, name)
        kind = functools.partial(_whole, least={"batch": WORKERS, "own": 0, "seed": 0}.get(name, 1))
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"({default})")
    parser.add_argument("--rate", type=float, default=Settings.rate, help=f"({Settings.rate})")
    parser.add_argument(
        "--gram", type=float, default=Settings.gram, help="weight of Gram matrices beside activations (0)"
    )
    parser.add_argument("--pooling", choices=POOLINGS, default=Settings.pooling, help="of the training (max)")
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
