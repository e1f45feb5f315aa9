"""What the README shows is what happens: its Python runs and prints what it says, its map holds, its lines stand."""

import contextlib
import io
import re
from pathlib import Path

import pytest

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


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_reading_map_counts_lines():
    rows = re.findall(r"^\| \[([^\]]+)\]\([^)]+\) \|.*\| (\d+) \|$", README, re.MULTILINE)
    assert len(rows) > 5
    for file, stated in rows:
        lines = len((ROOT / file).read_text(encoding="utf-8").splitlines())
        assert lines <= int(stated) <= 1.25 * lines + 10, f"{file} has {lines} lines, the README says {stated}"
