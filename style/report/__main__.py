"""`python -m style.report PICTURE [LOG]`: the report of a run that is over, from what it has left.

Exit code 0: written; 2: an option that cannot be used; 1: a picture that is not ours, or a log of another run.
"""

import sys
from pathlib import Path

from minivgg.files import FileError
from minivgg.program import FAILURE, OK, USAGE, end, fail, ready, say

from ..names import is_same
from ..options import Parser, SettingsError
from ..pictures import ImageError
from .curve import ReportError
from .facts import facts_of, read_from
from .listener import check_report, write_page

NAME = "style.report"
CODES = {ReportError: FAILURE, ImageError: FAILURE, FileError: FAILURE}


def main(argv=None):
    """Run the command line; returns the exit code."""
    ready()
    args = parser().parse_args(argv)

    def work(signals):
        try:
            return run(args)
        except SettingsError as error:
            return fail(NAME, error.on_command_line, USAGE)

    return end(NAME, work, CODES)


def run(args):
    output = Path(args.output) if args.output is not None else Path(args.picture).with_suffix(".html")
    what = "-o" if args.output is not None else "the report"
    check_report(output, replace=args.overwrite, what=what)
    for read in filter(None, (args.picture, args.log, args.content, *args.style, args.animation)):
        if is_same(read, output):  # by a link
            raise SettingsError(f"{what} {output}: the same file as {read}, which is read; give another name", "report")
    from .page import page  # here, once it is known that there is what it needs

    with read_from(args.picture):
        facts = facts_of(args.picture, args.log, content=args.content, styles=args.style, animation=args.animation)
        text = page(facts)
    write_page(output, text, args.overwrite)
    for note in facts.notes:
        say(f"note     {note}")
    say(f"wrote    {output}")
    return OK


def parser():
    p = Parser(prog="python -m style.report", description="One HTML file that tells everything about a run.")
    p.add_argument("picture", metavar="PICTURE", help="what style.run wrote")
    p.add_argument("log", metavar="LOG", nargs="?", help="what its --log wrote")
    p.add_argument("-o", "--output", metavar="FILE", help="html (default: the picture's name)")
    p.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    p.add_argument("--content", metavar="FILE", help="the content picture, if it is elsewhere")
    p.add_argument("--style", metavar="FILE", nargs="+", default=[], help="the style pictures, if they are elsewhere")
    p.add_argument("--animation", metavar="FILE", help="what its --animation wrote: the film")
    return p


if __name__ == "__main__":
    sys.exit(main())
