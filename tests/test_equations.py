"""docs/equations.md: every row leads from an equation to a section, a function and a check that are there."""

import ast
import re

import pytest
from texts import ROOT, read, sections, slug

PAGE = ROOT / "docs" / "equations.md"
TEXT = read(PAGE)
LINK = re.compile(r"\[(`?)([^]`]+)`?\]\(([^)#]+)(?:#([^)]+))?\)")


def rows(text):
    """The tables' rows, (equation, derived, line, check) each."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in found if row[0] not in ("equation", "---")]


def defined(path):
    """Names that a Python file defines itself: functions, classes, Class.method."""
    found = set()
    for node in ast.parse(read(path)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found |= {node.name, *(f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef))}
    return found


def strings(path):
    """The beginnings and later parts of what a Python file prints: its strings, those with fields in pieces."""
    nodes = ast.walk(ast.parse(read(path)))
    return [node.value.strip() for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def link_problem(code, text, target, anchor):
    """What is wrong with a link of the page; None if nothing is."""
    path = (PAGE.parent / target).resolve()
    if not path.is_file():
        return f"{target} is not there"
    if path.name == "MATH.md":
        folder, _, number = text.rpartition(" ")
        title = sections(path).get(number, [None])[0]
        headings = [line.lstrip("# ") for line in read(path).splitlines() if line[:1] == "#"]
        right = folder == path.parent.name and anchor in map(slug, headings)
        if title is None or not right or not anchor.startswith(number.replace(".", "") + "-"):
            return f"{target} has no section {text} under #{anchor}"
    elif not code:
        return f"{text} names nothing in {target}"
    elif path.name == "rows.py" or path.name == "gradcheck.py":  # a row of the checker's table
        if not any(s.startswith(text.removesuffix("…").strip()) for s in strings(path)):
            return f"no row {text} in {target}"
    elif text not in defined(path):
        return f"{text} is not in {target}"
    return None


def row_problems(row):
    """What is wrong with a row: a link that leads nowhere, a cell without one, a number that the section has not."""
    if len(row) != 4:
        return [f"{len(row)} cells: {row}"]
    cells = [LINK.findall(cell) for cell in row]
    problems = [f"no link in {cell!r}" for cell, links in zip(row[1:], cells[1:]) if not links]
    problems += [found for links in cells for link in links if (found := link_problem(*link))]
    if not problems:
        _, number, target, _ = cells[1][0]
        body = sections((PAGE.parent / target).resolve())[number.split()[-1]][1]
        tags = re.findall(r"\((\d+)\)", LINK.sub("", row[1]))
        problems += [f"({tag}) is not in {target} {number}" for tag in tags if f"\\tag{{{tag}}}" not in body]
    return problems


@pytest.mark.parametrize("row", rows(TEXT), ids=lambda row: row[0][:30])
def test_every_row_leads_to_a_section_a_line_and_a_check(row):
    assert not row_problems(row)


def test_the_papers_equations_are_all_there():
    section = TEXT[TEXT.index("## Gatys") : TEXT.index("## Other losses")]
    assert [row[0].split(":")[0] for row in rows(section)] == [str(k) for k in range(1, 8)]


GOOD = [
    "x",
    "[style 2](../style/MATH.md#2-content) (1)",
    "[`content_loss`](../style/losses.py)",
    "rows [`gram`](../style/gradcheck.py)",
]


@pytest.mark.parametrize(
    ("cell", "wrong", "found"),
    [
        (1, "[style 2](../style/MATH.md#2-contents) (1)", "no section"),
        (1, "[style 3](../style/MATH.md#2-content) (1)", "no section"),
        (1, "[style 2](../style/MATH.md#2-content) (3)", "is not in"),
        (1, "[minivgg 2](../style/MATH.md#2-content) (1)", "no section"),
        (1, "section 2", "no link"),
        (2, "[`contents_loss`](../style/losses.py)", "is not in"),
        (2, "[`content_loss`](../style/loss.py)", "not there"),
        (2, "[`operator`](../style/losses.py)", "is not in"),  # imported, not defined
        (3, "rows [`grammar`](../style/gradcheck.py)", "no row"),
        (3, "[`test_nothing`](../tests/test_losses.py)", "is not in"),
    ],
)
def test_a_row_that_leads_nowhere_is_found(cell, wrong, found):
    assert not row_problems(GOOD)
    assert any(found in problem for problem in row_problems([*GOOD[:cell], wrong, *GOOD[cell + 1 :]]))
