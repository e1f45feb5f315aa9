"""The files that a command names: none that is read is written, none is replaced unasked, no two are one."""

import os
import tempfile
from pathlib import Path

from . import recipes
from .options import SettingsError
from .pictures import images, saving
from .printing import names_on_the_way
from .specs import check_output_alone, files_of, is_same, shared

WRITTEN = (
    "log",
    "checkpoint",
    "latest",
    "animation",
    "report",
)  # options that name a file a run writes
NOT_FOUND = 10000  # numbers that are tried for a free name


def inputs(args):
    """(what, path) of each file that is read, as it was typed."""
    found = [("content", args.content), *(("style", shared(spec)[0]) for spec in args.style)]
    return files_of([*found, ("--preset", recipes.file_of(args.preset))], args)


def check_written(args, output):
    """What is written must not take the place of a file that is read, of the picture, or of each other."""
    taken = [*inputs(args), ("output", output)]
    check_output_alone(output, taken[:-1])
    for name in (*WRITTEN, "overlay"):
        path = getattr(args, name)
        if path is None:
            continue
        for what, other in taken:
            if is_same(path, other):
                raise SettingsError(f"--{name} {path}: is the {what} file as well; give another name", name)
        taken.append((f"--{name}", path))


def check_on_the_way(job, output, args, replace):
    """Pictures on the way, too, replace nothing unless told to, and nothing that is read."""
    read = inputs(args) + [(f"--{n}", getattr(args, n)) for n in WRITTEN if getattr(args, n) is not None]
    known = {os.path.realpath(path): what for what, path in read}
    own = [] if args.overlay is None else [args.overlay]
    for name in (*own, *names_on_the_way(job, output, args.save_every)):
        try:
            saving.check_name(name)
        except images.ImageError as error:
            raise SettingsError(str(error)) from None
        there = os.path.lexists(name)
        what = known.get(os.path.realpath(name))
        if there and what is None:
            what = next((w for w, path in read if is_same(name, path)), None)
        if what:
            raise SettingsError(f"{name}: would be written on the way, and is the {what} file; give another -o")
        if there and not replace(name):
            raise SettingsError(f"{name}: would be written on the way, and exists; give another -o, or --overwrite")


def free_name(*pictures):
    """CONTENT-STYLE.png in this folder, numbered where it is taken already."""
    names = [shared(spec)[0].removeprefix(images.SAMPLE).replace(":", "-") for spec in pictures[:4]]
    stems = [Path(name).stem[:80] for name in names]
    return _free(Path("-".join(stems) + ".png"))


def refuge():
    """A free name in the folder for temporary files."""
    return _free(Path(tempfile.gettempdir()) / f"minivgg-style-{os.getpid()}.png")


def _free(path):
    for number in range(1, NOT_FOUND):
        name = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        if not os.path.lexists(name):
            return name
    raise SettingsError(f"{name}: taken, as are all before it; give -o")
