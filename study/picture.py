"""The last step: a picture of the sample scene by the functions in the working folder, ours where there are none."""

import sys
import traceback
from pathlib import Path

from minivgg.files import FileError
from minivgg.program import FAILURE, OK, fail, tell

from . import child
from .checks import TO_BE_WRITTEN, words_of
from .road import EXERCISES

FILE = "picture.png"
SIZE, EVALUATIONS = 64, 12
SECONDS, PATIENCE = 600, 60
USED = ("minivgg.layers", "style.losses", "style.optimize")  # what a transfer by textbook kernels goes through


def paint():
    """Judge what is there, then transfer a style with it; returns the exit code."""
    if Path(FILE).exists():
        raise FileError(f"{FILE}: exists already; move it away")
    there = [e.name for e in EXERCISES.values() if e.module in USED and Path(f"{e.name}.py").exists()]
    wrong = [(name, check) for name, check in child.judge(there) if not check.passed] if there else []
    blank = [name for name, check in wrong if check.words == TO_BE_WRITTEN]
    names = [name for name in there if name not in blank]
    wrong = [(name, check) for name, check in wrong if name not in blank]
    if wrong:
        name, check = wrong[0]
        return fail(
            "study", f"{name}.py: {check.method}: {check.words}; first let `python -m study {name}` pass", FAILURE
        )
    tell(f"by your own: {', '.join(names) or 'nothing yet'}; the rest by ours")
    rows, why = child.run("picture", *names, seconds=SECONDS, patience=PATIENCE)
    if why or not rows:
        return fail("study", f"{FILE}: the code {why or 'made no picture'}", FAILURE)
    wrote, line = rows[-1]
    if not wrote:
        return fail("study", line, FAILURE)
    tell(line)
    return OK


def main(args):
    """In the child: put the learner's functions in the places of ours, and run. Writes [is there a picture, a line]."""
    path, *names = args
    try:
        replace({EXERCISES[name]: child.load(EXERCISES[name])[0] for name in names})
        result = transfer("adam" if "adam" in names and "two_loop" not in names else "two-loop")
        result.save(FILE, replace=False)
        row = True, said(result)
    except FileError as error:
        row = False, str(error)
    except BaseException as error:  # SystemExit as well: it is a learner's code
        places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.removesuffix(".py") in names]
        where = f"{places[-1].filename}: " if places else ""
        row = False, f"{FILE}: not written; {where}{words_of(error, places[-1].filename if places else '')}"
    child.finish(path, row)


def said(result):
    first, last = result.losses[0], result.outcome.loss
    fell = f"the loss fell from {first:.4g} to {last:.4g} in {result.outcome.evaluations} evaluations"
    return f"{FILE}: written; {fell}; `python -m style.run` paints this scene larger"


def replace(functions):
    """Each {exercise: function} in all modules of ours that have the function, and in its class."""
    for exercise, function in functions.items():
        real = exercise.function
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in ("minivgg", "style"):
                for key in [k for k, v in vars(module).items() if v is real]:
                    setattr(module, key, function)
        if exercise.attribute:
            owner = getattr(sys.modules[exercise.module], exercise.attribute.partition(".")[0])
            setattr(owner, exercise.attribute.partition(".")[2], function)


def transfer(optimizer):
    """A style transfer by the lines of the book, with either of its optimisers."""
    import style
    from style import samples

    options = {"kernels": "textbook", "optimizer": optimizer, "weights": "mini", "style_loss": "gram"}
    return style.transfer(samples.scene(SIZE), samples.strokes(SIZE), size=SIZE, evaluations=EVALUATIONS, **options)
