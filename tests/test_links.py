"""Links and pictures of the project's Markdown: file, heading and name that they promise are there; the glossary."""

import ast
import functools
import re

import pytest
from texts import ROOT, read, slug

FOLDERS = ("benchmarks", "docs", "examples", "minivgg", "notebooks", "study", "style", "weights")
LINK = re.compile(r"\[(`?)([^\]`]+)`?\]\(([^)\s]+)\)")
GLOSSARY = ROOT / "docs" / "glossary.md"


def texts():
    found = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    return sorted(path.relative_to(ROOT) for path in found)


@functools.cache
def anchors(path):
    """The anchors that a forge gives the headings of a Markdown file."""
    outside = re.sub(r"^```.*?^```$", "", read(path), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading.replace("`", "")) for heading in re.findall(r"^#+ (.+)$", outside, re.MULTILINE)}


@functools.cache
def defined(path):
    """The names that a Python file defines: functions, classes, what is assigned, and Class.name of each class."""
    found = set()

    def note(body, before):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(before + node.name)
            if isinstance(node, ast.ClassDef):
                note(node.body, f"{node.name}.")
            for target in getattr(node, "targets", [getattr(node, "target", None)]):
                found.update(before + n.id for n in ast.walk(target or ast.Pass()) if isinstance(n, ast.Name))

    note(ast.parse(read(path)).body, "")
    return found


def problems(path, text):
    """What is wrong with the links of a Markdown text that lies at `path`."""
    for _, _, target in LINK.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        name, _, anchor = target.partition("#")
        if ":" in name:
            continue
        there = (path.parent / name).resolve() if name else path
        if not there.exists():
            yield f"{target} is not there"
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            yield f"{name} has no heading #{anchor}"


def lost_names(path, text):
    """The names, [`name`](file.py), that the file does not define."""
    for code, words, target in LINK.findall(text):
        if code and target.endswith(".py") and words not in defined((path.parent / target).resolve()):
            yield f"{words} is not in {target}"


@pytest.mark.parametrize("name", texts(), ids=lambda name: name.as_posix())
def test_every_link_leads_to_a_file_and_a_heading(name):
    assert list(problems(ROOT / name, read(ROOT / name))) == []


def entries(text):
    """{term: its words} of the glossary."""
    return dict(re.findall(r"^\*\*(.+?)\*\*: ((?:.+\n?)+)", text, re.MULTILINE))


def test_every_term_of_the_glossary_leads_somewhere():
    text = read(GLOSSARY)
    found = entries(text)
    assert len(found) > 40 and len(found) == text.count("\n**")
    assert [term for term, words in found.items() if not LINK.search(words)] == []
    assert list(found) == sorted(found, key=str.lower), "terms stand in the alphabet's order"
    assert list(lost_names(GLOSSARY, text)) == []


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("[3](../style/MATH.md#3-styles)", "../style/MATH.md has no heading #3-styles"),
        ("[3](../style/MATHS.md#3-style)", "../style/MATHS.md#3-style is not there"),
        ("[here](#gram)", " has no heading #gram"),
        ("[`gram`](../style/losses.py)", "gram is not in ../style/losses.py"),
        ("[`operator`](../style/losses.py)", "operator is not in ../style/losses.py"),  # imported, not defined
        ("[`Settings.lags`](../style/settings.py)", "Settings.lags is not in ../style/settings.py"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(link, said):
    assert [*problems(GLOSSARY, link), *lost_names(GLOSSARY, link)] == [said]


def test_a_link_that_leads_somewhere_is_not_complained_of():
    text = (
        "[3](../style/MATH.md#3-style), [`Settings.lag`](../style/settings.py), [`POINTS`](../minivgg/fast_cpu/taps.py)"
    )
    assert [*problems(GLOSSARY, text), *lost_names(GLOSSARY, text)] == []
