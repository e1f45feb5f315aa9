"""Figures 1 to 3 of Gatys, Ecker & Bethge 2016, of one's own pictures, on one sheet.

python -m examples.figures [PHOTO [PAINTING …]] [--out sheet.png] [--weights W] [--size N] [--evaluations N]
"""

import itertools
import sys

import style
from minivgg.program import USAGE, end, fail, ready, say
from style.many.sheet import contact_sheet, sheet_size
from style.options import Parser
from style.pictures import images, saving
from style.run import CODES

CONTENT = [f"relu{k}_2" for k in range(1, 6)]  # figure 1: from what each layer alone knows of the photograph
STYLE = [f"relu{k}_1" for k in range(1, 6)]  # and from the painting's style in the first one, two, … of these
SCHEME = "relu4_2"  # figure 2: the layer of its content
COLUMNS = len(CONTENT)
NAME = "examples.figures"


def main(photo=None, paintings=(), *, size=192, tell=say, **options):
    """(H, W, 3) uint8: rows of content and of style alone, the scheme, and the photograph in each painting's manner.

    photo, paintings  what style.transfer takes; by default our own
    size              longest side of each picture
    tell              called with a line for each that is made
    options           of style.transfer: weights, evaluations, …
    """
    photo = f"sample:scene:{size}" if photo is None else photo
    paintings = list(paintings) or [f"sample:strokes:{size}", f"sample:mosaic:{size}"]
    pictures, jobs = [shown(p, size) for p in (photo, *paintings)], []

    def add(label, content, painting, **more):
        settings = style.settings_from(size=size, **options, **more)
        engine = jobs[0][1].engine if jobs else None  # one network for all of them
        jobs.append((label, style.Job(content, painting, settings, engine=engine)))

    for n in CONTENT:
        add(f"1 content {n}", photo, None, content_layers=n, style_layers="none", init="noise")
    for names in itertools.accumulate([n] for n in STYLE):
        add(f"1 style to {names[-1]}", None, paintings[0], content_layers="none", style_layers=names, init="noise")
    add("2 both", photo, paintings[0])
    for k, painting in enumerate(paintings[1:], 2):
        add(f"3 in manner {k}", photo, painting)
    made = [(label, run(label, job, tell)) for label, job in jobs]  # all of them are checked before the first is run
    alone, (both, *manners) = made[: len(CONTENT + STYLE)], made[len(CONTENT + STYLE) :]
    content, all_styles = alone[CONTENT.index(SCHEME)][1], alone[-1][1]
    scheme = ["2 the photograph", "2 its content", both[0], "2 the style", "2 the painting"]
    scheme = zip(scheme, [pictures[0], content, both[1], all_styles, pictures[1]], strict=True)
    cells = [*alone, *scheme, ("3 in manner 1", both[1]), *manners]
    return contact_sheet(cells, pictures, largest(cells), COLUMNS)


def run(label, job, tell):
    """(H, W, 3): the picture of a job; KeyboardInterrupt where it was cut short."""
    result = job.run()
    if result.outcome.status == "interrupted":
        raise KeyboardInterrupt
    tell(f"{label}: loss {result.outcome.loss:.4g}, {result.outcome.message}")
    return result.rgb


def shown(picture, size):
    """A picture as it came, at the size of the others."""
    rgb = images.as_picture(picture).rgb
    return images.resize(rgb, images.fit(min(size, max(rgb.shape[:2])), *rgb.shape[:2]))


def largest(cells):
    """(height, width) into which every picture fits."""
    return tuple(max(rgb.shape[k] for _, rgb in cells) for k in (0, 1))


def parser():
    p = Parser(prog=NAME, description="Figures 1 to 3 of Gatys et al. 2016, of your own pictures.")
    p.add_argument("photo", nargs="?", metavar="PHOTO", help="a picture (default sample:scene)")
    p.add_argument("paintings", nargs="*", metavar="PAINTING", help="its style; further ones for figure 3")
    p.add_argument("--out", default="figures.png", metavar="FILE", help="the sheet (default figures.png)")
    p.add_argument("--overwrite", action="store_true", help="replace it")
    p.add_argument("--weights", metavar="W", help="as for style.run")
    p.add_argument("--size", type=int, default=192, metavar="N", help="longest side of a picture (default 192)")
    p.add_argument("--evaluations", type=int, metavar="N", help="for each (default 120)")
    p.add_argument("--device", default="auto", metavar="D", help="as for style.run")
    return p


def program(argv=None):
    """The command line; returns the exit code."""
    ready()
    args = parser().parse_args(argv)

    def work(signals):
        try:
            return write(args)
        except style.SettingsError as error:
            return fail(NAME, error.on_command_line, USAGE)

    return end(NAME, work, CODES)


def write(args):
    """Check, make the sheet, save it."""
    options = {"size": args.size, "weights": args.weights, "evaluations": args.evaluations, "device": args.device}
    style.settings_from(**options)
    cells = 3 * COLUMNS + max(2, len(args.paintings))
    saving.check_output(args.out, args.overwrite, size_hw=sheet_size((args.size, args.size), COLUMNS, cells))
    saving.save(args.out, main(args.photo, args.paintings, **options), replace=args.overwrite)
    say(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(program())
