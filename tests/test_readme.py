"""What the README shows is what happens: its Python runs and prints what it says, its map holds, its lines stand."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from style.command import Files
from style.options import markdown
from style.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[b.splitlines()[0] for b in BLOCKS])
def test_python_prints_what_it_says(block, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIVGG_CACHE", str(tmp_path))  # the embedded network, whatever was fetched here
    expected = re.findall(r"^# prints: (.*)$", block, re.MULTILINE)
    assert expected
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "README.md", "exec"), {})
    assert printed.getvalue().splitlines() == expected


def test_set_up_lines_stand_alone():
    lines = README.splitlines()
    assert "pip install -e . && python -m style.run" in lines
    assert 'pip install -e ".[test]" && pytest' in lines


def test_the_table_of_options_is_that_of_the_options():
    """To make it again: PYTHONPATH=. python docs/options.py"""
    table = README[README.index("| option | |") :]
    assert table[: table.index("\n\n")].splitlines() == list(markdown(Settings, Files))


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_reading_map_counts_lines():
    rows = re.findall(r"^\| (\[.*\)) \|.*\| (\d+) \|$", README, re.MULTILINE)
    assert len(rows) > 5
    for files, stated in rows:  # a row may name several, and counts them all
        names = re.findall(r"\]\(([^)]+)\)", files)
        lines = sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in names)
        assert abs(lines - int(stated)) <= 10, f"{' and '.join(names)}: {lines} lines, the README says {stated}"


def test_reading_map_counts_minutes():
    """Ten lines of code or a hundred words of a MATH.md a minute, to the next five; their sum in hours."""
    core = README[README.index("**The core**") : README.index("**What makes it fast and large**")]
    rows = re.findall(r"^\| (\[.*\)) \|.*\| (\d+) \| \d* ?\|$", core, re.MULTILINE)
    assert len(rows) == core.count("\n| [")
    for files, stated in rows:
        texts = [(name, (ROOT / name).read_text(encoding="utf-8")) for name in re.findall(r"\]\(([^)]+)\)", files)]
        minutes = sum(
            len(text.split()) / 100 if name.endswith(".md") else len(text.splitlines()) / 10 for name, text in texts
        )
        assert abs(minutes - int(stated)) <= 4, f"{files}: {minutes:.0f} minutes, the README says {stated}"
    assert "some four hours" in core and 3.5 < sum(int(stated) for _, stated in rows) / 60 < 4.5


def test_the_map_has_two_parts():
    core, rest = (README.index(heading) for heading in ("**The core**", "**What makes it fast and large**"))
    assert core < README.index("style/terms.py") < rest < README.index("style/faster/lbfgs.py")
