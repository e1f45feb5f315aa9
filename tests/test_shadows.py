"""A working folder with names of ours in it changes nothing, or a line says which file is in the way."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = {  # name: Python's arguments; the working folder comes first on its path in each
    "style.run": ("-m", "style.run", "--version"),
    "weights": ("-m", "weights", "path"),
    "minivgg_style": ("-m", "minivgg_style", "--version"),
    "console": ("-c", "import sys, minivgg_style; sys.argv[1:] = ['--version']; sys.exit(minivgg_style.main())"),
    "library": ("-c", "import style; print(style.transfer)"),
    "claimed": ("-c", "import minivgg_style; minivgg_style.claim(); import style; print(style.transfer)"),
}
OURS = ("minivgg_style", "console", "claimed")


def some(*pairs, slow):
    """Parameters of a test: each starts a program, so those of `pairs` run always and the others with what is slow."""
    more = [pair for pair in slow if pair not in pairs]
    return [*(pytest.param(*pair) for pair in pairs), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in more)]


def start(folder, entry, *before):
    """One of ENTRIES from a folder, with the project as a later entry of the path, as an editable install makes it."""
    path = os.pathsep.join([*map(str, before), str(ROOT)])
    command = [sys.executable, *ENTRIES[entry]]
    environment = {**os.environ, "PYTHONPATH": path, "MINIVGG_CACHE": str(folder / "cache")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def plant(folder, *names):
    for name in names:
        path = folder / name
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x = 1\n")
        else:
            path.mkdir()


@pytest.mark.parametrize("entry", some(("style.run",), ("library",), slow=[(e,) for e in ENTRIES]))
def test_folders_change_nothing(tmp_path, entry):
    plant(tmp_path, "style", "weights", "minivgg")
    process = start(tmp_path, entry)
    assert process.returncode == 0 and process.stdout and not process.stderr, process.stderr


@pytest.mark.parametrize(
    "name, entry",
    some(
        ("weights.py", "style.run"),
        ("minivgg/__init__.py", "library"),
        slow=itertools.product(["weights.py", "minivgg/__init__.py"], ["style.run", "library", *OURS]),
    ),
)
def test_style_finds_its_neighbours(tmp_path, entry, name):
    plant(tmp_path, name)
    process = start(tmp_path, entry)
    assert process.returncode == 0 and not process.stderr, process.stderr


@pytest.mark.parametrize(
    "name, entry",
    some(
        ("style.py", "minivgg_style"),
        ("style/__init__.py", "claimed"),
        slow=itertools.product(["style.py", "style/__init__.py"], OURS),
    ),
)
def test_our_own_names_find_style(tmp_path, entry, name):
    plant(tmp_path, name)
    process = start(tmp_path, entry)
    assert process.returncode == 0 and not process.stderr, process.stderr


def test_another_project_of_this_name(tmp_path):
    """On the path before ours, as site-packages is before an editable install."""
    other = tmp_path / "site"
    plant(other, "style/__init__.py")
    here = tmp_path / "here"
    here.mkdir()
    assert start(here, "style.run", other).returncode == 1  # Python itself: nothing of ours runs
    assert [start(here, entry, other).returncode for entry in OURS] == [0, 0, 0]


def test_what_came_first_is_named(tmp_path):
    plant(tmp_path, "weights.py")
    code = "import weights, style"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    last = process.stderr.splitlines()[-1]
    assert f"ImportError: {tmp_path / 'weights.py'}: stands in for" in last


def test_a_package_written_over_ours_is_named(tmp_path):
    """Two wheels that have a package of one name, in one site-packages."""
    for name in ("minivgg_style.py", "minivgg", "weights"):
        os.symlink(ROOT / name, tmp_path / name)
    code = f"import minivgg_style, pathlib; minivgg_style.HERE = pathlib.Path({str(tmp_path)!r})\n"
    plant(tmp_path, "style/__init__.py")
    code += "minivgg_style._is_ours = lambda *_: True\nimport sys; sys.exit(minivgg_style.main())"
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "of another package 'style'" in process.stderr and str(tmp_path / "style") in process.stderr
