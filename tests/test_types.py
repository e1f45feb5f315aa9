"""What is for use has types: all of it says them; a checker passes a right program and finds what is wrong in one."""

import functools
import importlib
import inspect
import os
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import typed_use

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = [
    "minivgg_style",
    *(f"minivgg.{name}" for name in ("backend", "given", "kernels", "layers", "table", "vgg")),
    *("weights", "weights.store"),
    *(f"style.{name}" for name in ("engine", "events", "job", "limits", "losses", "method", "objective", "optimize")),
    *(f"style.{name}" for name in ("outcome", "result", "settings", "state", "terms", "pictures.colour")),
    *(f"style.samples.{name}" for name in ("landscape", "paintings")),
]
# Lines that a checker must refuse, each for itself. `Any` lets anything pass: an option's name and value are checked
# when the program runs, and an array's shape and type are what docstrings say.
WRONG = """\
style.transfer("a.jpg")
style.transfer(1, "b.jpg")
style.transfer("a.jpg", [b"b.jpg"])
style.transfer("a.jpg", "b.jpg", callback=lambda: None)
style.transfer("a.jpg", "b.jpg", output=3)
style.transfer("a.jpg", "b.jpg").picture
style.transfer("a.jpg", "b.jpg").save("out.png", quality="high")
text: str = style.transfer("a.jpg", "b.jpg").image
style.trasnfer("a.jpg", "b.jpg")
style.samples.scene("large")
style.Settings(sise=512)
style.Settings(evaluations="many")
style.Settings(style_layers={"relu1_1": "much"})
style.settings_from(3)
style.Job("a.jpg", "b.jpg", {"size": 3})
style.Job("a.jpg", "b.jpg", style.Settings(), engine=net)
style.Job("a.jpg", "b.jpg", style.Settings()).run(lambda event: event.loss)
style.Job("a.jpg", "b.jpg", style.Settings()).run(state={})
style.limits.TimeLimit("10m")
style.State.load()
style.ColourSpace.of("vgg19")
weights.load(19)
weights.save_compact("vgg19", "copy.npz")
weights.load("vgg19").filters
VGG({"conv1_1": 3})
VGG(weights.load().params, "avg")
net.forward(x, 4)
net.backwards({}, None)
conv2d_forward(x, x)
conv2d_forward(x, x, x, pad="same")
relu_backward(x)
content_loss(x, x, True)
Term("style relu1_1", Gram, "relu1_1")
Objective(net, 3)
minimize(objective, x, evaluations="3")
minimize(objective, x).picture
"""
BEFORE = """\
from typing import Any
import style
import weights
from minivgg import VGG
from minivgg.layers import conv2d_forward, relu_backward
from style.losses import content_loss
from style.objective import Objective
from style.optimize import minimize
from style.terms import Gram, Term
x: Any = None
net = VGG(weights.load().params)
objective = Objective(net, [])
"""


def parts_of(module):
    """(name, versions) of a module's public functions and its public classes' methods: that, and what it overrides."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield name, [thing]
        elif inspect.isclass(thing):
            for method in vars(thing):
                if not method.startswith("_") or method in ("__init__", "__call__"):
                    versions = [function_of(vars(c)[method]) for c in thing.__mro__ if method in vars(c)]
                    yield f"{name}.{method}", [v for v in versions if inspect.isfunction(v)]


def function_of(attribute):
    """The function behind a method, property or the like."""
    if isinstance(attribute, property):
        return attribute.fget
    if isinstance(attribute, functools.cached_property):
        return attribute.func
    return getattr(attribute, "__func__", attribute)


def is_typed(function):
    signature = inspect.signature(function)
    given = [p.annotation is not p.empty for p in signature.parameters.values() if p.name not in ("self", "cls")]
    result = signature.return_annotation is not signature.empty or function.__name__ == "__init__"
    return all(given) and result


def untyped(module):
    """Names of what does not say its types; a method may leave that to the one that it overrides."""
    return [name for name, versions in parts_of(module) if versions and not any(map(is_typed, versions))]


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_for_use_says_its_types(name):
    module = importlib.import_module(name)
    assert list(parts_of(module))
    assert untyped(module) == []


def test_what_says_none_is_found():
    module = types.ModuleType("planted")
    text = """
class Base:
    def typed(self, a: int) -> int: ...
    def plain(self): ...
    def half(self, a) -> int: ...
    @property
    def of(self): ...
    def _private(self, a): ...
class Derived(Base):
    def __init__(self, a): ...
    def typed(self, a): ...
def function(*a, **b) -> None: ...
"""
    exec(text, vars(module))
    assert untyped(module) == ["Base.plain", "Base.half", "Base.of", "Derived.__init__", "function"]


def test_the_packages_say_that_they_have_types():
    """PEP 561; that the file arrives, .ci/packages sees."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for package in ("minivgg", "style", "weights"):
        assert (ROOT / package / "py.typed").is_file()
        assert "py.typed" in setuptools["package-data"][package]


def test_a_program_with_types_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVGG_CACHE", str(tmp_path / "cache"))
    typed_use.main(tmp_path)
    assert (tmp_path / "out.png").stat().st_size > 0


def check(folder, name, text):
    """{line: complaint} of the checker about a program that lies outside of the project and uses what is installed."""
    pytest.importorskip("mypy", reason='needs pip install -e ".[check]"')
    (folder / name).write_text(text, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "MYPYPATH"}
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(folder / "cache"),
        name,
    ]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert not done.stderr and done.returncode < 2, done.stderr + done.stdout
    found = [line.split(":", 3) for line in done.stdout.splitlines() if " error: " in line]
    assert bool(found) == bool(done.returncode), done.stdout
    return {int(number): said for _, number, _, said in found}


@pytest.mark.slow
def test_a_right_program_passes_the_checker_at_its_strictest(tmp_path):
    assert check(tmp_path, "program.py", Path(typed_use.__file__).read_text(encoding="utf-8")) == {}


@pytest.mark.slow
def test_what_is_wrong_is_found(tmp_path):
    found = check(tmp_path, "program.py", BEFORE + WRONG)
    first = BEFORE.count("\n") + 1
    missed = [line for number, line in enumerate(WRONG.splitlines(), first) if number not in found]
    assert missed == []
    assert min(found) >= first, found  # nothing is wrong with what stands before
