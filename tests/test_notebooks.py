"""The notebooks: Python files that stand alone, use what is public, and draw what they say."""

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
OURS = ("minivgg", "style", "weights")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def private_or_missing(text):
    """What a program takes from our packages that is not there, or begins with an underscore."""
    tree, found, names = ast.parse(text), [], {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(a.asname or a.name): importlib.import_module(a.name) for a in node.names if a.name in OURS}
        elif isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if alias.name.startswith("_") or not hasattr(module, alias.name):
                    found.append(f"{node.module}.{alias.name}")
                else:
                    names[alias.asname or alias.name] = getattr(module, alias.name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or getattr(node.value, "id", None) not in names:
            continue
        if node.attr.startswith("_") or not hasattr(names[node.value.id], node.attr):
            found.append(f"{node.value.id}.{node.attr}")
    return found


def lost_sections(text):
    """The sections that a text names, "style/MATH.md, section 3", and that are not there."""
    return [
        f"{name}, section {number}"
        for name, number in re.findall(r"([\w/]*MATH\.md),\s+section\s+(\d+(?:\.\d+)?)", text)
        if not re.search(rf"^#+ {re.escape(number)}\.? ", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    ]


@each
def test_a_notebook_uses_what_is_public_and_names_its_sections(path):
    text = path.read_text(encoding="utf-8")
    assert private_or_missing(text) == []
    assert re.findall(r"MATH\.md,\s+section", text) and lost_sections(text) == []
    assert "mo.ui.slider(" in text and text.endswith('if __name__ == "__main__":\n    app.run()\n')
    assert f"`marimo edit notebooks/{path.name}`" in ast.get_docstring(ast.parse(text))


def test_a_private_name_and_a_lost_section_are_found():
    text = "import style\nfrom style.losses import _sum, gram, features\nstyle._LATER, style.nothing, features"
    assert private_or_missing(text) == ["style.losses._sum", "style.losses.gram", "style._LATER", "style.nothing"]
    text = "style/MATH.md, section 3; minivgg/MATH.md,\n    section 8.5 and style/MATH.md, section 12"
    assert lost_sections(text) == ["style/MATH.md, section 12"]


def test_all_are_in_the_list():
    listed = re.findall(r"^\| \[(\w+\.py)\]\((\w+\.py)\) \|", (ROOT / "notebooks/README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [(path.name, path.name) for path in NOTEBOOKS]
    before = (ROOT / "docs/before.md").read_text(encoding="utf-8").split("| notebook | what more |")[1]
    rows = re.findall(r"^\| ([\w, ]+) \|", before, re.MULTILINE)
    assert sorted(", ".join(rows).split(", ")) == [path.stem for path in NOTEBOOKS]


# --- run -------------------------------------------------------------------------------------------------------------


def app_of(path):
    spec = importlib.util.spec_from_file_location(f"notebook_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def figures(outputs):
    """The figures that a run shows, each with something on every pair of axes."""
    from matplotlib.figure import Figure

    found = [o for o in outputs if isinstance(o, Figure)]
    for figure in found:
        figure.draw_without_rendering()
        for ax in figure.axes:
            assert ax.has_data(), f"axes {ax.get_title()!r} are empty"
            for line in ax.get_lines():
                assert np.isfinite(np.asarray(line.get_ydata(), float)).any(), f"a line of {ax.get_title()!r}"
            labelled = ax.get_xlabel() or ax.get_ylabel() or ax.get_title()
            assert labelled or not ax.axison, "axes without a label"
    return found


@pytest.mark.slow
@each
def test_a_notebook_runs(path, monkeypatch, tmp_path):
    """As it is, then with each slider at its low end and each list at its last entry."""
    mo = pytest.importorskip("marimo", reason="needs the extra notebooks")
    pytest.importorskip("matplotlib", reason="needs the extra notebooks")
    monkeypatch.setenv("MINIVGG_CACHE", str(tmp_path))  # the embedded network
    app = app_of(path)
    outputs, names = app.run()
    assert figures(outputs)
    hands = {name: v for name, v in names.items() if isinstance(v, mo.ui.slider | mo.ui.dropdown)}
    assert hands
    ends = {n: list(v.options)[-1] if isinstance(v, mo.ui.dropdown) else v.start for n, v in hands.items()}
    outputs, _ = app.run(defs={name: SimpleNamespace(value=value) for name, value in ends.items()})
    assert len(figures(outputs)) >= 1


@pytest.mark.slow
def test_a_notebook_is_a_script(tmp_path):
    pytest.importorskip("marimo", reason="needs the extra notebooks")
    pytest.importorskip("matplotlib", reason="needs the extra notebooks")
    command = [sys.executable, str(ROOT / "notebooks/halo.py")]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
