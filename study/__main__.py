"""`python -m study`: the road, an exercise's file, its verdict, hints, the solution."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from minivgg import program
from minivgg.files import FileError, FileTakenError, atomic_file
from minivgg.program import FAILURE, OK, UsageError, suggest, tell

from . import child
from .road import EXERCISES, PICTURE, STEPS
from .source import blank, body, hints

NOTES = ".minivgg-study.json"  # in the working folder: how many hints of each exercise were given
ROW = "{:20} {:40} {:7} {}"


def main(argv=None):
    """0: all that was judged passes, or there was nothing to judge; 1: something fails; 2: usage; 128 + N: signal N."""
    parser = argparse.ArgumentParser(
        prog="python -m study",
        description="Exercises: the project's functions with their bodies taken out. A NAME the first time writes "
        "NAME.py into the working folder, from then on judges it.",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"list, an exercise, a step's number, or {PICTURE}")
    parser.add_argument("--hint", action="store_true", help="the next lines of the derivation")
    parser.add_argument("--solution", action="store_true", help="the body that runs")
    program.ready()
    options = parser.parse_args(argv)
    return program.end("study", lambda _: work(options), {FileError: FAILURE})


def work(options):
    names = expanded(options.names)
    if options.hint or options.solution:
        return shown(names, options)
    if names == ["list"]:
        return listed()
    if names == [PICTURE]:
        from . import picture

        return picture.paint()
    there = [name for name in names if Path(f"{name}.py").exists() or Path(f"{name}.py").is_symlink()]
    for name in names:
        if name not in there:
            write(EXERCISES[name])
    return judged(there) if there else OK


def expanded(names):
    """Exercises' names, each once, for names and numbers of steps; or "list" or the picture, alone."""
    found = {}
    for name in names:
        if name.isascii() and name.isdigit() and 1 <= int(name) <= len(STEPS):
            inside = [exercise.name for exercise in STEPS[int(name) - 1].exercises] or [PICTURE]
            found |= dict.fromkeys(inside)
        elif name in EXERCISES or name in ("list", PICTURE):
            found[name] = None
        else:
            known = ["list", PICTURE, *EXERCISES]
            raise UsageError(
                f"{name}: no exercise or step{suggest(name, known) or '; `python -m study list` has them'}"
            )
    for alone in ("list", PICTURE):
        if alone in found and len(found) > 1:
            step = f" (step {len(STEPS)})" if alone == PICTURE else ""
            raise UsageError(f"{alone}{step}: a command of its own, without other names; give it after the others")
    return list(found)


def listed():
    """The road, with what lies in the working folder."""
    for number, step in enumerate(STEPS, 1):
        tell(f"{number:2}  {step.title}")
        for e in step.exercises:
            there = "  (is here)" if Path(f"{e.name}.py").exists() else ""
            tell(f"      {e.name:20} {e.text}, {e.section}{there}")
    tell(f"      {PICTURE:20} of what you wrote in steps 2 to 8; ours for the rest")
    tell(
        "python -m study NAME writes NAME.py; again: judges it. --hint and --solution help. A number does a whole step."
    )
    return OK


def write(exercise):
    """The exercise's file; one that is there stays."""
    name = f"{exercise.name}.py"
    with contextlib.suppress(FileTakenError), atomic_file(name, replace=False) as file:
        file.write(blank(exercise).encode())
    tell(f"{name}: written; fill in the body, then the same command judges it")


def judged(names):
    """A line for each check of the files that are there; FAILURE if one fails."""
    found = child.judge(names)
    for name, check in found:
        tell(ROW.format(name, check.method, "ok" if check.passed else "FAILED", check.words).rstrip())
    failed = {name for name, check in found if not check.passed}
    if len(names) > 1:
        tell(f"{len(names) - len(failed)} of {len(names)} pass")
    else:
        tell("fails" if failed else f"passes; the next is {following(names[0])}")
    return FAILURE if failed else OK


def following(name):
    """What comes after an exercise on the road."""
    road = [*EXERCISES, PICTURE]
    return road[road.index(name) + 1]


def shown(names, options):
    """A hint or the solution of one exercise."""
    if options.hint and options.solution:
        raise UsageError("--hint and --solution: one of them")
    flag = "--hint" if options.hint else "--solution"
    if len(names) != 1 or names[0] not in EXERCISES:
        raise UsageError(f"{flag}: wants the name of one exercise")
    exercise = EXERCISES[names[0]]
    lines = body(exercise.function).splitlines() if options.solution else next_hint(exercise)
    for line in lines:
        tell(line)
    return OK


def next_hint(exercise):
    """The lines of the next hint; how many were given is kept in NOTES. After the last comes the first."""
    given, found = notes(), hints(exercise)
    number = given.get(exercise.name, 0) % len(found)
    with atomic_file(NOTES) as file:
        file.write(json.dumps({**given, exercise.name: number + 1}).encode())
    return [
        f"hint {number + 1} of {len(found)}, {exercise.text}, section {exercise.section}",
        *found[number].splitlines(),
    ]


def notes():
    """{exercise: hints given} of the working folder."""
    try:
        given = json.loads(Path(NOTES).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(type(n) is int and n >= 0 for n in given.values()):
        raise FileError(f"{NOTES}: no notes of hints given; delete it, and the hints start again")
    return given


if __name__ == "__main__":
    sys.exit(main())
