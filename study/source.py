"""Exercises out of the code that runs: its signature and docstring, its body, its paragraphs of MATH.md."""

import ast
import inspect
import re
import sys
import textwrap
import types
from operator import attrgetter
from pathlib import Path

from .road import EXERCISES, STEPS, number_of

HERE = Path(__file__).resolve().parent.parent  # what the texts' names start from


def parsed(function):
    """(lines, node) of a function's source, without decorators and indentation."""
    text = textwrap.dedent(inspect.getsource(function))
    return text.splitlines(), ast.parse(text).body[0]


def head(function):
    """Signature and docstring."""
    lines, node = parsed(function)
    return "\n".join(lines[node.lineno - 1 : node.body[0].end_lineno])


def body(function):
    """All that follows the docstring, as it stands there."""
    lines, node = parsed(function)
    return "\n".join(lines[node.body[0].end_lineno : node.end_lineno])


def blank(exercise):
    """The text of an exercise's file, its body to be written."""
    return _file(exercise, f'    raise NotImplementedError("{exercise.name}: to be written")')


def solution(exercise):
    """The same with the body that runs."""
    return _file(exercise, body(exercise.function))


def _file(exercise, lines):
    function = exercise.function
    source = exercise.module.replace(".", "/")
    step = f"step {number_of(exercise)} of {len(STEPS)}"
    start = f'''"""Exercise {exercise.name}, {step}: write the body of the function below.

    python -m study {exercise.name}             judges it
    python -m study {exercise.name} --hint      the next lines of {exercise.text}, section {exercise.section}
    python -m study {exercise.name} --solution  the body that runs, of {source}.py
"""'''
    notes = [f"# {line}".rstrip() for line in (*cache_note(exercise), *self_note(exercise))]
    return "\n".join([start, "", *imports(exercise), "", *notes, *[""] * (1 + bool(notes)), head(function), lines, ""])


def imports(exercise):
    """Import lines for NumPy and for what the function's own lines use."""
    function = exercise.function
    _, node = parsed(function)
    node.decorator_list = []
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - set(function.__code__.co_varnames)
    whole, some = {"import numpy as np"}, {}
    for name in sorted(names & set(function.__globals__)):
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            whole.add(f"import {value.__name__}" + (f" as {name}" if name != value.__name__ else ""))
        else:  # a constant does not say where it comes from, another name for a type says it of the type
            home = getattr(value, "__module__", None) or exercise.module
            known = getattr(sys.modules.get(home), name, None) is value
            some.setdefault(home if known else exercise.module, []).append(name)
    lines = [*sorted(whole), *(f"from {home} import {', '.join(names)}" for home, names in sorted(some.items()))]
    return [*lines[:-1], f"{lines[-1]}  # what our body uses; yours need not"]


def cache_note(exercise):
    """What a layer's cache holds, for the two functions that share it."""
    pair = re.fullmatch(r"(\w+)_(?:for|back)ward", exercise.name)
    if pair and exercise.module == "minivgg.layers":
        _, node = parsed(exercise.function.__globals__[f"{pair[1]}_forward"])
        last = [n for n in ast.walk(node) if isinstance(n, ast.Return)][-1]
        yield f"{pair[1]}_forward returns out and the cache {ast.unparse(last.value.elts[1])}"


def self_note(exercise):
    """How the object of a method begins."""
    if exercise.attribute:
        owner = exercise.function.__globals__[exercise.attribute.partition(".")[0]]
        yield f"a method of {owner.__name__}, which begins with"
        yield from textwrap.dedent(inspect.getsource(owner.__init__)).splitlines()


def hints(exercise):
    """The paragraphs and formulas of its section in turn, from its own first one to where another exercise's begin."""
    text = (HERE / exercise.text).read_text(encoding="utf-8")
    section = re.search(rf"^#+ {exercise.section}\. .*?$\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    found = [p.strip() for p in re.split(r"\n\n+", section) if p.strip()][1:]  # without code and check
    first = next(k for k, p in enumerate(found) if p.startswith(exercise.since))
    place = attrgetter("text", "section")
    others = tuple({e.since for e in EXERCISES.values() if place(e) == place(exercise)} - {"", exercise.since})
    last = next((k for k, p in enumerate(found) if k > first and others and p.startswith(others)), len(found))
    return found[first:last]
