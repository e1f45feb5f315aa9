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
    return "\n".join([start, "", *imports(exercise), "", *cache_note(exercise), "", head(function), lines, ""])


def imports(exercise):
    """Import lines for NumPy and for what the function's own lines use."""
    function = exercise.function
    _, node = parsed(function)
    node.decorator_list = []
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - set(function.__code__.co_varnames)
    found = {"import numpy as np"}
    for name in names & set(function.__globals__):
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            found.add(f"import {value.__name__}" + (f" as {name}" if name != value.__name__ else ""))
        else:
            home = getattr(value, "__module__", None) or exercise.module
            found.add(f"from {home if hasattr(sys.modules[home], name) else exercise.module} import {name}")
    return sorted(found, key=lambda line: (line.startswith("from"), line))


def cache_note(exercise):
    """What a layer's cache holds, for the two functions that share it."""
    pair = re.fullmatch(r"(\w+)_(?:for|back)ward", exercise.name)
    if pair is None or exercise.module != "minivgg.layers":
        return [""]
    _, node = parsed(exercise.function.__globals__[f"{pair[1]}_forward"])
    last = [n for n in ast.walk(node) if isinstance(n, ast.Return)][-1]
    return ["", f"# {pair[1]}_forward's cache is {ast.unparse(last.value.elts[1])}"]


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
