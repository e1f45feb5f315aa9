"""The command line of style.run: its options beside those of a picture, read and checked."""

import dataclasses
from dataclasses import dataclass

from minivgg.program import no_name

from .checkpoint import EVERY, parse_every
from .many.batches import PATTERN
from .many.jobqueue import LEASE
from .options import Parser, SettingsError, check_value, flag, option, options_of
from .pictures import images, saving
from .provenance import version
from .recipes import LIST, presets
from .settings import Settings
from .specs import expanded, is_without_style
from .units import parse_duration, parse_lengths

MANY = "many pictures"  # a heading of --help
DPI = 300  # of a print


@dataclass(frozen=True)
class Files:
    """Options of the command line alone: what is read, written and printed."""

    # fmt: off
    output: str | None = option(None, "path", "files", "png, jpg, webp, tif or avif (default CONTENT-STYLE.png, numbered)", "FILE", alias="o")
    overwrite: bool = option(False, "switch", "files", "replace files that exist")
    preset: str | None = option(None, "text", "files", f"a published recipe (--preset {LIST} explains them), or a file of your own, my.toml", "NAME", shown=True)
    texture: bool = option(False, "switch", "files", "no content picture: all pictures are styles, the result a texture of --size")
    print: str | None = option(None, "text", "files", "in place of --size: the size of a print, 90x60cm, 300mm or 24x36in; the longest side counts", "S")
    dpi: float | None = option(None, "number", "files", "pixels an inch of --print, stored in the picture (default 300)", "N", above=0, high=10000)
    save_every: int | None = option(None, "whole", "files", "save a picture every N evaluations", "N", low=1)
    overlay: str | None = option(None, "path", "files", "before the start, a picture of what each mask covers", "FILE")
    log: str | None = option(None, "path", "files", "a new file: one JSON object a line for each evaluation", "FILE")
    quality: int | None = option(None, "whole", "files", "of jpg, webp and avif, 1 to 100 (default 95, avif 90)", "Q", low=1, high=100)
    checkpoint: str | None = option(None, "path", "files", "a new file: the run's state, to go on from after an interrupt; gone when the run is done", "FILE", shown=True)
    checkpoint_every: str | None = option(None, "text", "files", f"write it every so often: a time such as {EVERY} (default) or a number of evaluations", "T", needs=("--checkpoint, --resume or --jobs", lambda f: f.checkpoint or f.resume or f.jobs))
    resume: str | None = option(None, "path", "files", "go on with the run of a checkpoint, by itself", "FILE", shown=True)
    again: str | None = option(None, "path", "files", "repeat the run that made this picture; what differs is said", "FILE")
    time: str | None = option(None, "text", "files", "stop after a time such as 90s, 10m or 1h30m, with the best picture", "T")
    patience: int | None = option(None, "whole", "files", "end a scale whose loss has not fallen by 0.1 % in N evaluations", "N", low=1)
    latest: str | None = option(None, "path", "files", "one picture that is replaced as the run grows, for a viewer that reloads", "FILE")
    animation: str | None = option(None, "path", "files", "an animation of the run: gif, webp or png (APNG)", "FILE")
    report: str | None = option(None, "path", "files", "an HTML file that tells all of the run; of several pictures, a sheet that leads to each one's", "FILE")
    preview: bool = option(False, "switch", "files", "show the picture in the terminal as it grows", needs=("a run that prints: without --quiet", lambda f: not f.quiet))
    quiet: bool = option(False, "switch", "files", "print errors only")

    contents: tuple | None = option(None, "names", MANY, "several contents (or CONTENT is a folder, or a pattern in quotes); other names are styles", "A")
    out_dir: str | None = option(None, "path", MANY, "where their pictures go; those that are there already, made alike, are left", "DIR")
    name: str | None = option(None, "text", MANY, f"their names (default {PATTERN}; also {{number}})", "NAME")
    sweep: tuple | None = option(None, "texts", MANY, "a contact sheet of values of an option, style-weight=10,100,1000; twice for two options", "O=V,V")
    sweep_alone: bool = option(False, "switch", MANY, "every cell starts for itself (default: from its neighbour's picture where factors alone differ)", needs=("--sweep", lambda f: f.sweep))
    jobs: str | None = option(None, "path", MANY, "work off a folder of job files; any number of processes may", "DIR")
    jobs_wait: bool = option(False, "switch", MANY, "wait for further jobs", needs=("--jobs", lambda f: f.jobs))
    jobs_lease: str | None = option(None, "text", MANY, f"after which a job is taken from a process that has gone (default {LEASE:g}s)", "T", needs=("--jobs", lambda f: f.jobs))
    # fmt: on

    def __post_init__(self):
        for f in dataclasses.fields(self):
            check_value(f.name, f.metadata["option"], getattr(self, f.name), f.default)
        for name, opt in options_of(Files).items():
            value = getattr(self, name)
            if value is not None and opt.kind == "path":
                what = "folder" if opt.metavar == "DIR" else "file"
                if said := no_name("-o" if name == "output" else flag(name), value, what):
                    raise SettingsError(said, name)
            if value and opt.needs is not None and not opt.needs[1](self):
                raise SettingsError(f"{flag(name)}: works with {opt.needs[0]}", name)
        if self.print is not None:
            self.pixels()
        for name in ("time", "jobs_lease"):
            try:
                if getattr(self, name) is not None:
                    parse_duration(getattr(self, name))
            except ValueError as error:
                raise SettingsError(f"{flag(name)} {error}", name) from None
        if self.checkpoint_every is not None:
            parse_every(self.checkpoint_every)

    @property
    def resolution(self):
        """Pixels an inch of --print, or None."""
        return None if self.print is None else self.dpi or DPI

    def pixels(self):
        """The longest side of --print."""
        try:
            return round(max(parse_lengths(self.print)) * self.resolution)
        except ValueError as error:
            raise SettingsError(f"--print {error}", "print") from None

    def check_format(self, output, depth):
        """A quality where the format has none would do nothing; 16 bits where it has 8 could not be written."""
        if self.quality is not None and saving.FORMATS.get(output.suffix.lower()) not in saving.QUALITY:
            raise SettingsError("--quality: works with -o of .jpg, .webp or .avif", "quality")
        try:
            saving.check_depth(output, depth)
        except images.ImageError as error:
            raise SettingsError(f"--depth {depth}: {error}", "depth") from None


def parser():
    p = Parser(
        prog="python -m style.run",
        usage="python -m style.run [CONTENT [STYLE …]] [options]",
        description="Paint CONTENT in the manner of STYLE. Without arguments: our own sample pictures.",
        epilog="presets:\n" + "\n".join(f"  {name:<14} {p['source']}" for name, p in presets().items()),
    )
    p.add_argument(
        "content", nargs="?", metavar="CONTENT", help="a picture, or sample:scene (default); a folder: each in it"
    )
    p.add_argument(
        "style",
        nargs="*",
        metavar="STYLE",
        help="a picture, or sample:strokes, sample:mosaic; several are blended, PICTURE:SHARE; a folder: all in it",
    )
    p.add_argument("--version", action="version", version=f"minivgg-style {version('minivgg-style')}")
    p.add_options(Files)
    p.add_options(Settings)
    return p


def parsed(argv):
    """The arguments as they were typed, None where not given. Pictures may stand between options, or behind a --."""
    end = argv.index("--") if "--" in argv else len(argv)  # which argparse forgets where pictures stand anywhere
    args = parser().parse_intermixed_args(argv[:end])
    pictures = [p for p in (args.content, *args.style) if p is not None] + argv[end + 1 :]
    args.content, args.style = (pictures[0] if pictures else None), pictures[1:] or None
    return args


def given(args, cls):
    """{name: value} of the options of a dataclass that were given."""
    return {name: getattr(args, name) for name in options_of(cls) if getattr(args, name) is not None}


def measure(args, files):
    """The size that --print comes to, in the place of --size."""
    if files.dpi is not None and files.print is None:
        raise SettingsError("--dpi: works with --print", "dpi")
    if files.print is not None:
        if args.size is not None and args.size != files.pixels():
            raise SettingsError("--print: in place of --size; give one of them", "print")
        args.size = files.pixels()


def named_styles(args, swept=()):
    """The style pictures of a command, folders and patterns gone through; by default our own.

    Where the loss has no style layers and none is named there are none, and the start is noise unless it is given,
    or among the options that are swept.
    """
    if not args.style and is_without_style(args.style_layers):
        args.init = args.init or (None if "init" in swept else "noise")
        return []
    return [one for spec in args.style or ["sample:strokes"] for one in expanded(spec)]
