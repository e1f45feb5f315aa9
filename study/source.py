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
    """The text of an exercise's file, its body to be written. Our own helpers are no names for use from outside."""
    return _file(exercise, f'    raise NotImplementedError("{exercise.name}: to be written")', private=False)


def solution(exercise):
    """The same with the body that runs."""
    return _file(exercise, body(exercise.function))


def _file(exercise, lines, *, private=True):
    function = exercise.function
    source = exercise.module.replace(".", "/")
    step = f"step {number_of(exercise)} of {len(STEPS)}"
    start = f'''"""Exercise {exercise.name}, {step}: write the body of the function below.

    python -m study {exercise.name}             judges it
    python -m study {exercise.name} --hint      the next lines of {exercise.text}, section {exercise.section}
    python -m study {exercise.name} --solution  the body that runs, of {source}.py
"""'''
    said = (*cache_note(exercise), *self_note(exercise), *value_notes(exercise))
    notes = [f"# {line}".rstrip() for line in said]
    return "\n".join(
        [
            start,
            "",
            *imports(exercise, private=private),
            "",
            *notes,
            *[""] * (1 + bool(notes)),
            head(function),
            lines,
            "",
        ]
    )


def used(exercise):
    """{name: value} of what the function's own lines take from its module."""
    function = exercise.function
    _, node = parsed(function)
    node.decorator_list = []
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - set(function.__code__.co_varnames)
    return {name: function.__globals__[name] for name in sorted(names & set(function.__globals__))}


def imports(exercise, *, private=True):
    """Import lines for NumPy and for what the function's own lines use."""
    whole, some = set(), {}
    for name, value in used(exercise).items():
        if isinstance(value, types.ModuleType):
            whole |= {f"import {value.__name__}" + (f" as {name}" if name != value.__name__ else "")}
        elif name.startswith("_") and not private:
            continue
        else:  # a constant does not say where it comes from, another name for a type says it of the type
            home = getattr(value, "__module__", None) or exercise.module
            known = getattr(sys.modules.get(home), name, None) is value
            some.setdefault(home if known else exercise.module, []).append(name)
    whole.discard("import numpy as np")
    lines = [*sorted(whole), *(f"from {home} import {', '.join(names)}" for home, names in sorted(some.items()))]
    return [
        "import numpy as np",
        *(["", "# what our signature and body use; your body need not", *lines] if lines else []),
    ]


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


def value_notes(exercise):
    """What stands behind names of ours: numbers, and what an object that is handed in has."""
    for name, value in used(exercise).items():
        if name == "get_xp":
            yield "get_xp(a) is the module of an array: numpy here, cupy on a GPU"
        elif inspect.isfunction(inspect.unwrap(value)) and not name.startswith("_"):
            line = (inspect.getdoc(value) or "").partition("\n")[0].partition(". ")[0].rstrip(".")
            yield f"{name}({', '.join(inspect.signature(value).parameters)}): {line}"
        elif isinstance(value, int | float | tuple) and name.isupper():
            shown = ", ".join(f"{v:.4g}" for v in value) if isinstance(value, tuple) else f"{value:g}"
            yield f"{name} = {shown}"
        elif isinstance(value, type) and value.__module__ == exercise.module:
            has = [*inspect.signature(value).parameters, *(k for k, v in vars(value).items() if hasattr(v, "attrname"))]
            docs = {k: inspect.getdoc(vars(value)[k]).rstrip(".") for k in has if k in vars(value)}
            yield f"a {name} has {', '.join(k + (f' ({docs[k]})' if k in docs else '') for k in has)}"


def hints(exercise):
    """The paragraphs of its section in turn, each with the formulas that follow it.

    From its own first paragraph to where another exercise's begin.
    """
    text = (HERE / exercise.text).read_text(encoding="utf-8")
    section = re.search(rf"^#+ {exercise.section}\. .*?$\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    found = _with_formulas(section)[1:]  # without code and check
    first = next(k for k, p in enumerate(found) if p.startswith(exercise.since))
    place = attrgetter("text", "section")
    others = tuple({e.since for e in EXERCISES.values() if place(e) == place(exercise)} - {"", exercise.since})
    last = next((k for k, p in enumerate(found) if k > first and others and p.startswith(others)), len(found))
    return found[first:last]


def _with_formulas(section):
    """A section's paragraphs; a formula belongs to the one before it."""
    found = []
    for part in (p.strip() for p in re.split(r"\n\n+", section)):
        if found and part.startswith("```math"):
            found[-1] += f"\n\n{part}"
        elif part:
            found.append(part)
    return found
